/** Painting a region on a stage, by pointer and by keyboard, while the brush is on. */

import type { Context, Stage } from "../types.ts";
import type { RegionState } from "../ui/region.ts";

const PAINTS = [" ", "Enter"];
const ERASES = ["Delete", "Backspace"];

/** The canvas that is painted on; none where the stage has no image. `leave` ends the brush. */
export function paintOn(
  { session, signal }: Context,
  region: RegionState,
  { element, locate }: Stage,
  leave: () => void,
): HTMLCanvasElement | null {
  const canvas = element.querySelector("canvas");
  if (!canvas || !locate) return null;
  const { brush } = region;
  /** The pointer, or the key that is held down. */
  let holder = "";
  const begin = (by: string, point: { x: number; y: number }, erases: boolean) => {
    end();
    holder = by;
    region.press(point, erases);
  };
  const end = () => {
    if (holder) region.release();
    holder = "";
  };
  // Ahead of what the stage and its panel do with the same events.
  const on = <K extends keyof HTMLElementEventMap>(
    name: K,
    handle: (event: HTMLElementEventMap[K]) => void,
  ) =>
    element.addEventListener(
      name,
      (event) => {
        if (event.target === canvas && brush.get().on) handle(event);
      },
      { signal, capture: true },
    );
  on("pointerdown", (event) => {
    // With Ctrl a zoomed picture is moved, as without a brush.
    if (event.button !== 0 || event.ctrlKey || event.metaKey) return;
    event.stopPropagation();
    canvas.setPointerCapture(event.pointerId);
    begin("pointer", locate(event), brush.get().erases || event.shiftKey);
  });
  on("pointermove", (event) => {
    if (holder === "pointer") region.move(locate(event));
  });
  for (const name of ["pointerup", "pointercancel", "blur"] as const) on(name, end);
  for (const name of ["click", "dblclick"] as const) on(name, (event) => event.stopPropagation());
  on("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const erases = ERASES.includes(event.key);
    const by = { "[": -1, "]": 1 }[event.key];
    if (event.key === "Escape") leave();
    else if (by) brush.update((now) => ({ ...now, size: Math.max(1, now.size + by) }));
    else if (!erases && !PAINTS.includes(event.key)) return;
    else if (!holder) {
      const photo = session.photo.get();
      session.cursor.update(
        (at) => at ?? { x: (photo?.width ?? 0) / 2, y: (photo?.height ?? 0) / 2 },
      );
      const point = session.cursor.get();
      if (point) begin(event.key, point, erases);
    }
    event.preventDefault();
    event.stopPropagation();
  });
  on("keyup", (event) => {
    if (event.key === holder) end();
  });
  // Arrow keys that are pressed meanwhile paint along.
  session.cursor.subscribe((point) => {
    if (point && holder && holder !== "pointer") region.move(point);
  }, signal);
  brush.watch((now) => {
    if (!now.on) end();
    canvas.classList.toggle("xai-painted", now.on);
  }, signal);
  signal.addEventListener("abort", end, { once: true });
  return canvas;
}
