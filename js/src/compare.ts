/** The module of the comparison: one of its own, as a module travels with each of its widgets. */

import { frontEnd } from "./front_end.ts";
import { compare } from "./panels/compare.ts";

export default frontEnd({ compare });
