import { describe, expect, it } from "vitest";
import { points } from "../../src/panels/occlusion_bars.ts";
import { nearestWindow, OcclusionLookup } from "../../src/panels/occlusion_lookup.ts";

const INFO = {
  rows: 2,
  cols: 3,
  tops: [0, 4],
  lefts: [0, 4, 8],
  patch_size: 4,
  classes: [7, 9],
  names: ["a", "b"],
  clean: [0.75, 0.25],
  fill_rgb: null,
};
const [HEIGHT, WIDTH] = [6, 10];

function data(offset = 0): DataView {
  const places = INFO.rows * INFO.cols;
  const bytes = new ArrayBuffer(offset + 4 * (places * 4 + HEIGHT * WIDTH));
  const view = new DataView(bytes, offset);
  for (let place = 0; place < places; place++) {
    view.setFloat32(8 * place, place / 8, true);
    view.setFloat32(8 * place + 4, place / 16, true);
    view.setInt32(8 * places + 4 * place, 100 + place, true);
    view.setFloat32(12 * places + 4 * place, place / 32, true);
  }
  view.setFloat32(16 * places, 0.5, true);
  return view;
}

describe("occlusion lookup", () => {
  it("reads every part, at any offset of the buffer", () => {
    for (const offset of [0, 1, 4]) {
      const lookup = OcclusionLookup.from(INFO, data(offset), [HEIGHT, WIDTH]);
      expect(lookup?.at({ x: 5, y: 5 })).toEqual({
        top: 4,
        left: 4,
        width: 4,
        height: 2,
        probabilities: [0.5, 0.25],
        winner: 104,
        sure: 0.125,
      });
      expect(lookup?.heat.values[0]).toBe(0.5);
    }
  });

  it("cuts patches off at the edge and takes points outside", () => {
    const lookup = OcclusionLookup.from(INFO, data(), [HEIGHT, WIDTH]);
    expect(lookup?.at({ x: 99, y: 99 })).toMatchObject({ left: 8, top: 4, width: 2, height: 2 });
    expect(lookup?.at({ x: -5, y: -5 })).toMatchObject({ left: 0, top: 0, winner: 100 });
  });

  it("refuses what does not fit together", () => {
    expect(OcclusionLookup.from({}, data(), [HEIGHT, WIDTH])).toBeNull();
    expect(OcclusionLookup.from({ ...INFO, tops: [0] }, data(), [HEIGHT, WIDTH])).toBeNull();
    expect(OcclusionLookup.from(INFO, data(), [HEIGHT, WIDTH + 1])).toBeNull();
  });

  it("takes the window whose middle is nearest", () => {
    const starts = [0, 2, 4, 6];
    expect([0, 2.9, 3.1, 5.5, 8, 100].map((at) => nearestWindow(starts, 4, 10, at))).toEqual([
      0, 0, 1, 2, 3, 3,
    ]);
  });
});

it("tells changes in percentage points", () => {
  expect([points(0.5, 0.4), points(0.1, 0.4), points(0.4, 0.40001)]).toEqual([
    "+10.0 points",
    "−30.0 points",
    "±0.0 points",
  ]);
});
