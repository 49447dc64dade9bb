import { expect, it } from "vitest";
import { dreamState } from "../../src/panels/dream_state.ts";
import { fakeSession } from "./fake_session.ts";

interface Decoded {
  name: number;
  closed: boolean;
  close: () => void;
}

/** A session with frames 0 to `last`, and a decoder that waits until it is told to go on. */
function dream(last: number) {
  const session = fakeSession({ iterations: last, octaves: 2, _extra_info: {} });
  const waiting: (() => void)[] = [];
  let decoded = 0;
  const decode = () => {
    const picture: Decoded = {
      name: decoded++,
      closed: false,
      close() {
        this.closed = true;
      },
    };
    return new Promise<ImageBitmap>((resolve) => {
      waiting.push(() => resolve(picture as unknown as ImageBitmap));
    });
  };
  const state = dreamState(session, decode);
  const receive = (gen: number, iteration: number) =>
    session.receive({ kind: "frame", gen, iteration, octave: 0, objective: iteration }, [
      new DataView(new ArrayBuffer(1)),
    ]);
  for (let i = 0; i <= last; i++) receive(1, i);
  const settle = async () => {
    while (waiting.length) {
      for (const go of waiting.splice(0)) go();
      for (let i = 0; i < 5; i++) await Promise.resolve();
    }
  };
  const shown = () => state.image.get() as unknown as Decoded | null;
  return { session, state, receive, settle, shown, count: () => decoded };
}

it("scrubs back without a word to the kernel, and saves once on release", async () => {
  const { session, state, settle } = dream(20);
  await settle();
  for (let i = 20; i >= 5; i--) state.scrub(i, false);
  expect(session.saved).toEqual([]);
  expect(state.shown.get()).toBe(5);
  state.scrub(5, true);
  expect(session.saved).toEqual([["iterations", 5]]);
});

it("asks the kernel at once for more than was made", () => {
  const { session, state } = dream(20);
  state.scrub(30, false);
  expect(session.saved).toEqual([["iterations", 30]]);
  expect(state.shown.get()).toBe(20);
});

it("decodes only the last of a flood, and never closes what is on screen", async () => {
  const { state, settle, shown, count } = dream(100);
  await settle();
  const before = count();
  for (let i = 0; i <= 100; i++) state.scrub(i % 90, false);
  expect(count() - before).toBeLessThan(3);
  expect(shown()?.closed).toBe(false);
  for (let i = 0; i < 90; i++) {
    state.scrub(i, false);
    await settle();
    expect(shown()?.closed).toBe(false);
  }
});

it("lets a new dream take the place of the old one", async () => {
  const { state, receive, settle, shown } = dream(10);
  await settle();
  const old = shown();
  receive(2, 0);
  expect(state.series.get()[0]?.points).toEqual([]);
  await settle();
  expect(old?.closed).toBe(true);
  expect(shown()?.closed).toBe(false);
  expect(state.text.get()).toBe("iteration 0 · the start image");
});
