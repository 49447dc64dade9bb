import { blob, canvas, hasBytes, latest, rgba } from "../bitmap.ts";
import { Store } from "../store.ts";
import type { ScalarMap, Session } from "../types.ts";
import type { Series } from "../ui/chart.ts";
import { short } from "../ui/scale.ts";
import { interpolate, PathStore } from "./path_store.ts";
import { mix, type Picture } from "./pixels.ts";

/** Milliseconds that the animation takes from 0 to 1. */
const DURATION = 5000;

export interface PathState {
  alpha: Store<number>;
  playing: Store<boolean>;
  image: Picture;
  gradient: Store<ScalarMap | null>;
  gathered: Store<ScalarMap | null>;
  series: Store<Series[]>;
  range: Store<[number, number]>;
  text: Store<string>;
  /** Go to `value`; the kernel hears of it when `done`. */
  scrub: (value: number, done: boolean) => void;
  toggle: () => void;
}

interface PathInfo {
  alphas?: number[];
  scores?: (number | null)[];
  probabilities?: (number | null)[];
  score_photo?: number;
  score_baseline?: number;
  completeness_gap?: number;
}

/** What all views of a widget show of the path; made once per session. */
export function pathState(session: Session): PathState {
  const { signal } = session;
  const alpha = new Store(1);
  const playing = new Store(false);
  const baseline = new Store<ImageBitmap | null>(null);
  const image: Picture = new Store<CanvasImageSource | null>(null);
  const gradient = new Store<ScalarMap | null>(null);
  const gathered = new Store<ScalarMap | null>(null);
  const series = new Store<Series[]>([]);
  const text = new Store("");
  const showBaseline = latest(baseline);

  let path: PathStore | null = null;
  let generation = -1;
  let from: ImageData | null = null;
  let at: number | null = null;
  let sums: number[] = [];
  let busy = 0;
  // Two canvases in turn, so that stages see a new image each time.
  let canvases: HTMLCanvasElement[] = [];

  function info(): PathInfo {
    return (session.get<PathInfo | null>("_extra_info") ?? {}) as PathInfo;
  }

  /** Numbers of the running or last run that the completeness check is about. */
  function ends(): { photo: number; baseline: number; gap: number } {
    const map = session.map.get();
    const told = map && "score_photo" in map.diagnostics ? map.diagnostics : info();
    const number = (name: keyof typeof told) => (told[name] as number | null) ?? Number.NaN;
    return {
      photo: number("score_photo"),
      baseline: number("score_baseline"),
      gap: number("completeness_gap"),
    };
  }

  function mixed(): void {
    const to = session.pixels.get();
    const into = to && canvases[0];
    const context = into?.getContext("2d");
    if (!to || !into || !context || !from || from.width !== to.width || from.height !== to.height) {
      image.set(alpha.get() > 0.999 ? session.photo.get() : null);
      return;
    }
    const result = context.createImageData(to.width, to.height);
    mix(from.data, to.data, alpha.get(), result.data);
    context.putImageData(result, 0, 0);
    canvases.reverse();
    image.set(into);
  }

  function paintGathered(): void {
    const map = session.map.get();
    const count = path?.count(alpha.get()) ?? 0;
    if (path?.arrived && count < path.steps) gathered.set(path.gathered(count));
    else if (path || alpha.get() === 1) gathered.set(map);
    else gathered.set(null);
    tell(count);
  }

  function paint(): void {
    mixed();
    const near = path?.nearest(alpha.get()) ?? null;
    if (near === null) gradient.set(null);
    else if (near !== at) gradient.set(path?.gradient(near) ?? null);
    at = near;
    paintGathered();
  }

  function points(of: "score" | "probability"): [number, number][] {
    if (path?.arrived) return path.points(of);
    const { alphas = [], scores = [], probabilities = [] } = info();
    const values = of === "score" ? scores : probabilities;
    return alphas.flatMap((x, i): [number, number][] => {
      const y = values[i];
      return typeof y === "number" ? [[x, y]] : [];
    });
  }

  /** Steps lie between baseline and photo; what is known of those two belongs to the curve. */
  function curve(of: "score" | "probability"): [number, number][] {
    if (path && session.map.get()?.generation !== generation) return points(of);
    const { photo, baseline: start } = ends();
    const sure = session.get<{ probability?: number } | null>("_target_info")?.probability;
    const [first, last] = of === "score" ? [start, photo] : [Number.NaN, sure ?? Number.NaN];
    const all: [number, number][] = [[0, first], ...points(of), [1, last]];
    return all.filter(([, y]) => Number.isFinite(y));
  }

  function draw(): void {
    series.set([
      { name: "score", axis: "left", points: curve("score") },
      {
        name: "probability",
        axis: "right",
        points: curve("probability"),
        range: [0, 1],
        unit: "%",
      },
    ]);
  }

  /** Gathered so far beside the rise of the score so far: completeness, step by step. */
  function tell(count: number): void {
    const { photo, baseline: start, gap } = ends();
    if (!path?.arrived || Number.isNaN(photo - start)) {
      const whole = Number.isNaN(gap) ? "" : `Completeness gap at the photo: ${short(gap)}.`;
      text.set(whole);
      return;
    }
    const done = count === path.steps;
    let sum = 0;
    let weight = 0;
    for (let i = 0; i < count; i++) {
      const each = sums[i];
      if (each === undefined) continue;
      const share = path.grid.weights[i] as number;
      sum += share * each;
      weight += share;
    }
    if (weight) sum *= path.part(count) / weight;
    const points: [number, number][] = [[0, start], ...path.points("score"), [1, photo]];
    const rise = done ? photo - start : interpolate(points, path.part(count)) - start;
    if (done && !Number.isNaN(gap)) sum = rise + gap;
    const map = session.map.get();
    const ended = map?.stage === "final" && map.generation === generation;
    const taken = `${path.arrived} of ${path.steps} steps`;
    const missing = path.complete ? "" : ` (${taken} ${ended ? "were enough" : "so far"})`;
    text.set(
      `Gathered: ${short(sum)}. Rise of the score: ${short(rise)}. Gap: ${short(sum - rise)}${missing}.`,
    );
  }

  function prepare(): void {
    const to = session.pixels.get();
    const image = baseline.get();
    from = to && image ? rgba(image, to.width, to.height) : null;
    if (to && (canvases[0]?.width !== to.width || canvases[0]?.height !== to.height)) {
      canvases = [canvas(to.width, to.height), canvas(to.width, to.height)];
    }
    mixed();
  }

  session.on("path", (message, buffers) => {
    const { gen = 0, steps, indices, scores, probabilities } = message;
    const [height, width] = message.shape as [number, number];
    const [gradients, integrands, first] = buffers;
    if (!gradients || !integrands) return;
    if (!path || gen !== generation || steps !== path.steps) {
      const { alphas, weights } = message;
      const told = alphas?.length === steps && weights?.length === steps;
      path = new PathStore(steps, width, height, told ? { alphas, weights } : undefined);
      generation = gen;
      sums = [];
    }
    at = null;
    const size = width * height;
    const part = (data: DataView, row: number) =>
      new Int8Array(data.buffer as ArrayBuffer, data.byteOffset + row * size, size).slice();
    const rows = Math.min(gradients.byteLength, integrands.byteLength) / size;
    (indices as number[]).slice(0, rows).forEach((index, row) => {
      const integrand = part(integrands, row);
      const integrandScale = message.integrand_scales[row];
      let sum = 0;
      for (const byte of integrand) sum += byte;
      sums[index] = (sum * integrandScale) / 127;
      path?.add(index, {
        gradient: part(gradients, row),
        gradientScale: message.gradient_scales[row],
        integrand,
        integrandScale,
        score: scores[row] ?? Number.NaN,
        probability: probabilities[row] ?? Number.NaN,
      });
    });
    if (message.baseline && hasBytes(first)) showBaseline(blob(first));
    draw();
    paint();
  });

  session.watch<DataView>("_extra", (bytes) => {
    if (!path && hasBytes(bytes)) showBaseline(blob(bytes));
  });
  session.watch("_extra_info", () => {
    if (!path) draw();
    paintGathered();
  });
  session.watch<number>("alpha", (value) => {
    if (typeof value === "number") alpha.set(value);
  });
  session.map.subscribe(() => {
    paintGathered();
    draw();
  }, signal);
  session.pixels.subscribe(prepare, signal);
  session.photo.subscribe(mixed, signal);
  baseline.subscribe(prepare, signal);
  alpha.subscribe(paint, signal);
  prepare();
  paint();

  function stop(): void {
    cancelAnimationFrame(busy);
    playing.set(false);
  }

  function scrub(value: number, done: boolean): void {
    if (playing.get()) stop();
    alpha.set(value);
    if (done && session.get("alpha") !== value) session.set("alpha", value);
  }

  function toggle(): void {
    if (playing.get()) {
      scrub(alpha.get(), true);
      return;
    }
    const first = alpha.get() < 1 ? alpha.get() : 0;
    let began: number | undefined;
    playing.set(true);
    const step = (now: number) => {
      began ??= now;
      const value = Math.min(1, first + (now - began) / DURATION);
      // To the slider's own grid, so that what is shown is what Python gets.
      alpha.set(Math.round(value * 100) / 100);
      if (value < 1) busy = requestAnimationFrame(step);
      else scrub(1, true);
    };
    busy = requestAnimationFrame(step);
  }
  signal.addEventListener("abort", stop, { once: true });

  const range = new Store<[number, number]>([0, 1]);
  return {
    alpha,
    playing,
    image,
    gradient,
    gathered,
    series,
    range,
    text,
    scrub,
    toggle,
  };
}
