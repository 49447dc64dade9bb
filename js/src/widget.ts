/** The module of every widget of one method, and of Deep Dream. */

import { frontEnd } from "./front_end.ts";
import { panels } from "./panels/index.ts";

export default frontEnd(panels);
