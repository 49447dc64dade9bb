/** A native range with its label, an editable number and its unit. */

import { h } from "../dom.ts";
import type { Slider, SliderOptions } from "../types.ts";

const PAGE = 5;

export function slider(options: SliderOptions, signal: AbortSignal): Slider {
  const { label, step, unit = "", help, integer, oninput, onchange } = options;
  let { low, high, value } = options;
  // A share is shown, and typed, as a percentage.
  const factor = unit === "%" && high <= 1 ? 100 : 1;
  const digits = integer ? 0 : Math.max(0, Math.ceil(-Math.log10(step * factor) - 1e-9));
  const format = (number: number) => {
    const text = (number * factor).toFixed(digits);
    // What is far smaller than a step must not read as nothing.
    return number && !Number(text) ? (number * factor).toExponential(0) : text;
  };
  let dragging = false;

  const input = h("input", {
    type: "range",
    class: "xai-range",
    min: String(low),
    max: String(high),
    step: String(step),
    "aria-label": label,
    signal,
  });
  const number = h("input", {
    type: "text",
    inputMode: "decimal",
    class: "xai-number",
    "aria-label": `${label}, value`,
    size: Math.max(3, format(high).length),
    signal,
  });

  const draw = () => {
    input.value = String(value);
    if (document.activeElement !== number) number.value = format(value);
    input.setAttribute("aria-valuetext", `${format(value)}${unit ? ` ${unit}` : ""}`);
    const share = high > low ? (value - low) / (high - low) : 0;
    input.style.setProperty("--xai-share", `${100 * Math.min(1, Math.max(0, share))}%`);
  };
  const clean = (next: number) => {
    const bounded = Math.min(high, Math.max(low, next));
    return integer ? Math.round(bounded) : Number(bounded.toFixed(10));
  };
  const take = (next: number, commit: boolean) => {
    const changed = clean(next) !== value;
    value = clean(next);
    draw();
    if (changed) oninput?.(value);
    if (commit) onchange?.(value);
  };

  input.addEventListener(
    "input",
    () => {
      dragging = true;
      take(Number(input.value), false);
    },
    { signal },
  );
  input.addEventListener(
    "change",
    () => {
      dragging = false;
      take(Number(input.value), true);
    },
    { signal },
  );
  input.addEventListener(
    "keydown",
    (event) => {
      const page = { PageUp: PAGE, PageDown: -PAGE }[event.key];
      if (page === undefined) return;
      event.preventDefault();
      take(value + page * step, true);
    },
    { signal },
  );
  const enter = () => {
    const text = number.value.replace(",", ".").replace("%", "").trim();
    const typed = Number(text) / factor;
    // What is no number goes back to what was.
    if (text !== "" && Number.isFinite(typed)) take(typed, true);
    number.value = format(value);
  };
  number.addEventListener("change", enter, { signal });
  number.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Enter") enter();
      if (event.key === "Escape") number.value = format(value);
      event.stopPropagation();
    },
    { signal },
  );
  draw();

  const element = h(
    "div",
    { class: "xai-field xai-slider", title: help },
    h("span", { class: "xai-label" }, label),
    input,
    h("span", { class: "xai-value" }, number, unit ? h("span", { class: "xai-unit" }, unit) : null),
  );
  return {
    element,
    input,
    show(next) {
      if (dragging || !Number.isFinite(next)) return;
      value = clean(next);
      draw();
    },
    range(nextLow, nextHigh) {
      low = nextLow;
      high = nextHigh;
      input.min = String(low);
      input.max = String(high);
      value = clean(value);
      draw();
    },
  };
}
