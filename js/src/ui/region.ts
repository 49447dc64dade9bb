/** The region that is explained, and the one that is being painted; all views share it. */

import { Store } from "../store.ts";
import type { Point, Session } from "../types.ts";
import { blank, count, type Mask, pack, resized, same, stroke } from "../view/mask.ts";
import { percent } from "./scale.ts";
import { copied, maskOf, regionOf, type Target, type Where } from "./target.ts";

export interface Brush {
  on: boolean;
  erases: boolean;
  /** Diameter in pixels of the photo. */
  size: number;
}

export interface RegionState {
  /** As it is shown; `null` when no region is explained. */
  mask: Store<Mask | null>;
  brush: Store<Brush>;
  /** Whether its class is the one with the highest mean score there. */
  automatic: Store<boolean>;
  /** How large it is, in words; nothing where there is none. */
  told(): string;
  /** Begin a stroke, go on, and end it: then the kernel is told. */
  press(point: Point, erases: boolean): void;
  move(point: Point): void;
  release(): void;
  /** Explain another class of it, `null` the one with the highest mean score. */
  choose(category: number | null): void;
  /** Explain the class of it instead, everywhere. */
  clear(): void;
}

/** Part of the photo's shorter side that the brush is wide at first. */
const SHARE = 8;

export function regionState(session: Session): RegionState {
  const mask = new Store<Mask | null>(null);
  const brush = new Store<Brush>({ on: false, erases: false, size: 0 });
  const automatic = new Store(false);
  let where: Where | null = null;
  // Masks that were sent without a class; the kernel answers each with the class it found.
  let unanswered: Mask[] = [];
  let held: { last: Point; value: 0 | 1; before: Mask | null } | null = null;

  const told = () => regionOf(session.get<Target>("target"));
  const take = () => {
    const region = told();
    if (region?.category === null) return; // as this page, or another, has asked for it
    const found = region && maskOf(region.region, session.photo.get());
    const answered = found ? unanswered.findIndex((each) => same(each, found)) : -1;
    unanswered = answered < 0 ? [] : unanswered.slice(answered + 1);
    // An answer to what was painted since is still to come.
    if (held || unanswered.length) return;
    if (answered < 0 && !same(found, mask.get())) automatic.set(false);
    where = region?.region ?? null;
    mask.set(found);
  };
  session.watch("target", take);
  session.photo.watch((photo) => {
    if (!photo) return;
    const short = Math.min(photo.width, photo.height);
    brush.update((now) => ({ ...now, size: now.size || Math.max(1, Math.round(short / SHARE)) }));
    take();
  }, session.signal);

  const send = (category: number | null) => {
    const shown = mask.get();
    if (!where || !shown) return;
    automatic.set(category === null);
    unanswered = category === null ? [...unanswered, shown] : [];
    session.set("target", { region: copied(where), category });
  };
  const clear = () => {
    unanswered = [];
    where = null;
    mask.set(null);
    session.set("target", told()?.category ?? null);
  };
  const move = (point: Point) => {
    const photo = session.photo.get();
    if (!held || !photo) return;
    const { width, height } = photo;
    const now = mask.get();
    const base = now ? resized(now, width, height) : blank(width, height);
    mask.set(stroke(base, held.last, point, brush.get().size / 2, held.value));
    held.last = point;
  };
  return {
    mask,
    brush,
    automatic,
    told() {
      const now = mask.get();
      return now ? `${percent(count(now) / now.inside.length)} of the photo` : "";
    },
    press(point, erases) {
      held = { last: point, value: erases ? 0 : 1, before: mask.get() };
      move(point);
    },
    move,
    release() {
      const before = held?.before ?? null;
      const now = held && mask.get();
      held = null;
      if (!now) return;
      if (!now.inside.includes(1)) {
        if (before) clear();
        else mask.set(null);
      } else if (!before || !same(resized(before, now.width, now.height), now)) {
        where = { bits: pack(now), shape: [now.height, now.width] };
        send(before && !automatic.get() ? (told()?.category ?? null) : null);
      } else mask.set(before);
    },
    choose: send,
    clear,
  };
}
