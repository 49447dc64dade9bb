import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Store } from "../../src/store.ts";
import type { Context, ScalarMap, Stage, StageOptions, ViewState } from "../../src/types.ts";
import { type RegionState, regionState } from "../../src/ui/region.ts";
import { regionOf } from "../../src/ui/target.ts";
import { targetPicker } from "../../src/ui/target_picker.ts";
import { count, type Mask } from "../../src/view/mask.ts";
import { createStage } from "../../src/view/stage.ts";
import { type Fake, fakeSession } from "../panels/fake_session.ts";
import "../../src/widget.css";

const [PHOTO, SIDE] = [20, 200];
const VIEW = {
  ...{ sign: "absolute", clip: 100, threshold: 0.5, box: false, colormap: "viridis", opacity: 1 },
  ...{ smooth: false, zoom: 1, centerX: 0.5, centerY: 0.5 },
} as ViewState;

function photo(color: string): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PHOTO;
  const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
  pen.fillStyle = color;
  pen.fillRect(0, 0, PHOTO, PHOTO);
  return canvas;
}

let ending: AbortController;
let session: Fake;
let region: RegionState;
let root: HTMLElement;
let decorated: number;

const painted = () =>
  new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(null))));

/** A picker and two stages: the photo under a map, and a map alone. */
async function make(traits: Record<string, unknown> = {}): Promise<Stage[]> {
  ending = new AbortController();
  session = fakeSession({
    ...{ target: 0, _takes_regions: true, _targets: ["class", "difference", "output"] },
    ...{ _top: [{ index: 0, name: "sky", probability: 0.7 }], _categories: ["sky", "cow"] },
    ...{ _target_info: { index: 0, name: "sky" }, _colormaps: {}, ...traits },
  });
  session.view.set(VIEW);
  session.photo.set(photo("#808080") as unknown as ImageBitmap);
  const context: Context = { session, signal: ending.signal };
  const picker = targetPicker(context);
  region = session.shared("region", () => regionState(session));
  decorated = 0;
  const map: ScalarMap = { values: new Float32Array(400).fill(1), width: PHOTO, height: PHOTO };
  const options: StageOptions = {
    title: "Map",
    image: session.photo as unknown as StageOptions["image"],
    map: new Store<ScalarMap | null>(map),
    decorate: () => {
      decorated++;
    },
  };
  const alone = { title: "Map alone", map: options.map };
  const stages = [options, alone].map((each) =>
    createStage({ ...context, overlay: picker.overlay }, each),
  );
  picker.attach?.(stages);
  root = document.createElement("div");
  root.className = "xai-root";
  root.style.width = `${SIDE + 30}px`;
  root.style.padding = "0 14px";
  root.append(picker.element, ...stages.map((stage) => stage.element));
  document.body.append(root);
  await painted();
  await painted();
  return stages;
}

const canvasOf = (stage: Stage | undefined) =>
  stage?.element.querySelector("canvas") as HTMLCanvasElement;
const named = (name: string) =>
  [...root.querySelectorAll("button")].find((each) =>
    each.textContent?.includes(name),
  ) as HTMLButtonElement;
const bar = () => root.querySelector(".xai-brush") as HTMLElement;
const on = async () => {
  named("Region").click();
  await painted();
};

/** The color at a point of the photo. */
function at(stage: Stage | undefined, x: number, y: number): number[] {
  const canvas = canvasOf(stage);
  const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
  const place = [x, y].map((value) => Math.floor((value / PHOTO) * canvas.width));
  return [...pen.getImageData(place[0] as number, place[1] as number, 1, 1).data].slice(0, 3);
}

function pointer(stage: Stage | undefined, kind: string, x: number, y: number, more = {}): void {
  const canvas = canvasOf(stage);
  // No such pointer is there to be captured.
  canvas.setPointerCapture = () => {};
  const bounds = canvas.getBoundingClientRect();
  canvas.dispatchEvent(
    new PointerEvent(kind, {
      clientX: bounds.left + (x / PHOTO) * bounds.width,
      clientY: bounds.top + (y / PHOTO) * bounds.height,
      ...{ bubbles: true, cancelable: true, button: 0, ...more },
    }),
  );
}

function drag(stage: Stage | undefined, from: number[], to: number[], more = {}): void {
  pointer(stage, "pointerdown", from[0] as number, from[1] as number, more);
  pointer(stage, "pointermove", to[0] as number, to[1] as number, more);
  pointer(stage, "pointerup", to[0] as number, to[1] as number, more);
}

function key(stage: Stage | undefined, kind: string, name: string, more = {}): KeyboardEvent {
  const event = new KeyboardEvent(kind, { key: name, bubbles: true, cancelable: true, ...more });
  canvasOf(stage).dispatchEvent(event);
  return event;
}

