import { h } from "../dom.ts";
import type { Context } from "../types.ts";
import { short } from "./scale.ts";

/** Told in the status line. */
const ELSEWHERE = new Set(["settled", "split_half"]);

/** What the run says of itself, as names and numbers. */
export function facts({ session, signal }: Context): HTMLElement {
  const element = h("dl", { class: "xai-facts", "aria-label": "What the run says of itself" });
  session.map.watch((map) => {
    const told = Object.entries(map?.diagnostics ?? {}).filter(([name]) => !ELSEWHERE.has(name));
    element.replaceChildren(
      ...told.flatMap(([name, value]) => [
        h("dt", {}, name.replaceAll("_", " ").replace(/^r2$/, "R²")),
        h("dd", {}, value === null ? "–" : short(value)),
      ]),
    );
    element.hidden = told.length === 0;
  }, signal);
  return element;
}
