/** Draws the region over a photo: its outline, and filled while it is painted. */

import { canvas } from "../bitmap.ts";
import { Store } from "../store.ts";
import type { Context, Overlay } from "../types.ts";
import type { RegionState } from "../ui/region.ts";
import { type Mask, outline } from "./mask.ts";

/** A yellow line in black stands out from photos, and from signed maps in red and blue. */
const LINES = [
  ["#000b", 4],
  ["#ffd43b", 2],
] as const;
const FILL = [255, 212, 59, 96];
const RING = [
  ["#000c", 3.5],
  ["#fff", 1.5],
] as const;
/** A brush is seen at least this large, in pixels of the screen. */
const SMALLEST = 3;

/** With the canvases that are painted on. */
export function regionOverlay(
  { session, signal }: Context,
  region: RegionState,
  painted: HTMLCanvasElement[],
): Overlay {
  const changes = new Store<unknown>({});
  for (const store of [region.mask, region.brush]) {
    (store as Store<unknown>).subscribe(() => changes.set({}), signal);
  }
  const paints = (target: HTMLCanvasElement) => region.brush.get().on && painted.includes(target);
  // What was drawn last is kept, for there are many frames of one region.
  let drawn: Mask | null = null;
  let lines: Path2D | null = null;
  let filled: HTMLCanvasElement | null = null;
  const draw = (mask: Mask, pen: CanvasRenderingContext2D, pixel: number) => {
    if (mask !== drawn) {
      drawn = mask;
      lines = filled = null;
    }
    if (paints(pen.canvas)) {
      filled ??= fill(mask);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(filled, 0, 0);
    }
    pen.lineCap = "square";
    lines ??= traced(mask);
    stroke(pen, LINES, pixel, lines);
  };
  return {
    changes,
    paints,
    draw(pen, pixel, { width, height }) {
      const mask = region.mask.get();
      if (mask) {
        pen.save();
        const scale = width / mask.width;
        pen.scale(scale, height / mask.height);
        draw(mask, pen, pixel / scale);
        pen.restore();
      }
      const point = session.cursor.get();
      if (!point || !paints(pen.canvas)) return;
      const ring = new Path2D();
      const radius = Math.max(region.brush.get().size / 2, SMALLEST * pixel);
      ring.arc(point.x, point.y, radius, 0, 2 * Math.PI);
      stroke(pen, RING, pixel, ring);
    },
    describe(target) {
      const told = region.told();
      const keys = paints(target) ? " Space paints at the cursor, Delete erases, Escape ends." : "";
      return `${told && ` Region: ${told}.`}${keys}`;
    },
  };
}

function stroke(
  pen: CanvasRenderingContext2D,
  lines: readonly (readonly [color: string, thick: number])[],
  pixel: number,
  path: Path2D,
): void {
  for (const [color, thick] of lines) {
    pen.strokeStyle = color;
    pen.lineWidth = thick * pixel;
    pen.stroke(path);
  }
}

function traced(mask: Mask): Path2D {
  const path = new Path2D();
  for (const [x0 = 0, y0 = 0, x1 = 0, y1 = 0] of outline(mask)) {
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  }
  return path;
}

function fill({ width, height, inside }: Mask): HTMLCanvasElement {
  const made = canvas(width, height);
  const image = new ImageData(width, height);
  inside.forEach((value, place) => {
    if (value) image.data.set(FILL, 4 * place);
  });
  made.getContext("2d")?.putImageData(image, 0, 0);
  return made;
}
