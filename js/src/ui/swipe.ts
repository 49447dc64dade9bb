/** A line across a stage, with another image on its left side. */

import { h } from "../dom.ts";
import type { Store } from "../store.ts";
import type { Stage } from "../types.ts";
import { keyGoal, listener } from "./slide.ts";

export interface SwipeOptions {
  label: string;
  /** Place of the line as a share of the width; 0 shows nothing of the other image. */
  position: Store<number>;
  other: Store<ImageBitmap | null>;
  /** Size that the stage's image has, in pixels. */
  size: () => { width: number; height: number } | null;
}

export interface Swipe {
  /** For the stage's options. */
  decorate: (context: CanvasRenderingContext2D, pixel: number) => void;
  /** Put the handle on the stage. */
  attach: (stage: Stage) => void;
}

export function swipe(options: SwipeOptions, signal: AbortSignal): Swipe {
  const { position, other } = options;
  let stage: Stage | null = null;
  let shown: { canvas: HTMLCanvasElement; matrix: DOMMatrix } | null = null;
  let grabbed = false;

  const handle = h(
    "div",
    {
      class: "xai-swipe",
      role: "slider",
      tabIndex: 0,
      title: "Drag to compare with the start image",
      "aria-label": options.label,
      "aria-valuemin": 0,
      "aria-valuemax": 100,
    },
    h("span", { class: "xai-swipe-grip", "aria-hidden": "true" }, "⟷"),
  );

  /** The stage's drawing moves with zoom and pan: the handle goes where the line was drawn. */
  function place(): void {
    const size = options.size();
    if (!stage || !shown || !size) return;
    const { canvas, matrix } = shown;
    const box = canvas.getBoundingClientRect();
    const outer = stage.element.getBoundingClientRect();
    if (!box.width) return;
    const at = ((position.get() * size.width * matrix.a + matrix.e) / canvas.width) * box.width;
    handle.style.left = `${box.left - outer.left + Math.min(box.width, Math.max(0, at))}px`;
    handle.style.top = `${box.top - outer.top}px`;
    handle.style.height = `${box.height}px`;
  }

  function drag(event: PointerEvent): void {
    const size = options.size();
    if (!shown || !size) return;
    const { canvas, matrix } = shown;
    const box = canvas.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / box.width) * canvas.width;
    go((pixel - matrix.e) / matrix.a / size.width);
  }

  function go(share: number): void {
    if (Number.isFinite(share)) position.set(Math.min(1, Math.max(0, share)));
  }

  const on = listener(handle, signal);
  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.stopPropagation();
    grabbed = true;
    handle.setPointerCapture?.(event.pointerId);
  });
  on("pointermove", (event) => {
    if (grabbed) drag(event);
  });
  const release = () => {
    grabbed = false;
  };
  on("pointerup", release);
  on("pointercancel", release);
  on("keydown", (event) => {
    const goal = keyGoal(event, position.get(), [0, 1], 0.01, 0.1);
    if (goal !== undefined) go(goal);
  });
  position.watch((share) => {
    const rounded = Math.round(100 * share);
    handle.setAttribute("aria-valuenow", String(rounded));
    handle.setAttribute("aria-valuetext", `start image on the left ${rounded}%`);
    stage?.repaint();
    place();
  }, signal);
  other.subscribe(() => stage?.repaint(), signal);

  return {
    decorate(context, pixel) {
      if (context.canvas.isConnected) {
        shown = { canvas: context.canvas, matrix: context.getTransform() };
        place();
      }
      const [size, image, share] = [options.size(), other.get(), position.get()];
      if (!size || !image || share <= 0) return;
      const { width, height } = size;
      const source = image.width * share;
      context.drawImage(image, 0, 0, source, image.height, 0, 0, width * share, height);
      for (const [color, thickness] of [["#000", 3] as const, ["#fff", 1.5] as const]) {
        context.fillStyle = color;
        context.fillRect(width * share - (thickness * pixel) / 2, 0, thickness * pixel, height);
      }
    },
    attach(to) {
      stage = to;
      to.element.classList.add("xai-swiped");
      to.element.append(handle);
    },
  };
}
