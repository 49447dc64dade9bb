import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Store } from "../../src/store.ts";
import type { Point, ScalarMap, Session, Stage, StageOptions, ViewState } from "../../src/types.ts";
import { createStage } from "../../src/view/stage.ts";
import "../../src/view/stage.css";

const VIEW: ViewState = {
  sign: "absolute",
  clip: 100,
  threshold: 0.5,
  box: false,
  colormap: "viridis",
  opacity: 0.5,
  smooth: false,
  zoom: 1,
  centerX: 0.5,
  centerY: 0.5,
};
const SIZE = 40;

/** Sequential tables go from black to red, diverging ones from blue over white to red. */
function table(name: string): Uint8Array {
  const colors = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const part = Math.min(255, 2 * Math.min(i, 255 - i) + 1);
    const row = name === "RdBu_r" ? [i < 128 ? part : 255, part, i < 128 ? 255 : part] : [i, 0, 0];
    colors.set(row, 3 * i);
  }
  return colors;
}

/** A photo: all of it one color. */
function photo(color: string, width = 4, height = 4): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
  pen.fillStyle = color;
  pen.fillRect(0, 0, width, height);
  return canvas;
}

const mapOf = (width: number, ...values: number[]): ScalarMap => ({
  values: Float32Array.from(values),
  width,
  height: values.length / width,
});

const corner = () => mapOf(4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8);

let view: Store<ViewState>;
let cursor: Store<Point | null>;
let ending: AbortController;
let kernel: string[];
let maps: Record<string, never>;

/** Two frames: one to paint, one to be sure that it is done. */
const painted = () =>
  new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(null))));

async function make(options: Partial<StageOptions>, width = SIZE): Promise<Stage> {
  const toKernel = (name: string) => () => kernel.push(name);
  const session = {
    view,
    cursor,
    table: (name?: string) => table(name ?? view.get().colormap),
    get: () => maps,
    set: toKernel("set"),
    send: toKernel("send"),
    action: toKernel("action"),
  } as unknown as Session;
  const stage = createStage({ session, signal: ending.signal }, { title: "Map", ...options });
  const room = document.createElement("div");
  room.className = "xai-root";
  room.style.width = `${width}px`;
  room.append(stage.element);
  document.body.append(room);
  await painted();
  await painted();
  return stage;
}

const canvasOf = (stage: Stage) => stage.element.querySelector("canvas") as HTMLCanvasElement;

/** The color at a place of the stage in shares of its size. */
function at(stage: Stage | HTMLCanvasElement, x: number, y: number): number[] {
  const canvas = stage instanceof HTMLCanvasElement ? stage : canvasOf(stage);
  const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
  const place = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)] as const;
  return [...pen.getImageData(...place, 1, 1).data];
}

function press(stage: Stage, key: string, more: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  canvasOf(stage).dispatchEvent(event);
  return event;
}

function mouse(stage: Stage, kind: string, x: number, y: number, more: WheelEventInit = {}): Event {
  const canvas = canvasOf(stage);
  const bounds = canvas.getBoundingClientRect();
  const init = {
    clientX: bounds.left + x * bounds.width,
    clientY: bounds.top + y * bounds.height,
    cancelable: true,
    bubbles: true,
    ...more,
  };
  const event = kind === "wheel" ? new WheelEvent(kind, init) : new PointerEvent(kind, init);
  canvas.dispatchEvent(event);
  return event;
}

beforeEach(() => {
  view = new Store({ ...VIEW });
  cursor = new Store<Point | null>(null);
  ending = new AbortController();
  kernel = [];
  maps = {};
});

afterEach(() => {
  ending.abort();
  document.body.replaceChildren();
  expect(kernel).toEqual([]);
});

