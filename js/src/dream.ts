/** The module of Deep Dream. */

import { frontEnd } from "./front_end.ts";
import { deepDream } from "./panels/deep_dream.ts";

export default frontEnd({ deep_dream: deepDream });
