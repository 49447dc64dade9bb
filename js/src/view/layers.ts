/** The colored map of a stage, made anew only when the map or a color control changes. */

import type { Context, ScalarMap, StageOptions, ViewState } from "../types.ts";
import { percent } from "../ui/scale.ts";
import { colored, fitting, isDiverging } from "./color.ts";
import { short } from "./legend.ts";
import { type Box, largestComponent, limitOf, withSign } from "./reduce.ts";

export interface Painted {
  canvas: HTMLCanvasElement;
  /** Values as shown, after the sign. */
  values: Float32Array;
  table: Uint8Array;
  low: string;
  high: string;
  box: Box | null;
}

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
    const key = [
      map,
      this.context.session.get("_colormaps"),
      ...(heat ? [] : [over, view.sign, view.clip, view.threshold, view.box, view.colormap]),
    ];
    if (this.#painted && key.every((part, place) => part === this.#key[place])) {
      return this.#painted;
    }
    this.#key = key;
    this.#painted = heat ? this.#heat(map) : this.#view(map, view, over);
    return this.#painted;
  }

  #heat(map: ScalarMap): Painted {
    const table = this.context.session.table("inferno");
    const limit = limitOf(map.values, 100);
    const canvas = draw(map, colored(map.values, limit, table, false, false));
    return { canvas, values: map.values, table, low: "0 %", high: percent(limit), box: null };
  }

  #view(map: ScalarMap, view: ViewState, over: boolean): Painted {
    const values = withSign(map.values, view.sign);
    const signed = view.sign === "signed";
    const name = fitting(view.colormap, view.sign);
    const table = this.context.session.table(name);
    const limit = limitOf(values, view.clip);
    const box = view.box ? largestComponent({ ...map, values }, view.threshold) : null;
    let shown = values;
    if (view.box) {
      const floor = limitOf(values, 100) * view.threshold;
      shown = values.map((value) => (Math.abs(value) >= floor ? value : 0));
    }
    const canvas = draw(map, colored(shown, limit, table, isDiverging(name), over));
    const low = signed ? short(-limit) : "0";
    return { canvas, values, table, low, high: short(limit), box };
  }
}

function draw(map: ScalarMap, pixels: Uint8ClampedArray<ArrayBuffer>): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = map.width;
  canvas.height = map.height;
  canvas.getContext("2d")?.putImageData(new ImageData(pixels, map.width, map.height), 0, 0);
  return canvas;
}
