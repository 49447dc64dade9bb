/** What turns the brush on, and how it paints the region to explain. */

import { h } from "../dom.ts";
import type { Context } from "../types.ts";
import { button } from "./button.ts";
import type { Brush, RegionState } from "./region.ts";
import { slider } from "./slider.ts";

interface BrushControls {
  toggle: HTMLElement;
  /** Seen while the brush is on. */
  bar: HTMLElement;
}

/** With `begin` for when it was turned on here. */
export function brushControls(
  { session, signal }: Context,
  region: RegionState,
  begin: () => void,
): BrushControls {
  const { brush } = region;
  const change = (part: Partial<Brush>) => brush.update((now) => ({ ...now, ...part }));
  const toggle = button(
    "Region",
    () => {
      change({ on: !brush.get().on });
      if (brush.get().on) begin();
    },
    { signal, icon: "✎", title: "Paint the part of the photo to explain" },
  );
  const modes = [
    { label: "Paint", erases: false, title: "Add to the region" },
    { label: "Erase", erases: true, title: "Take away from the region" },
  ].map(({ label, erases, title }) => ({
    erases,
    element: button(label, () => change({ erases }), { signal, title }),
  }));
  const size = slider(
    {
      ...{ label: "Size", low: 1, high: 2, step: 1, value: 1, unit: "px", integer: true },
      help: "Diameter of the brush in pixels of the photo; [ and ] over the photo change it too",
      oninput: (value) => change({ size: value }),
    },
    signal,
  );
  const clear = button("Clear", region.clear, {
    signal,
    title: "No region: the class, of the whole photo",
  });
  const told = h("output", {});
  const draw = () => {
    const now = brush.get();
    bar.hidden = !now.on;
    toggle.setAttribute("aria-pressed", String(now.on));
    for (const { erases, element } of modes) {
      element.setAttribute("aria-pressed", String(now.erases === erases));
    }
    clear.disabled = !region.mask.get();
    told.textContent = region.told() || "Nothing painted yet";
    size.show(now.size);
  };
  const bar = h(
    "div",
    { class: "xai-brush", role: "group", "aria-label": "Brush" },
    h(
      "div",
      { class: "xai-segments", role: "group", "aria-label": "What the brush does" },
      ...modes.map(({ element }) => element),
    ),
    size.element,
    clear,
    told,
    h(
      "p",
      { class: "xai-hint" },
      "Paint on the photo; Shift erases, Ctrl moves a zoomed picture. By keyboard there: " +
        "arrows move, Space paints, Delete erases, Escape ends.",
    ),
  );
  session.photo.watch((photo) => {
    if (photo) size.range(1, Math.max(2, Math.min(photo.width, photo.height)));
    draw();
  }, signal);
  region.mask.subscribe(draw, signal);
  brush.subscribe(draw, signal);
  return { toggle, bar };
}
