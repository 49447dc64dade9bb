/** Where image pixels lie on a canvas, and back, for a zoom that all stages share. */

import type { Point, ViewState } from "../types.ts";

export const MOST_ZOOM = 16;

export interface Frame {
  /** Canvas pixels per image pixel. */
  scale: number;
  /** Canvas position of the image's top left corner. */
  left: number;
  top: number;
}

/** Fit an image into a canvas, zoomed about its center point. */
export function frameOf(
  view: ViewState,
  image: { width: number; height: number },
  canvas: { width: number; height: number },
): Frame {
  const fit = Math.min(canvas.width / image.width, canvas.height / image.height);
  const scale = fit * view.zoom;
  return {
    scale,
    left: place(canvas.width, image.width * scale, view.centerX),
    top: place(canvas.height, image.height * scale, view.centerY),
  };
}

/** Keep the image at the canvas's edges when it is larger, centered when it is smaller. */
function place(room: number, size: number, center: number): number {
  if (size <= room) return (room - size) / 2;
  return Math.min(0, Math.max(room - size, room / 2 - center * size));
}

export function toImage(frame: Frame, x: number, y: number): Point {
  return { x: (x - frame.left) / frame.scale, y: (y - frame.top) / frame.scale };
}

/** Zoom by a factor about a point of the image, given in shares of its size. */
export function zoomed(view: ViewState, factor: number, aboutX: number, aboutY: number): ViewState {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  if (zoom === 1) return { ...view, zoom, centerX: 0.5, centerY: 0.5 };
  const kept = view.zoom / zoom;
  return {
    ...view,
    zoom,
    centerX: clamp(aboutX + (view.centerX - aboutX) * kept, zoom),
    centerY: clamp(aboutY + (view.centerY - aboutY) * kept, zoom),
  };
}

/** Move the center by a share of the image. */
export function moved(view: ViewState, dx: number, dy: number): ViewState {
  const centerX = clamp(view.centerX + dx, view.zoom);
  const centerY = clamp(view.centerY + dy, view.zoom);
  return { ...view, centerX, centerY };
}

/** What `place` would not show must not be kept, or the way back would begin with nothing. */
function clamp(share: number, zoom: number): number {
  const edge = 0.5 / zoom;
  return Math.min(1 - edge, Math.max(edge, share));
}
