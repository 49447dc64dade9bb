import { describe, expect, it } from "vitest";
import { short } from "../../src/ui/scale.ts";
import { colored, fitting, isDiverging } from "../../src/view/color.ts";

/** Row i is (i, 255 - i, 7): the color tells the row. */
const table = Uint8Array.from({ length: 768 }, (_, i) => {
  const row = Math.floor(i / 3);
  return [row, 255 - row, 7][i % 3] as number;
});

const rows = (pixels: Uint8ClampedArray) => [...pixels].filter((_, i) => i % 4 === 0);
const alphas = (pixels: Uint8ClampedArray) => [...pixels].filter((_, i) => i % 4 === 3);

describe("choice of the table", () => {
  it("knows the ones with a neutral middle", () => {
    expect(["RdBu_r", "PuOr_r", "coolwarm"].every(isDiverging)).toBe(true);
    expect(["viridis", "magma", "cividis", "inferno", "gray"].some(isDiverging)).toBe(false);
  });

  it("gives signed values a middle and the others none", () => {
    expect(fitting("viridis", "signed")).toBe("RdBu_r");
    expect(fitting("coolwarm", "signed")).toBe("coolwarm");
    expect(fitting("PuOr_r", "absolute")).toBe("viridis");
    expect(fitting("magma", "positive")).toBe("magma");
    expect(fitting("gray", "negative")).toBe("gray");
  });
});

describe("colors", () => {
  it("puts zero in the middle of a diverging table and the limits at its ends", () => {
    const values = Float32Array.of(-2, -1, 0, 1, 2);
    expect(rows(colored(values, 2, table, true, false))).toEqual([0, 64, 128, 191, 255]);
  });

  it("goes from zero to the limit in a sequential one", () => {
    const pixels = colored(Float32Array.of(0, 2, 4), 4, table, false, false);
    expect([...pixels]).toEqual([0, 255, 7, 255, 128, 127, 7, 255, 255, 0, 7, 255]);
  });

  it("cuts at the limit", () => {
    const values = Float32Array.of(-9, 9);
    expect(rows(colored(values, 1, table, true, false))).toEqual([0, 255]);
    expect(rows(colored(values, 1, table, false, false))).toEqual([0, 255]);
  });

  it("fades small magnitudes of both signs alike", () => {
    const [weak, none, low, high] = alphas(
      colored(Float32Array.of(-0.1, 0, 0.1, 1), 1, table, true, true),
    ) as [number, number, number, number];
    expect(none).toBe(0);
    expect(weak).toBe(low);
    expect(low).toBeGreaterThan(0);
    expect(low).toBeLessThan(high);
    expect(high).toBe(255);
  });

  it("leaves what is not a number clear", () => {
    const values = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, 1);
    expect(alphas(colored(values, 1, table, true, false))).toEqual([0, 0, 255]);
  });
});

describe("numbers of the legend", () => {
  it("have three digits", () => {
    expect(short(0)).toBe("0");
    expect(short(0.123456)).toBe("0.123");
    expect(short(-12.345)).toBe("−12.3");
    expect(short(45678)).toBe("45700");
    expect(short(0.00012345)).toBe("1.2e−4");
  });
});