describe("what a stage paints", () => {
  it("colors up to a limit that is not the map's own", async () => {
    let limit = 16;
    const map = new Store<ScalarMap | null>(corner());
    const stage = await make({ map, limit: () => limit });
    expect(at(stage, 0.9, 0.9).slice(0, 3)).toEqual([128, 0, 0]);
    expect(stage.element.textContent).toContain("16");
    limit = 8;
    stage.repaint();
    await painted();
    expect(at(stage, 0.9, 0.9).slice(0, 3)).toEqual([255, 0, 0]);
  });

  it("the photo alone", async () => {
    const stage = await make({ image: new Store<CanvasImageSource | null>(photo("#00ff00")) });
    expect(at(stage, 0.5, 0.5)).toEqual([0, 255, 0, 255]);
  });

  it("the map over the photo, which stays visible where nothing is", async () => {
    const stage = await make({
      image: new Store<CanvasImageSource | null>(photo("#00ff00")),
      map: new Store<ScalarMap | null>(corner()),
    });
    expect(at(stage, 0.1, 0.1)).toEqual([0, 255, 0, 255]);
    const [red, green] = at(stage, 0.9, 0.9) as [number, number];
    expect(Math.abs(red - 128)).toBeLessThan(3);
    expect(Math.abs(green - 128)).toBeLessThan(3);
  });

  it("a map without a photo opaquely, with zero in the middle when signed", async () => {
    view.update((state) => ({ ...state, sign: "signed", opacity: 0.2 }));
    const stage = await make({ map: new Store<ScalarMap | null>(mapOf(3, -5, 0, 5)) }, 60);
    expect(at(stage, 0.1, 0.5)).toEqual([1, 1, 255, 255]);
    expect(at(stage, 0.5, 0.5)).toEqual([255, 255, 255, 255]);
    expect(at(stage, 0.9, 0.5)).toEqual([255, 1, 1, 255]);
  });

  it("the map opaquely as long as the photo is not there", async () => {
    const image = new Store<CanvasImageSource | null>(null);
    const stage = await make({ image, map: new Store<ScalarMap | null>(corner()) });
    expect(at(stage, 0.1, 0.1)).toEqual([0, 0, 0, 255]);
    image.set(photo("#00ff00"));
    await painted();
    expect(at(stage, 0.1, 0.1)).toEqual([0, 255, 0, 255]);
  });

  it("heat whatever the sign", async () => {
    view.update((state) => ({ ...state, sign: "negative" }));
    const map = new Store<ScalarMap | null>(mapOf(2, 0, 0.5));
    const stage = await make({ map, coloring: "heat" });
    expect(at(stage, 0.2, 0.5)).toEqual([0, 0, 0, 255]);
    expect(at(stage, 0.8, 0.5)).toEqual([255, 0, 0, 255]);
  });

  it("a new map and a new sign at the next frame", async () => {
    const map = new Store<ScalarMap | null>(mapOf(2, -1, 1));
    const stage = await make({ map });
    expect(at(stage, 0.2, 0.5)[0]).toBe(255);
    view.update((state) => ({ ...state, sign: "positive" }));
    await painted();
    expect(at(stage, 0.2, 0.5)[0]).toBe(0);
    map.set(mapOf(2, 1, 0));
    await painted();
    expect(at(stage, 0.2, 0.5)[0]).toBe(255);
  });

  it("hides what is below the threshold and frames the largest part", async () => {
    view.update((state) => ({ ...state, box: true, threshold: 0.5 }));
    const map = new Store<ScalarMap | null>(mapOf(2, 2, 2, 8, 2));
    const stage = await make({ map }, 80);
    expect(at(stage, 0.75, 0.25)).toEqual([0, 0, 0, 255]);
    expect(at(stage, 0.25, 0.75)).toEqual([255, 0, 0, 255]);
    expect(at(stage, 0.25, 0.5)).toEqual([255, 255, 255, 255]);
    expect(canvasOf(stage).getAttribute("aria-label")).toContain("from 0, 1 to 1, 2");
  });

  it("what the panel draws, in image pixels", async () => {
    const decorate = (pen: CanvasRenderingContext2D, pixel: number) => {
      expect(pixel).toBeGreaterThan(0);
      pen.fillStyle = "#0000ff";
      pen.fillRect(2, 2, 2, 2);
    };
    const stage = await make({ size: { width: 4, height: 4 }, decorate });
    expect(at(stage, 0.75, 0.75)).toEqual([0, 0, 255, 255]);
    expect(at(stage, 0.25, 0.25)).toEqual([0, 0, 0, 0]);
  });

  it("nothing, and without an error, in no room and for an empty map", async () => {
    const map = new Store<ScalarMap | null>({ values: new Float32Array(0), width: 0, height: 0 });
    const stage = await make({ map }, 0);
    expect(stage.render().width).toBe(224);
  });
});

