import { beforeEach, describe, expect, it } from "vitest";
import { type LayerInfo, layerTree, matching, shapeText } from "../../src/ui/layer_tree.ts";

const LAYERS: LayerInfo[] = [
  { name: "features", type: "Sequential", depth: 0, shape: [1, 8, 4, 4], cost: 0.9 },
  { name: "features.0", type: "Conv2d", depth: 1, shape: [1, 8, 8, 8], cost: 0.5 },
  { name: "features.1", type: "<b>Odd</b>", depth: 1, shape: null, cost: null },
  { name: "classifier", type: "Linear", depth: 0, shape: [1, 10], cost: 0.1 },
];

describe("layer tree", () => {
  let chosen: string[];
  let tree: ReturnType<typeof layerTree>;
  let search: HTMLInputElement;
  const press = (key: string) =>
    search.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const type = (text: string) => {
    search.value = text;
    search.dispatchEvent(new Event("input"));
  };

  beforeEach(() => {
    chosen = [];
    tree = layerTree((name) => chosen.push(name), new AbortController().signal);
    document.body.replaceChildren(tree.element);
    tree.show(LAYERS, "features.0");
    search = tree.element.querySelector("input") as HTMLInputElement;
    (tree.element as HTMLDetailsElement).open = true;
    type("");
  });

  it("lists layers with shape and share, the chosen one active", () => {
    const options = [...tree.element.querySelectorAll("[role=option]")];
    expect(options.map((option) => option.querySelector("span")?.textContent)).toEqual([
      "features",
      "0",
      "1",
      "classifier",
    ]);
    expect(options[1]?.getAttribute("aria-selected")).toBe("true");
    expect(options[1]?.textContent).toContain("8 × 8 × 8");
    expect(search.getAttribute("aria-activedescendant")).toBe(options[1]?.id);
    expect(tree.element.querySelector("b")).toBeNull();
  });

  it("is used by keys, and passes over layers that give no tensor", () => {
    press("ArrowDown");
    press("Enter");
    expect(chosen).toEqual([]);
    press("ArrowDown");
    press("Enter");
    expect(chosen).toEqual(["classifier"]);
  });

  it("searches names and types", () => {
    expect(matching(LAYERS, "feat conv").map((layer) => layer.name)).toEqual(["features.0"]);
    expect(matching(LAYERS, " ").length).toBe(4);
    type("linear");
    press("Enter");
    expect(chosen).toEqual(["classifier"]);
    type("nothing like it");
    press("Enter");
    expect(chosen).toEqual(["classifier"]);
  });

  it("writes shapes without the batch", () => {
    expect([shapeText([1, 3, 4, 5]), shapeText(null)]).toEqual(["3 × 4 × 5", ""]);
  });
});
