import { describe, expect, it } from "vitest";
import type { ViewState } from "../../src/types.ts";
import { frameOf, MOST_ZOOM, moved, toImage, zoomed } from "../../src/view/zoom.ts";

const view = (zoom = 1, centerX = 0.5, centerY = 0.5) =>
  ({ zoom, centerX, centerY }) as unknown as ViewState;
const image = { width: 10, height: 10 };
const canvas = { width: 100, height: 100 };

describe("frame", () => {
  it("fits the image", () => {
    expect(frameOf(view(), image, canvas)).toEqual({ scale: 10, left: 0, top: 0 });
  });

  it("centers an image of another shape", () => {
    const frame = frameOf(view(), { width: 10, height: 5 }, canvas);
    expect(frame).toEqual({ scale: 10, left: 0, top: 25 });
  });

  it("shows the center point in the middle", () => {
    const frame = frameOf(view(4, 0.5, 0.25), image, canvas);
    expect(toImage(frame, 50, 50)).toEqual({ x: 5, y: 2.5 });
  });

  it("shows no room beyond the image's edges", () => {
    expect(frameOf(view(2, 0, 1), image, canvas)).toEqual({ scale: 20, left: 0, top: -100 });
  });
});

describe("zoom", () => {
  it.each([
    [0, 0],
    [25, 80],
    [100, 50],
  ])("keeps the point under the pointer at %i, %i", (x, y) => {
    const before = toImage(frameOf(view(), image, canvas), x, y);
    let state = view();
    for (let i = 0; i < 3; i++) state = zoomed(state, 1.25, before.x / 10, before.y / 10);
    const after = toImage(frameOf(state, image, canvas), x, y);
    expect(after.x).toBeCloseTo(before.x, 6);
    expect(after.y).toBeCloseTo(before.y, 6);
  });

  it("stays between fitting and the most", () => {
    expect(zoomed(view(), 1000, 0.5, 0.5).zoom).toBe(MOST_ZOOM);
    expect(zoomed(view(2), 0.01, 0.5, 0.5).zoom).toBe(1);
  });

  it("is centered again when it fits", () => {
    expect(zoomed(view(3, 0.2, 0.9), 0, 0.1, 0.1)).toMatchObject({ centerX: 0.5, centerY: 0.5 });
  });

  it("moves the center within the image", () => {
    expect(moved(view(4), 0.1, -0.2)).toMatchObject({ centerX: 0.6, centerY: 0.3 });
    const corner = moved(view(4), 5, -5);
    expect(corner).toMatchObject({ centerX: 0.875, centerY: 0.125 });
  });
});
