/** A small line chart: series on two axes, a marker, and a place that can be scrubbed. */

import { h } from "../dom.ts";
import type { Store } from "../store.ts";
import { extent, linear, percent, short, ticks } from "./scale.ts";
import { keyGoal, listener } from "./slide.ts";

export interface Series {
  name: string;
  axis: "left" | "right";
  /** Sorted by x. */
  points: [number, number][];
  /** Range of the axis; else that of the points. */
  range?: [number, number];
  /** "%": values are shares. */
  unit?: string;
}

export interface ChartOptions {
  /** What the chart shows, for screen readers. */
  label: string;
  xLabel: string;
  series: Store<Series[]>;
  /** Range of x. */
  range: Store<[number, number]>;
  marker?: Store<number>;
  /** Values of x that can be chosen, and told, lie on multiples of this. */
  step?: number;
  /** The user goes to `x`; `done` on release. Without it the chart only shows. */
  onscrub?: (x: number, done: boolean) => void;
}

const HEIGHT = 150;
const EDGE = { top: 8, right: 46, bottom: 32, left: 46 };
const SVG = "http://www.w3.org/2000/svg";

function svg(tag: string, attributes: Record<string, string | number>, text = ""): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.textContent = text;
  return element;
}

const told = (series: Series, value: number) =>
  series.unit === "%" ? percent(value) : short(value);

