/** The cells of a comparison, as they come and as they are kept. */

import { blob, hasBytes, latest } from "../bitmap.ts";
import { bytesOf } from "../session.ts";
import { Store } from "../store.ts";
import type { ScalarMap, Session, ViewState } from "../types.ts";
import { limitOf, withSign } from "../view/reduce.ts";

export const AXES = ["method", "target", "image", "model"] as const;
export type Axis = (typeof AXES)[number];

export interface CellState {
  /** Position on each of `AXES`. */
  at: [number, number, number, number];
  state: "waiting" | "running" | "done" | "error";
  error: string;
  category?: string;
  probability?: number | null;
  fraction?: number;
  shape?: [number, number];
  scale?: number;
  /** Of its map in `_result`, in bytes. */
  offset?: number;
}

export interface Cell {
  at: CellState["at"];
  state: Store<CellState>;
  map: Store<ScalarMap | null>;
  photo: Store<ImageBitmap | null>;
}

export interface Comparison {
  /** Titles of the entries of each axis. */
  axes: Record<Axis, string[]>;
  cells: Cell[];
  /** The axes with several entries. */
  varying: Axis[];
  /** Which cell, by what differs; one axis may be told elsewhere. */
  name: (cell: Cell, without?: Axis) => string;
  /** What gets the full color in a cell; `undefined` where each map has its own scale. */
  limit: (cell: Cell, view: ViewState) => number | undefined;
}

export function comparison(session: Session): Comparison {
  const axes = session.get<Comparison["axes"]>("_axes");
  const several = AXES.filter((axis) => axes[axis].length > 1);
  const varying = several.length ? several : AXES.slice(0, 1);
  const photos = session.get<unknown[]>("_photos").map((bytes) => {
    const photo = new Store<ImageBitmap | null>(null);
    latest(photo)(hasBytes(bytes) ? blob(bytes) : null);
    return photo;
  });
  const cells = session.get<CellState[]>("_cells").map(
    (state): Cell => ({
      at: state.at,
      state: new Store(state),
      map: new Store<ScalarMap | null>(null),
      photo: photos[state.at[3] * axes.image.length + state.at[2]] as Cell["photo"],
    }),
  );

  const show = (cell: Cell | undefined, state: CellState, bytes: unknown) => {
    const map = decoded(bytesOf(bytes), state);
    // The map first: whoever reads it is told by the state.
    if (map) cell?.map.set(map);
    cell?.state.set({ ...cell.state.get(), ...state });
  };
  session.watch<CellState[]>("_cells", (states) => {
    const result = bytesOf(session.get("_result"));
    states.forEach((state, index) => {
      show(cells[index], state, result.subarray(state.offset ?? result.length));
    });
  });
  session.on("cell", (message, [data]) => show(cells[message.index], message as never, data));

  return {
    axes,
    cells,
    varying,
    name: (cell, without) =>
      varying
        .filter((axis) => axis !== without)
        .map((axis) => axes[axis][cell.at[AXES.indexOf(axis)] as number])
        .join(" · "),
    limit(cell, { sign, clip }) {
      const scale = session.get<string>("scale");
      const limits = cells.map(({ at, map }) => {
        const values = (scale === "all" || at[0] === cell.at[0]) && map.get()?.values;
        return values ? limitOf(withSign(values, sign), clip) : 0;
      });
      return scale === "own" ? undefined : Math.max(...limits) || undefined;
    },
  };
}

/** A map from its 16-bit integers; `null` where there is none. */
function decoded(bytes: Uint8Array, { shape, scale = 1 }: CellState): ScalarMap | null {
  const [height, width] = shape ?? [0, 0];
  const length = 2 * width * height;
  if (!length || bytes.length < length) return null;
  // A copy: integers may not begin at every offset.
  const whole = new Int16Array(bytes.slice(0, length).buffer);
  return { values: Float32Array.from(whole, (value) => (value * scale) / 32767), width, height };
}
