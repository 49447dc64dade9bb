import { h } from "../dom.ts";
import type { Context, PanelView, Stage } from "../types.ts";
import { button } from "../ui/button.ts";
import { composed } from "../ui/photo.ts";
import { createStage } from "../view/stage.ts";
import { choose, similarityTable } from "./compare_similarity.ts";
import {
  AXES,
  type Axis,
  type Cell,
  type CellState,
  type Comparison,
  comparison,
} from "./compare_state.ts";
import { picture } from "./pixels.ts";

const PLURAL = { method: "methods", target: "classes", image: "images", model: "models" };
const SCALES = { own: "each map its own", method: "one per method", all: "the same for all" };

/** Maps in a grid: methods x classes x images x models, under one view. */
export function compare(context: Context): PanelView {
  const { session, signal } = context;
  const state = session.shared("compare", () => comparison(session));
  const { axes, cells, varying } = state;
  const shown = new Map(cells.map((cell) => [cell, cellView(context, state, cell)]));
  const grid = h("div", { class: "xai-maps" });
  const scroller = h("div", { class: "xai-scroller" }, grid);
  let stages: Stage[] = [];
  let across = 1;

  const lay = (columns: Axis) => {
    // Cells of a row are the same but for the column; rows stay in the order of their first cell.
    const row = ({ at }: Cell) => at.map((place, axis) => AXES[axis] === columns || place).join();
    const rows = cells.map(row);
    const heads = axes[columns];
    const wraps = cells.length === heads.length;
    across = wraps ? Math.min(4, cells.length) : heads.length;
    grid.classList.toggle("xai-wraps", wraps);
    scroller.style.setProperty("--xai-columns", String(across));
    grid.replaceChildren(
      ...(wraps ? [] : ["", ...heads].map((text) => h("div", { class: "xai-head" }, text))),
    );
    stages = [...cells]
      .sort((a, b) => rows.indexOf(row(a)) - rows.indexOf(row(b)))
      .map((cell, index) => {
        const { element, title, stage } = shown.get(cell) as CellView;
        if (!wraps && index % across === 0) {
          grid.append(h("div", { class: "xai-head xai-row" }, state.name(cell, columns)));
        }
        title.hidden = !wraps;
        grid.append(element);
        return stage;
      });
  };
  session.watch<Axis>("columns", lay, signal);

  const repaint = () => {
    for (const stage of stages) stage.repaint();
  };
  session.watch("scale", repaint, signal);
  for (const { map } of cells) {
    // Its values may be what another map's colors go up to.
    map.subscribe(repaint, signal);
  }
  tellNearest(
    context,
    [...shown.values()].map(({ element }) => element),
  );

  const choice = (trait: string, label: string, options: [string, string][]) => {
    const made = choose(label, options, (value) => session.set(trait, value), signal);
    session.watch<string>(trait, made.show, signal);
    return made.element;
  };
  const more = button("Go on", () => session.action("retry"), { signal });
  const offer = () => {
    const waits = session.get<CellState[]>("_cells").some(({ state }) => state === "waiting");
    more.hidden = session.get("status") !== "idle" || !waits;
  };
  for (const trait of ["status", "_cells"]) session.watch(trait, offer, signal);
  return {
    stages: [
      {
        element: scroller,
        repaint,
        render: () => composed(stages, across),
      },
    ],
    below: [similarityTable(context, state)],
    controls: [
      choice(
        "columns",
        "Columns",
        varying.map((axis) => [axis, PLURAL[axis]]),
      ),
      choice("scale", "Color scale", Object.entries(SCALES)),
      more,
    ],
    parameters: [],
    usesPhoto: false,
  };
}

interface CellView {
  element: HTMLElement;
  title: HTMLElement;
  stage: Stage;
}

function cellView(context: Context, state: Comparison, cell: Cell): CellView {
  const { category = "", probability } = cell.state.get();
  const name = state.name(cell);
  const share = probability == null ? "" : ` ${Math.round(100 * probability)}%`;
  const answer = category + share;
  const stage = createStage(context, {
    title: `${name}: ${answer}`,
    image: picture(cell.photo),
    map: cell.map,
    limit: (view) => state.limit(cell, view),
  });
  const title = h("strong", {}, name);
  const meter = h("progress", { class: "xai-progress", max: 1, "aria-label": name });
  const note = h("p", { class: "xai-note", tabIndex: 0 });
  const element = h(
    "div",
    { class: "xai-cell" },
    h("div", { class: "xai-cell-title", title: answer }, title, answer),
    stage.element,
    meter,
    note,
  );
  cell.state.watch(({ state: now, fraction = 0, error }) => {
    // The style sheet shows what belongs to the state.
    element.dataset.state = now;
    meter.value = fraction;
    note.textContent = error;
  }, context.signal);
  return { element, title, stage };
}

/** Tell the kernel how far each cell is from what the page shows: the nearest are made first. */
function tellNearest({ session, signal }: Context, cells: HTMLElement[]): void {
  const observer = new IntersectionObserver(() => {
    if (session.get("status") !== "running") return;
    const ranks = cells.map((cell) => {
      const { top, bottom } = cell.getBoundingClientRect();
      return Math.round(Math.max(0, top - innerHeight, -bottom));
    });
    session.send({ kind: "nearest", ranks });
  });
  for (const cell of cells) observer.observe(cell);
  signal.addEventListener("abort", () => observer.disconnect());
}
