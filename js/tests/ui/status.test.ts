import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { MapFrame } from "../../src/types.ts";
import { statusLine } from "../../src/ui/status.ts";
import { type Fake, fakeSession } from "../panels/fake_session.ts";

function frame(diagnostics: MapFrame["diagnostics"]): MapFrame {
  return {
    ...{ values: new Float32Array(1), width: 1, height: 1, stage: "partial", generation: 1 },
    ...{ done: 5, total: 10, diagnostics, extras: {} },
  } as MapFrame;
}

describe("the status line", () => {
  let session: Fake;
  let settled: HTMLElement;
  let line: HTMLElement;
  const controller = new AbortController();

  beforeEach(() => {
    vi.useFakeTimers();
    session = fakeSession({ status: "running", _result_info: {} });
    line = statusLine({ session, signal: controller.signal });
    settled = line.querySelector(".xai-settled") as HTMLElement;
  });
  afterEach(() => vi.useRealTimers());

  it("says nothing of how settled a picture is where that is not known", () => {
    expect(settled.hidden).toBe(true);
    session.map.set(frame({ positions: 4 }));
    expect(settled.hidden).toBe(true);
    session.map.set(frame({ settled: null }));
    expect(settled.hidden).toBe(true);
  });

  it("follows the picture, rounded down, and explains itself", () => {
    session.map.set(frame({ settled: 0.42 }));
    expect(settled.hidden).toBe(false);
    expect(settled.textContent).toBe("Settled 42%");
    session.map.set(frame({ settled: 0.9999 }));
    expect(settled.textContent).toBe("Settled 99%");
    session.map.set(frame({ settled: 1 }));
    expect(settled.textContent).toBe("Settled 100%");
    expect(settled.title).toContain("correlation");
  });

  it("stays when the picture is finished", () => {
    session.map.set(frame({ settled: 0.97 }));
    session.change({ status: "idle", _result_info: { seconds: 1.5 } });
    expect(line.querySelector(".xai-status-text")?.textContent).toBe("Done in 1.5 s");
    expect(settled.textContent).toBe("Settled 97%");
  });

  it("is read out with the rest", () => {
    session.map.set(frame({ settled: 0.97 }));
    session.change({ status: "idle", _result_info: { seconds: 1.5 } });
    vi.runAllTimers();
    expect(line.querySelector("[role=status]")?.textContent).toBe("Done in 1.5 s. Settled 97%");
  });
});
