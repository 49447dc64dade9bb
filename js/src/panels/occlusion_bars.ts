import { h } from "../dom.ts";
import type { Store } from "../store.ts";
import type { Context } from "../types.ts";
import { percent } from "../ui/scale.ts";
import type { Covered, OcclusionLookup } from "./occlusion_lookup.ts";

const LINES = "; the lines mark the whole photo";
const WAITS = " (bars of the nearest window, until the network answers)";

/** A change of probability in percentage points. */
export function points(now: number, before: number): string {
  const change = 100 * (now - before);
  const text = Math.abs(change).toFixed(1);
  const sign = text === "0.0" ? "±" : change > 0 ? "+" : "−";
  return `${sign}${text} points`;
}

/** The first classes' probabilities: of the clean photo, and with the patch under the cursor. */
export function probabilityBars(
  { session, signal }: Context,
  lookup: Store<OcclusionLookup | null>,
  patch: Store<Covered | null>,
): HTMLElement {
  const heading = h("p", { class: "xai-told" });
  const rows = h("div", { class: "xai-bars-rows" });
  const winner = h("p", { class: "xai-winner" });
  const element = h(
    "div",
    { class: "xai-bars", role: "group", "aria-label": "Probabilities with the patch" },
    heading,
    rows,
    winner,
  );
  let lines: { clean: HTMLElement; now: HTMLElement; text: HTMLElement }[] = [];

  function build(): void {
    rows.textContent = "";
    lines = (lookup.get()?.info.names ?? []).map((name) => {
      const clean = h("span", { class: "xai-bar-clean" });
      const now = h("span", { class: "xai-bar-now" });
      const text = h("span", { class: "xai-bar-text" });
      rows.append(
        h(
          "div",
          { class: "xai-bar-row" },
          h("span", { class: "xai-bar-name", title: name }, name),
          h("span", { class: "xai-bar", "aria-hidden": "true" }, now, clean),
          text,
        ),
      );
      return { clean, now, text };
    });
    show();
  }

  function show(): void {
    const table = lookup.get();
    const found = patch.get();
    // Announced when it is complete.
    element.ariaBusy = `${found?.waits === true}`;
    heading.textContent = !table
      ? "Probabilities appear when the first run has finished."
      : found
        ? `Patch at column ${found.left}, row ${found.top}${found.waits ? WAITS : LINES}`
        : "Move over a picture to put the patch there, and see what it does to the top classes.";
    lines.forEach(({ clean, now, text }, i) => {
      const before = table?.info.clean[i] ?? 0;
      const after = found?.probabilities[i] ?? before;
      clean.style.width = `${100 * before}%`;
      now.style.width = `${100 * after}%`;
      text.textContent = found
        ? `${percent(before)} → ${percent(after)} (${points(after, before)})`
        : percent(before);
    });
    winner.textContent = "";
    if (table && found && found.winner !== table.info.classes[0]) {
      const known = table.info.classes.indexOf(found.winner);
      const name =
        table.info.names[known] ??
        session.get<string[] | null>("_categories")?.[found.winner] ??
        `class ${found.winner}`;
      winner.textContent = `${name} takes over with ${percent(found.sure)}`;
    }
  }
  lookup.watch(build, signal);
  patch.subscribe(show, signal);
  return element;
}
