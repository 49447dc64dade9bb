import { floatsOf } from "../session.ts";
import type { Store } from "../store.ts";
import type { ScalarMap, Session } from "../types.ts";

export type Picture = Store<CanvasImageSource | null>;

/** A stage only reads its image, so a store of something narrower will do. */
export function picture(store: Store<ImageBitmap | null>): Picture {
  return store as unknown as Picture;
}

/** The attribution, for a stage. */
export function scalars(session: Session): Store<ScalarMap | null> {
  return session.map as unknown as Store<ScalarMap | null>;
}

/** A map of the message, or `null` where its length does not fit its shape. */
export function scalarMap(data: DataView, [height, width]: [number, number]): ScalarMap | null {
  const fits = data.byteLength === 4 * width * height;
  return fits ? { values: floatsOf(data), width, height } : null;
}

/** `(1 - share) * from + share * to`, byte by byte; opaque. */
export function mix(
  from: Uint8ClampedArray,
  to: Uint8ClampedArray,
  share: number,
  into: Uint8ClampedArray,
): void {
  for (let i = 0; i < into.length; i++) {
    into[i] = i % 4 === 3 ? 255 : (1 - share) * (from[i] as number) + share * (to[i] as number);
  }
}
