/** From a signed map to what is shown: sign, percentile clip, threshold, largest component. */

import type { ScalarMap, Sign } from "../types.ts";

const shownOf = new WeakMap<Float32Array, Map<Sign, Float32Array>>();

/** The values as the sign control shows them; signed ones are handed back as they are. */
export function withSign(values: Float32Array, sign: Sign): Float32Array {
  if (sign === "signed") return values;
  let kept = shownOf.get(values);
  if (!kept) {
    kept = new Map();
    shownOf.set(values, kept);
  }
  let shown = kept.get(sign);
  if (!shown) {
    shown = new Float32Array(values.length);
    for (let i = 0; i < values.length; i++) {
      const value = values[i] as number;
      if (sign === "absolute") shown[i] = Math.abs(value);
      else if (sign === "positive") shown[i] = Math.max(value, 0);
      else shown[i] = Math.max(-value, 0);
    }
    kept.set(sign, shown);
  }
  return shown;
}

/** The value that `percentile` (0..100) percent of the magnitudes do not exceed; at least tiny. */
export function limitOf(values: Float32Array, percentile: number): number {
  const last = values.length - 1;
  if (last < 0) return 1;
  const place = (Math.min(100, Math.max(0, percentile)) / 100) * last;
  const low = ranked(values, Math.floor(place));
  const high = place % 1 ? ranked(values, Math.ceil(place)) : low;
  return low + (high - low) * (place % 1) || ranked(values, last) || 1;
}

interface Counted {
  /** Magnitudes as bits, which are in the order of the numbers; 0 for what is not finite. */
  bits: Uint32Array;
  /** How many have these upper 16 bits. */
  counts: Uint32Array;
  ranks: Map<number, number>;
}

const countedOf = new WeakMap<Float32Array, Counted>();

/** The magnitude that has `rank` others before it in ascending order; sorting all is far slower. */
function ranked(values: Float32Array, rank: number): number {
  let counted = countedOf.get(values);
  if (!counted) {
    counted = count(values);
    countedOf.set(values, counted);
  }
  const { bits, counts, ranks } = counted;
  const known = ranks.get(rank);
  if (known !== undefined) return known;
  let left = rank;
  let upper = 0;
  while (left >= (counts[upper] as number)) left -= counts[upper++] as number;
  const same = new Uint32Array(counts[upper] as number);
  let filled = 0;
  for (let i = 0; i < bits.length && filled < same.length; i++) {
    if ((bits[i] as number) >>> 16 === upper) same[filled++] = bits[i] as number;
  }
  same.sort();
  const value = new Float32Array(same.buffer)[left] as number;
  ranks.set(rank, value);
  return value;
}

function count(values: Float32Array): Counted {
  const bits = new Uint32Array(values.length);
  new Float32Array(bits.buffer).set(values);
  const counts = new Uint32Array(1 << 16);
  for (let i = 0; i < bits.length; i++) {
    const magnitude = (bits[i] as number) & 0x7fffffff;
    bits[i] = magnitude >= 0x7f800000 ? 0 : magnitude;
    const upper = (bits[i] as number) >>> 16;
    counts[upper] = (counts[upper] as number) + 1;
  }
  return { bits, counts, ranks: new Map() };
}

export interface Box {
  /** Left and top edge, and right and bottom edge just outside of it, in pixels. */
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  /** Pixels in the component. */
  size: number;
}

/**
 * Bounding box of the largest 8-connected component of the pixels whose magnitude is at least
 * `share` of the largest one; `null` for an empty or all-zero map.
 */
export function largestComponent(map: ScalarMap, share: number): Box | null {
  const { values, width, height } = map;
  const floor = limitOf(values, 100) * share;
  const seen = new Uint8Array(values.length);
  const stack = new Int32Array(values.length);
  let best: Box | null = null;
  for (let start = 0; start < values.length; start++) {
    if (seen[start] || !above(values, start, floor)) continue;
    const box: Box = { x0: width, y0: height, x1: 0, y1: 0, size: 0 };
    let top = 0;
    stack[top++] = start;
    seen[start] = 1;
    while (top > 0) {
      const place = stack[--top] as number;
      const x = place % width;
      const y = (place - x) / width;
      box.size++;
      if (x < box.x0) box.x0 = x;
      if (y < box.y0) box.y0 = y;
      if (x >= box.x1) box.x1 = x + 1;
      if (y >= box.y1) box.y1 = y + 1;
      for (let ny = Math.max(0, y - 1); ny <= Math.min(height - 1, y + 1); ny++) {
        for (let nx = Math.max(0, x - 1); nx <= Math.min(width - 1, x + 1); nx++) {
          const next = ny * width + nx;
          if (!seen[next] && above(values, next, floor)) {
            seen[next] = 1;
            stack[top++] = next;
          }
        }
      }
    }
    if (!best || box.size > best.size) best = box;
  }
  return best;
}

function above(values: Float32Array, place: number, floor: number): boolean {
  const value = Math.abs(values[place] as number);
  return value >= floor && value > 0;
}
