/** A value that can be watched. */
export class Store<T> {
  #value: T;
  readonly #watchers = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  update(change: (value: T) => T): void {
    this.set(change(this.#value));
  }

  /** Call `watcher` at each change until `signal` aborts. */
  subscribe(watcher: (value: T) => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#watchers.add(watcher);
    signal.addEventListener("abort", () => this.#watchers.delete(watcher), { once: true });
  }

  /** `subscribe`, and call `watcher` now. */
  watch(watcher: (value: T) => void, signal: AbortSignal): void {
    this.subscribe(watcher, signal);
    if (!signal.aborted) watcher(this.#value);
  }
}
