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

/** Where the steps of a path lie, ascending, and what share of it each stands for. */
export interface Grid {
  alphas: readonly number[];
  weights: readonly number[];
}

/** The midpoints of equal cells. */
export function uniform(steps: number): Grid {
  const places = Array.from({ length: steps }, (_, index) => index);
  return {
    alphas: places.map((index) => (index + 0.5) / steps),
    weights: places.map(() => 1 / steps),
  };
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
  /** Of the steps in the sum: their number and weight. */
  #inside = 0;
  #weight = 0;
  #arrived = 0;
  /** Where the cell of each step ends. */
  readonly #ends: number[] = [];

  constructor(
    readonly steps: number,
    readonly width: number,
    readonly height: number,
    readonly grid: Grid = uniform(steps),
  ) {
    let end = 0;
    for (const weight of grid.weights) {
      end += weight;
      this.#ends.push(end);
    }
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
      if (index < this.#reach) this.#accumulate(index, before, -1);
    } else {
      this.#arrived++;
    }
    this.frames[index] = frame;
    if (index < this.#reach) this.#accumulate(index, frame, 1);
  }

  /** How many steps lie in front of `alpha`: none at 0, all at 1. */
  count(alpha: number): number {
    if (alpha >= 1) return this.steps;
    let count = 0;
    while (count < this.steps && (this.grid.alphas[count] as number) <= alpha) count++;
    return count;
  }

  /** The part of the path that the first `count` steps stand for. */
  part(count: number): number {
    return count > 0 ? (this.#ends[count - 1] as number) : 0;
  }

  /** The arrived step nearest to `alpha`. */
  nearest(alpha: number): number | null {
    let best: number | null = null;
    let least = Number.POSITIVE_INFINITY;
    this.frames.forEach((frame, index) => {
      const distance = Math.abs((this.grid.alphas[index] as number) - alpha);
      if (frame && distance <= least) [best, least] = [index, distance];
    });
    return best;
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
   * Integral up to the first `count` steps: each integrand counts by its step's weight. Steps that
   * are still missing count as the mean of those that are there.
   */
  gathered(count: number): ScalarMap {
    this.#move(count);
    const values = new Float32Array(this.#sum.length);
    const scale = this.#inside ? this.part(count) / this.#weight : 0;
    for (let i = 0; i < values.length; i++) values[i] = (this.#sum[i] as number) * scale;
    return { values, width: this.width, height: this.height };
  }

  /** `[alpha, value]` of the arrived steps, in order. */
  points(of: "score" | "probability"): [number, number][] {
    const points: [number, number][] = [];
    this.frames.forEach((frame, index) => {
      const alpha = this.grid.alphas[index] as number;
      if (frame && Number.isFinite(frame[of])) points.push([alpha, frame[of]]);
    });
    return points;
  }

  #move(count: number): void {
    while (this.#reach < count) {
      const index = this.#reach++;
      const frame = this.frames[index];
      if (frame) this.#accumulate(index, frame, 1);
    }
    while (this.#reach > count) {
      const index = --this.#reach;
      const frame = this.frames[index];
      if (frame) this.#accumulate(index, frame, -1);
    }
  }

  #accumulate(index: number, frame: PathFrame, sign: 1 | -1): void {
    const sum = this.#sum;
    const weight = sign * (this.grid.weights[index] as number);
    const scale = (weight * frame.integrandScale) / 127;
    const bytes = frame.integrand;
    for (let i = 0; i < sum.length; i++) {
      sum[i] = (sum[i] as number) + (bytes[i] as number) * scale;
    }
    this.#inside += sign;
    this.#weight += weight;
    // Nothing inside is exactly nothing, whatever rounding left behind.
    if (this.#inside === 0) {
      sum.fill(0);
      this.#weight = 0;
    }
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
