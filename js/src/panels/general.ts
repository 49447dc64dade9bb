import type { Context, PanelView, Parameter, StageOptions } from "../types.ts";
import { facts } from "../ui/facts.ts";
import { layerControl } from "../ui/layer_control.ts";
import { createStage } from "../view/stage.ts";
import { picture, scalars } from "./pixels.ts";

/** For any method: photo and map, all of its parameters, what the run says of itself. */
export function general(context: Context, decorate?: StageOptions["decorate"]): PanelView {
  const { session } = context;
  const stage = createStage(context, {
    title: "Attribution",
    decorate,
    image: picture(session.photo),
    map: scalars(session),
    describe: () => {
      const category = session.get<{ name?: string }>("_target_info")?.name;
      return category ? `What speaks for ${category}.` : "";
    },
  });
  const all = session.get<Parameter[]>("_params") ?? [];
  const layers = all.filter(({ kind }) => kind === "layer");
  return {
    stages: [stage],
    below: [facts(context)],
    controls: layers.map((layer) => layerControl(context, layer)),
    parameters: all.filter((each) => !layers.includes(each)).map(({ name }) => name),
  };
}
