import { describe, expect, it, vi } from "vitest";
import { type CellState, comparison } from "../../src/panels/compare_state.ts";
import type { ViewState } from "../../src/types.ts";
import { fakeSession } from "./fake_session.ts";

vi.stubGlobal("createImageBitmap", () => Promise.resolve({ close() {} }));

const view = { sign: "signed", clip: 100 } as ViewState;
const axes = {
  method: ["Saliency", "Grad-CAM"],
  target: ["cat", "dog"],
  image: ["image"],
  model: ["net"],
};
const PLACES: CellState["at"][] = [
  [0, 0, 0, 0],
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [1, 1, 0, 0],
];
const waiting = (): CellState[] => PLACES.map((at) => ({ at, state: "waiting", error: "" }));

/** 16-bit maps one after the other, behind some bytes that are not theirs. */
function packed(...values: number[]): DataView {
  const bytes = new Uint8Array(1 + 2 * values.length);
  const data = new DataView(bytes.buffer, 1);
  for (const [place, value] of values.entries()) data.setInt16(2 * place, value, true);
  return data;
}

function session(traits: Record<string, unknown> = {}) {
  return fakeSession({
    _axes: axes,
    _photos: [new DataView(new ArrayBuffer(3))],
    _cells: waiting(),
    _result: packed(),
    scale: "own",
    ...traits,
  });
}

const done = (at: CellState["at"], offset: number, scale = 1): CellState => ({
  ...{ at, state: "done", error: "", shape: [1, 2], scale, offset },
});

describe("comparison", () => {
  it("reads the maps that are kept", () => {
    const cells = waiting();
    cells[0] = done([0, 0, 0, 0], 0, 2);
    cells[3] = done([1, 1, 0, 0], 4);
    const state = comparison(session({ _cells: cells, _result: packed(32767, -32767, 0, 32767) }));
    const maps = state.cells.map((cell) => cell.map.get());
    expect([...(maps[0]?.values ?? [])]).toEqual([2, -2]);
    expect(maps[0]).toMatchObject({ width: 2, height: 1 });
    expect([...(maps[3]?.values ?? [])]).toEqual([0, 1]);
    expect(maps[1]).toBeNull();
    expect(state.cells.map((cell) => cell.state.get().state)).toEqual([
      "done",
      "waiting",
      "waiting",
      "done",
    ]);
  });

  it("takes maps and refusals as they come", () => {
    const fake = session();
    const state = comparison(fake);
    const told = { kind: "cell", index: 1, state: "running", fraction: 0.5 };
    fake.receive({ ...told, shape: [1, 2], scale: 4 }, [packed(32767, 0)]);
    expect([...(state.cells[1]?.map.get()?.values ?? [])]).toEqual([4, 0]);
    expect(state.cells[1]?.state.get()).toMatchObject({ state: "running", fraction: 0.5 });
    fake.receive({ kind: "cell", index: 2, state: "error", error: "No." });
    expect(state.cells[2]?.state.get()).toMatchObject({ state: "error", error: "No." });
    expect(state.cells[2]?.map.get()).toBeNull();
    // Too short for its shape, and for a cell that is not there.
    fake.receive({ kind: "cell", index: 3, state: "done", shape: [9, 9] }, [packed(1)]);
    fake.receive({ kind: "cell", index: 77, state: "done", shape: [1, 1] }, [packed(1)]);
    expect(state.cells[3]?.map.get()).toBeNull();
  });

  it("names what differs", () => {
    const state = comparison(session());
    const last = state.cells[3] as (typeof state.cells)[0];
    expect(state.name(last)).toBe("Grad-CAM · dog");
    expect(state.name(last, "method")).toBe("dog");
    const one = { method: ["Saliency"], target: ["cat"], image: ["image"], model: ["net"] };
    const alone = comparison(session({ _axes: one, _cells: waiting().slice(0, 1) }));
    expect(alone.name(alone.cells[0] as (typeof alone.cells)[0])).toBe("Saliency");
  });

  it("colors maps up to their own, their method's or the largest value", () => {
    const cells = PLACES.map((at, index) => done(at, 4 * index, index + 1));
    const fake = session({
      _cells: cells,
      _result: packed(32767, 0, 32767, 0, -32767, 0, 32767, 0),
    });
    const state = comparison(fake);
    const limits = () => state.cells.map((cell) => state.limit(cell, view));
    expect(limits()).toEqual([undefined, undefined, undefined, undefined]);
    fake.change({ scale: "method" });
    expect(limits()).toEqual([3, 4, 3, 4]);
    fake.change({ scale: "all" });
    expect(limits()).toEqual([4, 4, 4, 4]);
    const positive = state.cells.map((cell) => state.limit(cell, { ...view, sign: "positive" }));
    expect(positive).toEqual([4, 4, 4, 4]);
    fake.change({ scale: "method" });
    expect(
      state.limit(state.cells[0] as (typeof state.cells)[0], { ...view, sign: "positive" }),
    ).toBe(1);
  });
});
