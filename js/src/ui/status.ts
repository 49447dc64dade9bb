/** What the kernel is doing, what went wrong, and the way out of both. */

import { h } from "../dom.ts";
import type { Store } from "../store.ts";
import type { Context } from "../types.ts";
import { button } from "./button.ts";

const SPOKEN = 1500;
const SETTLED =
  "How far the picture has settled: the correlation that is to be expected between it and the " +
  "picture that ever more evaluations would lead to. At 100% it no longer changes.";

export function statusLine({ session, signal }: Context, idle?: Store<string>): HTMLElement {
  const text = h("span", { class: "xai-status-text" });
  // Screen readers hear of it now and then, not of each step.
  const spoken = h("span", { class: "xai-hidden", role: "status", "aria-live": "polite" });
  const settled = h("span", { class: "xai-settled", title: SETTLED });
  const meter = h("progress", { class: "xai-progress", max: 1, "aria-label": "Progress" });
  const cancel = button(
    "Cancel",
    () => session.set("_cancel", (session.get<number>("_cancel") ?? 0) + 1),
    { signal, title: "Stop here" },
  );
  let last = 0;
  let later: ReturnType<typeof setTimeout> | undefined;
  const speak = () => {
    clearTimeout(later);
    later = setTimeout(
      () => {
        last = Date.now();
        spoken.textContent = [text.textContent, settled.textContent].filter(Boolean).join(". ");
      },
      Math.max(0, last + SPOKEN - Date.now()),
    );
  };
  signal.addEventListener("abort", () => clearTimeout(later), { once: true });
  const draw = () => {
    const running = session.get<string>("status") === "running";
    const progress = session.progress.get();
    meter.hidden = cancel.hidden = !running;
    meter.value = progress.fraction;
    const counted = progress.total > 1 ? `${progress.done} of ${progress.total}` : "Working";
    const info = session.get<{ seconds?: number; cached?: boolean }>("_result_info") ?? {};
    const done = info.cached ? "Kept from before" : `Done in ${(info.seconds ?? 0).toFixed(1)} s`;
    const finished = info.seconds === undefined ? "" : done;
    const said = /cancel/i.test(progress.text ?? "") ? progress.text : "";
    const failed = session.get("status") === "error" && "Stopped by an error";
    const ended = failed || said || idle?.get() || finished;
    text.textContent = running ? progress.text || counted : ended;
    const share = session.map.get()?.diagnostics.settled;
    // Rounded down: what is not quite settled must not read as 100 %.
    settled.textContent =
      typeof share === "number" ? `Settled ${Math.floor(100 * Math.max(0, share))}%` : "";
    settled.hidden = settled.textContent === "";
    speak();
  };
  session.map.subscribe(draw, signal);
  session.watch("status", draw, signal);
  session.watch("_result_info", draw, signal);
  session.progress.subscribe(draw, signal);
  idle?.subscribe(draw, signal);
  const lost = h(
    "span",
    { class: "xai-lost" },
    "Not connected to a kernel, or it is busy: run the cell to make it live.",
  );
  session.connected.watch((connected) => {
    lost.hidden = connected;
  }, signal);
  return h("div", { class: "xai-status" }, meter, text, settled, spoken, lost, cancel);
}

export function errorBox({ session, signal }: Context): HTMLElement {
  const text = h("span", { class: "xai-error-text" });
  const trace = h("pre", { tabIndex: 0, "aria-label": "Traceback" });
  const details = h("details", {}, h("summary", {}, "Details"), trace);
  const again = button("Try again", () => session.action("retry"), { signal });
  const element = h("div", { class: "xai-error", role: "alert" }, text, again, details);
  const draw = () => {
    const error = session.get<string>("error") ?? "";
    element.hidden = error === "";
    text.textContent = error;
    trace.textContent = session.get<string>("_error_details") ?? "";
    details.hidden = trace.textContent === "";
    again.hidden = session.get<string>("status") !== "error";
  };
  for (const trait of ["error", "_error_details", "status"]) session.watch(trait, draw, signal);
  return element;
}
