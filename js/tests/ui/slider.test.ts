import { expect, it } from "vitest";
import { slider } from "../../src/ui/slider.ts";

const BASE = { label: "Epsilon", low: 0, high: 1, step: 0.001, value: 0 };

function shown(options: object): string {
  const made = slider({ ...BASE, ...options }, new AbortController().signal);
  return (made.element.querySelector(".xai-number") as HTMLInputElement).value;
}

it("shows as many digits as a step has", () => {
  expect(shown({ value: 0.25 })).toBe("0.250");
  expect(shown({ value: 0 })).toBe("0.000");
});

it("shows what is far smaller than a step as what it is", () => {
  expect(shown({ value: 1e-6 })).toBe("1e-6");
});

it("shows a share as a percentage, and a percentage as it is", () => {
  expect(shown({ value: 0.155, step: 0.005, unit: "%" })).toBe("15.5");
  expect(shown({ value: 99.5, low: 90, high: 100, step: 0.1, unit: "%" })).toBe("99.5");
});
