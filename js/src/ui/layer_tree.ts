/** Pick a layer of the network: a search field over a tree of layers. */

import { h } from "../dom.ts";
import { percent } from "./scale.ts";

export interface LayerInfo {
  name: string;
  type: string;
  depth: number;
  /** With the batch in front; `null` where the layer gives no tensor. */
  shape: number[] | null;
  /** Share of the network's work, 0..1. */
  cost: number | null;
}

export interface LayerTree {
  element: HTMLElement;
  show(layers: LayerInfo[], chosen: string): void;
}

let count = 0;

export function shapeText(shape: number[] | null): string {
  return shape ? shape.slice(1).join(" × ") : "";
}

/** Layers that hold every word of the query in name or type. */
export function matching(layers: LayerInfo[], query: string): LayerInfo[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return layers.filter((layer) => {
    const text = `${layer.name} ${layer.type}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

export function layerTree(onchoose: (name: string) => void, signal: AbortSignal): LayerTree {
  const id = `xai-layers-${++count}`;
  let layers: LayerInfo[] = [];
  let chosen = "";
  let shown: LayerInfo[] = [];
  let active = -1;

  const current = h("span", { class: "xai-layer-now" });
  const opener = h("summary", {}, "Layer: ", current);
  const list = h("div", { id, class: "xai-layer-list", role: "listbox", "aria-label": "Layers" });
  const search = h("input", {
    type: "search",
    class: "xai-layer-search",
    placeholder: "Search by name or type",
    role: "combobox",
    autocomplete: "off",
    "aria-label": "Search layers",
    "aria-controls": id,
    "aria-expanded": "true",
    "aria-autocomplete": "list",
    signal,
    oninput: () => fill(),
    onkeydown: keys,
  });
  const head = h(
    "div",
    { class: "xai-layer xai-layer-head", "aria-hidden": "true" },
    ...["Layer", "Type", "Output", "Work"].map((text) => h("span", {}, text)),
  );
  const none = h("p", { class: "xai-hint", hidden: true }, "No layer by that name.");
  const element = h(
    "details",
    {
      class: "xai-layers",
      signal,
      ontoggle: () => {
        if (!element.open) return;
        search.value = "";
        fill();
        search.focus();
      },
      onfocusout: (event: FocusEvent) => {
        // To nowhere: the list is scrolled with the mouse, or the window loses focus.
        if (event.relatedTarget && !element.contains(event.relatedTarget as Node)) {
          element.open = false;
        }
      },
    },
    opener,
    h("div", { class: "xai-layer-menu" }, search, head, list, none),
  );
  list.addEventListener(
    "click",
    (event) => {
      const option = (event.target as Element).closest("[role=option]");
      if (option) choose([...list.children].indexOf(option));
    },
    { signal },
  );

  function fill(): void {
    shown = matching(layers, search.value);
    const tree = search.value.trim() === "";
    list.textContent = "";
    shown.forEach((layer, index) => {
      const short = tree ? layer.name.slice(layer.name.lastIndexOf(".") + 1) : layer.name;
      list.append(
        h(
          "div",
          {
            id: `${id}-${index}`,
            class: "xai-layer",
            role: "option",
            title: layer.shape ? layer.name : `${layer.name}: no map of its own to choose`,
            "aria-selected": layer.name === chosen,
            "aria-disabled": layer.shape ? undefined : "true",
          },
          h(
            "span",
            { class: "xai-layer-name", style: `--depth:${tree ? Math.min(layer.depth, 8) : 0}` },
            short,
          ),
          h("span", { class: "xai-layer-type" }, layer.type),
          h("span", { class: "xai-layer-shape" }, shapeText(layer.shape)),
          h("span", { class: "xai-layer-cost" }, layer.cost === null ? "" : percent(layer.cost)),
        ),
      );
    });
    none.hidden = shown.length > 0;
    move(
      Math.max(
        0,
        shown.findIndex((layer) => layer.name === chosen),
      ),
    );
  }

  function move(index: number): void {
    list.children[active]?.classList.remove("xai-active");
    active = Math.min(shown.length - 1, Math.max(0, index));
    const option = list.children[active];
    option?.classList.add("xai-active");
    option?.scrollIntoView?.({ block: "nearest" });
    if (option) search.setAttribute("aria-activedescendant", option.id);
    else search.removeAttribute("aria-activedescendant");
  }

  function choose(index: number): void {
    const layer = shown[index];
    if (!layer?.shape) return;
    element.open = false;
    opener.focus();
    onchoose(layer.name);
  }

  function keys(event: KeyboardEvent): void {
    const goals: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + 8,
      PageUp: active - 8,
    };
    const goal = goals[event.key];
    if (goal !== undefined) move(goal);
    else if (event.key === "Enter") choose(active);
    else if (event.key === "Escape") {
      element.open = false;
      opener.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return {
    element,
    show(all, name) {
      layers = all;
      chosen = name;
      current.textContent = name;
      if (element.open) fill();
    },
  };
}
