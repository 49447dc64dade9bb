/** Zoom, pan and cursor of a stage, by pointer and by keyboard. */

import type { Context, Point } from "../types.ts";
import { type Frame, moved, zoomed } from "./zoom.ts";

const STEP = 1.25;

export function interact(
  { session, signal }: Context,
  canvas: HTMLCanvasElement,
  size: () => { width: number; height: number },
  frame: () => Frame,
  locate: (event: MouseEvent) => Point,
): void {
  const pointOf = (event: MouseEvent): Point | null => {
    const point = locate(event);
    const { width, height } = size();
    const inside = point.x >= 0 && point.y >= 0 && point.x < width && point.y < height;
    return inside ? point : null;
  };
  const zoom = (factor: number, about?: Point | null) => {
    const { width, height } = size();
    const { centerX, centerY } = session.view.get();
    const [x, y] = about ? [about.x / width, about.y / height] : [centerX, centerY];
    session.view.update((view) => zoomed(view, factor, x, y));
  };
  const pan = (dx: number, dy: number) => {
    const { width, height } = size();
    const scale = frame().scale;
    session.view.update((view) => moved(view, dx / (width * scale), dy / (height * scale)));
  };

  let held: { x: number; y: number } | null = null;
  canvas.addEventListener(
    "pointerdown",
    (event) => {
      if (event.button !== 0 || session.view.get().zoom === 1) return;
      held = { x: event.clientX, y: event.clientY };
      canvas.setPointerCapture(event.pointerId);
    },
    { signal },
  );
  canvas.addEventListener(
    "pointermove",
    (event) => {
      if (held) {
        const ratio = canvas.width / Math.max(1, canvas.clientWidth);
        pan((held.x - event.clientX) * ratio, (held.y - event.clientY) * ratio);
        held = { x: event.clientX, y: event.clientY };
      }
      session.cursor.set(pointOf(event));
    },
    { signal },
  );
  const release = () => {
    held = null;
  };
  canvas.addEventListener("pointerup", release, { signal });
  canvas.addEventListener("pointercancel", release, { signal });
  canvas.addEventListener("pointerleave", () => session.cursor.set(null), { signal });
  canvas.addEventListener("dblclick", () => zoom(0), { signal });
  canvas.addEventListener(
    "wheel",
    (event) => {
      // Without a key the page must go on scrolling.
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? STEP : 1 / STEP, pointOf(event));
    },
    { signal, passive: false },
  );
  canvas.addEventListener(
    "keydown",
    (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "+" || event.key === "=") zoom(STEP, session.cursor.get());
      else if (event.key === "-") zoom(1 / STEP, session.cursor.get());
      else if (event.key === "0") zoom(0);
      else if (event.key === "Escape") session.cursor.set(null);
      else if (!step(event)) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { signal },
  );

  const step = (event: KeyboardEvent): boolean => {
    const by = event.shiftKey ? 10 : 1;
    const [dx, dy] = DIRECTIONS[event.key] ?? [0, 0];
    if (!dx && !dy) return false;
    const { width, height } = size();
    const from = session.cursor.get() ?? { x: width / 2, y: height / 2 };
    session.cursor.set({
      x: Math.min(width - 0.5, Math.max(0.5, from.x + dx * by)),
      y: Math.min(height - 0.5, Math.max(0.5, from.y + dy * by)),
    });
    return true;
  };
}

const DIRECTIONS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
