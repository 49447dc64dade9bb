/**
 * Which class is explained: the five most probable as chips, all of them by search; and which one
 * not, where the method can tell why one class and not another. Of a region its class.
 */

import { h } from "../dom.ts";
import type { Category, Context } from "../types.ts";
import type { RegionState } from "./region.ts";
import { percent } from "./scale.ts";
import { asked, regionOf, type Target, type TargetInfo, whyNotOf, whyOf } from "./target.ts";

const MOST = 50;

export function classChips(context: Context, region: RegionState): HTMLElement {
  const { session, signal } = context;
  const row = h("div", { class: "xai-chips", role: "group", "aria-label": "Class to explain" });
  const target = () => session.get<Target>("target");
  const choose = (index: number) => {
    if (regionOf(target())) region.choose(index);
    else session.set("target", asked([index], whyNotOf(target())));
  };
  const chooseNot = (index: number) => {
    const why = whyOf(target()).filter((each) => each !== index);
    const best = (session.get<Category[]>("_top") ?? []).find((each) => each.index !== index);
    session.set("target", asked(why.length || !best ? why : [best.index], [index]));
  };
  const whole = h("button", {
    type: "button",
    class: "xai-chip xai-asked",
    onclick: () => {
      if (regionOf(target())) {
        region.clear();
        return;
      }
      const [first, more] = whyOf(target());
      session.set("target", more === undefined ? (first ?? null) : null);
    },
    signal,
  });
  const draw = () => {
    const top = session.get<Category[]>("_top") ?? [];
    const info = session.get<TargetInfo>("_target_info") ?? {};
    const why = whyOf(target());
    const focused = (row.contains(document.activeElement) && document.activeElement) || null;
    const place = focused ? [...row.children].indexOf(focused) : -1;
    const shown = [...top];
    for (const each of info.why ?? [info as Category]) {
      if (why.includes(each.index) && !top.some((other) => other.index === each.index)) {
        shown.push(each);
      }
    }
    whole.hidden = typeof target() === "number";
    const part = regionOf(target());
    whole.title = part ? "Back to the class, of the whole photo" : "Back to one class";
    if (not) not.hidden = Boolean(part);
    whole.textContent = `${info.name ?? ""} ✕`;
    const highest = chip(
      { name: "top class", pressed: region.automatic.get(), act: () => region.choose(null) },
      "Explain the class with the highest mean score in the region",
    );
    const chips = shown.map((each) =>
      chip(
        { ...each, pressed: why.includes(each.index), act: () => choose(each.index) },
        `Explain "${each.name}" (class ${each.index})`,
      ),
    );
    row.replaceChildren(...(part ? [highest] : []), ...chips);
    (row.children[place] as HTMLElement | undefined)?.focus();
  };
  const chip = (
    { name, probability, pressed, act }: Partial<Category> & { pressed: boolean; act: () => void },
    title: string,
  ) =>
    h(
      "button",
      {
        ...{ type: "button", class: "xai-chip", title, onclick: act, signal },
        "aria-pressed": String(pressed),
        style: `--xai-share: ${100 * (probability ?? 0)}%`,
      },
      h("span", { class: "xai-chip-name" }, name),
      probability !== undefined && h("span", { class: "xai-chip-share" }, percent(probability)),
    );
  const against = session.get<string[]>("_targets")?.includes("difference");
  const not =
    against && search(context, "Rather than…", "Search the class to set against it", chooseNot);
  for (const trait of ["_top", "_target_info", "target"]) session.watch(trait, draw, signal);
  region.automatic.subscribe(draw, signal);
  return h(
    "div",
    { class: "xai-classes" },
    row,
    search(context, "Other class…", "Search a class", choose),
    not,
    whole,
  );
}

let counter = 0;

function search(
  { session, signal }: Context,
  placeholder: string,
  label: string,
  picked: (index: number) => void,
): HTMLElement {
  const id = `xai-classes-${counter++}`;
  let found: number[] = [];
  let active = 0;
  const list = h("ul", { id, class: "xai-options", role: "listbox", "aria-label": "Classes" });
  list.hidden = true;
  const input = h("input", {
    type: "text",
    class: "xai-search",
    role: "combobox",
    placeholder,
    "aria-label": label,
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-autocomplete": "list",
    autocomplete: "off",
    spellcheck: false,
    signal,
  });

  const close = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const choose = (index: number | undefined) => {
    if (index === undefined) return;
    input.value = "";
    close();
    picked(index);
  };
  const mark = () => {
    [...list.children].forEach((option, place) => {
      option.setAttribute("aria-selected", String(place === active));
      if (place === active) {
        input.setAttribute("aria-activedescendant", option.id);
        option.scrollIntoView({ block: "nearest" });
      }
    });
  };
  const open = () => {
    const names = session.get<string[]>("_categories") ?? [];
    found = matching(names, input.value);
    active = 0;
    list.replaceChildren(
      ...found.map((index) =>
        h(
          "li",
          {
            id: `${id}-${index}`,
            role: "option",
            // Before the field loses the focus, which would close the list.
            onpointerdown: (event: Event) => {
              event.preventDefault();
              choose(index);
            },
            signal,
          },
          names[index] ?? `class ${index}`,
          h("span", { class: "xai-dim" }, ` ${index}`),
        ),
      ),
    );
    list.hidden = found.length === 0;
    input.setAttribute("aria-expanded", String(found.length > 0));
    mark();
  };
  input.addEventListener("input", open, { signal });
  input.addEventListener("blur", close, { signal });
  input.addEventListener(
    "keydown",
    (event) => {
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (by && list.hidden) open();
      else if (by) {
        active = (active + by + found.length) % Math.max(1, found.length);
        mark();
      } else if (event.key === "Enter") choose(found[active]);
      else if (event.key === "Escape") close();
      else return;
      event.preventDefault();
    },
    { signal },
  );
  return h("div", { class: "xai-combobox" }, input, list);
}

/** Indices of the classes whose name has the text, beginnings first; or the index typed. */
export function matching(names: string[], text: string): number[] {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const begins: number[] = [];
  const contains: number[] = [];
  names.forEach((name, index) => {
    const place = name.toLowerCase().indexOf(wanted);
    if (place === 0) begins.push(index);
    else if (place > 0) contains.push(index);
  });
  const typed = /^\d+$/.test(wanted) ? Number(wanted) : -1;
  const direct = typed >= 0 && (names.length === 0 || typed < names.length) ? [typed] : [];
  return [...new Set([...direct, ...begins, ...contains])].slice(0, MOST);
}
