import { bytesOf } from "../session.ts";
import { Store } from "../store.ts";
import type { Context, PanelView, Session, StageOptions } from "../types.ts";
import { button } from "../ui/button.ts";
import { percent } from "../ui/scale.ts";
import { listener, onTap, told } from "../ui/slide.ts";
import { createStage } from "../view/stage.ts";
import { overPhoto } from "./general.ts";
import { picture } from "./pixels.ts";
import { streamed } from "./streamed.ts";

interface Info {
  count?: number;
  labels?: unknown;
  /** Segments that the picture shows. */
  kept?: number[];
  /** Of the class then; missing while the network is asked. */
  probability?: number;
}

function makeState(session: Session): { seen: Store<ImageBitmap | null>; now: Store<Info> } {
  const now = new Store<Info>({});
  session.watch<Info>("_extra_info", (info) => now.set(info ?? {}));
  session.on("picture", ({ kept, probability }) => now.set({ ...now.get(), kept, probability }));
  return { seen: streamed(session, "picture"), now };
}

/** Lines `[x0, y0, x1, y1]` around segments; those that are not `chosen` count as one. */
export function borders(labels: ArrayLike<number>, width: number, chosen?: number[]): number[][] {
  const known = chosen && new Set(chosen);
  const name = (at: number) => (known?.has(labels[at] as number) === false ? -1 : labels[at]);
  const lines: number[][] = [];
  for (let at = 0; at < labels.length; at++) {
    const x = at % width;
    const y = (at - x) / width;
    if (x && name(at) !== name(at - 1)) lines.push([x, y, x, y + 1]);
    if (y && name(at) !== name(at - width)) lines.push([x, y, x + 1, y]);
  }
  return lines;
}

/** Which segments count, and what becomes of the class when some of them are switched off. */
export function segmented(context: Context): PanelView {
  const { session, signal } = context;
  const { seen, now } = session.shared("segments", () => makeState(session));
  const text = new Store("");
  const paths = [new Path2D(), new Path2D()];
  let labels = new Int32Array();
  let width = 1;

  const outlined = (place: number): StageOptions["decorate"] => {
    return (pen, pixel) => {
      for (const [color, thick] of [["#0009", 3] as const, ["#fff", 1] as const]) {
        pen.strokeStyle = color;
        pen.lineWidth = thick * pixel;
        pen.stroke(paths[place] as Path2D);
      }
    };
  };
  const ask = (kept: number[]) => {
    now.set({ ...now.get(), kept, probability: undefined });
    session.send({ kind: "action", name: "toggle", kept });
  };
  const toggle = () => {
    const point = session.cursor.get();
    const label = point && labels[Math.floor(point.y) * width + Math.floor(point.x)];
    if (typeof label !== "number") return;
    const kept = now.get().kept ?? [];
    ask(kept.includes(label) ? kept.filter((each) => each !== label) : [...kept, label]);
  };

  const view = overPhoto(context, undefined, outlined(0));
  const stage = createStage(context, {
    title: "Click segments on and off",
    image: picture(seen),
    decorate: outlined(1),
    readout: () => "",
    describe: () => `${text.get()} Enter switches the segment under the cursor.`,
  });
  view.stages.push(stage);
  onTap(stage.element.querySelector("canvas") as HTMLElement, signal, toggle);
  listener(stage.element, signal)("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    toggle();
  });
  now.watch(({ kept = [], count, probability, labels: bytes }) => {
    labels = new Int32Array(bytesOf(bytes).buffer);
    width = session.photo.get()?.width ?? session.map.get()?.width ?? 1;
    [kept, undefined].forEach((chosen, place) => {
      const path = new Path2D();
      for (const [a = 0, b = 0, c = 0, d = 0] of borders(labels, width, chosen)) {
        path.moveTo(a, b);
        path.lineTo(c, d);
      }
      paths[place] = path;
    });
    const category = session.get<{ name?: string; probability?: number }>("_target_info");
    const chance = probability === undefined ? "…" : percent(probability);
    const whole = percent(category?.probability ?? Number.NaN);
    text.set(
      count
        ? `With ${kept.length} of ${count} segments: ${category?.name} ${chance} (whole photo ${whole})`
        : "",
    );
    for (const each of view.stages) each.repaint();
  }, signal);
  view.below?.unshift(
    told(text, signal),
    button("All on", () => ask([...Array(now.get().count ?? 0).keys()]), { signal }),
    button("Strongest", () => ask(session.get<Info>("_extra_info")?.kept ?? []), { signal }),
  );
  return view;
}
