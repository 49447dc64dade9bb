/** A frame of a dream as it came: a compressed image and what it stands for. */
export interface DreamFrame {
  iteration: number;
  octave: number;
  objective: number | null;
  jpeg: Blob;
}

/** Keeps the values that were asked for last; lets go of the others. */
export class Recent<K, V> {
  readonly #values = new Map<K, V>();

  constructor(
    readonly limit: number,
    private readonly release: (value: V) => void = () => {},
  ) {}

  get size(): number {
    return this.#values.size;
  }

  get(key: K, make: (key: K) => V): V {
    const known = this.#values.get(key);
    const value = known ?? make(key);
    this.#values.delete(key);
    this.#values.set(key, value);
    for (const [oldest, old] of this.#values) {
      if (this.#values.size <= this.limit) break;
      this.#values.delete(oldest);
      this.release(old);
    }
    return value;
  }

  clear(): void {
    for (const value of this.#values.values()) this.release(value);
    this.#values.clear();
  }
}

/** All frames compressed, the last used of them decoded too. */
export class FrameStore {
  readonly #frames: (DreamFrame | undefined)[] = [];
  readonly #decoded: Recent<number, Promise<ImageBitmap>>;

  constructor(
    private readonly decode: (blob: Blob) => Promise<ImageBitmap>,
    limit = 60,
  ) {
    this.#decoded = new Recent(limit, (bitmap) => {
      bitmap.then(
        (image) => image.close(),
        () => {},
      );
    });
  }

  /** The highest iteration there is; -1 for none. */
  get last(): number {
    return this.#frames.length - 1;
  }

  add(frame: DreamFrame): void {
    // A frame that comes again, after a reconnection, is the same: its image may be on screen.
    if (frame.iteration >= 0) this.#frames[frame.iteration] ??= frame;
  }

  clear(): void {
    this.#frames.length = 0;
    this.#decoded.clear();
  }

  /** The frame of an iteration, or else the nearest one before it, or else the next. */
  nearest(iteration: number): DreamFrame | null {
    for (let i = Math.min(iteration, this.last); i >= 0; i--) {
      if (this.#frames[i]) return this.#frames[i] as DreamFrame;
    }
    return this.#frames.find((frame) => frame) ?? null;
  }

  bitmap(frame: DreamFrame): Promise<ImageBitmap> {
    return this.#decoded.get(frame.iteration, () => this.decode(frame.jpeg));
  }

  /** `[iteration, objective]`; the start image has none. */
  objective(): [number, number][] {
    const points: [number, number][] = [];
    for (const frame of this.#frames) {
      if (frame && frame.iteration > 0 && frame.objective !== null) {
        points.push([frame.iteration, frame.objective]);
      }
    }
    return points;
  }
}
