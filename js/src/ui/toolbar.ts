/** How the map is shown; all of it acts in the page, without a message to the kernel. */

import { h } from "../dom.ts";
import type { Context, Sign, ViewState } from "../types.ts";
import { moved, zoomed } from "../view/zoom.ts";
import { button } from "./button.ts";
import { checkbox } from "./checkbox.ts";
import { select } from "./select.ts";
import { slider } from "./slider.ts";

const SIGNS: [Sign, string, string][] = [
  ["signed", "±", "Signed: for and against"],
  ["absolute", "|x|", "Absolute value"],
  ["positive", "+", "Positive only: for the class"],
  ["negative", "−", "Negative only: against the class"],
];

export function toolbar(context: Context, usesMap: boolean): HTMLElement {
  const { session, signal } = context;
  const change = (part: Partial<ViewState>) =>
    session.view.update((view) => ({ ...view, ...part }));
  const parts: HTMLElement[] = [];
  if (usesMap) {
    const signs = SIGNS.map(([sign, label, title]) => {
      const one = button(label, () => change({ sign }), { signal, title });
      one.setAttribute("aria-label", title);
      session.view.watch(
        (view) => one.setAttribute("aria-pressed", String(view.sign === sign)),
        signal,
      );
      return one;
    });
    const names = Object.keys(session.get<object>("_colormaps") ?? {});
    const colors = select(
      "Colors",
      names.map((value) => ({ value, label: value.replace(/_r$/, "") })),
      session.view.get().colormap,
      (colormap) => change({ colormap }),
      signal,
    );
    const number = (key: "clip" | "threshold" | "opacity", options: object) => {
      const made = slider(
        {
          ...{ label: key, low: 0, high: 1, step: 0.01, unit: "%" },
          value: session.view.get()[key],
          oninput: (value) => change({ [key]: value }),
          ...options,
        },
        signal,
      );
      session.view.subscribe((view) => made.show(view[key]), signal);
      return made.element;
    };
    const box = checkbox(
      "Threshold",
      (checked) => change({ box: checked }),
      signal,
      "Hide what is below the threshold, box the largest part",
    );
    session.view.watch((view) => {
      box.show(view.box);
      colors.show(view.colormap);
    }, signal);
    parts.push(
      h("div", { class: "xai-segments", role: "group", "aria-label": "Sign" }, ...signs),
      colors.element,
      number("opacity", { label: "Opacity", help: "Of the map over the photo" }),
      number("clip", {
        label: "Clip",
        low: 90,
        high: 100,
        step: 0.1,
        help: "Percentile of the values that gets the full color; larger ones get it too",
      }),
      h(
        "div",
        { class: "xai-joined" },
        box.element,
        number("threshold", {
          ...{ label: "Threshold level", help: "Share of the largest value" },
          oninput: (threshold: number) => change({ threshold, box: true }),
        }),
      ),
    );
  }
  const smooth = checkbox(
    "Smooth",
    (checked) => change({ smooth: checked }),
    signal,
    "Interpolate between pixels",
  );
  session.view.watch((view) => smooth.show(view.smooth), signal);
  const zoom = (factor: number) =>
    session.view.update((view) => zoomed(view, factor, view.centerX, view.centerY));
  const iconic = (label: string, title: string, act: () => void) => {
    const made = button(label, act, { signal, title });
    made.setAttribute("aria-label", title);
    return made;
  };
  parts.push(
    smooth.element,
    h(
      "div",
      { class: "xai-segments", role: "group", "aria-label": "Zoom" },
      iconic("−", "Zoom out", () => zoom(1 / 1.5)),
      iconic("1:1", "Whole picture", () =>
        session.view.update((view) => moved(zoomed(view, 0, 0.5, 0.5), 0, 0)),
      ),
      iconic("+", "Zoom in", () => zoom(1.5)),
    ),
  );
  return h("div", { class: "xai-toolbar", role: "group", "aria-label": "View" }, ...parts);
}
