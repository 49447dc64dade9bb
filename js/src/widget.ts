/** The module of widgets that methods share. */

import { frontEnd } from "./front_end.ts";
import { general } from "./panels/general.ts";
import { masked } from "./panels/masked.ts";
import { segmented } from "./panels/segmented.ts";
import { targetPicker } from "./ui/target_picker.ts";

export default frontEnd({ general, masked, segmented }, targetPicker);
