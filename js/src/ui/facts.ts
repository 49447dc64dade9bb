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
      ...told.map(([name, value]) =>
        h(
          "div",
          {},
          h("dt", {}, name === "r2" ? "R²" : name.replaceAll("_", " ")),
          h("dd", {}, short(value ?? Number.NaN)),
        ),
      ),
    );
    element.hidden = told.length === 0;
  }, signal);
  return element;
}
