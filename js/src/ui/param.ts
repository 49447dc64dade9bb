/** The control of a parameter, from what Python says of it; for layers see `layer_control`. */

import { h } from "../dom.ts";
import type { Context, Parameter } from "../types.ts";
import { select } from "./select.ts";
import { slider } from "./slider.ts";

export function paramControl(context: Context, name: string): HTMLElement {
  const { session, signal } = context;
  const spec = session.get<Parameter[]>("_params")?.find((each) => each.name === name);
  if (!spec) return h("span");
  if (spec.kind === "choice") {
    const options = spec.options.map((value) => ({ value, label: value.replaceAll("_", " ") }));
    const control = select(
      spec.label,
      options,
      String(session.get(name)),
      (value) => session.set(name, value),
      signal,
      spec.help,
    );
    session.watch(name, (value) => control.show(String(value)), signal);
    return control.element;
  }
  if (spec.kind === "flag") {
    const input = h("input", {
      type: "checkbox",
      onchange: () => session.set(name, input.checked),
      signal,
    });
    session.watch<boolean>(
      name,
      (value) => {
        input.checked = value;
      },
      signal,
    );
    return h("label", { class: "xai-field", title: spec.help }, input, spec.label);
  }
  const control = slider(
    {
      label: spec.label,
      low: spec.low ?? 0,
      high: spec.high ?? 1,
      step: spec.step ?? 1,
      value: Number(session.get(name)),
      unit: spec.unit,
      help: spec.help,
      integer: spec.kind === "int",
      oninput: (value) => session.set(name, value),
    },
    signal,
  );
  session.watch<number>(name, (value) => control.show(value), signal);
  return control.element;
}
