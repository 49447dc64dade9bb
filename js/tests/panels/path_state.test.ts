import { beforeEach, describe, expect, it, vi } from "vitest";
import { pathState } from "../../src/panels/path_state.ts";
import { type Fake, fakeSession } from "./fake_session.ts";

const STEPS = 4;

function send(session: Fake, gen: number, indices: number[], grid = {}): void {
  const bytes = Int8Array.from(indices.flatMap((index) => [index + 1, -index]));
  session.receive(
    {
      kind: "path",
      gen,
      steps: STEPS,
      indices,
      scores: indices.map((index) => 10 * index),
      probabilities: indices.map((index) => index / 10),
      gradient_scales: indices.map(() => 127),
      integrand_scales: indices.map(() => 127 * STEPS),
      shape: [1, 2],
      baseline: false,
      ...grid,
    },
    [new DataView(bytes.buffer), new DataView(bytes.buffer.slice(0))],
  );
}

describe("the path in the page", () => {
  let session: Fake;
  beforeEach(() => {
    vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);
    session = fakeSession({ alpha: 1, _extra_info: {} });
  });

  it("scrubs without a word to the kernel, and tells it once on release", () => {
    const state = pathState(session);
    send(session, 1, [0, 1, 2, 3]);
    for (let i = 0; i < 100; i++) state.scrub(i / 100, false);
    expect(session.saved).toEqual([]);
    expect(session.sent).toEqual([]);
    state.scrub(0.5, true);
    expect(session.saved).toEqual([["alpha", 0.5]]);
    expect([...(state.gathered.get()?.values ?? [])]).toEqual([1 + 2, -1]);
    expect([...(state.gradient.get()?.values ?? [])]).toEqual([3, -2]);
  });

  it("follows alpha set from Python", () => {
    const state = pathState(session);
    send(session, 1, [3, 0, 2, 1]);
    session.change({ alpha: 0.25 });
    expect(state.alpha.get()).toBe(0.25);
    expect([...(state.gathered.get()?.values ?? [])]).toEqual([1, 0]);
    expect(session.saved).toEqual([]);
  });

  it("shows the attribution itself at the photo", () => {
    const state = pathState(session);
    send(session, 1, [0, 1, 2, 3]);
    const map = { values: Float32Array.of(7, 8), width: 2, height: 1 };
    session.map.set({
      ...map,
      stage: "final",
      generation: 1,
      done: 4,
      total: 4,
      diagnostics: { score_photo: 40, score_baseline: -5, completeness_gap: 0.5 },
      extras: {},
    });
    expect(state.gathered.get()?.values).toBe(map.values);
    expect(state.text.get()).toBe("Gathered: 45.5. Rise of the score: 45. Gap: 0.5.");
  });

  it("draws the curves from the baseline on to the photo itself, once their scores are known", () => {
    session.change({ _target_info: { name: "cat", probability: 0.4 } });
    const state = pathState(session);
    send(session, 2, [1]);
    const diagnostics = { score_photo: 40, score_baseline: -5, completeness_gap: 0.5 };
    const map = {
      ...{ values: Float32Array.of(7, 8), width: 2, height: 1, stage: "partial" as const },
      ...{ done: 1, total: 4, diagnostics, extras: {} },
    };
    const curves = () => state.series.get().map((series) => series.points);
    // Ends of another run would be another curve's.
    session.map.set({ ...map, generation: 1 });
    expect(curves()).toEqual([[[0.375, 10]], [[0.375, 0.1]]]);
    session.map.set({ ...map, generation: 2 });
    expect(curves()).toEqual([
      [
        [0, -5],
        [0.375, 10],
        [1, 40],
      ],
      [
        [0.375, 0.1],
        [1, 0.4],
      ],
    ]);
  });

  it("scrubs by the places and weights of an uneven grid", () => {
    const state = pathState(session);
    const alphas = [0.05, 0.15, 0.25, 0.65];
    send(session, 1, [0, 2], { alphas, weights: [0.1, 0.1, 0.1, 0.7] });
    send(session, 1, [1, 3]);
    expect(state.series.get()[0]?.points.map(([alpha]) => alpha)).toEqual(alphas);
    state.scrub(0.2, false);
    const [first] = state.gathered.get()?.values ?? [];
    expect(first).toBeCloseTo(0.1 * STEPS * (1 + 2), 5);
  });

  it("says when fewer steps were enough", () => {
    const state = pathState(session);
    send(session, 1, [0, 2]);
    const map = {
      ...{ values: Float32Array.of(7, 8), width: 2, height: 1, done: 2, total: 2, extras: {} },
      diagnostics: { score_photo: 40, score_baseline: -5, completeness_gap: 0.5 },
    };
    session.map.set({ ...map, stage: "partial", generation: 1 });
    expect(state.text.get()).toContain("(2 of 4 steps so far)");
    session.map.set({ ...map, stage: "final", generation: 1 });
    expect(state.text.get()).toContain("(2 of 4 steps were enough)");
  });

  it("forgets the steps of an older run", () => {
    const state = pathState(session);
    send(session, 1, [0, 1, 2, 3]);
    send(session, 2, [2]);
    expect(state.series.get()[0]?.points).toEqual([[0.625, 20]]);
  });

  it("draws the curve of a restored widget from its state", () => {
    const info = { alphas: [0.25, 0.75], scores: [1, 2], probabilities: [0.1, 0.2] };
    const state = pathState(fakeSession({ alpha: 1, _extra_info: info }));
    expect(state.series.get().map((series) => series.points)).toEqual([
      [
        [0.25, 1],
        [0.75, 2],
      ],
      [
        [0.25, 0.1],
        [0.75, 0.2],
      ],
    ]);
  });
});
