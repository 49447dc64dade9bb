import { h } from "../dom.ts";
import { Store } from "../store.ts";
import type { Context, PanelView, ScalarMap, Session, Stage } from "../types.ts";
import { button } from "../ui/button.ts";
import { paramControl } from "../ui/param.ts";
import { onTap, told } from "../ui/slide.ts";
import { createStage } from "../view/stage.ts";
import { picture, scalarMap, scalars } from "./pixels.ts";
import { streamed } from "./streamed.ts";

/** Levels of the paper's figure. */
const LEVELS = [0, 0.05, 0.1, 0.2, 0.3, 0.5];

interface State {
  sample: Store<ImageBitmap | null>;
  count: Store<string>;
  /** The strip has been asked for. */
  asked: Store<boolean>;
  levels: Store<ScalarMap | null>[];
}

function makeState(session: Session): State {
  const sample = streamed(session, "sample");
  const count = new Store("");
  const asked = new Store(false);
  const levels = LEVELS.map(() => new Store<ScalarMap | null>(null));

  session.map.watch((map) => {
    count.set(map ? `Mean of ${map.done} of ${map.total} samples` : "No sample yet");
  }, session.signal);

  session.on("strip", (message, [data]) => {
    const map = data && scalarMap(data, message.shape);
    if (!map) return;
    asked.set(true);
    levels[message.index as number]?.set(map);
  });
  // A strip for another class or photo would stand beside the wrong picture.
  for (const trait of ["target", "_photo", "samples", "base", "form", "base_steps"]) {
    let first = true;
    session.watch(trait, () => {
      if (!first) {
        asked.set(false);
        for (const level of levels) level.set(null);
      }
      first = false;
    });
  }
  return { sample, count, asked, levels };
}

/** One noisy sample beside the running mean, and the paper's strip of noise levels. */
export function smoothgrad(context: Context): PanelView {
  const { session, signal } = context;
  const state = session.shared("smoothgrad", () => makeState(session));

  const stages = [
    createStage(context, {
      title: "One noisy sample",
      image: picture(state.sample),
      describe: () => "The photo with one draw of the noise.",
    }),
    createStage(context, {
      title: "Mean over the samples",
      image: picture(session.photo),
      map: scalars(session),
      describe: () => `${state.count.get()}.`,
    }),
  ];

  const controls = ["noise", "samples", "base", "form"].map((name) => paramControl(context, name));
  const steps = paramControl(context, "base_steps");
  // No other base method walks a path.
  const walks = (base: string) => {
    steps.hidden = base !== "integrated_gradients";
  };
  session.watch<string>("base", walks, signal);
  controls.push(steps);
  const ask = button(
    "Compare levels",
    () => {
      state.asked.set(true);
      session.action("strip");
    },
    { signal, title: "Six levels of noise side by side, as in the paper's figure" },
  );
  const strip = h("div", { class: "xai-strip", role: "group", "aria-label": "Levels of noise" });
  let built = false;
  state.asked.watch((asked) => {
    // Six canvases more: only for those who ask.
    if (asked && !built) {
      strip.append(...LEVELS.map((level, i) => stripItem(context, state, level, i)));
      built = true;
    }
    strip.hidden = !asked;
  }, signal);

  return {
    stages,
    below: [told(state.count, signal), strip],
    controls: [...controls, ask],
    parameters: [],
  };
}

function stripItem(context: Context, state: State, level: number, index: number): HTMLElement {
  const { session, signal } = context;
  const text = `${Math.round(100 * level)}%`;
  const use = () => session.set("noise", level);
  const map = state.levels[index] as Store<ScalarMap | null>;
  const stage: Stage = createStage(context, {
    title: `Noise ${text}`,
    map,
    compact: true,
    describe: () => `Attribution with ${text} noise${map.get() ? "" : ", not there yet"}.`,
  });
  const choose = button(`Noise ${text}`, use, { signal, title: `Set the noise to ${text}` });
  session.watch<number>(
    "noise",
    (noise) => choose.setAttribute("aria-pressed", String(Math.abs(noise - level) < 1e-9)),
    signal,
  );
  const item = h("div", { class: "xai-strip-item" }, stage.element, choose);
  onTap(stage.element, signal, use);
  map.watch((value) => item.classList.toggle("xai-waiting", !value), signal);
  return item;
}
