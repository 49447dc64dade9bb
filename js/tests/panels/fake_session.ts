import { Store } from "../../src/store.ts";
import type { Message, Session, ViewState } from "../../src/types.ts";

export interface Fake extends Session {
  /** Traits written to the kernel, in order. */
  saved: [string, unknown][];
  sent: Message[];
  /** A message from Python. */
  receive: (message: Message, buffers?: DataView[]) => void;
  /** Traits changed by Python, all at once. */
  change: (traits: Record<string, unknown>) => void;
}

export function fakeSession(traits: Record<string, unknown> = {}): Fake {
  const values = new Map(Object.entries(traits));
  const watchers = new Map<string, Set<(value: never) => void>>();
  const handlers = new Map<string, ((message: Message, buffers: DataView[]) => void)[]>();
  const kept = new Map<string, unknown>();
  const signal = new AbortController().signal;
  const tell = (name: string) => {
    for (const handle of watchers.get(name) ?? []) handle(values.get(name) as never);
  };
  const fake = {
    saved: [] as [string, unknown][],
    sent: [] as Message[],
    model: null as never,
    signal,
    view: new Store<ViewState>({} as ViewState),
    cursor: new Store(null),
    map: new Store(null),
    progress: new Store({ done: 0, total: 0, fraction: 0, text: "" }),
    photo: new Store(null),
    pixels: new Store(null),
    connected: new Store(true),
    on(kind: string, handle: (message: Message, buffers: DataView[]) => void) {
      handlers.set(kind, [...(handlers.get(kind) ?? []), handle]);
    },
    watch(trait: string, handle: (value: never) => void, until: AbortSignal = signal) {
      const all = watchers.get(trait) ?? new Set();
      watchers.set(trait, all.add(handle));
      until.addEventListener("abort", () => all.delete(handle), { once: true });
      handle(values.get(trait) as never);
    },
    get: (trait: string) => values.get(trait),
    set(trait: string, value: unknown) {
      values.set(trait, value);
      fake.saved.push([trait, value]);
      tell(trait);
    },
    send: (message: Message) => fake.sent.push(message),
    action: (name: string) => fake.sent.push({ kind: "action", name }),
    shared<T>(key: string, make: () => T): T {
      if (!kept.has(key)) kept.set(key, make());
      return kept.get(key) as T;
    },
    table: () => new Uint8Array(768),
    receive(message: Message, buffers: DataView[] = []) {
      for (const handle of handlers.get(message.kind) ?? []) handle(message, buffers);
    },
    change(changed: Record<string, unknown>) {
      for (const [name, value] of Object.entries(changed)) values.set(name, value);
      for (const name of Object.keys(changed)) tell(name);
    },
  };
  return fake as unknown as Fake;
}
