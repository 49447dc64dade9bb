import { h } from "../dom.ts";
import type { Context, PanelView } from "../types.ts";
import { button } from "../ui/button.ts";
import { chart } from "../ui/chart.ts";
import { told } from "../ui/slide.ts";
import { slider } from "../ui/slider.ts";
import { createStage } from "../view/stage.ts";
import { pathState } from "./path_state.ts";
import { picture } from "./pixels.ts";

/** Scrub along the path from baseline to photo: nothing of it asks the kernel until release. */
export function integratedGradients(context: Context): PanelView {
  const { session, signal } = context;
  const state = session.shared("path", () => pathState(session));
  const { alpha } = state;

  const scrubber = slider(
    {
      label: "Alpha",
      low: 0,
      high: 1,
      step: 0.01,
      value: alpha.get(),
      help: "Place on the path from the baseline (0) to the photo (1)",
      oninput: (value) => state.scrub(value, false),
      onchange: (value) => state.scrub(value, true),
    },
    signal,
  );
  alpha.watch((value) => scrubber.show(value), signal);

  const play = button("Play", state.toggle, { signal, title: "Move alpha from 0 to 1" });
  state.playing.watch((on) => {
    play.textContent = on ? "Pause" : "Play";
  }, signal);

  const at = () => `alpha ${alpha.get().toFixed(2)}`;
  const stages = [
    createStage(context, {
      title: "Photo on the path",
      image: state.image,
      describe: () => `The baseline turning into the photo, at ${at()}.`,
    }),
    createStage(context, {
      title: "Gradient there",
      map: state.gradient,
      describe: () => `Gradient of the class score at ${at()}.`,
    }),
    createStage(context, {
      title: "Gathered so far",
      map: state.gathered,
      describe: () => `Attribution gathered from the baseline to ${at()}. ${state.text.get()}`,
    }),
    createStage(context, {
      title: "Over the photo",
      image: picture(session.photo),
      map: state.gathered,
      describe: () => `The attribution gathered up to ${at()}, over the photo.`,
    }),
  ];
  const curve = chart(
    {
      label: "Score and probability along the path",
      xLabel: "alpha",
      series: state.series,
      range: state.range,
      marker: alpha,
      step: 0.01,
      onscrub: state.scrub,
    },
    signal,
  );
  return {
    stages,
    above: [h("div", { class: "xai-scrub" }, play, scrubber.element)],
    below: [told(state.text, signal), curve],
    parameters: ["steps", "baseline", "grid", "tolerance"],
  };
}
