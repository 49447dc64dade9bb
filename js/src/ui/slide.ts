import { h } from "../dom.ts";
import type { Store } from "../store.ts";

/** Listen until `signal` aborts. */
export function listener(element: HTMLElement, signal: AbortSignal) {
  return <K extends keyof HTMLElementEventMap>(
    name: K,
    handle: (event: HTMLElementEventMap[K]) => void,
  ): void => element.addEventListener(name, handle, { signal });
}

/** Where a key leads a slider that stands at `now`; the event is used up then. */
export function keyGoal(
  event: KeyboardEvent,
  now: number,
  [low, high]: [number, number],
  step: number,
  page: number,
): number | undefined {
  const far = Number.POSITIVE_INFINITY;
  const moves: Record<string, number> = {
    ArrowLeft: -step,
    ArrowDown: -step,
    ArrowRight: step,
    ArrowUp: step,
    PageDown: -page,
    PageUp: page,
    Home: -far,
    End: far,
  };
  const move = moves[event.key];
  if (move === undefined) return undefined;
  event.preventDefault();
  event.stopPropagation();
  return Math.min(high, Math.max(low, now + move));
}

/** A paragraph that says what `text` holds. */
export function told(text: Store<string>, signal: AbortSignal): HTMLElement {
  const element = h("p", { class: "xai-told" });
  text.watch((value) => {
    element.textContent = value;
  }, signal);
  return element;
}

/** A click on a picture counts, the end of a drag (it pans) does not. */
export function onTap(element: HTMLElement, signal: AbortSignal, handle: () => void): void {
  let down = [0, 0] as [number, number];
  const on = listener(element, signal);
  on("pointerdown", (event) => {
    down = [event.clientX, event.clientY];
  });
  on("click", (event) => {
    if (Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 4) handle();
  });
}