const press = (stage: Stage | undefined, name: string, more = {}) => {
  const event = key(stage, "keydown", name, more);
  key(stage, "keyup", name, more);
  return event;
};
const mask = () => region.mask.get() as Mask;
const asked = () => session.saved.map(([, value]) => regionOf(value as object)?.category);
const inside = (x: number, y: number) => mask().inside[y * PHOTO + x];

afterEach(() => {
  ending.abort();
  document.body.replaceChildren();
});

describe("the brush", () => {
  let stages: Stage[];
  beforeEach(async () => {
    stages = await make();
  });

  it("is off at first: the stage is as it was", async () => {
    expect(bar().hidden).toBe(true);
    drag(stages[0], [5, 5], [9, 5]);
    press(stages[0], "Enter");
    expect([region.mask.get(), session.saved]).toEqual([null, []]);
    expect(decorated).toBeGreaterThan(0);
  });

  it("paints where it is drawn, and tells the kernel on release", async () => {
    await on();
    expect(bar().hidden).toBe(false);
    expect(document.activeElement).toBe(canvasOf(stages[0]));
    region.brush.update((now) => ({ ...now, size: 4 }));
    pointer(stages[0], "pointerdown", 5, 5);
    pointer(stages[0], "pointermove", 12, 5);
    expect([inside(5, 5), inside(12, 5), inside(12, 9)]).toEqual([1, 1, 0]);
    expect(session.saved).toEqual([]);
    expect(bar().textContent).toContain("% of the photo");
    pointer(stages[0], "pointerup", 12, 5);
    pointer(stages[0], "pointermove", 12, 15);
    expect([asked(), inside(12, 15)]).toEqual([[null], 0]);
  });

  it("goes on outside of the stage", async () => {
    await on();
    region.brush.update((now) => ({ ...now, size: 2 }));
    drag(stages[0], [15, 10], [40, 10]);
    expect([inside(19, 10), inside(0, 10), count(mask())]).toEqual([1, 0, 2 * 5 + 2]);
  });

  it("erases by its button, by Shift, and not with another button of the mouse", async () => {
    await on();
    region.brush.update((now) => ({ ...now, size: 4 }));
    drag(stages[0], [2, 10], [18, 10]);
    named("Erase").click();
    drag(stages[0], [5, 10], [5, 10]);
    expect([inside(5, 10), inside(12, 10)]).toEqual([0, 1]);
    named("Paint").click();
    drag(stages[0], [12, 10], [12, 10], { shiftKey: true });
    expect(inside(12, 10)).toBe(0);
    drag(stages[0], [5, 10], [5, 10], { button: 2 });
    expect(inside(5, 10)).toBe(0);
    named("Clear").click();
    expect([region.mask.get(), session.saved.at(-1)?.[1]]).toEqual([null, null]);
    expect(named("Clear").disabled).toBe(true);
  });

  it("does not pan a zoomed picture, but with Ctrl", async () => {
    await on();
    session.view.update((now) => ({ ...now, zoom: 2 }));
    await painted();
    drag(stages[0], [5, 5], [9, 5]);
    expect(session.view.get().centerX).toBe(0.5);
    const before = count(mask());
    // A quarter of the stage lies at the middle of the left half of what is seen.
    expect(inside(8, 7)).toBe(1);
    canvasOf(stages[0]).dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
    expect(session.view.get().zoom).toBe(2);
    pointer(stages[0], "pointerdown", 5, 5, { ctrlKey: true });
    pointer(stages[0], "pointermove", 9, 5, { ctrlKey: true });
    expect(session.view.get().centerX).toBeLessThan(0.5);
    expect(count(mask())).toBe(before);
  });

  it("paints by keys at the cursor, along while a key is held", async () => {
    await on();
    region.brush.update((now) => ({ ...now, size: 2 }));
    const event = press(stages[0], " ");
    expect(event.defaultPrevented).toBe(true);
    expect([inside(10, 10), count(mask())]).toEqual([1, 4]);
    expect(asked()).toEqual([null]);
    press(stages[0], "ArrowRight", { shiftKey: true });
    expect(count(mask())).toBe(4);
    session.cursor.set({ x: 4, y: 4 });
    key(stages[0], "keydown", "Enter");
    for (let step = 0; step < 3; step++) press(stages[0], "ArrowRight");
    expect(asked().length).toBe(1);
    key(stages[0], "keyup", "Enter");
    expect([inside(3, 3), inside(6, 3), asked().length]).toEqual([1, 1, 2]);
    session.cursor.set({ x: 4, y: 4 });
    press(stages[0], "Delete");
    expect([inside(3, 3), inside(6, 3), asked().length]).toEqual([0, 1, 3]);
  });

  it("has a size, by its slider and by keys", async () => {
    await on();
    const size = root.querySelector<HTMLInputElement>("input[type=range]") as HTMLInputElement;
    expect([size.value, size.max]).toEqual(["3", "20"]);
    press(stages[0], "]");
    press(stages[0], "]");
    expect(size.value).toBe("5");
    for (let i = 0; i < 9; i++) press(stages[0], "[");
    expect([size.value, region.brush.get().size]).toEqual(["1", 1]);
    size.value = "7";
    size.dispatchEvent(new Event("input"));
    expect(region.brush.get().size).toBe(7);
  });

  it("is left by Escape, to its button", async () => {
    await on();
    key(stages[0], "keydown", " ");
    key(stages[0], "keydown", "Escape");
    expect(asked()).toEqual([null]);
    expect([region.brush.get().on, bar().hidden]).toEqual([false, true]);
    expect(document.activeElement).toBe(named("Region"));
    expect(named("Region").getAttribute("aria-pressed")).toBe("false");
    const now = count(mask());
    drag(stages[0], [3, 3], [9, 3]);
    expect(count(mask())).toBe(now);
  });

  it("leaves keys of the browser, and all others, alone", async () => {
    await on();
    expect(press(stages[0], "Enter", { ctrlKey: true }).defaultPrevented).toBe(false);
    expect(press(stages[0], "Tab").defaultPrevented).toBe(false);
    expect(region.mask.get()).toBeNull();
    press(stages[0], "+");
    expect(session.view.get().zoom).toBeGreaterThan(1);
  });

  it("ends its stroke with the view", async () => {
    await on();
    pointer(stages[0], "pointerdown", 5, 5);
    ending.abort();
    expect(asked()).toEqual([null]);
  });

  it("keeps JupyterLab's shortcuts from all that takes the focus", async () => {
    await on();
    const focusable = [...root.querySelectorAll<HTMLElement>("button, input, [tabindex]")];
    expect(focusable.length).toBeGreaterThan(8);
    for (const each of focusable) expect(each.dataset.lmSuppressShortcuts).toBe("true");
  });
});

