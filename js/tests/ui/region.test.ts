import { beforeEach, describe, expect, it } from "vitest";
import { type RegionState, regionState } from "../../src/ui/region.ts";
import { maskOf, regionOf } from "../../src/ui/target.ts";
import { boxed, count, type Mask, pack, same, stroke } from "../../src/view/mask.ts";
import { type Fake, fakeSession } from "../panels/fake_session.ts";

const [WIDTH, HEIGHT] = [20, 12];
const at = (x: number, y: number) => ({ x, y });
/** As bytes come in from the kernel: a part of a larger buffer. */
const view = (bytes: Uint8Array) => {
  const buffer = new Uint8Array(bytes.length + 8);
  buffer.set(bytes, 4);
  return new DataView(buffer.buffer, 4, bytes.length);
};
const told = (mask: Mask, category: number) => ({
  region: { bits: view(pack(mask)), shape: [mask.height, mask.width] },
  category,
});

let session: Fake;
let region: RegionState;
const made = (traits: Record<string, unknown> = {}) => {
  session = fakeSession({ target: 3, ...traits });
  region = regionState(session);
  session.photo.set({ width: WIDTH, height: HEIGHT } as ImageBitmap);
};
const paint = (from: { x: number; y: number }, to = from, erases = false) => {
  region.press(from, erases);
  region.move(to);
  region.release();
};
/** What was sent last, its bytes read again. */
const last = () => {
  const asked = regionOf(session.saved.at(-1)?.[1] as object);
  return { category: asked?.category, mask: asked && maskOf(asked.region, null) };
};
const sent = () => session.saved.length;
const shown = () => region.mask.get() as Mask;
const dot = (x: number, y: number) => stroke(boxed(WIDTH, HEIGHT, []), at(x, y), at(x, y), 1, 1);

beforeEach(() => {
  made();
  region.brush.update((now) => ({ ...now, size: 2 }));
});

describe("painting", () => {
  it("begins with a brush that fits the photo", () => {
    made();
    expect(region.brush.get()).toEqual({ on: false, erases: false, size: 2 });
  });

  it("shows each movement, and tells the kernel once, on release", () => {
    region.press(at(5, 5), false);
    expect(same(shown(), dot(5, 5))).toBe(true);
    region.move(at(9, 5));
    const line = shown();
    expect(count(line)).toBeGreaterThan(count(dot(5, 5)));
    expect(sent()).toBe(0);
    region.release();
    expect(sent()).toBe(1);
    expect(last().category).toBeNull();
    expect(same(last().mask ?? null, line)).toBe(true);
    region.move(at(1, 1));
    region.release();
    expect(sent()).toBe(1);
    expect(same(shown(), line)).toBe(true);
  });

  it("adds to what is there, and erases", () => {
    paint(at(5, 5));
    paint(at(15, 5));
    expect(count(shown())).toBe(2 * count(dot(5, 5)));
    paint(at(5, 5), at(5, 5), true);
    expect(same(last().mask ?? null, dot(15, 5))).toBe(true);
  });

  it("keeps the class that was chosen", () => {
    paint(at(5, 5));
    region.choose(7);
    expect(region.automatic.get()).toBe(false);
    expect(last().category).toBe(7);
    paint(at(8, 5));
    expect(last().category).toBe(7);
    region.choose(null);
    expect(last().category).toBeNull();
    expect(region.automatic.get()).toBe(true);
  });

  it("goes back to the class when nothing is left", () => {
    paint(at(5, 5));
    session.change({ target: told(shown(), 4) });
    paint(at(1, 5), at(12, 5), true);
    expect(session.saved.at(-1)).toEqual(["target", 4]);
    expect(region.mask.get()).toBeNull();
  });

  it("asks nothing for what changes nothing", () => {
    paint(at(5, 5), at(5, 5), true);
    expect(region.mask.get()).toBeNull();
    paint(at(-40, -40));
    expect(region.mask.get()).toBeNull();
    paint(at(5, 5));
    const now = shown();
    paint(at(5, 5));
    paint(at(15, 5), at(15, 5), true);
    expect(sent()).toBe(1);
    expect(shown()).toBe(now);
  });

  it("does nothing without a photo", () => {
    session = fakeSession({ target: 3 });
    region = regionState(session);
    paint(at(5, 5));
    expect([sent(), region.mask.get()]).toEqual([0, null]);
    session.change({ target: { region: [1, 2, 3, 4], category: 0 } });
    expect(region.mask.get()).toBeNull();
    session.photo.set({ width: WIDTH, height: HEIGHT } as ImageBitmap);
    expect(count(shown())).toBe(4);
  });

  it("sends buffers of its own, whole", () => {
    made({ target: told(dot(5, 5), 2) });
    region.choose(4);
    const asked = regionOf(session.saved.at(-1)?.[1] as object)?.region;
    const bits = (asked as { bits: Uint8Array }).bits;
    expect(bits.byteLength).toBe(bits.buffer.byteLength);
    expect([...bits]).toEqual([...pack(dot(5, 5))]);
  });

  it("is cleared", () => {
    made({ target: told(dot(5, 5), 2) });
    region.clear();
    expect(session.saved).toEqual([["target", 2]]);
    expect(region.mask.get()).toBeNull();
    expect(region.told()).toBe("");
  });
});

