import { Store } from "../store.ts";
import type { Context, PanelView } from "../types.ts";
import { chart, type Series } from "../ui/chart.ts";
import { createStage } from "../view/stage.ts";
import { overPhoto } from "./general.ts";
import { picture } from "./pixels.ts";
import { streamed } from "./streamed.ts";

/** A mask while it forms: what it lets through, and the objective of each iteration. */
export function masked(context: Context): PanelView {
  const { session, signal } = context;
  const view = overPhoto(context);
  const seen = session.shared("picture", () => streamed(session, "picture"));
  const series = new Store<Series[]>([]);
  const range = new Store<[number, number]>([1, 2]);
  const draw = (curves: Record<string, number[]> = {}) => {
    const all = Object.entries(curves);
    range.set([1, Math.max(2, all[0]?.[1].length ?? 0)]);
    series.set(
      all.map(([name, values], i) => ({
        name,
        axis: i ? "right" : "left",
        points: values.map((y, x): [number, number] => [x + 1, y]),
      })),
    );
  };
  session.watch<{ curves?: Record<string, number[]> }>(
    "_extra_info",
    (info) => draw(info?.curves),
    signal,
  );
  session.map.subscribe((map) => {
    const bytes = map?.extras.curves;
    if (bytes) draw(JSON.parse(new TextDecoder().decode(bytes)));
  }, signal);
  view.stages.push(createStage(context, { title: "Photo through the map", image: picture(seen) }));
  view.below?.unshift(chart({ label: "Objective", xLabel: "iteration", series, range }, signal));
  return view;
}
