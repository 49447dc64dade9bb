import type { Panel } from "../types.ts";
import { deepDream } from "./deep_dream.ts";
import { general } from "./general.ts";
import { integratedGradients } from "./integrated_gradients.ts";
import { masked } from "./masked.ts";
import { occlusion } from "./occlusion.ts";
import { segmented } from "./segmented.ts";
import { smoothgrad } from "./smoothgrad.ts";

/** By `_kind`. */
export const panels: Record<string, Panel> = {
  integrated_gradients: integratedGradients,
  smoothgrad,
  occlusion,
  deep_dream: deepDream,
  general,
  masked,
  segmented,
};
