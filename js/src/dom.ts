type Child = Node | string | null | undefined | false;
// biome-ignore lint/suspicious/noExplicitAny: properties and listeners of any element
type Properties = Record<string, any>;

const FOCUSABLE = new Set(["button", "input", "select", "textarea", "a", "summary"]);

/** JupyterLab in command mode takes keys from any element that does not carry this itself. */
export function keepKeys<E extends Element>(element: E): E {
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  return element;
}

/**
 * Make an element. Text children become text, never HTML. `class`, `aria-*`, `data-*`, `role`,
 * `for` and `style` are attributes, `on...` with a `signal` property are listeners, the rest
 * are properties.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  const { signal, ...rest } = properties;
  for (const [name, value] of Object.entries(rest)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on") && typeof value === "function") {
      element.addEventListener(name.slice(2), value, { signal });
    } else if (/^(class|role|for|style|aria-.*|data-.*)$/.test(name)) {
      element.setAttribute(name, String(value));
    } else {
      (element as Properties)[name] = value;
    }
  }
  for (const child of children) {
    if (child) element.append(child);
  }
  if (FOCUSABLE.has(tag) || element.tabIndex >= 0) keepKeys(element);
  return element;
}