describe("what is seen", () => {
  /** The map is black at 1 (the fake's table), the photo gray. */
  it("is the photo through the map, the region, and how far the brush reaches", async () => {
    const stages = await make();
    expect(at(stages[0], 3, 3)).toEqual([0, 0, 0]);
    await on();
    expect(at(stages[0], 3, 3)).toEqual([64, 64, 64]);
    const before = decorated;
    region.brush.update((now) => ({ ...now, size: 8 }));
    drag(stages[0], [10, 10], [10, 10]);
    await painted();
    const [red = 0, green = 0, blue = 0] = at(stages[0], 10, 10);
    expect(red).toBeGreaterThan(110);
    expect(green).toBeGreaterThan(100);
    expect(blue).toBeLessThan(70);
    expect(at(stages[0], 3, 3)).toEqual([64, 64, 64]);
    // The panel's own drawing would cover the photo.
    expect(decorated).toBe(before);
    session.cursor.set({ x: 5, y: 15 });
    await painted();
    const ring = [...Array(80).keys()].map((place) => at(stages[0], 5 + place / 10, 15)[0] ?? 0);
    expect(Math.max(...ring)).toBeGreaterThan(150);
    expect(canvasOf(stages[0]).getAttribute("aria-label")).toContain(
      "Region: 13.0% of the photo. Space paints at the cursor",
    );
  });

  it("is the outline alone once the brush is off, over photos only, also when saved", async () => {
    const stages = await make({ target: { region: [5, 5, 15, 15], category: 1 } });
    expect(at(stages[0], 10, 10)).toEqual([0, 0, 0]);
    const saved = stages[0]?.render(SIDE) as HTMLCanvasElement;
    const pixels = (saved.getContext("2d") as CanvasRenderingContext2D).getImageData(
      45,
      100,
      10,
      1,
    );
    const yellow = (data: ArrayLike<number>) => {
      let found = 0;
      for (let i = 0; i < data.length; i += 4) {
        const [r, g, b] = [data[i], data[i + 1], data[i + 2]] as [number, number, number];
        found += Number(r > 200 && g > 150 && b < 120);
      }
      return found;
    };
    expect(yellow(pixels.data)).toBeGreaterThan(0);
    for (const [place, some] of [true, false].entries()) {
      const canvas = canvasOf(stages[place]);
      const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
      const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
      expect(yellow(data) > 0).toBe(some);
    }
  });

  it("is no brush where the network gives no maps", async () => {
    await make({ _takes_regions: false });
    expect([named("Region"), bar()]).toEqual([undefined, null]);
  });
});
