import { bytesOf } from "../session.ts";
import type { Point, ScalarMap } from "../types.ts";

/** `_extra_info` of an occlusion widget. */
export interface OcclusionInfo {
  rows: number;
  cols: number;
  tops: number[];
  lefts: number[];
  patch_size: number;
  classes: number[];
  names: string[];
  clean: number[];
  fill_rgb: [number, number, number] | null;
}

/** The part of the patch that lies on the photo, in pixels. */
export interface Place {
  top: number;
  left: number;
  width: number;
  height: number;
}

/** What the network says with the patch at one position. */
export interface Covered extends Place {
  /** Of the clean photo's first classes, in their order. */
  probabilities: number[];
  winner: number;
  /** The winner's own probability. */
  sure: number;
  /** These are of the nearest position of the grid: the network was not heard about this one. */
  waits?: boolean;
}

/** Number of the window, cut off at `end`, whose middle is nearest to `at`. */
export function nearestWindow(starts: number[], size: number, end: number, at: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  starts.forEach((start, index) => {
    const middle = (Math.max(0, start) + Math.min(end, start + size)) / 2;
    const distance = Math.abs(middle - at);
    if (distance < least) [best, least] = [index, distance];
  });
  return best;
}

/** Scores of every position of the patch, kept from the last finished run. */
export class OcclusionLookup {
  private constructor(
    readonly info: OcclusionInfo,
    private readonly width: number,
    private readonly height: number,
    private readonly scores: Float32Array,
    private readonly winners: Int32Array,
    private readonly winnerScores: Float32Array,
    /** Probability of the target class. */
    readonly heat: ScalarMap,
  ) {}

  /** `null` where info and data do not fit together. */
  static from(
    info: Partial<OcclusionInfo>,
    data: DataView,
    [height, width]: [number, number],
  ): OcclusionLookup | null {
    const { rows = 0, cols = 0, tops, lefts, classes } = info;
    if (!(rows > 0 && cols > 0) || tops?.length !== rows || lefts?.length !== cols) return null;
    const count = rows * cols;
    const kept = classes?.length ?? 0;
    const size = width * height;
    if (!kept || data.byteLength !== 4 * (count * (kept + 2) + size)) return null;
    const { buffer } = bytesOf(data);
    const floats = (start: number, length: number) => new Float32Array(buffer, 4 * start, length);
    return new OcclusionLookup(
      info as OcclusionInfo,
      width,
      height,
      floats(0, count * kept),
      new Int32Array(buffer, 4 * count * kept, count),
      floats(count * (kept + 1), count),
      { values: floats(count * (kept + 2), size), width, height },
    );
  }

  /** The evaluated position nearest to a point. */
  at(point: Point): Covered {
    const { tops, lefts, cols, patch_size: size, classes } = this.info;
    const row = nearestWindow(tops, size, this.height, point.y);
    const col = nearestWindow(lefts, size, this.width, point.x);
    const place = row * cols + col;
    const kept = classes.length;
    return {
      ...this.shown(tops[row] as number, lefts[col] as number),
      probabilities: [...this.scores.subarray(place * kept, (place + 1) * kept)],
      winner: this.winners[place] as number,
      sure: this.winnerScores[place] as number,
    };
  }

  /** First row and column of the patch whose middle is at a point; it may stand out. */
  corner({ x, y }: Point): [number, number] {
    const half = this.info.patch_size >> 1;
    return [Math.floor(y) - half, Math.floor(x) - half];
  }

  /** What is seen of the patch that begins there. */
  shown(row: number, column: number): Place {
    const size = this.info.patch_size;
    const top = Math.max(0, row);
    const left = Math.max(0, column);
    return {
      top,
      left,
      width: Math.min(this.width, column + size) - left,
      height: Math.min(this.height, row + size) - top,
    };
  }
}
