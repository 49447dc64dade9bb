import type { Context, PanelView, Parameter, StageOptions } from "../types.ts";
import { facts } from "../ui/facts.ts";
import { layerControl } from "../ui/layer_control.ts";
import { createStage } from "../view/stage.ts";
import { picture, scalars } from "./pixels.ts";

/** For any method: photo, map, and both. */
export function general(context: Context): PanelView {
  const { session } = context;
  const view = overPhoto(context, "Over the photo");
  const photo = createStage(context, { title: "Photo", image: picture(session.photo) });
  const map = createStage(context, { title: "Attribution", map: scalars(session) });
  return { ...view, stages: [photo, map, ...view.stages] };
}

/** The map over the photo, all parameters of the method, what the run says of itself. */
export function overPhoto(
  context: Context,
  title = "Attribution",
  decorate?: StageOptions["decorate"],
): PanelView {
  const { session } = context;
  const stage = createStage(context, {
    title,
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
