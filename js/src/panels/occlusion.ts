import { hasBytes } from "../bitmap.ts";
import { Store } from "../store.ts";
import type { Context, PanelView, Point, ScalarMap, Session } from "../types.ts";
import { checkbox } from "../ui/checkbox.ts";
import { percent, short } from "../ui/scale.ts";
import { createStage } from "../view/stage.ts";
import { probabilityBars } from "./occlusion_bars.ts";
import { OcclusionLookup } from "./occlusion_lookup.ts";
import { type PatchState, patchState } from "./occlusion_patch.ts";
import { picture, scalarMap, scalars } from "./pixels.ts";

const FREE = "Ask the network about the patch right under the cursor, between the windows too";

interface State extends PatchState {
  lookup: Store<OcclusionLookup | null>;
  heat: Store<ScalarMap | null>;
}

function makeState(session: Session): State {
  const lookup = new Store<OcclusionLookup | null>(null);
  const heat = new Store<ScalarMap | null>(null);
  let used: unknown = null;

  /** Info and data come together, but each tells of its change by itself. */
  function refresh(): void {
    const bytes = session.get<unknown>("_extra");
    const info = session.get<Record<string, unknown> | null>("_extra_info");
    const result = session.get<{ shape?: [number, number] } | null>("_result_info");
    if (!hasBytes(bytes) || !info || !result?.shape) return;
    const made = OcclusionLookup.from(info, bytes, result.shape);
    if (!made) return;
    used = bytes;
    lookup.set(made);
    heat.set(made.heat);
  }
  session.watch("_extra", refresh);
  session.watch("_extra_info", refresh);
  session.watch("_result_info", refresh);

  let first = true;
  session.watch("_photo", () => {
    // Scores of another photo, unless those of the new one came along with it.
    if (!first && session.get("_extra") === used) {
      lookup.set(null);
      heat.set(null);
    }
    first = false;
  });
  session.map.subscribe((map) => {
    const now = map?.extras.heat && scalarMap(map.extras.heat, [map.height, map.width]);
    if (now) heat.set(now);
  }, session.signal);
  return { lookup, heat, ...patchState(session, lookup) };
}

/** Attribution and probability maps; the cursor holds the patch, bars tell what it does. */
export function occlusion(context: Context): PanelView {
  const { session, signal } = context;
  const state = session.shared("occlusion", () => makeState(session));

  function patch(canvas: CanvasRenderingContext2D, pixel: number): void {
    const found = state.now.get();
    if (!found) return;
    const { left, top, width, height } = found;
    const fill = state.lookup.get()?.info.fill_rgb;
    canvas.save();
    canvas.beginPath();
    canvas.rect(left, top, width, height);
    if (fill) {
      canvas.fillStyle = `rgb(${fill.join(",")})`;
      canvas.fill();
    } else {
      // No single color: hatched, for what lies there is not known here.
      canvas.save();
      canvas.clip();
      canvas.fillStyle = "rgb(128 128 128 / 0.7)";
      canvas.fillRect(left, top, width, height);
      canvas.strokeStyle = "#fff";
      canvas.lineWidth = pixel;
      canvas.beginPath();
      for (let at = -height; at < width; at += 6 * pixel) {
        canvas.moveTo(left + at, top + height);
        canvas.lineTo(left + at + height, top);
      }
      canvas.stroke();
      canvas.restore();
    }
    // White in black shows on any ground.
    for (const [color, line] of [["#000", 3] as const, ["#fff", 1] as const]) {
      canvas.strokeStyle = color;
      canvas.lineWidth = line * pixel;
      canvas.strokeRect(left, top, width, height);
    }
    canvas.restore();
  }

  function chance({ x, y }: Point): string {
    const map = state.heat.get();
    const value = map?.values[Math.floor(y) * map.width + Math.floor(x)];
    return value === undefined ? "" : percent(value);
  }

  const category = () => session.get<{ name?: string } | null>("_target_info")?.name ?? "the class";
  const stages = [
    createStage(context, {
      title: "What covering it costs",
      // As the picture beside it has it, and the bars.
      format: (value) => (session.get("score") === "probability" ? percent(value) : short(value)),
      image: picture(session.photo),
      map: scalars(session),
      decorate: patch,
      describe: () => `Loss of ${category()} where the patch covers the photo.`,
    }),
    createStage(context, {
      title: "Probability with the patch",
      map: state.heat,
      coloring: "heat",
      readout: chance,
      decorate: patch,
      describe: () => `Probability of ${category()} with the patch at each place.`,
    }),
  ];
  const repaint = () => {
    for (const stage of stages) stage.repaint();
  };
  state.now.subscribe(repaint, signal);
  const free = checkbox("Free patch", (on) => state.free.set(on), signal, FREE);
  const bars = probabilityBars(context, state.lookup, state.now);
  state.free.watch((on) => {
    free.show(on);
    // On the grid the bars follow every movement: too much to be read aloud.
    bars.ariaLive = on ? "polite" : "off";
  }, signal);

  return {
    stages,
    below: [free.element, bars],
    parameters: ["patch_size", "stride", "fill", "score"],
  };
}
