/** What the parts of the front end promise each other. */

import type { AnyModel } from "@anywidget/types";
import type { Store } from "./store.ts";

/** A parameter as Python's `Parameter.to_dict()` tells it. Unit "%" shows a share as a percentage. */
export interface Parameter {
  name: string;
  kind: "float" | "int" | "choice" | "flag" | "layer";
  label: string;
  unit: string;
  help: string;
  low: number | null;
  high: number | null;
  step: number | null;
  default: unknown;
  options: string[];
}

export interface Category {
  index: number;
  name: string;
  probability: number;
}

/** Traits of every widget, plus one per parameter. */
// biome-ignore lint/suspicious/noExplicitAny: traits are typed where they are read
export type Model = AnyModel<any>;

export type Sign = "signed" | "absolute" | "positive" | "negative";

/** View controls, shared by all views of a widget in the page; they never reach the kernel. */
export interface ViewState {
  sign: Sign;
  /** Percentile of the shown values that gets the full color, 90..100. */
  clip: number;
  /** Threshold as a share of the maximum, 0..1 (0.15: the Grad-CAM paper's). */
  threshold: number;
  /** Hide what is below the threshold and draw the largest component's bounding box. */
  box: boolean;
  colormap: string;
  /** Opacity of the map over the photo, 0..1. */
  opacity: number;
  /** Interpolate between pixels. */
  smooth: boolean;
  /** Zoom, 1 = fits; and the image point (0..1 of width and height) at the center. */
  zoom: number;
  centerX: number;
  centerY: number;
}

/** A scalar map, `values[y * width + x]`. */
export interface ScalarMap {
  values: Float32Array;
  width: number;
  height: number;
}

/** The attribution as it stands. */
export interface MapFrame extends ScalarMap {
  stage: "preview" | "partial" | "final";
  generation: number;
  done: number;
  total: number;
  diagnostics: Record<string, number | null>;
  /** Further buffers of the message by name, such as "sample" and "heat". */
  extras: Record<string, DataView>;
}

export interface Progress {
  done: number;
  total: number;
  /** 0..1 */
  fraction: number;
  text: string;
}

/** A point in image pixels, continuous, origin at the top left corner. */
export interface Point {
  x: number;
  y: number;
}

export interface Message {
  kind: string;
  gen?: number;
  seq?: number;
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own fields
  [field: string]: any;
}

/** One per model and page: two views of a widget share it and so mirror each other. */
export interface Session {
  readonly model: Model;
  /** Aborted when the model closes. */
  readonly signal: AbortSignal;
  readonly view: Store<ViewState>;
  readonly cursor: Store<Point | null>;
  /** Running or final attribution; `null` before the first. */
  readonly map: Store<MapFrame | null>;
  readonly progress: Store<Progress>;
  /** The photo as the model saw it (deep dream: the start image), decoded. */
  readonly photo: Store<ImageBitmap | null>;
  /** Its pixels, RGBA. */
  readonly pixels: Store<ImageData | null>;
  /** False when the kernel does not answer, or for a saved notebook. */
  readonly connected: Store<boolean>;
  /** Messages from Python, already acknowledged and without those of older generations. */
  on(kind: string, handle: (message: Message, buffers: DataView[]) => void): void;
  /** Run `handle` now and at each change of the trait; ends with `signal` (default: session's). */
  watch<T>(trait: string, handle: (value: T) => void, signal?: AbortSignal): void;
  get<T>(trait: string): T;
  /** `model.set` + `save_changes`. */
  set(trait: string, value: unknown): void;
  send(message: Message, buffers?: ArrayBuffer[]): void;
  /** `{kind: "action", name}`. */
  action(name: string): void;
  /** State that a panel shares between views: made once per session. */
  shared<T>(key: string, make: () => T): T;
  /** 256x3 table of the color map in `view.colormap`, or of the one named. */
  table(name?: string): Uint8Array;
}

/** What a panel is given, per view. */
export interface Context {
  session: Session;
  /** Aborted when the view goes. */
  signal: AbortSignal;
  /** Drawn over every photo. */
  overlay?: Overlay;
}

