import { h } from "../dom.ts";

export interface Option {
  value: string;
  label: string;
}

/** A labeled choice. */
export function select(
  label: string,
  options: Option[],
  value: string,
  onchange: (value: string) => void,
  signal: AbortSignal,
  help?: string,
): { element: HTMLElement; show(value: string): void } {
  const input = h("select", {
    class: "xai-select",
    "aria-label": label,
    onchange: () => onchange(input.value),
    signal,
  });
  for (const option of options) input.append(new Option(option.label, option.value));
  input.value = value;
  const element = h(
    "label",
    { class: "xai-field", title: help },
    h("span", { class: "xai-label" }, label),
    input,
  );
  return {
    element,
    show(next) {
      input.value = next;
    },
  };
}
