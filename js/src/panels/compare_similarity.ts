/** How alike the maps of an image are, each with each, as a table of numbers. */

import { h } from "../dom.ts";
import type { Context } from "../types.ts";
import { select } from "../ui/select.ts";
import type { Cell, Comparison } from "./compare_state.ts";

interface Table {
  image: number;
  cells: number[];
  values: Record<string, (number | null)[][]>;
}

export function similarityTable({ session, signal }: Context, state: Comparison): HTMLElement {
  const draw = () => {
    const tables = session.get<Table[]>("_similarity");
    element.hidden = !tables.length;
    const found = tables.find(({ image }) => state.axes.image[image] === which);
    const names = (found?.cells ?? []).map((index) =>
      state.name(state.cells[index] as Cell, "image"),
    );
    table.replaceChildren(
      h(
        "tr",
        {},
        h("td"),
        ...names.map((name, place) => h("th", { scope: "col", title: name }, `${place + 1}`)),
      ),
      ...names.map((name, place) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", title: name }, `${place + 1}  ${name}`),
          ...(found?.values[measure]?.[place] ?? []).map((value, other) => {
            const text = value?.toFixed(2) ?? "–";
            return h(
              "td",
              {
                title: `${name} and ${names[other]}`,
                class: `xai-${(value ?? 0) < 0 ? "against" : "alike"}`,
                style: `--xai-share:${38 * Math.abs(value ?? 0)}%`,
              },
              // No sign where nothing is left of the number.
              text === "-0.00" ? "0.00" : text.replace("-", "−"),
            );
          }),
        ),
      ),
    );
  };
  const measures = session.get<Record<string, string>>("_measures");
  let measure = Object.keys(measures)[0] as string;
  let which = state.axes.image[0] as string;
  const table = h("table", { class: "xai-matrix", "aria-label": "Similarity of the maps" });
  const pick = (set: (value: string) => void) => (value: string) => {
    set(value);
    draw();
  };
  const element = h(
    "div",
    { class: "xai-similarity" },
    h(
      "div",
      { class: "xai-parameters" },
      choose(
        "Similarity",
        Object.entries(measures),
        pick((value) => {
          measure = value;
        }),
        signal,
      ).element,
      choose(
        "Image",
        state.axes.image.map((value) => [value, value]),
        pick((value) => {
          which = value;
        }),
        signal,
      ).element,
    ),
    h("div", { class: "xai-scroller", tabIndex: 0 }, table),
    h("p", { class: "xai-hint" }, "1: the same map; 0: unrelated (for the overlap: 0.1)."),
  );
  session.watch("_similarity", draw, signal);
  return element;
}

/** A choice of values and their labels, hidden where there is nothing to choose. */
export function choose(
  label: string,
  options: [string, string][],
  set: (value: string) => void,
  signal: AbortSignal,
  help?: string,
): ReturnType<typeof select> {
  const made = select(
    label,
    options.map(([value, label]) => ({ value, label })),
    options[0]?.[0] as string,
    set,
    signal,
    help,
  );
  made.element.hidden = options.length < 2;
  return made;
}
