/** The module of methods that have a panel of their own. */

import { frontEnd } from "./front_end.ts";
import { integratedGradients } from "./panels/integrated_gradients.ts";
import { occlusion } from "./panels/occlusion.ts";
import { smoothgrad } from "./panels/smoothgrad.ts";
import { targetPicker } from "./ui/target_picker.ts";

export default frontEnd(
  { integrated_gradients: integratedGradients, smoothgrad, occlusion },
  targetPicker,
);
