import { h } from "../dom.ts";
import type { Context, PanelView, Parameter } from "../types.ts";
import { button } from "../ui/button.ts";
import { chart } from "../ui/chart.ts";
import { type LayerInfo, layerTree } from "../ui/layer_tree.ts";
import { told } from "../ui/slide.ts";
import { slider } from "../ui/slider.ts";
import { swipe } from "../ui/swipe.ts";
import { createStage } from "../view/stage.ts";
import { channelPicker } from "./channel.ts";
import { dreamState } from "./dream_state.ts";
import { picture } from "./pixels.ts";

/** Iterations that the button goes on. */
const MORE = 10;

/** A dream as it grows: scrub back through it, go on, compare it with its start. */
export function deepDream(context: Context): PanelView {
  const { session, signal } = context;
  const state = session.shared("dream", () => dreamState(session));
  const spec = (session.get<Parameter[]>("_params") ?? []).find((p) => p.name === "iterations");
  const high = spec?.high ?? 200;

  const iterations = slider(
    {
      label: "Iterations",
      low: 0,
      high,
      step: 1,
      value: state.wanted.get(),
      integer: true,
      help: "Back through what was made, or on from there",
      oninput: (value) => state.scrub(value, false),
      onchange: (value) => state.scrub(value, true),
    },
    signal,
  );
  state.wanted.watch((value) => iterations.show(value), signal);

  const pause = button("Pause", () => session.set("paused", !session.get<boolean>("paused")), {
    signal,
    title: "Stop where the dream stands, or go on",
  });
  session.watch<boolean>(
    "paused",
    (paused) => {
      pause.textContent = paused ? "Resume" : "Pause";
    },
    signal,
  );
  // A dream that does not run has nothing to pause; a paused one can always go on.
  const enable = () => {
    pause.disabled = session.get("status") !== "running" && !session.get<boolean>("paused");
  };
  session.watch("status", enable, signal);
  session.watch("paused", enable, signal);
  const more = button(
    `${MORE} more`,
    () => {
      if (session.get<boolean>("paused")) session.set("paused", false);
      state.scrub(Math.min(high, session.get<number>("iterations") + MORE), true);
    },
    { signal, title: "Go on with the dream" },
  );

  const line = swipe(
    {
      label: "Compare with the start image",
      position: state.swipe,
      other: session.photo,
      size: () => state.image.get(),
    },
    signal,
  );
  const stage = createStage(context, {
    title: "Dream",
    image: picture(state.image),
    decorate: line.decorate,
    readout: ({ x, y }) => `column ${Math.floor(x)}, row ${Math.floor(y)}`,
    describe: () => `The dream at ${state.text.get()}.`,
  });
  line.attach(stage);

  const curve = chart(
    {
      label: "Objective of the dream",
      xLabel: "iteration",
      series: state.series,
      range: state.range,
      marker: state.shown,
      onscrub: state.scrub,
    },
    signal,
  );

  const tree = layerTree((name) => session.set("layer", name), signal);
  const show = () =>
    tree.show(session.get<LayerInfo[]>("_layers") ?? [], session.get<string>("layer") ?? "");
  session.watch("_layers", show, signal);
  session.watch("layer", show, signal);

  return {
    stages: [stage],
    above: [h("div", { class: "xai-scrub" }, iterations.element, pause, more)],
    below: [told(state.text, signal), curve],
    controls: [tree.element, channelPicker(context)],
    parameters: ["octaves", "octave_scale", "step", "jitter", "size"],
    usesMap: false,
  };
}
