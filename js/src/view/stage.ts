/** A picture to look into: image, map in color, what a panel draws, zoom, cursor and value. */

import { h } from "../dom.ts";
import type { Context, Point, Stage, StageOptions } from "../types.ts";
import { short } from "../ui/scale.ts";
import { interact } from "./interact.ts";
import { MapLayer, type Painted } from "./layers.ts";
import { legend } from "./legend.ts";
import { type Frame, frameOf, toImage } from "./zoom.ts";

/** What is left of a map's opacity while a region is painted over it. */
const DIMMED = 0.5;
const DEFAULT = { width: 224, height: 224 };

/** A stage; it paints itself again whenever what it shows changes, until `context.signal`. */
export function createStage(context: Context, options: StageOptions): Stage {
  const { session, signal, overlay } = context;
  const layer = new MapLayer(context, options);
  const bar = options.map && !options.compact ? legend() : null;
  const canvas = h("canvas", {
    class: "xai-canvas",
    role: "img",
    tabIndex: options.compact ? undefined : 0,
    "aria-label": options.title,
  });
  const readout = h("output", { class: "xai-readout", "aria-live": "off" });
  const title = h("figcaption", { class: "xai-stage-title" }, options.title);
  const element = h(
    "figure",
    { class: options.compact ? "xai-stage xai-stage-compact" : "xai-stage" },
    title,
    canvas,
    options.compact ? null : h("div", { class: "xai-stage-foot" }, readout, bar?.element),
  );

  const size = () => {
    const image = options.image?.get();
    const map = options.map?.get();
    if (image) return sizeOf(image);
    if (map && map.width > 0) return { width: map.width, height: map.height };
    return options.size ?? DEFAULT;
  };

  const paintOn = (target: HTMLCanvasElement, frame: Frame, cursor: boolean): Painted | null => {
    const view = session.view.get();
    const pen = target.getContext("2d");
    if (!pen) return null;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, target.width, target.height);
    pen.setTransform(frame.scale, 0, 0, frame.scale, frame.left, frame.top);
    pen.imageSmoothingEnabled = view.smooth && frame.scale < 24;
    pen.imageSmoothingQuality = "high";
    const { width, height } = size();
    const image = options.image?.get();
    const painting = overlay?.paints(target);
    if (image) pen.drawImage(image, 0, 0, width, height);
    const map = options.map?.get();
    const painted = map ? layer.get(map, view, Boolean(image)) : null;
    if (painted) {
      pen.globalAlpha = image ? (options.opacity ?? view.opacity) * (painting ? DIMMED : 1) : 1;
      pen.drawImage(painted.canvas, 0, 0, width, height);
      pen.globalAlpha = 1;
    }
    const pixel = 1 / frame.scale;
    if (painted?.box && map) {
      const { x0, y0, x1, y1 } = painted.box;
      const [sx, sy] = [width / map.width, height / map.height];
      outline(pen, x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy, pixel);
    }
    if (!painting) options.decorate?.(pen, pixel);
    if (image) overlay?.draw(pen, pixel, { width, height });
    const point = session.cursor.get();
    if (cursor && point && !painting) crosshair(pen, point, width, height, pixel);
    return painted;
  };

  const told = (painted: Painted | null): string => {
    const point = session.cursor.get();
    const map = options.map?.get();
    if (point && options.readout) return options.readout(point);
    if (!point || !map || !painted) return "";
    const { width, height } = size();
    const x = Math.min(map.width - 1, Math.floor((point.x / width) * map.width));
    const y = Math.min(map.height - 1, Math.floor((point.y / height) * map.height));
    const value = painted.values[y * map.width + x];
    // The value first: where there is little room, the rest is cut off.
    return value === undefined ? "" : `${(options.format ?? short)(value)} at x ${x}, y ${y}`;
  };

  const describe = (painted: Painted | null): string => {
    const box = painted?.box;
    const told = options.describe ? ` ${options.describe()}` : "";
    const range = painted ? ` Colors from ${painted.low} to ${painted.high}.` : "";
    const where = box ? ` Largest part from ${box.x0}, ${box.y0} to ${box.x1}, ${box.y1}.` : "";
    const over = (options.image?.get() && overlay?.describe(canvas)) || "";
    return `${options.title}.${told}${range}${where}${over}`;
  };

  let frame: Frame = { scale: 1, left: 0, top: 0 };
  let waiting = 0;
  const repaint = () => {
    if (!waiting && !signal.aborted) waiting = requestAnimationFrame(paint);
  };
  const paint = () => {
    waiting = 0;
    if (signal.aborted) return;
    const { width, height } = size();
    canvas.style.setProperty("aspect-ratio", `${width} / ${height}`);
    const ratio = globalThis.devicePixelRatio || 1;
    const shown = { width: canvas.clientWidth * ratio, height: canvas.clientHeight * ratio };
    if (shown.width < 1 || shown.height < 1) return;
    const [columns, rows] = [Math.round(shown.width), Math.round(shown.height)];
    if (canvas.width !== columns || canvas.height !== rows) {
      canvas.width = columns;
      canvas.height = rows;
    }
    const view = options.compact ? { ...session.view.get(), zoom: 1 } : session.view.get();
    frame = frameOf(view, { width, height }, canvas);
    const painted = paintOn(canvas, frame, !options.compact);
    readout.textContent = told(painted);
    if (painted) bar?.show(painted);
    canvas.setAttribute("aria-label", describe(painted));
  };

  session.view.subscribe(repaint, signal);
  session.cursor.subscribe(repaint, signal);
  options.image?.subscribe(repaint, signal);
  options.map?.subscribe(repaint, signal);
  overlay?.changes.subscribe(repaint, signal);
  const observer = new ResizeObserver(repaint);
  observer.observe(canvas);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    cancelAnimationFrame(waiting);
  });
  const locate = (event: MouseEvent) => {
    const bounds = canvas.getBoundingClientRect();
    const ratio = canvas.width / Math.max(1, bounds.width);
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    return toImage(frame, x * ratio, y * ratio);
  };
  if (!options.compact) interact(context, canvas, size, () => frame, locate);
  repaint();

  return {
    title: options.title,
    element,
    repaint,
    locate: options.image && locate,
    render(minimum = 0) {
      const { width, height } = size();
      const scale = Math.max(1, Math.ceil(minimum / width));
      const target = document.createElement("canvas");
      target.width = width * scale;
      target.height = height * scale;
      paintOn(target, { scale, left: 0, top: 0 }, false);
      return target;
    },
  };
}

function sizeOf(image: CanvasImageSource): { width: number; height: number } {
  if (image instanceof HTMLImageElement) {
    return { width: image.naturalWidth || 1, height: image.naturalHeight || 1 };
  }
  const { width, height } = image as ImageBitmap;
  return { width, height };
}

/** A white line on a dark one can be seen on any photo. */
function outline(
  pen: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  pixel: number,
): void {
  for (const [color, thick] of [
    ["#000a", 4],
    ["#fff", 2],
  ] as const) {
    pen.strokeStyle = color;
    pen.lineWidth = thick * pixel;
    pen.strokeRect(x, y, width, height);
  }
}

function crosshair(
  pen: CanvasRenderingContext2D,
  { x, y }: Point,
  width: number,
  height: number,
  pixel: number,
): void {
  pen.lineWidth = pixel;
  for (const [color, shift] of [
    ["#0006", pixel],
    ["#fffb", 0],
  ] as const) {
    pen.strokeStyle = color;
    pen.beginPath();
    pen.moveTo(x + shift, 0);
    pen.lineTo(x + shift, height);
    pen.moveTo(0, y + shift);
    pen.lineTo(width, y + shift);
    pen.stroke();
  }
}
