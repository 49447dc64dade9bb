/** A part of a photo, pixel by pixel: painted, packed for the kernel, outlined. */

import type { Point } from "../types.ts";

export interface Mask {
  readonly width: number;
  readonly height: number;
  /** 1 inside and 0 outside, row by row. */
  readonly inside: Uint8Array;
}

export function blank(width: number, height: number): Mask {
  return { width, height, inside: new Uint8Array(width * height) };
}

/** Rows `top` to `bottom` and columns `left` to `right`, the last ones not included. */
export function boxed(width: number, height: number, box: ArrayLike<number>): Mask {
  const [top = 0, left = 0, bottom = 0, right = 0] = Array.from(box);
  const mask = blank(width, height);
  for (let y = top; y < bottom; y++) mask.inside.fill(1, y * width + left, y * width + right);
  return mask;
}

/**
 * What a round brush makes of a mask on its way from one point to another: every pixel whose center
 * it goes over, and the one that it ends in, gets the value.
 */
export function stroke(mask: Mask, from: Point, to: Point, radius: number, value: 0 | 1): Mask {
  const { width, height } = mask;
  const inside = mask.inside.slice();
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = dx * dx + dy * dy;
  const first = (a: number, b: number) => Math.max(0, Math.floor(Math.min(a, b) - radius));
  const last = (a: number, b: number, size: number) =>
    Math.min(size - 1, Math.ceil(Math.max(a, b) + radius));
  for (let y = first(from.y, to.y); y <= last(from.y, to.y, height); y++) {
    for (let x = first(from.x, to.x); x <= last(from.x, to.x, width); x++) {
      const [px, py] = [x + 0.5 - from.x, y + 0.5 - from.y];
      const along = length && Math.min(1, Math.max(0, (px * dx + py * dy) / length));
      const [ex, ey] = [px - along * dx, py - along * dy];
      if (ex * ex + ey * ey <= radius * radius) inside[y * width + x] = value;
    }
  }
  const [x, y] = [Math.floor(to.x), Math.floor(to.y)];
  if (x >= 0 && y >= 0 && x < width && y < height) inside[y * width + x] = value;
  return { width, height, inside };
}

/** How many pixels are inside. */
export function count({ inside }: Mask): number {
  let found = 0;
  for (const value of inside) found += value;
  return found;
}

export function same(one: Mask | null, other: Mask | null): boolean {
  if (!one || !other) return one === other;
  return (
    one.width === other.width &&
    one.inside.length === other.inside.length &&
    one.inside.every((value, place) => value === other.inside[place])
  );
}

/** At another size, by the nearest pixel. */
export function resized(mask: Mask, width: number, height: number): Mask {
  if (mask.width === width && mask.height === height) return mask;
  const made = blank(width, height);
  for (let at = 0; at < made.inside.length; at++) {
    const x = Math.floor((((at % width) + 0.5) * mask.width) / width);
    const y = Math.floor(((Math.floor(at / width) + 0.5) * mask.height) / height);
    made.inside[at] = mask.inside[y * mask.width + x] as number;
  }
  return made;
}

/** Eight pixels to a byte, the first one lowest. */
export function pack({ inside }: Mask): Uint8Array {
  const bits = new Uint8Array(Math.ceil(inside.length / 8));
  for (let at = 0; at < inside.length; at++) {
    if (inside[at]) bits[at >> 3] = (bits[at >> 3] as number) | (1 << (at & 7));
  }
  return bits;
}

/** `null` where the bytes do not fit the size. */
export function unpack(bits: Uint8Array, width: number, height: number): Mask | null {
  if (bits.length !== Math.ceil((width * height) / 8)) return null;
  const mask = blank(width, height);
  for (let at = 0; at < mask.inside.length; at++) {
    mask.inside[at] = ((bits[at >> 3] as number) >> (at & 7)) & 1;
  }
  return mask;
}

/** Lines `[x0, y0, x1, y1]` along the edges of a mask, as long as they go. */
export function outline({ width, height, inside }: Mask): number[][] {
  const lines: number[][] = [];
  /** Along the edges between neighboring rows, or columns; `across` leads from one to the next. */
  const trace = (down: boolean, rows: number, length: number, across: number, along: number) => {
    for (let row = 0; row <= rows; row++) {
      let from = -1;
      for (let place = 0; place <= length; place++) {
        const at = row * across + place * along;
        const before = row > 0 ? inside[at - across] : 0;
        const edge = place < length && before !== (row < rows ? inside[at] : 0);
        if (edge && from < 0) from = place;
        if (edge || from < 0) continue;
        lines.push(down ? [from, row, place, row] : [row, from, row, place]);
        from = -1;
      }
    }
  };
  trace(true, height, width, width, 1);
  trace(false, width, height, 1, width);
  return lines;
}
