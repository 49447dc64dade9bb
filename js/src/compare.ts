/** The module of the comparison. */

import { frontEnd } from "./front_end.ts";
import { compare } from "./panels/compare.ts";

export default frontEnd({ compare });
