/** Which class is explained: the five most probable as chips, all of them by search. */

import { h } from "../dom.ts";
import type { Category, Context } from "../types.ts";

const MOST = 50;
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

export function classChips(context: Context): HTMLElement {
  const { session, signal } = context;
  const row = h("div", { class: "xai-chips", role: "group", "aria-label": "Class to explain" });
  const draw = () => {
    const top = session.get<Category[]>("_top") ?? [];
    const info = session.get<Partial<Category>>("_target_info") ?? {};
    const target = session.get<number>("target");
    const focused = (row.contains(document.activeElement) && document.activeElement) || null;
    const place = focused ? [...row.children].indexOf(focused) : -1;
    const shown = [...top];
    if (!top.some((each) => each.index === target) && info.index === target) {
      shown.push(info as Category);
    }
    row.replaceChildren(
      ...shown.map((each) =>
        h(
          "button",
          {
            type: "button",
            class: "xai-chip",
            "aria-pressed": String(each.index === target),
            title: `Explain "${each.name}" (class ${each.index})`,
            style: `--xai-share: ${100 * each.probability}%`,
            onclick: () => session.set("target", each.index),
            signal,
          },
          h("span", { class: "xai-chip-name" }, each.name),
          h("span", { class: "xai-chip-share" }, percent.format(each.probability)),
        ),
      ),
    );
    (row.children[place] as HTMLElement | undefined)?.focus();
  };
  for (const trait of ["_top", "_target_info", "target"]) session.watch(trait, draw, signal);
  return h("div", { class: "xai-classes" }, row, search(context));
}

let counter = 0;

function search({ session, signal }: Context): HTMLElement {
  const id = `xai-classes-${counter++}`;
  let found: number[] = [];
  let active = 0;
  const list = h("ul", { id, class: "xai-options", role: "listbox", "aria-label": "Classes" });
  list.hidden = true;
  const input = h("input", {
    type: "text",
    class: "xai-search",
    role: "combobox",
    placeholder: "Other class …",
    "aria-label": "Search a class",
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
    session.set("target", index);
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
