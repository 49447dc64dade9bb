import { Store } from "../store.ts";
import type { Message, Session } from "../types.ts";
import type { Covered, OcclusionLookup } from "./occlusion_lookup.ts";

export interface PatchState {
  /** Whether the patch may stand anywhere, not only where the last run put it. */
  free: Store<boolean>;
  /** The patch under the cursor. */
  now: Store<Covered | null>;
}

/**
 * The patch under the cursor: looked up, where it stands on the grid. A free one is asked of the
 * kernel: one place at a time, and always the newest.
 */
export function patchState(session: Session, lookup: Store<OcclusionLookup | null>): PatchState {
  const free = new Store(false);
  const now = new Store<Covered | null>(null);
  let answer: Message | undefined;
  /** Results that the answer is about, and the question without one: a new result drops both. */
  let [told, asked]: unknown[] = [];

  function show(): void {
    const result = session.get("_result_info");
    const point = session.cursor.get();
    const table = lookup.get();
    if (!point || !table || !free.get()) {
      now.set((point && table?.at(point)) ?? null);
      return;
    }
    const [top, left] = table.corner(point);
    const known = told === result && answer?.top === top && answer.left === left;
    if (!known && asked !== result) {
      asked = result;
      session.send({ kind: "action", name: "cover", top, left });
    }
    now.set({
      ...table.at(point),
      // Without numbers where the network failed, which is told elsewhere.
      ...(known && answer),
      ...table.shown(top, left),
      waits: !known || !answer?.probabilities,
    });
  }

  session.on("covered", (message) => {
    answer = message;
    told = session.get("_result_info");
    asked = undefined;
    show();
  });
  session.watch("_result_info", show);
  session.cursor.subscribe(show, session.signal);
  lookup.subscribe(show, session.signal);
  free.subscribe(() => {
    asked = undefined;
    show();
  }, session.signal);
  return { free, now };
}
