import { beforeEach, describe, expect, it } from "vitest";
import { classChips } from "../../src/ui/chips.ts";
import { regionState } from "../../src/ui/region.ts";
import { asked, whyNotOf, whyOf } from "../../src/ui/target.ts";
import { type Fake, fakeSession } from "../panels/fake_session.ts";

const NAMES = ["ant", "bee", "cow", "dog", "elk", "fox", "gnu"];
const category = (index: number) => ({
  index,
  name: NAMES[index] ?? "",
  probability: 0.5 / (index + 1),
});

describe("a target as plain values", () => {
  it("is read", () => {
    expect([whyOf(3), whyNotOf(3)]).toEqual([[3], []]);
    expect([whyOf([3, 1]), whyNotOf([3, 1])]).toEqual([[3, 1], []]);
    expect([whyOf({ why: 3, why_not: [1, 2] }), whyNotOf({ why: 3, why_not: [1, 2] })]).toEqual([
      [3],
      [1, 2],
    ]);
    expect([whyOf({ region: [0, 0, 4, 4], category: 3 }), whyNotOf(undefined)]).toEqual([[3], []]);
    expect(whyOf({ region: [0, 0, 4, 4], category: null })).toEqual([]);
    expect(whyOf({ function: "token" })).toEqual([]);
  });

  it("is made", () => {
    expect(asked([3], [])).toBe(3);
    expect(asked([3, 4], [])).toEqual([3, 4]);
    expect(asked([3], [1])).toEqual({ why: 3, why_not: 1 });
    expect(asked([3], [3, 1])).toEqual({ why: 3, why_not: 1 });
    expect(asked([3], [3])).toBe(3);
  });
});

describe("the class picker", () => {
  let session: Fake;
  let picker: HTMLElement;
  const chips = () => [...picker.querySelectorAll<HTMLElement>(".xai-chips .xai-chip")];
  const pressed = () =>
    chips()
      .filter((chip) => chip.getAttribute("aria-pressed") === "true")
      .map((chip) => chip.querySelector(".xai-chip-name")?.textContent);
  const whole = () => picker.querySelector(".xai-asked") as HTMLElement;
  const made = (traits: Record<string, unknown>) => {
    session = fakeSession({
      _top: [0, 1, 2, 3, 4].map(category),
      _categories: NAMES,
      _target_info: { ...category(0), why: [category(0)] },
      target: 0,
      _targets: ["class", "classes", "difference", "output"],
      ...traits,
    });
    picker = classChips({ session, signal: session.signal }, regionState(session));
  };
  const search = (label: string, text: string) => {
    const input = picker.querySelector(`[aria-label="${label}"]`) as HTMLInputElement;
    input.value = text;
    input.dispatchEvent(new Event("input"));
    input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  };
  const NOT = "Search the class to set against it";

  beforeEach(() => {
    Element.prototype.scrollIntoView = () => {}; // which jsdom does not have
    made({});
  });

  it("picks a class by chip and by search", () => {
    expect(pressed()).toEqual(["ant"]);
    expect(whole().hidden).toBe(true);
    chips()[2]?.click();
    search("Search a class", "fox");
    expect(session.saved).toEqual([
      ["target", 2],
      ["target", 5],
    ]);
  });

  it("asks why one and not another, and back", () => {
    search(NOT, "gnu");
    expect(session.saved.pop()).toEqual(["target", { why: 0, why_not: 6 }]);
    session.change({ _target_info: { index: null, name: "ant, not gnu", why: [category(0)] } });
    expect(whole().hidden).toBe(false);
    expect(whole().textContent).toBe("ant, not gnu ✕");
    expect(pressed()).toEqual(["ant"]);
    whole().click();
    expect(session.saved.pop()).toEqual(["target", 0]);
  });

  it("keeps what it is not when another class is picked, unless it is that one", () => {
    session.change({ target: { why: 0, why_not: 2 } });
    chips()[1]?.click();
    expect(session.saved.pop()).toEqual(["target", { why: 1, why_not: 2 }]);
    chips()[2]?.click();
    expect(session.saved.pop()).toEqual(["target", 2]);
  });

  it("takes the next best when it is not to be the class itself", () => {
    search(NOT, "ant");
    expect(session.saved.pop()).toEqual(["target", { why: 1, why_not: 0 }]);
  });

  it("shows classes that are not among the most probable", () => {
    session.change({
      target: [5, 0],
      _target_info: { index: null, name: "fox + ant", why: [category(5), category(0)] },
    });
    expect(pressed()).toEqual(["ant", "fox"]);
    whole().click();
    expect(session.saved.pop()).toEqual(["target", null]);
  });

  it("names a target that is no class", () => {
    session.change({
      target: { function: "token" },
      _target_info: { index: null, name: "token" },
    });
    expect(pressed()).toEqual([]);
    expect(whole().textContent).toBe("token ✕");
    whole().click();
    expect(session.saved.pop()).toEqual(["target", null]);
  });

  describe("of a region", () => {
    const where = [0, 0, 4, 4];
    beforeEach(() => {
      session.photo.set({ width: 8, height: 8 } as ImageBitmap);
      session.change({
        target: { region: where, category: 5 },
        _target_info: { index: null, name: "fox in a region", why: [category(5)] },
      });
    });

    it("chooses its class, by chip and by search", () => {
      expect(pressed()).toEqual(["fox"]);
      expect(chips().length).toBe(7);
      chips()[3]?.click();
      expect(session.saved.pop()).toEqual(["target", { region: where, category: 2 }]);
      search("Search a class", "gnu");
      expect(session.saved.pop()).toEqual(["target", { region: where, category: 6 }]);
    });

    it("leaves the class to be found, until one is chosen", () => {
      chips()[0]?.click();
      expect(session.saved.pop()).toEqual(["target", { region: where, category: null }]);
      session.change({ target: { region: where, category: 1 } });
      expect(pressed()).toEqual(["top class", "bee"]);
      chips()[2]?.click();
      expect(session.saved.pop()).toEqual(["target", { region: where, category: 1 }]);
      expect(pressed()).toEqual(["bee"]);
    });

    it("goes back to its class, everywhere", () => {
      expect(whole().textContent).toBe("fox in a region ✕");
      whole().click();
      expect(session.saved.pop()).toEqual(["target", 5]);
      expect(whole().hidden).toBe(true);
      expect(pressed()).toEqual(["fox"]);
    });

    it("has no class that it is not", () => {
      const not = picker.querySelector(`[aria-label="${NOT}"]`)?.parentElement;
      expect(not?.hidden).toBe(true);
      session.change({ target: 3 });
      expect(not?.hidden).toBe(false);
    });
  });

  it("has no second picker where the method takes no difference", () => {
    made({ _targets: ["class", "classes"] });
    expect(picker.querySelector(`[aria-label="${NOT}"]`)).toBeNull();
    made({ _targets: undefined });
    expect(picker.querySelector(`[aria-label="${NOT}"]`)).toBeNull();
  });
});
