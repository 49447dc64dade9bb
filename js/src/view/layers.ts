/** The colored map of a stage, made anew only when the map or a color control changes. */

import type { Context, ScalarMap, StageOptions, ViewState } from "../types.ts";
import { percent, short } from "../ui/scale.ts";
import { colored, fitting, isDiverging } from "./color.ts";
import type { Ends } from "./legend.ts";
import { type Box, largestComponent, limitOf, withSign } from "./reduce.ts";

export interface Painted extends Ends {
  canvas: HTMLCanvasElement;
  /** Values as shown, after the sign. */
  values: Float32Array;
  box: Box | null;
}

const NO_WORDS = ["", ""] as const;
/** What the colors say of the class, where a map can say both. */
const WORDS = {
  signed: ["against", "for"],
  absolute: NO_WORDS,
  positive: ["", "for"],
  negative: ["", "against"],
} as const;

/** Makes and keeps the colored map. */
export class MapLayer {
  #key: unknown[] = [];
  #painted: Painted | null = null;

  constructor(
    readonly context: Context,
    readonly options: StageOptions,
  ) {}

  /** With `over` an image below shows through where nothing is. */
  get(map: ScalarMap, view: ViewState, over: boolean): Painted | null {
    if (map.width * map.height !== map.values.length || map.values.length === 0) return null;
    const heat = this.options.coloring === "heat";
    const fixed = this.options.limit?.(view);
    const key = [
      map,
      fixed,
      this.context.session.get("_colormaps"),
      ...(heat ? [] : [over, view.sign, view.clip, view.threshold, view.box, view.colormap]),
    ];
    if (this.#painted && key.every((part, place) => part === this.#key[place])) {
      return this.#painted;
    }
    this.#key = key;
    this.#painted = heat ? this.#heat(map) : this.#view(map, view, over, fixed);
    return this.#painted;
  }

  #heat(map: ScalarMap): Painted {
    const table = this.context.session.table("inferno");
    const limit = limitOf(map.values, 100);
    const canvas = draw(map, colored(map.values, limit, table, false, false));
    const ends = { table, low: "0%", high: percent(limit), words: NO_WORDS };
    return { canvas, values: map.values, ...ends, box: null };
  }

  #view(map: ScalarMap, view: ViewState, over: boolean, fixed?: number): Painted {
    const values = withSign(map.values, view.sign);
    const both = map.values.some((value) => value < 0);
    const signed = view.sign === "signed";
    const format = this.options.format ?? short;
    const name = fitting(view.colormap, view.sign);
    const table = this.context.session.table(name);
    const limit = fixed ?? limitOf(values, view.clip);
    const box = view.box ? largestComponent({ ...map, values }, view.threshold) : null;
    let shown = values;
    if (view.box) {
      const floor = limitOf(values, 100) * view.threshold;
      shown = values.map((value) => (Math.abs(value) >= floor ? value : 0));
    }
    const canvas = draw(map, colored(shown, limit, table, isDiverging(name), over));
    return {
      ...{ canvas, values, box },
      // Colors that cannot occur are not shown.
      table: signed && !both ? upper(table) : table,
      low: format(signed && both ? -limit : 0),
      high: format(limit),
      words: both ? WORDS[view.sign] : NO_WORDS,
    };
  }
}

/** The colors from the middle of a table on, as a table. */
function upper(table: Uint8Array): Uint8Array {
  return table.map((_, place) => {
    const [row, part] = [Math.floor(place / 3), place % 3];
    return table[3 * (128 + (row >> 1)) + part] as number;
  });
}

function draw(map: ScalarMap, pixels: Uint8ClampedArray<ArrayBuffer>): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, map.width, map.height), 0, 0);
  return canvas;
}