describe("zoom", () => {
  const half = () => {
    const image = photo("#00ff00");
    const pen = image.getContext("2d") as CanvasRenderingContext2D;
    pen.fillStyle = "#0000ff";
    pen.fillRect(0, 0, 2, 4);
    return { image: new Store<CanvasImageSource | null>(image) };
  };

  it("shows a part of the image", async () => {
    const stage = await make(half());
    expect(at(stage, 0.1, 0.5)).toEqual([0, 0, 255, 255]);
    view.update((state) => ({ ...state, zoom: 4, centerX: 0.9 }));
    await painted();
    expect(at(stage, 0.1, 0.5)).toEqual([0, 255, 0, 255]);
  });

  it("leaves thumbnails alone", async () => {
    const stage = await make({ ...half(), compact: true });
    view.update((state) => ({ ...state, zoom: 4, centerX: 0.9 }));
    await painted();
    expect(at(stage, 0.1, 0.5)).toEqual([0, 0, 255, 255]);
    expect(canvasOf(stage).tabIndex).toBe(-1);
  });

  it("by keys, and back", async () => {
    const stage = await make(half());
    press(stage, "+");
    press(stage, "+");
    expect(view.get().zoom).toBeGreaterThan(1.5);
    press(stage, "-");
    expect(view.get().zoom).toBeCloseTo(1.25);
    expect(press(stage, "0").defaultPrevented).toBe(true);
    expect(view.get().zoom).toBe(1);
  });

  it("leaves keys of the browser and unknown ones alone", async () => {
    const stage = await make(half());
    expect(press(stage, "0", { ctrlKey: true }).defaultPrevented).toBe(false);
    expect(press(stage, "Tab").defaultPrevented).toBe(false);
    expect(press(stage, "a").defaultPrevented).toBe(false);
  });

  it("by the wheel only with a key or with the focus", async () => {
    const stage = await make(half());
    expect(mouse(stage, "wheel", 0.5, 0.5, { deltaY: -1 }).defaultPrevented).toBe(false);
    expect(view.get().zoom).toBe(1);
    mouse(stage, "wheel", 0.5, 0.5, { deltaY: -1, ctrlKey: true });
    expect(view.get().zoom).toBeCloseTo(1.25);
    canvasOf(stage).focus();
    mouse(stage, "wheel", 0.5, 0.5, { deltaY: -1 });
    expect(view.get().zoom).toBeCloseTo(1.5625);
  });

  it("ends with a double click", async () => {
    const stage = await make(half());
    view.update((state) => ({ ...state, zoom: 4, centerX: 0.9 }));
    canvasOf(stage).dispatchEvent(new MouseEvent("dblclick"));
    expect(view.get()).toMatchObject({ zoom: 1, centerX: 0.5 });
  });
});

