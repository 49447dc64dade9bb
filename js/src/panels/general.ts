import type { Context, PanelView, Parameter } from "../types.ts";
import { facts } from "../ui/facts.ts";
import { createStage } from "../view/stage.ts";
import { picture, scalars } from "./pixels.ts";

/** The names of all parameters. */
export const allParameters = ({ session }: Context): string[] =>
  (session.get<Parameter[]>("_params") ?? []).map((each) => each.name);

/** For any method: photo and map, all of its parameters, what the run says of itself. */
export function general(context: Context): PanelView {
  const { session } = context;
  const stage = createStage(context, {
    title: session.get("_title"),
    image: picture(session.photo),
    map: scalars(session),
    describe: () => {
      const category = session.get<{ name?: string }>("_target_info")?.name;
      return category ? `What speaks for ${category}.` : "";
    },
  });
  return { stages: [stage], below: [facts(context)], parameters: allParameters(context) };
}
