/** Compressed images that came over the wire, and their pixels. */

import type { Store } from "./store.ts";

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
  store: Pick<Store<ImageBitmap | null>, "set">,
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
