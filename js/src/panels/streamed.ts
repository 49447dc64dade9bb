import { blob, hasBytes, latest } from "../bitmap.ts";
import { Store } from "../store.ts";
import type { Session } from "../types.ts";

/** The newest picture that came beside a map, in a message of that name, or as state. */
export function streamed(session: Session, name: string): Store<ImageBitmap | null> {
  const store = new Store<ImageBitmap | null>(null);
  const decode = latest(store);
  const show = (bytes: unknown) => {
    if (hasBytes(bytes)) decode(blob(bytes));
  };
  session.watch("_extra", show);
  session.map.watch((map) => show(map?.extras[name]), session.signal);
  session.on(name, (_, [bytes]) => show(bytes));
  return store;
}
