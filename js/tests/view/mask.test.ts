import { describe, expect, it } from "vitest";
import {
  blank,
  boxed,
  count,
  type Mask,
  outline,
  pack,
  resized,
  same,
  stroke,
  unpack,
} from "../../src/view/mask.ts";

/** Rows of "#" and "." */
function drawn(...rows: string[]): Mask {
  const inside = Uint8Array.from(rows.join(""), (sign) => Number(sign === "#"));
  return { width: rows[0]?.length ?? 0, height: rows.length, inside };
}

function shown({ width, height, inside }: Mask): string[] {
  return Array.from({ length: height }, (_, y) =>
    [...inside.slice(y * width, (y + 1) * width)].map((value) => ".#"[value]).join(""),
  );
}

const at = (x: number, y: number) => ({ x, y });

describe("a stroke", () => {
  it("is a disc of pixel centers where the brush stands", () => {
    expect(shown(stroke(blank(7, 7), at(3.5, 3.5), at(3.5, 3.5), 2, 1))).toEqual([
      ".......",
      "...#...",
      "..###..",
      ".#####.",
      "..###..",
      "...#...",
      ".......",
    ]);
    expect(shown(stroke(blank(4, 4), at(2, 2), at(2, 2), 1, 1))).toEqual([
      "....",
      ".##.",
      ".##.",
      "....",
    ]);
  });

  it("goes over all between two points, in any direction", () => {
    const line = stroke(blank(8, 5), at(1.5, 2.5), at(6.5, 2.5), 1, 1);
    expect(shown(line)).toEqual(["........", ".######.", "########", ".######.", "........"]);
    expect(same(line, stroke(blank(8, 5), at(6.5, 2.5), at(1.5, 2.5), 1, 1))).toBe(true);
    const slope = stroke(blank(5, 5), at(0.5, 0.5), at(4.5, 4.5), 0.5, 1);
    expect(shown(slope)).toEqual(["#....", ".#...", "..#..", "...#.", "....#"]);
  });

  it("is, pixel by pixel, what is near the segment", () => {
    const [from, to, radius] = [at(3.2, 11.7), at(21.4, 4.1), 4.3];
    const mask = stroke(blank(26, 17), from, to, radius, 1);
    for (let place = 0; place < mask.inside.length; place++) {
      const [x, y] = [(place % 26) + 0.5, Math.floor(place / 26) + 0.5];
      let nearest = Number.POSITIVE_INFINITY;
      for (let i = 0; i <= 2000; i++) {
        const t = i / 2000;
        const dx = from.x + t * (to.x - from.x) - x;
        const dy = from.y + t * (to.y - from.y) - y;
        nearest = Math.min(nearest, Math.hypot(dx, dy));
      }
      if (Math.abs(nearest - radius) > 0.01) {
        expect([place, mask.inside[place]]).toEqual([place, Number(nearest < radius)]);
      }
    }
  });

  it("takes at least the pixel that it ends in", () => {
    expect(shown(stroke(blank(3, 2), at(1.9, 0.1), at(1.9, 0.1), 0.1, 1))).toEqual([".#.", "..."]);
  });

  it("erases, and leaves the mask that it was given as it was", () => {
    const full = boxed(5, 3, [0, 0, 3, 5]);
    expect(shown(stroke(full, at(2.5, 1.5), at(4.5, 1.5), 0.5, 0))).toEqual([
      "#####",
      "##...",
      "#####",
    ]);
    expect(count(full)).toBe(15);
  });

  it("may begin, end and lie outside", () => {
    expect(shown(stroke(blank(4, 3), at(-3, 1.5), at(1.5, 1.5), 0.5, 1))).toEqual([
      "....",
      "##..",
      "....",
    ]);
    expect(count(stroke(blank(4, 3), at(-9, -9), at(-5, 40), 2, 1))).toBe(0);
    expect(count(stroke(blank(4, 3), at(2, 1), at(2, 1), 50, 1))).toBe(12);
  });
});

describe("a mask", () => {
  it("is packed eight pixels to a byte, the first one lowest", () => {
    expect([...pack(drawn("##...", "...##"))]).toEqual([3, 3]);
    expect([...pack(drawn("........", "#.......", "...##..#"))]).toEqual([0, 1, 0x98]);
  });

  it("comes back from its bytes", () => {
    for (const [width, height] of [
      [1, 1],
      [7, 3],
      [8, 8],
      [13, 11],
    ] as const) {
      let mask = blank(width, height);
      for (let i = 0; i < 5; i++) {
        const point = at((i * 7.3) % width, (i * 5.1) % height);
        mask = stroke(mask, point, point, 1.2, 1);
      }
      const bits = pack(mask);
      expect(bits.length).toBe(Math.ceil((width * height) / 8));
      expect(same(unpack(bits, width, height), mask)).toBe(true);
    }
  });

  it("of another size is none", () => {
    expect(unpack(new Uint8Array(3), 5, 5)).toBeNull();
    expect(unpack(new Uint8Array(4), 5, 5)).not.toBeNull();
  });

  it("is made of a box, without its last row and column", () => {
    expect(shown(boxed(5, 4, [1, 2, 3, 5]))).toEqual([".....", "..###", "..###", "....."]);
  });

  it("is the same when every pixel is", () => {
    expect(same(drawn("#.", ".."), drawn("#.", ".."))).toBe(true);
    expect(same(drawn("#.", ".."), drawn("#.", ".#"))).toBe(false);
    expect(same(drawn("#..."), drawn("#.", ".."))).toBe(false);
    expect(same(null, null)).toBe(true);
    expect(same(drawn("#"), null)).toBe(false);
  });

  it("is made larger by the nearest pixel", () => {
    const small = drawn("#.", ".#");
    expect(shown(resized(small, 4, 6))).toEqual(["##..", "##..", "##..", "..##", "..##", "..##"]);
    expect(resized(small, 2, 2)).toBe(small);
  });
});

describe("the outline", () => {
  it("runs along every edge, holes and the rim of the photo included", () => {
    const lines = outline(drawn("###", "#.#", "###"));
    const sorted = (all: number[][]) => all.map((line) => line.join(" ")).sort();
    expect(sorted(lines)).toEqual(
      sorted([
        [0, 0, 3, 0],
        [0, 3, 3, 3],
        [0, 0, 0, 3],
        [3, 0, 3, 3],
        [1, 1, 2, 1],
        [1, 2, 2, 2],
        [1, 1, 1, 2],
        [2, 1, 2, 2],
      ]),
    );
  });

  it("of a single column is right, too", () => {
    const lines = outline(drawn(".", "#", "#"));
    expect(lines.map((line) => line.join(" ")).sort()).toEqual([
      "0 1 0 3",
      "0 1 1 1",
      "0 3 1 3",
      "1 1 1 3",
    ]);
  });

  it("of nothing is nothing", () => {
    expect(outline(blank(4, 4))).toEqual([]);
  });
});