/** The point nearest to `x`. */
export function nearestPoint(points: [number, number][], x: number): [number, number] | undefined {
  let best: [number, number] | undefined;
  for (const point of points) {
    if (!best || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
  }
  return best;
}

export function chart(options: ChartOptions, signal: AbortSignal): HTMLElement {
  const { series, range, marker, onscrub, step = 1 } = options;
  let width = 560;
  let hover: number | null = null;

  const legend = h("div", { class: "xai-chart-legend" });
  const drawing = svg("svg", { height: HEIGHT, "aria-hidden": "true" });
  const summary = h("p", { class: "xai-hidden" });
  // The picture is hidden from screen readers, so that this can take focus on top of it.
  const handle = h("div", {
    class: "xai-chart-handle",
    ...(onscrub && {
      role: "slider",
      tabIndex: 0,
      "aria-label": `${options.label}: ${options.xLabel}`,
    }),
  });
  const plot = h("div", { class: "xai-plot" }, drawing, handle);
  const element = h("div", { class: "xai-chart" }, legend, plot, summary);

  const scaleX = () => linear(range.get(), [EDGE.left, width - EDGE.right]);

  function axis(side: "left" | "right"): (value: number) => number {
    const shown = series.get().filter((each) => each.axis === side);
    const fixed = shown.find((each) => each.range)?.range;
    const ends = fixed ?? extent(shown.flatMap((each) => each.points.map((point) => point[1])));
    const y = linear(ends, [HEIGHT - EDGE.bottom, EDGE.top]);
    const at = side === "left" ? EDGE.left : width - EDGE.right;
    const out = side === "left" ? -6 : 6;
    for (const each of shown.slice(0, 1)) {
      for (const value of ticks(...ends, 6)) {
        const share = each.unit === "%" ? `${Math.round(100 * value)}%` : short(value);
        if (side === "left") line(EDGE.left, y(value), width - EDGE.right, y(value), "xai-grid");
        drawing.append(
          svg(
            "text",
            {
              x: at + out,
              y: y(value) + 4,
              "text-anchor": side === "left" ? "end" : "start",
              class: `xai-on-${side}`,
            },
            share,
          ),
        );
      }
    }
    return y;
  }

  function line(x1: number, y1: number, x2: number, y2: number, name: string): void {
    drawing.append(svg("line", { x1, y1, x2, y2, class: name }));
  }

  function draw(): void {
    drawing.textContent = "";
    drawing.setAttribute("width", String(width));
    const x = scaleX();
    const sides = { left: axis("left"), right: axis("right") };
    for (const value of ticks(...range.get(), width / 80, step)) {
      const place = { x: x(value), y: HEIGHT - EDGE.bottom + 15, "text-anchor": "middle" };
      drawing.append(svg("text", place, short(value)));
    }
    const middle = { x: width / 2, y: HEIGHT - 3, "text-anchor": "middle" };
    drawing.append(svg("text", middle, options.xLabel));
    line(EDGE.left, HEIGHT - EDGE.bottom, width - EDGE.right, HEIGHT - EDGE.bottom, "xai-axis");
    for (const each of series.get()) {
      const points = each.points.map(([px, py]) => `${x(px)},${sides[each.axis](py)}`).join(" ");
      drawing.append(svg("polyline", { points, class: `xai-line xai-on-${each.axis}` }));
    }
    mark();
  }

  /** What changes while scrubbing: marker, hairline and the values there. */
  function mark(): void {
    for (const old of [...drawing.querySelectorAll(".xai-mark")]) old.remove();
    const x = scaleX();
    const bottom = HEIGHT - EDGE.bottom;
    const at = marker?.get();
    if (hover !== null) line(x(hover), EDGE.top, x(hover), bottom, "xai-mark xai-hair");
    if (at !== undefined) line(x(at), EDGE.top, x(at), bottom, "xai-mark xai-marker");
    const place = hover ?? at;
    const values: string[] = [];
    legend.textContent = "";
    for (const each of series.get()) {
      const point = place === undefined ? undefined : nearestPoint(each.points, place);
      const value = point ? told(each, point[1]) : "";
      if (value) values.push(`${each.name} ${value}`);
      legend.append(
        h(
          "span",
          { class: `xai-key xai-on-${each.axis}` },
          h("span", { class: "xai-swatch" }),
          `${each.name} ${value}`,
        ),
      );
    }
    if (place !== undefined) {
      legend.append(h("span", { class: "xai-key" }, `at ${options.xLabel} ${short(place)}`));
    }
    if (onscrub) {
      const [low, high] = range.get();
      handle.setAttribute("aria-valuemin", String(low));
      handle.setAttribute("aria-valuemax", String(high));
      handle.setAttribute("aria-valuenow", String(at ?? low));
      handle.setAttribute("aria-valuetext", [short(at ?? low), ...values].join(", "));
    }
  }

  function describe(): void {
    const parts = series.get().map((each) => {
      const [first, last] = [each.points[0], each.points.at(-1)];
      if (!first || !last) return `${each.name}: nothing yet.`;
      const all = each.points.map((point) => point[1]);
      const ends = `from ${told(each, first[1])} to ${told(each, last[1])}`;
      const highest = told(each, Math.max(...all));
      return `${each.name}: ${ends}, between ${told(each, Math.min(...all))} and ${highest}.`;
    });
    summary.textContent = `${options.label}. ${parts.join(" ")}`;
  }

  function snapped(value: number): number {
    const [low, high] = range.get();
    const clean = Number((Math.round(value / step) * step).toPrecision(12));
    return Math.min(high, Math.max(low, clean));
  }

  function under(event: PointerEvent): number {
    const left = plot.getBoundingClientRect().left;
    const back = linear([EDGE.left, width - EDGE.right], range.get());
    return snapped(back(event.clientX - left));
  }

  const on = listener(handle, signal);
  let dragged = false;
  // What was asked for; the marker may lag behind.
  let asked: number | null = null;
  const ask = (x: number) => {
    asked = x;
    onscrub?.(x, false);
  };
  const commit = () => {
    dragged = false;
    if (asked !== null) onscrub?.(asked, true);
    asked = null;
  };
  on("pointermove", (event) => {
    hover = dragged ? null : under(event);
    if (dragged) ask(under(event));
    mark();
  });
  on("pointerleave", () => {
    hover = null;
    mark();
  });
  if (onscrub) {
    on("pointerdown", (event) => {
      if (event.button !== 0) return;
      dragged = true;
      hover = null;
      handle.setPointerCapture?.(event.pointerId);
      ask(under(event));
    });
    on("pointerup", (event) => {
      if (dragged) asked = under(event);
      commit();
    });
    on("pointercancel", commit);
    on("keydown", (event) => {
      const goal = keyGoal(event, asked ?? marker?.get() ?? 0, range.get(), step, 5 * step);
      if (goal !== undefined) ask(snapped(goal));
    });
    on("keyup", commit);
    on("blur", commit);
  }

  series.subscribe(() => {
    draw();
    describe();
  }, signal);
  range.subscribe(draw, signal);
  marker?.subscribe(mark, signal);
  if (typeof ResizeObserver !== "undefined") {
    const observer = new ResizeObserver(([entry]) => {
      const now = Math.round(entry?.contentRect.width ?? 0);
      if (now > 100 && now !== width) {
        width = now;
        draw();
      }
    });
    observer.observe(plot);
    signal.addEventListener("abort", () => observer.disconnect(), { once: true });
  }
  draw();
  describe();
  return element;
}
