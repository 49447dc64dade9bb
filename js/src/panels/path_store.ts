import type { ScalarMap } from "../types.ts";

/** What one step of the path says; maps are signed bytes, `value = byte * scale / 127`. */
export interface PathFrame {
  gradient: Int8Array;
  gradientScale: number;
  integrand: Int8Array;
  integrandScale: number;
  score: number;
  probability: number;
}

/** The place of step `index` of a midpoint grid. */
export function alphaOf(index: number, steps: number): number {
  return (index + 0.5) / steps;
}

/**
 * The steps of a path from baseline to photo, in whatever order they arrive, and their running
 * sum. Moving the sum adds or takes away only the steps between, so that scrubbing is cheap; it
 * is held in double precision, so that going to and fro does not drift.
 */
export class PathStore {
  readonly frames: (PathFrame | undefined)[];
  #sum: Float64Array;
  #reach = 0;
  #inside = 0;
  #arrived = 0;

  constructor(
    readonly steps: number,
    readonly width: number,
    readonly height: number,
  ) {
    this.frames = new Array(steps).fill(undefined);
    this.#sum = new Float64Array(width * height);
  }

  get arrived(): number {
    return this.#arrived;
  }

  get complete(): boolean {
    return this.#arrived === this.steps;
  }

  add(index: number, frame: PathFrame): void {
    const size = this.width * this.height;
    if (!(index >= 0 && index < this.steps)) return;
    if (frame.gradient.length !== size || frame.integrand.length !== size) return;
    const before = this.frames[index];
    if (before) {
      if (index < this.#reach) this.#accumulate(before, -1);
    } else {
      this.#arrived++;
    }
    this.frames[index] = frame;
    if (index < this.#reach) this.#accumulate(frame, 1);
  }

  /** How many steps lie in front of `alpha`: none at 0, all at 1. */
  count(alpha: number): number {
    return Math.min(this.steps, Math.max(0, Math.round(alpha * this.steps)));
  }

  /** The arrived step nearest to `alpha`. */
  nearest(alpha: number): number | null {
    const at = Math.min(this.steps - 1, Math.max(0, Math.floor(alpha * this.steps)));
    for (let distance = 0; distance < this.steps; distance++) {
      if (this.frames[at - distance]) return at - distance;
      if (this.frames[at + distance]) return at + distance;
    }
    return null;
  }

  gradient(index: number): ScalarMap | null {
    const frame = this.frames[index];
    if (!frame) return null;
    const values = new Float32Array(frame.gradient.length);
    const scale = frame.gradientScale / 127;
    for (let i = 0; i < values.length; i++) values[i] = (frame.gradient[i] as number) * scale;
    return { values, width: this.width, height: this.height };
  }

  /**
   * Mean integrand over the first `count` steps times their share of the path. Steps that are
   * still missing count as the mean of those that are there.
   */
  gathered(count: number): ScalarMap {
    this.#move(count);
    const values = new Float32Array(this.#sum.length);
    const scale = this.#inside ? count / this.#inside / this.steps : 0;
    for (let i = 0; i < values.length; i++) values[i] = (this.#sum[i] as number) * scale;
    return { values, width: this.width, height: this.height };
  }

  /** `[alpha, value]` of the arrived steps, in order. */
  points(of: "score" | "probability"): [number, number][] {
    const points: [number, number][] = [];
    this.frames.forEach((frame, index) => {
      if (frame && Number.isFinite(frame[of])) points.push([alphaOf(index, this.steps), frame[of]]);
    });
    return points;
  }

  #move(count: number): void {
    while (this.#reach < count) {
      const frame = this.frames[this.#reach++];
      if (frame) this.#accumulate(frame, 1);
    }
    while (this.#reach > count) {
      const frame = this.frames[--this.#reach];
      if (frame) this.#accumulate(frame, -1);
    }
  }

  #accumulate(frame: PathFrame, sign: 1 | -1): void {
    const sum = this.#sum;
    const scale = (sign * frame.integrandScale) / 127;
    const bytes = frame.integrand;
    for (let i = 0; i < sum.length; i++) {
      sum[i] = (sum[i] as number) + (bytes[i] as number) * scale;
    }
    this.#inside += sign;
    // Nothing inside is exactly nothing, whatever rounding left behind.
    if (this.#inside === 0) sum.fill(0);
  }
}

/** Height of a curve at `x`, linear between its points, level beyond them. */
export function interpolate(points: readonly (readonly [number, number])[], x: number): number {
  let before: readonly [number, number] | undefined;
  for (const point of points) {
    if (point[0] >= x) {
      if (!before) return point[1];
      const share = (x - before[0]) / (point[0] - before[0] || 1);
      return before[1] + share * (point[1] - before[1]);
    }
    before = point;
  }
  return before ? before[1] : Number.NaN;
}
