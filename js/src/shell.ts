/** The frame around a panel: title, class, parameters, pictures, view, status. */

import { h } from "./dom.ts";
import type { Context, Panel, TargetPicker } from "./types.ts";
import { paramControl } from "./ui/param.ts";
import { acceptPhotos, photoButtons } from "./ui/photo.ts";
import { errorBox, statusLine } from "./ui/status.ts";
import { toolbar } from "./ui/toolbar.ts";

export function shell(
  context: Context,
  panels: Record<string, Panel>,
  picker?: (context: Context) => TargetPicker,
): HTMLElement {
  const { session, signal } = context;
  const kind = session.get<string>("_kind");
  const panel = panels[kind];
  if (!panel) return h("div", { class: "xai-root" }, `There is no widget of the kind "${kind}".`);
  const target = picker?.(context);
  const view = panel({ ...context, overlay: target?.overlay });
  target?.attach?.(view.stages);
  const paper = session.get<{ text?: string; url?: string }>("_paper") ?? {};
  const https = paper.url?.startsWith("https://") ? paper.url : undefined;
  const title = session.get<string>("_title");
  const photoName = h("span", { class: "xai-photo-name" });
  session.watch<string>(
    "_photo_name",
    (name) => {
      photoName.textContent = name ?? "";
    },
    signal,
  );
  const root = h(
    "section",
    { class: `xai-root xai-${kind}`, "aria-label": title, tabIndex: -1 },
    h(
      "header",
      { class: "xai-header" },
      h("strong", { class: "xai-title" }, title),
      https
        ? h(
            "a",
            { class: "xai-paper", href: https, target: "_blank", rel: "noopener noreferrer" },
            paper.text ?? "paper",
          )
        : null,
      photoName,
      photoButtons(context, view.stages, view.usesPhoto),
    ),
    target?.element,
    h(
      "div",
      { class: "xai-parameters", role: "group", "aria-label": "Parameters" },
      ...(view.controls ?? []),
      ...view.parameters.map((name) => paramControl(context, name)),
    ),
    errorBox(context),
    ...(view.above ?? []),
    h(
      "div",
      { class: "xai-main" },
      h("div", { class: "xai-stages" }, ...view.stages.map((stage) => stage.element)),
      h("div", { class: "xai-side" }, statusLine(context, view.status), ...(view.below ?? [])),
    ),
    toolbar(context, view.usesMap !== false),
  );
  if (view.usesPhoto !== false) acceptPhotos(context, root);
  return root;
}
