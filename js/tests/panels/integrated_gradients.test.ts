import { afterEach, expect, it, vi } from "vitest";
import { integratedGradients } from "../../src/panels/integrated_gradients.ts";
import { fakeSession } from "./fake_session.ts";

// A stage needs a real canvas; the views of it have tests of their own.
vi.mock("../../src/view/stage.ts", () => ({
  createStage: () => ({ element: document.createElement("figure"), repaint() {} }),
}));
vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(null);

const controllers: AbortController[] = [];
afterEach(() => {
  for (const controller of controllers) controller.abort();
});

function view(session: ReturnType<typeof fakeSession>): HTMLInputElement {
  const controller = new AbortController();
  controllers.push(controller);
  const panel = integratedGradients({ session, signal: controller.signal });
  const above = panel.above?.[0] as HTMLElement;
  document.body.append(above, ...(panel.below ?? []));
  return above.querySelector("input[type=range]") as HTMLInputElement;
}

it("scrubs in all views without a word to the kernel, and saves once on release", () => {
  const session = fakeSession({ alpha: 1, _extra_info: {} });
  const [one, two] = [view(session), view(session)];
  for (let i = 0; i < 100; i++) {
    one.value = String(i / 100);
    one.dispatchEvent(new Event("input"));
  }
  expect(session.saved).toEqual([]);
  expect(session.sent).toEqual([]);
  expect(two.value).toBe("0.99");
  one.value = "0.5";
  one.dispatchEvent(new Event("input"));
  one.dispatchEvent(new Event("change"));
  expect(session.saved).toEqual([["alpha", 0.5]]);
  session.change({ alpha: 0.25 });
  expect([one.value, two.value]).toEqual(["0.25", "0.25"]);
});