describe("a region from elsewhere", () => {
  it("is shown: box, mask, mask of the maps, weights", () => {
    made({ target: { region: [2, 3, 6, 8], category: 1 } });
    expect(same(shown(), boxed(WIDTH, HEIGHT, [2, 3, 6, 8]))).toBe(true);
    expect(region.told()).toBe("8.3% of the photo");
    session.change({ target: told(dot(4, 4), 1) });
    expect(same(shown(), dot(4, 4))).toBe(true);
    session.change({ target: told(boxed(5, 3, [0, 0, 1, 5]), 1) });
    expect([shown().width, shown().height, count(shown())]).toEqual([5, 3, 5]);
    const weights = view(new Uint8Array(Float32Array.from([0, 0.5, 2, 0]).buffer));
    session.change({ target: { region: { weights, shape: [2, 2] }, category: 1 } });
    expect([...shown().inside]).toEqual([0, 1, 1, 0]);
    expect(region.automatic.get()).toBe(false);
  });

  it("stays as exact as it is when only its class changes", () => {
    const weights = view(new Uint8Array(Float32Array.from([0, 0.5, 2, 0]).buffer));
    made({ target: { region: { weights, shape: [2, 2] }, category: 1 } });
    region.choose(3);
    const asked = session.saved.at(-1)?.[1] as { region: { weights: Uint8Array } };
    expect([...new Float32Array(asked.region.weights.buffer)]).toEqual([0, 0.5, 2, 0]);
    session.change({ target: { region: [2, 3, 6, 8], category: 1 } });
    region.choose(2);
    expect(session.saved.at(-1)?.[1]).toEqual({ region: [2, 3, 6, 8], category: 2 });
  });

  it("is painted further at the photo's size, with its class", () => {
    made({ target: told(boxed(5, 3, [0, 0, 1, 5]), 6) });
    region.brush.update((now) => ({ ...now, size: 2 }));
    paint(at(10, 9));
    expect([last().mask?.width, last().mask?.height]).toEqual([WIDTH, HEIGHT]);
    expect(count(last().mask as Mask)).toBe(4 * 20 + count(dot(10, 9)));
    expect(last().category).toBe(6);
  });

  it("goes when the class, or the photo, does", () => {
    made({ target: told(dot(4, 4), 1) });
    session.change({ target: 2 });
    expect(region.mask.get()).toBeNull();
    paint(at(5, 5));
    expect(last().category).toBeNull();
  });

  it("that cannot be read is not shown", () => {
    made({ target: { region: { bits: view(new Uint8Array(3)), shape: [9, 9] }, category: 1 } });
    expect(region.mask.get()).toBeNull();
  });
});

describe("answers of the kernel", () => {
  it("tell the class that was found, and leave it to be found again", () => {
    paint(at(5, 5));
    session.change({ target: told(shown(), 4) });
    expect(region.automatic.get()).toBe(true);
    paint(at(9, 5));
    expect(last().category).toBeNull();
  });

  it("to an earlier stroke do not take back a later one", () => {
    paint(at(5, 5));
    const first = shown();
    paint(at(9, 5));
    const second = shown();
    session.change({ target: told(first, 4) });
    expect(same(shown(), second)).toBe(true);
    session.change({ target: told(second, 4) });
    expect(same(shown(), second)).toBe(true);
    // Everything is answered: the same mask from Python is one that Python chose.
    session.change({ target: told(first, 4) });
    expect(same(shown(), first)).toBe(true);
    expect(region.automatic.get()).toBe(false);
  });

  it("do not end a stroke", () => {
    paint(at(5, 5));
    const first = shown();
    region.press(at(9, 5), false);
    session.change({ target: told(first, 4) });
    region.move(at(9, 9));
    region.release();
    expect(count(shown())).toBeGreaterThan(count(first));
    expect(same(last().mask ?? null, shown())).toBe(true);
    expect(last().category).toBeNull();
  });

  it("count once a stroke that changes nothing has ended", () => {
    made({ target: told(dot(5, 5), 4) });
    region.brush.update((now) => ({ ...now, size: 2 }));
    region.press(at(5, 5), false);
    session.change({ target: told(dot(9, 5), 2) });
    expect(same(shown(), dot(5, 5))).toBe(true);
    region.release();
    expect(same(shown(), dot(9, 5))).toBe(true);
    expect(sent()).toBe(0);
  });

  it("that refuse a stroke put the page right", () => {
    made({ target: told(dot(4, 4), 1) });
    region.brush.update((now) => ({ ...now, size: 2 }));
    paint(at(15, 5));
    session.change({ target: told(dot(4, 4), 1) });
    expect(same(shown(), dot(4, 4))).toBe(true);
  });
});
