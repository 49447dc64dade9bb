import { describe, expect, it } from "vitest";
import { interpolate, type PathFrame, PathStore } from "../../src/panels/path_store.ts";

const STEPS = 13;
const SIZE = 6;

function frame(index: number): PathFrame {
  const byte = (i: number) => ((index * 37 + i * 11) % 255) - 127;
  return {
    gradient: Int8Array.from({ length: SIZE }, (_, i) => byte(i)),
    gradientScale: 0.5 + index,
    integrand: Int8Array.from({ length: SIZE }, (_, i) => byte(i + 3)),
    integrandScale: 1 / (index + 1),
    score: index * 2,
    probability: index / STEPS,
  };
}

function direct(count: number): number[] {
  const sum = new Array(SIZE).fill(0);
  for (let index = 0; index < count; index++) {
    const { integrand, integrandScale } = frame(index);
    integrand.forEach((byte, i) => {
      sum[i] += (byte * integrandScale) / 127 / STEPS;
    });
  }
  return sum;
}

const orders = {
  forward: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
  backward: [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
  mixed: [6, 3, 9, 1, 11, 4, 8, 0, 12, 2, 10, 5, 7],
};

describe.each(Object.entries(orders))("path arriving %s", (_, order) => {
  it("gathers what a direct sum gives, wherever it was before", () => {
    const store = new PathStore(STEPS, 3, 2);
    for (const index of order) {
      store.add(index, frame(index));
      store.gathered((index * 5) % (STEPS + 1));
    }
    expect(store.complete).toBe(true);
    for (const count of [13, 0, 7, 6, 12, 1, 13]) {
      const { values } = store.gathered(count);
      direct(count).forEach((value, i) => {
        expect(values[i]).toBeCloseTo(value, 6);
      });
    }
  });

  it("orders its points by alpha", () => {
    const store = new PathStore(STEPS, 3, 2);
    for (const index of order) store.add(index, frame(index));
    expect(store.points("score").map(([, y]) => y)).toEqual(orders.forward.map((i) => 2 * i));
  });
});

describe("an unfinished path", () => {
  it("shows the nearest step there is", () => {
    const store = new PathStore(10, 3, 2);
    expect(store.nearest(0.5)).toBeNull();
    store.add(2, frame(2));
    store.add(8, frame(8));
    expect([0, 0.3, 0.5, 0.6, 1].map((alpha) => store.nearest(alpha))).toEqual([2, 2, 2, 8, 8]);
  });

  it("counts missing steps as the mean of those that are there", () => {
    const store = new PathStore(4, 1, 1);
    const one = { ...frame(0), gradient: new Int8Array(1), integrandScale: 127 };
    store.add(1, { ...one, integrand: Int8Array.of(8) });
    expect(store.gathered(4).values[0]).toBeCloseTo(8);
    expect(store.gathered(2).values[0]).toBeCloseTo(4);
    expect(store.gathered(1).values[0]).toBe(0);
  });

  it("replaces a step that comes again", () => {
    const store = new PathStore(2, 3, 2);
    store.gathered(2);
    store.add(0, frame(5));
    store.add(0, frame(0));
    store.add(1, frame(1));
    expect(store.arrived).toBe(2);
    const sum = [0, 1].map((index) => {
      const { integrand, integrandScale } = frame(index);
      return ((integrand[0] as number) * integrandScale) / 127 / 2;
    });
    expect(store.gathered(2).values[0]).toBeCloseTo((sum[0] ?? 0) + (sum[1] ?? 0), 6);
  });

  it("leaves out what does not fit", () => {
    const store = new PathStore(2, 3, 2);
    store.add(2, frame(0));
    store.add(-1, frame(0));
    store.add(0, { ...frame(0), integrand: new Int8Array(5) });
    expect(store.arrived).toBe(0);
  });
});

describe("a path whose steps lie unevenly", () => {
  const grid = { alphas: [0.05, 0.2, 0.65], weights: [0.1, 0.2, 0.7] };
  const frames = [10, 20, 30].map((byte) => ({
    ...frame(0),
    gradient: new Int8Array(1),
    integrand: Int8Array.of(byte),
    integrandScale: 127,
  }));
  const filled = (indices: number[]) => {
    const store = new PathStore(3, 1, 1, grid);
    for (const index of indices) store.add(index, frames[index] as PathFrame);
    return store;
  };

  it("counts each step by its weight", () => {
    const store = filled([2, 0, 1]);
    for (const [count, expected] of [
      [3, 26],
      [1, 1],
      [2, 5],
      [0, 0],
      [3, 26],
    ] as const) {
      expect(store.gathered(count).values[0]).toBeCloseTo(expected, 6);
    }
  });

  it("normalizes what is there by its own weight", () => {
    const store = filled([1]);
    expect(store.gathered(3).values[0]).toBeCloseTo(20, 6);
    expect(store.gathered(2).values[0]).toBeCloseTo(0.3 * 20, 6);
    expect(store.gathered(1).values[0]).toBe(0);
    store.add(2, frames[2] as PathFrame);
    expect(store.gathered(3).values[0]).toBeCloseTo((0.2 * 20 + 0.7 * 30) / 0.9, 5);
  });

  it("knows where its steps lie", () => {
    const store = filled([0, 1, 2]);
    expect([0, 0.04, 0.06, 0.3, 0.7, 1].map((alpha) => store.count(alpha))).toEqual([
      0, 0, 1, 2, 3, 3,
    ]);
    expect([0, 0.12, 0.13, 0.42, 0.43, 1].map((alpha) => store.nearest(alpha))).toEqual([
      0, 0, 1, 1, 2, 2,
    ]);
    expect([0, 1, 2].map((count) => store.part(count))).toEqual([0, 0.1, expect.closeTo(0.3, 9)]);
    expect(store.points("score").map(([alpha]) => alpha)).toEqual(grid.alphas);
  });
});

it("interpolates between points and stays level beyond them", () => {
  const points: [number, number][] = [
    [0, 1],
    [0.5, 3],
    [1, 2],
  ];
  expect([-1, 0, 0.25, 0.75, 2].map((x) => interpolate(points, x))).toEqual([1, 1, 2, 2.5, 2]);
  expect(interpolate([], 0.5)).toBeNaN();
});
