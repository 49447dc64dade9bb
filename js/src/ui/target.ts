/** What is explained, as the kernel tells it: a class, several, one and not another, a region. */

import { bytesOf, floatsOf } from "../session.ts";
import type { Category } from "../types.ts";
import { boxed, type Mask, unpack } from "../view/mask.ts";

/** Functions are told by another object; the page only shows their name. */
export type Target = number | number[] | { why: Classes; why_not: Classes } | RegionTarget | object;
type Classes = number | number[];

/** A box `[top, left, bottom, right]`, or a mask as packed bits or weights of at least 0. */
export type Where =
  | number[]
  | { bits: unknown; shape: [height: number, width: number] }
  | { weights: unknown; shape: [height: number, width: number] };

export interface RegionTarget {
  region: Where;
  /** `null`: the class with the highest mean score there. */
  category: number | null;
}

export interface TargetInfo extends Partial<Category> {
  /** The classes that count for it. */
  why?: Category[];
}

export function regionOf(target: Target | null | undefined): RegionTarget | null {
  return target && typeof target === "object" && "region" in target ? target : null;
}

/** The indices of the classes that count for it. */
export function whyOf(target: Target | undefined): number[] {
  if (typeof target === "number") return [target];
  if (Array.isArray(target)) return target;
  const category = regionOf(target)?.category;
  if (typeof category === "number") return [category];
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

/** Where a region lies, at the mask's own size; `null` while the photo of a box is not there. */
export function maskOf(where: Where, photo: { width: number; height: number } | null): Mask | null {
  if (Array.isArray(where)) return photo && boxed(photo.width, photo.height, where);
  const [height, width] = where.shape;
  if ("bits" in where) return unpack(bytesOf(where.bits), width, height);
  const weights = floatsOf(where.weights);
  return { width, height, inside: Uint8Array.from(weights, (weight) => Number(weight > 0)) };
}

/** The same place with bytes of its own, as hosts send whole buffers. */
export function copied(where: Where): Where {
  if (Array.isArray(where)) return where;
  const { shape } = where;
  return "bits" in where
    ? { bits: bytesOf(where.bits), shape }
    : { weights: bytesOf(where.weights), shape };
}
