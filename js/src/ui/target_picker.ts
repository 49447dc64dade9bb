/** What is explained: a class, or a region where the network gives maps of scores. */

import { h } from "../dom.ts";
import type { Context, TargetPicker } from "../types.ts";
import { paintOn } from "../view/paint.ts";
import { regionOverlay } from "../view/region_layer.ts";
import { brushControls } from "./brush.ts";
import { classChips } from "./chips.ts";
import { regionState } from "./region.ts";

export function targetPicker(context: Context): TargetPicker {
  const { session } = context;
  const region = session.shared("region", () => regionState(session));
  const painted: HTMLCanvasElement[] = [];
  const overlay = regionOverlay(context, region, painted);
  const chips = classChips(context, region);
  if (!session.get<boolean>("_takes_regions")) return { element: chips, overlay };
  const { toggle, bar } = brushControls(context, region, () => painted[0]?.focus());
  // Before the target's own name, which comes and goes.
  chips.insertBefore(toggle, chips.lastElementChild);
  const leave = () => {
    region.brush.update((now) => ({ ...now, on: false }));
    session.cursor.set(null);
    toggle.focus();
  };
  return {
    element: h("div", {}, chips, bar),
    overlay,
    attach(stages) {
      for (const stage of stages) {
        const canvas = paintOn(context, region, stage, leave);
        if (canvas) painted.push(canvas);
      }
    },
  };
}
