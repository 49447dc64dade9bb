import { describe, expect, it } from "vitest";
import { borders } from "../../src/panels/segmented.ts";
import type { Context, MapFrame } from "../../src/types.ts";
import { facts } from "../../src/ui/facts.ts";
import { layerControl, type PlacedLayer, steps } from "../../src/ui/layer_control.ts";
import { fakeSession } from "./fake_session.ts";

const layer = (name: string, place: number | null): PlacedLayer => ({
  ...{ name, place, type: "Conv2d", depth: 0, shape: [1, 8, 4, 4], cost: 0.1 },
});
const LAYERS = [
  layer("stem", 0),
  layer("block", 2),
  layer("block.0", 1),
  layer("block.1", 2),
  layer("head", null),
];
const SPEC = {
  ...{ name: "layer", kind: "layer" as const, label: "Layer", unit: "", help: "Whose map" },
  ...{ low: null, high: null, step: null, default: null, options: [] },
};

function control(traits: Record<string, unknown> = {}) {
  const session = fakeSession({ layer: null, _layers: LAYERS, _extra_info: {}, ...traits });
  const signal = new AbortController().signal;
  const element = layerControl({ session, signal } as Context, SPEC);
  document.body.replaceChildren(element);
  const range = element.querySelector("input[type=range]") as HTMLInputElement;
  const told = () => element.querySelector(".xai-layer-told")?.textContent;
  const go = (value: string) => {
    range.value = value;
    range.dispatchEvent(new Event("input"));
    range.dispatchEvent(new Event("change"));
  };
  return { session, element, range, told, go };
}

describe("layer control", () => {
  it("steps through places, the outermost layer of each", () => {
    expect(steps(LAYERS).map((each) => each.name)).toEqual(["stem", "block.0", "block"]);
  });

  it("goes through the depth, to the right of which the choice is the method's", () => {
    const { session, range, go } = control();
    expect([range.min, range.max, range.value]).toEqual(["1", "4", "4"]);
    expect(range.getAttribute("aria-valuetext")).toBe("automatic");
    for (const value of ["3", "1", "4"]) go(value);
    expect(session.saved).toEqual([
      ["layer", "block"],
      ["layer", "stem"],
      ["layer", null],
    ]);
  });

  it("follows Python, by any layer's name", () => {
    const { session, element, range } = control();
    session.change({ layer: "block.1" });
    expect(range.value).toBe("3");
    expect(range.getAttribute("aria-valuetext")).toBe("block.1");
    expect(element.querySelector(".xai-layer-now")?.textContent).toBe("block.1");
  });

  it("tells the layer that was used and the size of its map", () => {
    const { session, told } = control();
    expect(told()).toBe("");
    session.change({ _extra_info: { layer: "block", size: "7 × 7" } });
    expect(told()).toBe("block, 7 × 7");
    session.change({ layer: "stem", _extra_info: { layer: "stem", size: "9 × 9" } });
    expect(told()).toBe("9 × 9");
  });

  it("offers by name what lies somewhere, and the method's choice", () => {
    const { session, element } = control({ layer: "stem" });
    const tree = element.querySelector("details") as HTMLDetailsElement;
    tree.open = true;
    tree.dispatchEvent(new Event("toggle"));
    const options = [...tree.querySelectorAll<HTMLElement>("[role=option]")];
    expect(options.map((each) => each.title)).toEqual([
      "automatic",
      ...["stem", "block", "block.0", "block.1"],
      "head: no map of its own to choose",
    ]);
    expect(options.at(-1)?.getAttribute("aria-disabled")).toBe("true");
    options[0]?.click();
    expect(session.saved).toEqual([["layer", null]]);
  });
});

describe("facts", () => {
  it("are told in words, but for those of the status line and parts of others", () => {
    const session = fakeSession();
    const element = facts({ session, signal: session.signal } as Context);
    expect(element.hidden).toBe(true);
    const diagnostics = {
      ...{ r2: 0.8768, completeness_gap: -0.02, completeness_relative: 0.125, exact: 0 },
      ...{ layers_z_plus: 49, bad: null, settled: 0.5, acted_on: 33, acted_on_relu6: 33 },
    };
    session.map.set({ diagnostics } as unknown as MapFrame);
    const rows = [...element.querySelectorAll("div")];
    const told = rows.map((row) => [...row.children].map((each) => each.textContent));
    expect(told).toEqual([
      ["R²", "0.877"],
      ["Completeness gap", "−0.02"],
      ["Relative gap", "12.5%"],
      ["Exact", "no"],
      ["Layers under z plus", "49"],
      ["Bad", "–"],
      ["Operations under the rule", "33 (33 relu6)"],
    ]);
    expect(element.hidden).toBe(false);
  });
});

describe("borders of segments", () => {
  // 0 0 1
  // 2 2 1
  const labels = Int32Array.from([0, 0, 1, 2, 2, 1]);

  it("lie between different ones", () => {
    expect(borders(labels, 3)).toEqual([
      [2, 0, 2, 1],
      [0, 1, 1, 1],
      [1, 1, 2, 1],
      [2, 1, 2, 2],
    ]);
  });

  it("lie around the chosen ones, and between them", () => {
    expect(borders(labels, 3, [1])).toEqual([
      [2, 0, 2, 1],
      [2, 1, 2, 2],
    ]);
    expect(borders(labels, 3, [0, 2]).length).toBe(4);
    expect(borders(labels, 3, [])).toEqual([]);
  });
});
