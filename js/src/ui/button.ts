import { h } from "../dom.ts";

export interface ButtonOptions {
  signal: AbortSignal;
  title?: string;
  primary?: boolean;
  icon?: string;
}

/** A button; an icon stands before its label. */
export function button(
  label: string,
  onclick: () => void,
  { signal, title, primary, icon }: ButtonOptions,
): HTMLButtonElement {
  return h(
    "button",
    {
      type: "button",
      class: primary ? "xai-button xai-primary" : "xai-button",
      title,
      onclick,
      signal,
    },
    icon ? h("span", { class: "xai-icon", "aria-hidden": "true" }, icon) : null,
    label,
  );
}
