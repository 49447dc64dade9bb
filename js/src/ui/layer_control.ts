/** A parameter that is a layer: one of the tree, or a depth of the network. */

import { h } from "../dom.ts";
import type { Context, Parameter } from "../types.ts";
import { type LayerInfo, layerTree } from "./layer_tree.ts";
import { slider } from "./slider.ts";

/** `place` says how deep a layer lies; layers of one place give the same map. */
export type PlacedLayer = LayerInfo & { place: number | null };

const AUTOMATIC = "automatic";

/** The layers that a slider goes through: the outermost of each place, in order. */
export function steps(layers: PlacedLayer[]): PlacedLayer[] {
  const found: PlacedLayer[] = [];
  for (const layer of layers) {
    if (layer.place !== null) found[layer.place] ??= layer;
  }
  return found;
}

export function layerControl({ session, signal }: Context, spec: Parameter): HTMLElement {
  const all = () => session.get<PlacedLayer[]>("_layers") ?? [];
  // The last step leaves the choice to the method.
  const layers = () => steps(all());
  const set = (name: string | undefined) => session.set(spec.name, name ?? null);
  const tree = layerTree((name) => set(name === AUTOMATIC ? undefined : name), signal);
  const depth = slider(
    {
      ...{ label: "Depth", low: 1, high: layers().length + 1, step: 1, integer: true },
      value: layers().length + 1,
      help: "Through the layers that have spatial extent, to the right the method's own choice",
      oninput: (value) => set(layers()[value - 1]?.name),
    },
    signal,
  );
  const text = h("span", { class: "xai-layer-told" });
  const most = h("span", { class: "xai-unit" });
  depth.element.lastElementChild?.append(most);
  const draw = () => {
    const choice = session.get<string | null>(spec.name);
    const known = all();
    const now = known.find((layer) => layer.name === choice);
    const places = layers();
    depth.range(1, places.length + 1);
    most.textContent = `of ${places.length + 1}`;
    depth.show((now?.place ?? places.length) + 1);
    const { layer, size } = session.get<{ layer?: string; size?: string }>("_extra_info") ?? {};
    text.textContent = size ? `${choice ? "" : `${layer}, `}${size}` : "";
    depth.input.setAttribute("aria-valuetext", choice ?? AUTOMATIC);
    tree.show(
      [
        { name: AUTOMATIC, type: "", depth: 0, shape: [1], cost: null },
        ...known.map((layer) => (layer.place === null ? { ...layer, shape: null } : layer)),
      ],
      choice ?? AUTOMATIC,
    );
  };
  for (const trait of [spec.name, "_layers", "_extra_info"]) session.watch(trait, draw, signal);
  return h(
    "div",
    { class: "xai-layer-control", role: "group", "aria-label": spec.label, title: spec.help },
    depth.element,
    tree.element,
    text,
  );
}
