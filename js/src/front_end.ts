/** The front end of a widget, as an anywidget module. */

import { type PageSession, sessionOf } from "./session.ts";
import { shell } from "./shell.ts";
import type { Context, Model, Panel, TargetPicker } from "./types.ts";

interface Host {
  model: Model;
  signal?: AbortSignal;
}

/** Older hosts hand over no signal; then what is returned ends the lifetime. */
function lifetime(signal?: AbortSignal): { signal: AbortSignal; end: () => void } {
  const controller = new AbortController();
  signal?.addEventListener("abort", () => controller.abort(), { once: true });
  return { signal: controller.signal, end: () => controller.abort() };
}

/** The module of widgets with these panels, by `_kind`; and with what chooses what is explained. */
export function frontEnd(
  panels: Record<string, Panel>,
  picker?: (context: Context) => TargetPicker,
) {
  return {
    initialize({ model, signal }: Host) {
      const life = lifetime(signal);
      sessionOf(model, life.signal);
      return life.end;
    },

    render({ model, el, signal }: Host & { el: HTMLElement }) {
      const life = lifetime(signal);
      const session = sessionOf(model);
      const root = shell({ session, signal: life.signal }, panels, picker);
      el.replaceChildren(root);
      watchVisibility(session, root, life.signal);
      return life.end;
    },
  };
}

/** Tell the session whether this view can be seen; the kernel streams only while one can. */
function watchVisibility(session: PageSession, root: HTMLElement, signal: AbortSignal): void {
  const view = {};
  let inside = true;
  const tell = () => session.seen(view, inside && document.visibilityState === "visible");
  const observer = new IntersectionObserver((entries) => {
    inside = entries.at(-1)?.isIntersecting ?? inside;
    tell();
  });
  observer.observe(root);
  document.addEventListener("visibilitychange", tell, { signal });
  signal.addEventListener(
    "abort",
    () => {
      observer.disconnect();
      session.seen(view, false);
    },
    { once: true },
  );
}
