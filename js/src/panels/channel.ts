import { h } from "../dom.ts";
import type { Context } from "../types.ts";
import type { LayerInfo } from "../ui/layer_tree.ts";

/** One channel of the chosen layer, or all of them. */
export function channelPicker({ session, signal }: Context): HTMLElement {
  const all = h("input", {
    type: "checkbox",
    signal,
    onchange: () => choose(all.checked ? null : Number(number.value) || 0),
  });
  const number = h("input", {
    type: "number",
    class: "xai-number xai-channel-number",
    min: "0",
    step: "1",
    value: "0",
    "aria-label": "Channel",
    signal,
    onchange: () => choose(Number(number.value) || 0),
  });
  const range = h("span", { class: "xai-hint" });

  /** Of the layer; `null` when not known. */
  function channels(): number | null {
    const layer = session.get<string>("layer");
    const info = session.get<{ layer?: string; channels?: number } | null>("_extra_info");
    if (info?.layer === layer && info?.channels) return info.channels;
    const found = session.get<LayerInfo[] | null>("_layers")?.find((each) => each.name === layer);
    return found?.shape?.length === 4 ? (found.shape[1] ?? null) : null;
  }

  function choose(value: number | null): void {
    const last = (channels() ?? Number.POSITIVE_INFINITY) - 1;
    const channel = value === null ? null : Math.min(last, Math.max(0, Math.round(value)));
    session.set("channel", channel);
    show();
  }

  function show(): void {
    const channel = session.get<number | null>("channel") ?? null;
    const count = channels();
    all.checked = channel === null;
    number.disabled = channel === null;
    if (channel !== null) number.value = String(channel);
    if (count) number.max = String(count - 1);
    else number.removeAttribute("max");
    range.textContent = count ? `of ${count}` : "";
  }
  for (const trait of ["channel", "layer", "_layers", "_extra_info"]) {
    session.watch(trait, show, signal);
  }
  return h(
    "div",
    { class: "xai-channel", role: "group", "aria-label": "Channel" },
    h("span", { class: "xai-label" }, "Channel"),
    h("label", { class: "xai-field" }, all, "all"),
    number,
    range,
  );
}