/** What lies over the photo of every stage that has one, whatever the panel. */
export interface Overlay {
  /** Another value whenever it must be drawn anew. */
  changes: Store<unknown>;
  /** Whether a canvas is painted on: then the photo must be seen, and the cursor is a brush. */
  paints(canvas: HTMLCanvasElement): boolean;
  /** In pixels of the image, whose size is given. */
  draw(pen: CanvasRenderingContext2D, pixel: number, size: { width: number; height: number }): void;
  /** For screen readers; begins with a space where it says anything. */
  describe(canvas: HTMLCanvasElement): string;
}

/** What is explained can be chosen with it. */
export interface TargetPicker {
  element: HTMLElement;
  overlay: Overlay;
  /** Let the stages of the panel take part. */
  attach?(stages: Stage[]): void;
}

/** What a stage draws, from bottom to top; each may change at any time. */
export interface StageOptions {
  title: string;
  /** Bottom: pixels; `null` draws none. */
  image?: Store<CanvasImageSource | null>;
  /** Scalar map in color over it. */
  map?: Store<ScalarMap | null>;
  /** "view": sign, clip, threshold, colors and opacity as the user set them (default).
   *  "heat": probabilities, in sequential colors from 0 to the highest, at full opacity. */
  coloring?: "view" | "heat";
  /** Opacity over the image; default `view.opacity`. Without an image maps are opaque. */
  opacity?: number;
  /** A value of the map as text; default: three digits. */
  format?: (value: number) => string;
  /** What gets the full color, where that is not the map's own matter. */
  limit?: (view: ViewState) => number | undefined;
  /** Draw on top, in image pixels (the context is scaled and moved already). */
  decorate?: (context: CanvasRenderingContext2D, pixel: number) => void;
  /** Value under the cursor, as text. Default: of `map`. */
  readout?: (point: Point) => string;
  /** Size in pixels of what is shown, where neither image nor map says it. */
  size?: { width: number; height: number };
  /** A sentence for screen readers. */
  describe?: () => string;
  /** Small, without a title bar: for strips. */
  compact?: boolean;
}

export interface Stage {
  title?: string;
  element: HTMLElement;
  /** Paint again before the next frame; called for you when a store above changes. */
  repaint(): void;
  /** The stage at the image's own resolution (at least `minimum` pixels wide), for saving. */
  render(minimum?: number): HTMLCanvasElement;
  /** Where a pointer is, in image pixels, also outside of them; of a stage that has an image. */
  locate?(event: MouseEvent): Point;
}

/** What a panel hands to the shell. */
export interface PanelView {
  /** In order; the first is what "Save PNG" writes, side by side with the others. */
  stages: Stage[];
  /** Further elements between parameters and stages (alpha slider, play button). */
  above?: HTMLElement[];
  /** Elements under the stages (charts, bars). */
  below?: HTMLElement[];
  /** Elements in the parameter row, before those in `parameters`. */
  controls?: HTMLElement[];
  /** Names of the parameters to show as controls, in order. */
  parameters: string[];
  /** False: the view toolbar for maps (sign, clip, ...) is left out. */
  usesMap?: boolean;
  /** False: the photo cannot be changed in the page. */
  usesPhoto?: boolean;
  /** What stands in the status line when idle. */
  status?: Store<string>;
}

export type Panel = (context: Context) => PanelView;

/** Makers of the controls (ui/*.ts); every focusable element keeps JupyterLab's shortcuts away. */
export interface SliderOptions {
  label: string;
  low: number;
  high: number;
  step: number;
  value: number;
  unit?: string;
  help?: string;
  integer?: boolean;
  /** At each movement. */
  oninput?: (value: number) => void;
  /** On release, or when a number is entered. */
  onchange?: (value: number) => void;
}

export interface Slider {
  element: HTMLElement;
  input: HTMLInputElement;
  /** Show a value without calling back; ignored while the user drags. */
  show(value: number): void;
  /** Change the range. */
  range(low: number, high: number): void;
}