describe("cursor", () => {
  const four = () => ({ map: new Store<ScalarMap | null>(mapOf(2, 1, 2, 3, 0.12345)) });
  const told = (stage: Stage) => stage.element.querySelector(".xai-readout")?.textContent;

  it("follows the pointer, in image pixels, and goes with it", async () => {
    const stage = await make(four());
    mouse(stage, "pointermove", 0.75, 0.75);
    expect(cursor.get()?.x).toBeCloseTo(1.5, 1);
    expect(cursor.get()?.y).toBeCloseTo(1.5, 1);
    await painted();
    expect(told(stage)).toBe("0.123 at x 1, y 1");
    mouse(stage, "pointerleave", 2, 2);
    expect(cursor.get()).toBeNull();
  });

  it("is shared by the stages and drawn as a cross", async () => {
    const first = await make({ ...four(), size: { width: 2, height: 2 } });
    const second = await make(four());
    const before = at(second, 0.5, 0.25);
    mouse(first, "pointermove", 0.5, 0.8);
    await painted();
    expect(told(second)).toBe(told(first));
    expect(at(second, 0.5, 0.25)).not.toEqual(before);
  });

  it("moves by keys within the image", async () => {
    const stage = await make({ size: { width: 30, height: 20 } });
    press(stage, "ArrowRight");
    expect(cursor.get()).toEqual({ x: 16, y: 10 });
    press(stage, "ArrowUp", { shiftKey: true });
    expect(cursor.get()).toEqual({ x: 16, y: 0.5 });
    press(stage, "Escape");
    expect(cursor.get()).toBeNull();
  });

  it("lets the panel say the value", async () => {
    const stage = await make({ ...four(), readout: ({ x }) => `at ${x} <b>` });
    cursor.set({ x: 1, y: 1 });
    await painted();
    expect(told(stage)).toBe("at 1 <b>");
  });
});

describe("around the picture", () => {
  it("tells screen readers and keeps JupyterLab's shortcuts away", async () => {
    const stage = await make({ map: new Store<ScalarMap | null>(corner()) });
    const canvas = canvasOf(stage);
    expect(canvas.getAttribute("role")).toBe("img");
    expect(canvas.tabIndex).toBe(0);
    expect(canvas.dataset.lmSuppressShortcuts).toBe("true");
    expect(canvas.getAttribute("aria-label")).toBe("Map. Colors from 0 to 8.");
    const own = await make({ describe: () => "A cat." });
    expect(canvasOf(own).getAttribute("aria-label")).toBe("Map. A cat.");
  });

  it("has the ends of the colors in its legend", async () => {
    view.update((state) => ({ ...state, sign: "signed" }));
    const stage = await make({ map: new Store<ScalarMap | null>(mapOf(2, -1.5, 0.5)) });
    const texts = [...stage.element.querySelectorAll(".xai-legend span")];
    expect(texts.map((text) => text.textContent)).toEqual(["against", "−1.5", "1.5", "for"]);
    const bar = stage.element.querySelector(".xai-legend-bar") as HTMLCanvasElement;
    expect(at(bar, 0, 0)).toEqual([1, 1, 255, 255]);
    expect(at(bar, 0.999, 0)).toEqual([255, 1, 1, 255]);
  });

  it("is saved at the image's resolution, unzoomed and without the cursor", async () => {
    const image = new Store<CanvasImageSource | null>(photo("#00ff00", 10, 5));
    const stage = await make({ image });
    view.update((state) => ({ ...state, zoom: 4 }));
    cursor.set({ x: 5, y: 2.5 });
    expect([stage.render().width, stage.render().height]).toEqual([10, 5]);
    const large = stage.render(25);
    expect([large.width, large.height]).toEqual([30, 15]);
    expect(at(large, 0.5, 0.5)).toEqual([0, 255, 0, 255]);
  });

  it("stops with its signal", async () => {
    const map = new Store<ScalarMap | null>(mapOf(2, 1, 0));
    const stage = await make({ map });
    ending.abort();
    map.set(mapOf(2, 0, 1));
    press(stage, "+");
    await painted();
    expect(at(stage, 0.2, 0.5)[0]).toBe(255);
    expect(view.get().zoom).toBe(1);
  });
});
