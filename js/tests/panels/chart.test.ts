import { beforeEach, describe, expect, it, vi } from "vitest";
import { Store } from "../../src/store.ts";
import { chart, nearestPoint, type Series } from "../../src/ui/chart.ts";
import { extent, linear, niceStep, percent, short, ticks } from "../../src/ui/scale.ts";

describe("scales", () => {
  it("picks round ticks inside the range", () => {
    expect(ticks(0, 1)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1]);
    expect(ticks(-3.2, 7.9)).toEqual([0, 5]);
    expect(ticks(0, 40, 8)).toEqual([0, 5, 10, 15, 20, 25, 30, 35, 40]);
    expect(ticks(2, 2)).toEqual([2]);
    expect(niceStep(1, 3)).toBe(0.5);
  });

  it("gives flat, empty and broken data a range of its own", () => {
    expect(extent([])).toEqual([0, 1]);
    expect(extent([Number.NaN])).toEqual([0, 1]);
    expect(extent([0])).toEqual([-1, 1]);
    expect(extent([0, 10])).toEqual([-0.5, 10.5]);
  });

  it("maps ranges and writes numbers", () => {
    expect(linear([0, 2], [10, 20])(1)).toBe(15);
    expect(linear([1, 1], [0, 9])(1)).toBe(0);
    expect([short(-1.2345), short(0), short(Number.NaN), percent(0.1234)]).toEqual([
      "−1.23",
      "0",
      "–",
      "12.3%",
    ]);
  });

  it("finds the nearest point", () => {
    expect(nearestPoint([], 1)).toBeUndefined();
    expect(
      nearestPoint(
        [
          [0, 5],
          [1, 6],
        ],
        0.7,
      ),
    ).toEqual([1, 6]);
  });
});

describe("chart", () => {
  const controller = new AbortController();
  let marker: Store<number>;
  let scrubbed: [number, boolean][];
  let element: HTMLElement;
  const series = new Store<Series[]>([
    {
      name: "score",
      axis: "left",
      points: [
        [0, 1],
        [1, 3],
      ],
    },
  ]);

  beforeEach(() => {
    marker = new Store(0.5);
    scrubbed = [];
    element = chart(
      {
        label: "Score along the path",
        xLabel: "alpha",
        series,
        range: new Store<[number, number]>([0, 1]),
        marker,
        step: 0.01,
        onscrub: (x, done) => {
          scrubbed.push([x, done]);
          marker.set(x);
        },
      },
      controller.signal,
    );
  });

  const handle = () => element.querySelector("[role=slider]") as HTMLElement;

  it("tells screen readers what it shows", () => {
    expect(element.querySelector("p")?.textContent).toBe(
      "Score along the path. score: from 1 to 3, between 1 and 3.",
    );
    expect(element.querySelector("svg")?.getAttribute("aria-hidden")).toBe("true");
    expect(handle().getAttribute("aria-valuenow")).toBe("0.5");
    expect(handle().dataset.lmSuppressShortcuts).toBe("true");
  });

  it("moves with keys and commits once on release", () => {
    for (const key of ["ArrowRight", "PageUp", "End", "Home"]) {
      handle().dispatchEvent(new KeyboardEvent("keydown", { key, cancelable: true }));
    }
    handle().dispatchEvent(new KeyboardEvent("keyup"));
    handle().dispatchEvent(new FocusEvent("blur"));
    expect(scrubbed).toEqual([
      [0.51, false],
      [0.56, false],
      [1, false],
      [0, false],
      [0, true],
    ]);
  });

  it("goes where keys ask, also while the marker lags behind", () => {
    const seen: [number, boolean][] = [];
    const still = chart(
      {
        label: "Objective",
        xLabel: "iteration",
        series: new Store<Series[]>([]),
        range: new Store<[number, number]>([0, 40]),
        marker: new Store(15),
        onscrub: (x, done) => seen.push([x, done]),
      },
      controller.signal,
    );
    const slider = still.querySelector("[role=slider]") as HTMLElement;
    for (let i = 0; i < 2; i++) {
      slider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", cancelable: true }));
    }
    slider.dispatchEvent(new KeyboardEvent("keyup"));
    expect(seen).toEqual([
      [16, false],
      [17, false],
      [17, true],
    ]);
  });

  it("scrubs while dragged and commits when let go", () => {
    const at = (name: string, clientX: number) =>
      handle().dispatchEvent(new MouseEvent(name, { clientX, button: 0 }));
    at("pointerdown", 46);
    at("pointermove", 280);
    at("pointerup", 9999);
    expect(scrubbed).toEqual([
      [0, false],
      [0.5, false],
      [1, true],
    ]);
  });

  it("shows text of a series as text", () => {
    const evil = '<img src="x" onerror="alert(1)">';
    series.set([{ name: evil, axis: "left", points: [[0, 1]] }]);
    expect(element.querySelector("img")).toBeNull();
    expect(element.textContent).toContain(evil);
    vi.restoreAllMocks();
  });
});
