/** What is explained, as the kernel tells it: a class, several, or one and not another. */

import type { Category } from "../types.ts";

/** Regions and functions are told by other objects; the page only shows their name. */
export type Target = number | number[] | { why: Classes; why_not: Classes } | object;
type Classes = number | number[];

export interface TargetInfo extends Partial<Category> {
  /** The classes that count for it. */
  why?: Category[];
}

/** The indices of the classes that count for it. */
export function whyOf(target: Target | undefined): number[] {
  if (typeof target === "number") return [target];
  if (Array.isArray(target)) return target;
  return target && "why" in target ? [target.why].flat() : [];
}

/** The indices of those that count against it. */
export function whyNotOf(target: Target | undefined): number[] {
  const against = typeof target === "object" && "why_not" in target ? target.why_not : [];
  return [against].flat();
}

/** Why these and not those; classes that are on both sides count for it. */
export function asked(why: number[], against: number[]): Target {
  const one = (list: number[]) => (list.length === 1 ? (list[0] as number) : list);
  const left = against.filter((index) => !why.includes(index));
  return left.length ? { why: one(why), why_not: one(left) } : one(why);
}
