import { describe, expect, it } from "vitest";
import { largestComponent, limitOf, withSign } from "../../src/view/reduce.ts";

const map = (width: number, ...values: number[]) => ({
  values: Float32Array.from(values),
  width,
  height: values.length / width,
});

describe("sign", () => {
  const values = Float32Array.of(-2, 0, 3);

  it("keeps, folds or cuts the values", () => {
    expect([...withSign(values, "signed")]).toEqual([-2, 0, 3]);
    expect([...withSign(values, "absolute")]).toEqual([2, 0, 3]);
    expect([...withSign(values, "positive")]).toEqual([0, 0, 3]);
    expect([...withSign(values, "negative")]).toEqual([2, 0, 0]);
  });

  it("leaves the map alone and makes each kind once", () => {
    expect(withSign(values, "signed")).toBe(values);
    expect(withSign(values, "absolute")).toBe(withSign(values, "absolute"));
    expect(withSign(values, "absolute")).not.toBe(withSign(values, "negative"));
    expect([...values]).toEqual([-2, 0, 3]);
  });
});

describe("limit", () => {
  const ramp = Float32Array.from({ length: 101 }, (_, i) => (i % 2 ? -i : i));

  it("is the exact percentile of the magnitudes", () => {
    expect(limitOf(ramp, 99)).toBe(99);
    expect(limitOf(ramp, 100)).toBe(100);
    expect(limitOf(ramp, 120)).toBe(100);
  });

  it("goes linearly between two values, as NumPy does", () => {
    expect(limitOf(Float32Array.of(4, 1, -3, 2), 90)).toBeCloseTo(3.7, 6);
  });

  it("is the maximum where the percentile is zero, and never zero itself", () => {
    const sparse = new Float32Array(1000);
    sparse[7] = -5;
    expect(limitOf(sparse, 90)).toBe(5);
    expect(limitOf(new Float32Array(9), 99)).toBe(1);
    expect(limitOf(new Float32Array(0), 99)).toBe(1);
  });

  it("agrees with sorting", () => {
    const values = Float32Array.from({ length: 5001 }, (_, i) => Math.sin(i * i) ** 5 * 1e-3);
    const sorted = values.map(Math.abs).sort();
    for (const percentile of [1, 37, 50, 90, 99, 99.5, 100]) {
      const place = Math.round((percentile / 100) * 5000);
      expect(limitOf(values, percentile)).toBeCloseTo(sorted[place] as number, 9);
    }
  });

  it("counts what is not finite as zero", () => {
    expect(limitOf(Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, -2), 100)).toBe(2);
  });
});

describe("largest component", () => {
  it("joins pixels that touch at a corner", () => {
    const diagonal = map(4, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0);
    expect(largestComponent(diagonal, 0.5)).toEqual({ x0: 0, y0: 0, x1: 3, y1: 3, size: 3 });
  });

  it("takes the one with the most pixels, not the strongest", () => {
    const two = map(5, 9, 0, 2, 2, 2, 9, 0, 0, 0, 2, 0, 0, 0, 0, 0);
    expect(largestComponent(two, 0.2)).toEqual({ x0: 2, y0: 0, x1: 5, y1: 2, size: 4 });
    expect(largestComponent(two, 0.5)).toEqual({ x0: 0, y0: 0, x1: 1, y1: 2, size: 2 });
  });

  it("keeps a pixel exactly at the threshold", () => {
    expect(largestComponent(map(3, 1, 0.5, 0.49), 0.5)).toMatchObject({ x0: 0, x1: 2, size: 2 });
  });

  it("goes by the magnitude of signed values", () => {
    expect(largestComponent(map(3, -4, 1, 3), 0.7)).toMatchObject({ x0: 0, x1: 1, size: 1 });
  });

  it("does not join the end of a row with the start of the next", () => {
    expect(largestComponent(map(3, 0, 0, 1, 0, 0, 0, 1, 0, 0), 0.5)).toMatchObject({ size: 1 });
    expect(largestComponent(map(3, 0, 0, 1, 1, 0, 0), 0.5)).toMatchObject({ size: 1 });
  });

  it("never takes zeros or NaN, even without a threshold", () => {
    expect(largestComponent(map(2, 0, 0, 0, 0), 0)).toBeNull();
    expect(largestComponent(map(3, Number.NaN, 0, 2), 0)).toMatchObject({ x0: 2, size: 1 });
    expect(largestComponent(map(3, 1, 0, 1), 0)).toMatchObject({ size: 1 });
  });
});
