import { h } from "../dom.ts";

/** A labeled box to check. */
export function checkbox(
  label: string,
  onchange: (checked: boolean) => void,
  signal: AbortSignal,
  title?: string,
): { element: HTMLElement; show(checked: boolean): void } {
  const input = h("input", {
    type: "checkbox",
    title,
    onchange: () => onchange(input.checked),
    signal,
  });
  return {
    element: h("label", { class: "xai-field", title }, input, label),
    show(checked) {
      input.checked = checked;
    },
  };
}
