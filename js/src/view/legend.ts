/** A small color bar with its two ends, and what they mean. */

import { h } from "../dom.ts";

/** Values of the two ends of a table of colors, and the words for them. */
export interface Ends {
  table: Uint8Array;
  low: string;
  high: string;
  words: readonly [low: string, high: string];
}

export interface Legend {
  element: HTMLElement;
  show(ends: Ends): void;
}

/** The bar is drawn from a 256x3 table. */
export function legend(): Legend {
  const [low, high] = [h("span"), h("span")];
  const words = [h("span", { class: "xai-legend-word" }), h("span", { class: "xai-legend-word" })];
  const bar = h("canvas", { width: 256, height: 1, class: "xai-legend-bar" });
  const element = h(
    "div",
    { class: "xai-legend", "aria-hidden": "true" },
    ...[words[0], low, bar, high, words[1]],
  );
  return {
    element,
    show({ table, ...ends }) {
      low.textContent = ends.low;
      high.textContent = ends.high;
      words.forEach((word, place) => {
        word.textContent = ends.words[place] as string;
      });
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
