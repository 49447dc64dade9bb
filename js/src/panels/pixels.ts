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

/** A compressed image, copied: the host may use the buffer again. */
export function blob(data: DataView): Blob {
  return new Blob([new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)]);
}

export function hasBytes(data: unknown): data is DataView {
  return data instanceof DataView && data.byteLength > 0;
}

export const decodeImage = (blob: Blob): Promise<ImageBitmap> => createImageBitmap(blob);

/** Decode into `store`; what was asked for last wins, whatever is ready first. */
export function latest(
  store: Store<ImageBitmap | null>,
  decode = decodeImage,
): (source: Blob | null) => void {
  let turn = 0;
  return (source) => {
    const mine = ++turn;
    if (!source) {
      store.set(null);
      return;
    }
    decode(source).then(
      (image) => {
        if (mine === turn) store.set(image);
        else image.close();
      },
      () => {},
    );
  };
}

/** RGBA of an image, drawn at the given size. */
export function rgba(image: ImageBitmap, width: number, height: number): ImageData | null {
  const context = canvas(width, height).getContext("2d", { willReadFrequently: true });
  context?.drawImage(image, 0, 0, width, height);
  return context?.getImageData(0, 0, width, height) ?? null;
}

export function canvas(width: number, height: number): HTMLCanvasElement {
  const element = document.createElement("canvas");
  element.width = width;
  element.height = height;
  return element;
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
