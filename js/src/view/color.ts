/** Color a map with a table of 256 colors. */

import type { Sign } from "../types.ts";

/** Whether the table has its neutral color in the middle. */
export function isDiverging(name: string): boolean {
  return name.endsWith("_r") || name === "coolwarm";
}

/** The table that fits: one with a middle for signed values, one without for the others. */
export function fitting(name: string, sign: Sign): string {
  if (sign === "signed") return isDiverging(name) ? name : "RdBu_r";
  return isDiverging(name) ? "viridis" : name;
}

/**
 * RGBA of a map, from -limit..limit (diverging; zero is the middle of the table) or 0..limit.
 * With `fade`, a pixel is the more transparent the smaller its magnitude, so that a photo below
 * stays visible where nothing is.
 */
export function colored(
  values: Float32Array,
  limit: number,
  table: Uint8Array,
  diverging: boolean,
  fade: boolean,
): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(values.length * 4);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    if (!Number.isFinite(value)) continue;
    const share = Math.max(-1, Math.min(1, value / limit));
    const place = diverging ? Math.round(127.5 + share * 127.5) : Math.round(share * 255);
    const row = 3 * Math.max(0, Math.min(255, place));
    pixels[4 * i] = table[row] as number;
    pixels[4 * i + 1] = table[row + 1] as number;
    pixels[4 * i + 2] = table[row + 2] as number;
    pixels[4 * i + 3] = fade ? 255 * Math.min(1, 1.5 * Math.abs(share)) : 255;
  }
  return pixels;
}
