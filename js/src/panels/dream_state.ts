import { blob, decodeImage, hasBytes } from "../bitmap.ts";
import { Store } from "../store.ts";
import type { Session } from "../types.ts";
import type { Series } from "../ui/chart.ts";
import { short } from "../ui/scale.ts";
import { type DreamFrame, FrameStore } from "./frame_store.ts";

export interface DreamState {
  image: Store<ImageBitmap | null>;
  /** Iteration on screen. */
  shown: Store<number>;
  /** Where the slider stands. */
  wanted: Store<number>;
  series: Store<Series[]>;
  range: Store<[number, number]>;
  text: Store<string>;
  swipe: Store<number>;
  /** Go to an iteration; the kernel hears of it when `done`. */
  scrub: (iteration: number, done: boolean) => void;
}

interface DreamInfo {
  objective?: (number | null)[];
  octaves?: unknown[];
}

/** Frames and place of a dream, for all views of a widget; made once per session. */
export function dreamState(session: Session, decode = decodeImage): DreamState {
  const frames = new FrameStore(decode);
  const image = new Store<ImageBitmap | null>(session.photo.get());
  const wanted = new Store(0);
  const shown = new Store(0);
  const series = new Store<Series[]>([]);
  const range = new Store<[number, number]>([0, 1]);
  const text = new Store("");
  const swipe = new Store(0);
  let generation = -1;
  let on: DreamFrame | null = null;
  let saved: Promise<ImageBitmap> | null = null;
  let turn = 0;
  let decoding = false;

  const info = () => session.get<DreamInfo | null>("_extra_info") ?? {};
  const made = () => session.get<{ done?: number; score?: number | null }>("_result_info") ?? {};

  /** The objective of the curve before the frames are there again. */
  function kept(): [number, number][] {
    const all = info().objective ?? [];
    return all.flatMap((value, i): [number, number][] => (value === null ? [] : [[i + 1, value]]));
  }

  function tell(): void {
    const octaves = info().octaves?.length || session.get<number>("octaves") || 1;
    const result = made();
    const at = on?.iteration ?? (saved ? (result.done ?? 0) : 0);
    const objective = on ? on.objective : result.score;
    const parts = [`iteration ${at}`];
    if (on && at > 0) parts.push(`octave ${on.octave + 1} of ${octaves}`);
    if (at > 0 && typeof objective === "number") parts.push(`objective ${short(objective)}`);
    if (at === 0) parts.push("the start image");
    shown.set(at);
    text.set(parts.join(" · "));
  }

  function paint(): void {
    const frame = frames.nearest(wanted.get());
    if (frame && frame === on) return;
    on = frame;
    tell();
    turn++;
    if (!decoding) void decodeLatest();
  }

  /**
   * One picture at a time: of those that a fast hand passes only the last is decoded, and the one
   * on screen stays among the last used, which are not closed.
   */
  async function decodeLatest(): Promise<void> {
    decoding = true;
    for (let mine = -1; mine !== turn; ) {
      mine = turn;
      const source = on ? frames.bitmap(on) : saved;
      const bitmap = source ? await source.catch(() => null) : session.photo.get();
      if (mine === turn && bitmap) image.set(bitmap);
    }
    decoding = false;
  }

  function draw(): void {
    const points = frames.objective();
    const line = points.length ? points : kept();
    series.set([{ name: "objective", axis: "left", points: line }]);
    const end = Math.max(1, wanted.get(), frames.last, line.at(-1)?.[0] ?? 0);
    if (end !== range.get()[1]) range.set([0, end]);
  }

  function clear(): void {
    // Before its bitmap is closed.
    image.set(session.photo.get());
    turn++;
    frames.clear();
    on = null;
    saved = null;
  }

  session.on("frame", (message, [data]) => {
    if (!data) return;
    const { gen = 0, iteration, octave, objective } = message;
    if (gen !== generation) clear();
    generation = gen;
    frames.add({ iteration, octave, objective, jpeg: blob(data) });
    draw();
    paint();
  });
  session.watch<DataView>("_result", (bytes) => {
    // Frames say more; the saved picture stands in until they are there.
    if (on) return;
    saved = hasBytes(bytes) ? decode(blob(bytes)) : null;
    paint();
  });
  session.watch("_extra_info", () => {
    draw();
    tell();
  });
  session.watch<number>("iterations", (value) => {
    wanted.set(Number(value) || 0);
  });
  wanted.subscribe(() => {
    paint();
    draw();
  }, session.signal);
  session.photo.subscribe(() => {
    if (!on && !saved) image.set(session.photo.get());
  }, session.signal);
  draw();
  paint();

  return {
    image,
    shown,
    wanted,
    series,
    range,
    text,
    swipe,
    scrub(iteration, done) {
      const value = Math.round(iteration);
      wanted.set(value);
      // Back is local until the hand lets go; on from what was made needs the kernel at once.
      const asks = done || value > Math.max(frames.last, session.get<number>("iterations"));
      if (asks && session.get("iterations") !== value) session.set("iterations", value);
    },
  };
}
