/** What all views of one widget in a page share: its state, and its talk with the kernel. */

import { blob, hasBytes, latest, rgba } from "./bitmap.ts";
import { Store } from "./store.ts";
import type { MapFrame, Message, Model, Progress, Session, ViewState } from "./types.ts";

const SILENCE = 8000;
const VIEW: ViewState = {
  sign: "signed",
  clip: 99.5,
  threshold: 0.15,
  box: false,
  colormap: "RdBu_r",
  opacity: 0.8,
  smooth: true,
  zoom: 1,
  centerX: 0.5,
  centerY: 0.5,
};

// By the widget's own id: hosts hand each view another object for the same model.
const sessions = new Map<unknown, PageSession>();

/** The session of a widget; made at the first call, closed with `signal`. */
export function sessionOf(model: Model, signal?: AbortSignal): PageSession {
  const key = model.get("_id") || model;
  let session = sessions.get(key);
  if (!session) {
    session = new PageSession(model);
    sessions.set(key, session);
  }
  signal?.addEventListener("abort", () => session.close(), { once: true });
  return session;
}

export function bytesOf(view: unknown): Uint8Array<ArrayBuffer> {
  if (view instanceof DataView || ArrayBuffer.isView(view)) {
    // A copy: the host may hand out a slice at an offset that Float32Array does not take.
    return new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength).slice();
  }
  return view instanceof ArrayBuffer ? new Uint8Array(view.slice(0)) : new Uint8Array();
}

export function floatsOf(view: unknown): Float32Array {
  const bytes = bytesOf(view);
  return new Float32Array(bytes.buffer, 0, bytes.byteLength >> 2);
}

type Handler = (message: Message, buffers: DataView[]) => void;

export class PageSession implements Session {
  readonly view = new Store<ViewState>(VIEW);
  readonly cursor: Session["cursor"] = new Store<{ x: number; y: number } | null>(null);
  readonly map = new Store<MapFrame | null>(null);
  readonly progress = new Store<Progress>({ done: 0, total: 0, fraction: 0, text: "" });
  readonly photo = new Store<ImageBitmap | null>(null);
  readonly pixels = new Store<ImageData | null>(null);
  readonly connected = new Store(true);
  readonly #controller = new AbortController();
  readonly #handlers = new Map<string, Set<Handler>>();
  readonly #kept = new Map<string, unknown>();
  readonly #visible = new Set<object>();
  #newest = 0;
  #asked: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly model: Model) {
    model.on("msg:custom", this.#receive);
    const decode = latest({ set: (bitmap) => this.#showPhoto(bitmap) });
    this.watch<unknown>("_photo", (bytes) => {
      if (hasBytes(bytes)) decode(blob(bytes));
    });
    this.watch("_result_info", () => this.#finish());
    this.watch("status", () => this.#heard());
    this.send({ kind: "ready" });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  close(): void {
    this.#controller.abort();
    this.model.off("msg:custom", this.#receive);
    clearTimeout(this.#asked);
    for (const [key, session] of sessions) {
      if (session === this) sessions.delete(key);
    }
  }

  on(kind: string, handle: Handler): void {
    let handlers = this.#handlers.get(kind);
    if (!handlers) {
      handlers = new Set();
      this.#handlers.set(kind, handlers);
    }
    handlers.add(handle);
  }

  watch<T>(trait: string, handle: (value: T) => void, signal: AbortSignal = this.signal): void {
    if (signal.aborted) return;
    const changed = () => handle(this.model.get(trait));
    this.model.on(`change:${trait}`, changed);
    signal.addEventListener("abort", () => this.model.off(`change:${trait}`, changed), {
      once: true,
    });
    changed();
  }

  get<T>(trait: string): T {
    return this.model.get(trait);
  }

  set(trait: string, value: unknown): void {
    this.model.set(trait, value);
    this.model.save_changes();
  }

  send(message: Message, buffers?: ArrayBuffer[]): void {
    this.model.send(message, undefined, buffers);
    // A living kernel greets whoever is ready; one that does not is not there.
    if (message.kind === "ready") this.#expect();
  }

  action(name: string): void {
    this.send({ kind: "action", name });
  }

  shared<T>(key: string, make: () => T): T {
    if (!this.#kept.has(key)) this.#kept.set(key, make());
    return this.#kept.get(key) as T;
  }

  table(name: string = this.view.get().colormap): Uint8Array {
    const tables = this.get<Record<string, DataView> | undefined>("_colormaps") ?? {};
    const made = this.shared(`table ${name}`, () => bytesOf(tables[name]));
    return made.length >= 768 ? made : GRAY;
  }

  /** Note whether one of the page's views can be seen; `_visible` is true while any can. */
  seen(view: object, visible: boolean): void {
    if (visible) this.#visible.add(view);
    else this.#visible.delete(view);
    const any = this.#visible.size > 0;
    if (this.get<boolean>("_visible") !== any) {
      this.model.set("_visible", any);
      this.model.save_changes();
    }
  }

  readonly #receive = (message: Message, buffers: DataView[] = []): void => {
    this.#heard();
    if (typeof message?.seq === "number") this.send({ kind: "ack", seq: message.seq });
    if (typeof message?.gen === "number") {
      if (message.gen < this.#newest) return;
      this.#newest = message.gen;
    }
    if (message.kind === "progress") this.progress.set(message as unknown as Progress);
    if (message.kind === "map") this.#receiveMap(message, buffers);
    for (const handle of this.#handlers.get(message.kind) ?? []) handle(message, buffers);
  };

  #receiveMap(message: Message, buffers: DataView[]): void {
    const extras: Record<string, DataView> = {};
    const names: string[] = message.buffers_names ?? ["map"];
    names.forEach((name, place) => {
      const buffer = buffers[place];
      if (buffer && name !== "map") extras[name] = buffer;
    });
    this.map.set({
      values: floatsOf(buffers[names.indexOf("map")]),
      width: message.shape[1],
      height: message.shape[0],
      stage: message.stage,
      generation: message.gen ?? 0,
      done: message.done,
      total: message.total,
      diagnostics: message.info ?? {},
      extras,
    });
  }

  /** Show the last finished result, which is state: it survives a reload. */
  #finish(): void {
    const info = this.get<Message | undefined>("_result_info");
    const values = floatsOf(this.get("_result"));
    const [height, width] = info?.shape ?? [0, 0];
    if (!info || !width || values.length !== width * height) return;
    if (info.generation < this.#newest) return;
    this.#newest = info.generation;
    const { generation, done, total, diagnostics } = info as unknown as MapFrame;
    this.map.set({
      ...{ values, width, height, stage: "final", generation, done, total, diagnostics },
      extras: {},
    });
  }

  #showPhoto(bitmap: ImageBitmap | null): void {
    if (!bitmap || this.signal.aborted) return;
    // Before the photo, whose watchers read them.
    this.pixels.set(rgba(bitmap, bitmap.width, bitmap.height));
    this.photo.set(bitmap);
  }

  #expect(): void {
    if (this.#asked === undefined) {
      this.#asked = setTimeout(() => this.connected.set(false), SILENCE);
    }
  }

  #heard(): void {
    clearTimeout(this.#asked);
    this.#asked = undefined;
    this.connected.set(true);
  }
}

const GRAY = Uint8Array.from({ length: 768 }, (_, place) => Math.floor(place / 3));
