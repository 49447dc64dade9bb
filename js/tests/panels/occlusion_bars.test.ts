import { afterEach, expect, it } from "vitest";
import { points, probabilityBars } from "../../src/panels/occlusion_bars.ts";
import { OcclusionLookup } from "../../src/panels/occlusion_lookup.ts";
import { patchState } from "../../src/panels/occlusion_patch.ts";
import { Store } from "../../src/store.ts";
import { fakeSession } from "./fake_session.ts";

const EVIL = '<img src="x" onerror="alert(1)">';
let controller = new AbortController();
afterEach(() => {
  controller.abort();
  controller = new AbortController();
});

/** Two positions side by side on a photo of 4 x 2; the right one lets another class win. */
function bars() {
  const data = new DataView(new ArrayBuffer(4 * (2 * (2 + 2) + 8)));
  const put = (place: number, value: number) => data.setFloat32(4 * place, value, true);
  [0.6, 0.3, 0.1, 0.05].forEach((value, place) => {
    put(place, value);
  });
  data.setInt32(16, 7, true);
  data.setInt32(20, 2, true);
  put(6, 0.6);
  put(7, 0.8);
  const info = {
    rows: 1,
    cols: 2,
    tops: [0],
    lefts: [0, 2],
    patch_size: 2,
    classes: [7, 3],
    names: [EVIL, "cat"],
    clean: [0.7, 0.2],
    fill_rgb: null,
  };
  const session = fakeSession({ _categories: ["a", "b", "fox"] });
  const lookup = new Store(OcclusionLookup.from(info, data, [2, 4]));
  const { free, now } = patchState(session, lookup);
  const element = probabilityBars({ session, signal: controller.signal }, lookup, now);
  const texts = () => [...element.querySelectorAll(".xai-bar-text")].map((e) => e.textContent);
  const winner = () => element.querySelector(".xai-winner")?.textContent;
  const heading = () => element.querySelector(".xai-told")?.textContent;
  return { session, element, free, texts, winner, heading };
}

it("changes with the cursor, from what is stored", () => {
  const { session, texts, winner } = bars();
  expect(texts()).toEqual(["70.0%", "20.0%"]);
  session.cursor.set({ x: 0.5, y: 1 });
  expect(texts()).toEqual(["70.0% → 60.0% (−10.0 points)", "20.0% → 30.0% (+10.0 points)"]);
  expect(winner()).toBe("");
  session.cursor.set({ x: 3.5, y: 1 });
  expect(texts()[0]).toBe("70.0% → 10.0% (−60.0 points)");
  expect(winner()).toBe("fox takes over with 80.0%");
  session.cursor.set(null);
  expect(texts()).toEqual(["70.0%", "20.0%"]);
  expect([...session.saved, ...session.sent]).toEqual([]);
});

it("says of which patch the bars are while the network is asked", () => {
  const { session, element, free, texts, winner, heading } = bars();
  free.set(true);
  session.cursor.set({ x: 2.5, y: 1.5 });
  expect(heading()).toBe(
    "Patch at column 1, row 0 (bars of the nearest window, until the network answers)",
  );
  expect(element.ariaBusy).toBe("true");
  expect(texts()[0]).toBe("70.0% → 10.0% (−60.0 points)");
  const answer = { probabilities: [0.25, 0.5], winner: 2, sure: 0.625 };
  session.receive({ kind: "covered", top: 0, left: 1, ...answer });
  expect(heading()).toBe("Patch at column 1, row 0; the lines mark the whole photo");
  expect(element.ariaBusy).toBe("false");
  expect(texts()).toEqual(["70.0% → 25.0% (−45.0 points)", "20.0% → 50.0% (+30.0 points)"]);
  expect(winner()).toBe("fox takes over with 62.5%");
});

it("shows names as text", () => {
  const { element } = bars();
  expect(element.querySelector("img")).toBeNull();
  expect(element.querySelector(".xai-bar-name")?.textContent).toBe(EVIL);
});

it("stops with its view", () => {
  const { session, texts } = bars();
  controller.abort();
  session.cursor.set({ x: 0.5, y: 1 });
  expect(texts()[0]).toBe("70.0%");
});

it("writes a change in percentage points", () => {
  expect([points(0.5, 0.25), points(0.25, 0.5), points(0.1, 0.10001)]).toEqual([
    "+25.0 points",
    "−25.0 points",
    "±0.0 points",
  ]);
});
