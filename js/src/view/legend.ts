/** A small color bar with its two ends. */

import { h } from "../dom.ts";

const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

/** A number as short as it can be read. */
export function short(value: number): string {
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return compact.format(value);
}

export interface Legend {
  element: HTMLElement;
  show(table: Uint8Array, low: string, high: string): void;
}

/** The bar is drawn from a 256x3 table. */
export function legend(): Legend {
  const low = h("span");
  const high = h("span");
  const bar = h("canvas", { width: 256, height: 1, class: "xai-legend-bar" });
  const element = h("div", { class: "xai-legend", "aria-hidden": "true" }, low, bar, high);
  return {
    element,
    show(table, lowText, highText) {
      low.textContent = lowText;
      high.textContent = highText;
      const context = bar.getContext("2d");
      if (!context) return;
      const pixels = context.createImageData(256, 1);
      for (let i = 0; i < 256; i++) {
        pixels.data.set(
          [table[3 * i] ?? 0, table[3 * i + 1] ?? 0, table[3 * i + 2] ?? 0, 255],
          4 * i,
        );
      }
      context.putImageData(pixels, 0, 0);
    },
  };
}
