import { expect, it } from "vitest";
import { OcclusionLookup } from "../../src/panels/occlusion_lookup.ts";
import { patchState } from "../../src/panels/occlusion_patch.ts";
import { Store } from "../../src/store.ts";
import { fakeSession } from "./fake_session.ts";

const [HEIGHT, WIDTH] = [6, 10];

/** Patches of 4 pixels at every other column; each says its number in tenths. */
function lookup(patch_size = 4): OcclusionLookup | null {
  const lefts = [0, 2, 4, 6];
  const count = lefts.length;
  const data = new DataView(new ArrayBuffer(4 * (3 * count + HEIGHT * WIDTH)));
  lefts.forEach((_, place) => {
    data.setFloat32(4 * place, place / 10, true);
  });
  const info = {
    ...{ rows: 1, cols: count, tops: [0], lefts, patch_size },
    ...{ classes: [7], names: ["a"], clean: [0.9], fill_rgb: null },
  };
  return OcclusionLookup.from(info, data, [HEIGHT, WIDTH]);
}

function state() {
  const session = fakeSession({ _result_info: { generation: 1 } });
  const table = new Store(lookup());
  const { free, now } = patchState(session, table);
  const point = (x: number, y: number) => session.cursor.set({ x, y });
  const places = () => session.sent.map(({ top, left }) => [top, left]);
  const answer = (top: number, left: number, chance: number | null) =>
    session.receive({
      ...{ kind: "covered", top, left },
      ...(chance === null ? {} : { probabilities: [chance], winner: 3, sure: 0.5 }),
    });
  return { session, table, free, now, point, places, answer };
}

it("asks nothing on the grid", () => {
  const { session, now, point } = state();
  for (let x = 0.5; x < WIDTH; x++) point(x, 2.5);
  expect(now.get()).toMatchObject({ top: 0, left: 6, width: 4, height: 4, sure: 0 });
  expect(now.get()?.waits).toBeFalsy();
  session.cursor.set(null);
  expect(now.get()).toBeNull();
  expect(session.sent).toEqual([]);
});

it("shows a free patch at its pixel at once, and its numbers when they are there", () => {
  const { session, free, now, point, answer } = state();
  free.set(true);
  point(5.9, 3.2);
  expect(session.sent).toEqual([{ kind: "action", name: "cover", top: 1, left: 3 }]);
  const place = { top: 1, left: 3, width: 4, height: 4 };
  expect(now.get()).toMatchObject({ ...place, waits: true, winner: 0 });
  expect(now.get()?.probabilities[0]).toBeCloseTo(0.2);
  answer(1, 3, 0.25);
  expect(now.get()).toMatchObject({
    ...{ ...place, waits: false, probabilities: [0.25], winner: 3, sure: 0.5 },
  });
  // The same pixel is not asked about again.
  point(5.1, 3.9);
  expect(session.sent.length).toBe(1);
  expect(now.get()?.probabilities).toEqual([0.25]);
});

it("cuts the patch off at every edge", () => {
  const { free, now, point, places } = state();
  free.set(true);
  point(0.5, 0.5);
  expect(now.get()).toMatchObject({ top: 0, left: 0, width: 2, height: 2 });
  expect(places()).toEqual([[-2, -2]]);
  point(9.5, 5.5);
  expect(now.get()).toMatchObject({ top: 3, left: 7, width: 3, height: 3 });
});

it("has one question on its way, and the newest follows", () => {
  const { free, now, point, places, answer } = state();
  free.set(true);
  for (let x = 2.5; x < 8; x++) point(x, 3.5);
  expect(places()).toEqual([[1, 0]]);
  // An answer to where the cursor was is not shown.
  answer(1, 0, 0.11);
  expect(now.get()).toMatchObject({ left: 5, waits: true });
  expect(now.get()?.probabilities).not.toEqual([0.11]);
  expect(places()).toEqual([
    [1, 0],
    [1, 5],
  ]);
  answer(1, 5, 0.12);
  expect(now.get()).toMatchObject({ left: 5, waits: false, probabilities: [0.12] });
  expect(places().length).toBe(2);
});

it("asks no more when it is switched off or the cursor leaves", () => {
  const { session, free, now, point, answer } = state();
  free.set(true);
  point(4.5, 3.5);
  session.cursor.set(null);
  answer(1, 2, 0.3);
  expect(now.get()).toBeNull();
  point(4.5, 3.5);
  expect(now.get()?.probabilities).toEqual([0.3]);
  free.set(false);
  expect(now.get()).toMatchObject({ top: 0, left: 2 });
  point(6.5, 3.5);
  answer(1, 4, 0.4);
  expect(now.get()).toMatchObject({ top: 0, left: 4 });
  expect(session.sent.length).toBe(1);
});

it("asks again about a new result, of which the kernel may owe it an answer", () => {
  const { session, table, free, now, point, places, answer } = state();
  free.set(true);
  point(4.5, 3.5);
  answer(1, 2, 0.3);
  point(5.5, 3.5);
  session.change({ _result_info: { generation: 2 } });
  expect(places()).toEqual([
    [1, 2],
    [1, 3],
    [1, 3],
  ]);
  answer(1, 3, 0.6);
  expect(now.get()).toMatchObject({ left: 3, waits: false });
  // What was known of the place was known of another result.
  session.change({ _result_info: { generation: 3 } });
  expect(now.get()?.waits).toBe(true);
  expect(places().length).toBe(4);
  table.set(null);
  expect(now.get()).toBeNull();
});

it("asks once about a result that brings another size of patch", () => {
  const { session, table, free, point, places, answer } = state();
  free.set(true);
  point(4.5, 3.5);
  answer(1, 2, 0.3);
  session.watch("_extra_info", (info) => {
    if (info) table.set(lookup(2));
  });
  session.change({ _extra_info: {}, _result_info: { generation: 2 } });
  expect(places()).toEqual([
    [1, 2],
    [2, 3],
  ]);
});

it("waits no longer, and does not insist, where the network failed", () => {
  const { free, now, point, places, answer } = state();
  free.set(true);
  point(4.5, 3.5);
  answer(1, 2, null);
  expect(now.get()).toMatchObject({ left: 2, waits: true, winner: 0 });
  expect(places().length).toBe(1);
  point(5.5, 3.5);
  expect(places().length).toBe(2);
});
