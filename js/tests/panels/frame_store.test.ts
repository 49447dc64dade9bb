import { describe, expect, it, vi } from "vitest";
import { dreamState } from "../../src/panels/dream_state.ts";
import { FrameStore, Recent } from "../../src/panels/frame_store.ts";
import { fakeSession } from "./fake_session.ts";

const bitmap = () => ({ close: vi.fn() }) as unknown as ImageBitmap;

function frame(iteration: number) {
  return { iteration, octave: 0, objective: iteration / 2, jpeg: new Blob([String(iteration)]) };
}

describe("recent values", () => {
  it("lets go of the one that was not used for longest", () => {
    const gone: string[] = [];
    const recent = new Recent<string, string>(2, (value) => gone.push(value));
    for (const key of ["a", "b", "a", "c", "a", "d"]) recent.get(key, (made) => made);
    expect(gone).toEqual(["b", "c"]);
    recent.clear();
    expect(gone).toEqual(["b", "c", "a", "d"]);
  });
});

describe("frame store", () => {
  it("finds the frame at or before an iteration, in any order of arrival", () => {
    const store = new FrameStore(async () => bitmap());
    expect(store.nearest(3)).toBeNull();
    for (const iteration of [8, 2, 5]) store.add(frame(iteration));
    expect([0, 2, 4, 5, 7, 99].map((at) => store.nearest(at)?.iteration)).toEqual([
      2, 2, 2, 5, 5, 8,
    ]);
    expect(store.last).toBe(8);
    expect(store.objective()).toEqual([
      [2, 1],
      [5, 2.5],
      [8, 4],
    ]);
  });

  it("decodes lazily, once, and closes what it lets go of", async () => {
    const made: ImageBitmap[] = [];
    const decode = vi.fn(async () => {
      made.push(bitmap());
      return made.at(-1) as ImageBitmap;
    });
    const store = new FrameStore(decode, 2);
    for (const iteration of [0, 1, 2]) store.add(frame(iteration));
    expect(decode).not.toHaveBeenCalled();
    for (const iteration of [0, 0, 1, 2]) {
      await store.bitmap(store.nearest(iteration) ?? frame(iteration));
    }
    expect(decode).toHaveBeenCalledTimes(3);
    expect(made[0]?.close).toHaveBeenCalledOnce();
    expect(made[1]?.close).not.toHaveBeenCalled();
  });
});

describe("a dream in the page", () => {
  const bytes = (text: string) => new DataView(new TextEncoder().encode(text).buffer);
  const send = (session: ReturnType<typeof fakeSession>, gen: number, iteration: number) =>
    session.receive({ kind: "frame", gen, iteration, octave: 1, objective: 1.23, total: 9 }, [
      bytes("jpeg"),
    ]);

  it("scrubs back locally and asks the kernel on release", () => {
    const session = fakeSession({ iterations: 9, octaves: 4 });
    const state = dreamState(session, async () => bitmap());
    for (let iteration = 0; iteration < 6; iteration++) send(session, 1, iteration);
    expect(state.text.get()).toBe("iteration 5 · octave 2 of 4 · objective 1.23");
    state.scrub(3, false);
    expect(state.shown.get()).toBe(3);
    expect(session.saved).toEqual([]);
    state.scrub(3, true);
    expect(session.saved).toEqual([["iterations", 3]]);
  });

  it("starts over with a new generation", () => {
    const session = fakeSession({ iterations: 9, octaves: 4 });
    const state = dreamState(session, async () => bitmap());
    for (let iteration = 0; iteration < 6; iteration++) send(session, 1, iteration);
    send(session, 2, 0);
    expect(state.text.get()).toBe("iteration 0 · the start image");
    expect(state.series.get()[0]?.points).toEqual([]);
  });
});
