import { floatsOf } from "../session.ts";
import { Store } from "../store.ts";
import type { Context, PanelView } from "../types.ts";
import { chart, type Series } from "../ui/chart.ts";
import { createStage } from "../view/stage.ts";
import { general } from "./general.ts";
import { picture } from "./pixels.ts";
import { streamed } from "./streamed.ts";

/** A mask while it forms: what it lets through, and the objective of each iteration. */
export function masked(context: Context): PanelView {
  const { session, signal } = context;
  const view = general(context);
  const seen = session.shared("picture", () => streamed(session, "picture"));
  const series = new Store<Series[]>([]);
  const range = new Store<[number, number]>([1, 2]);
  const draw = (curve: unknown) => {
    const points = [...floatsOf(curve)].map((y, i): [number, number] => [i + 1, y]);
    if (!points.length) return;
    range.set([1, Math.max(2, points.length)]);
    series.set([{ name: "objective", axis: "left", points }]);
  };
  session.watch<{ curve?: unknown }>("_extra_info", (info) => draw(info?.curve), signal);
  session.map.subscribe((map) => draw(map?.extras.curve), signal);
  view.stages.push(createStage(context, { title: "Photo through the map", image: picture(seen) }));
  view.below?.unshift(chart({ label: "Objective", xLabel: "iteration", series, range }, signal));
  return view;
}
