/** Another photo: chosen, dropped or pasted; and the picture saved. */

import { h } from "../dom.ts";
import type { Context, Stage } from "../types.ts";
import { button } from "./button.ts";

const GAP = 12;
const LABEL = 28;
const SAVED_WIDTH = 448;

export function photoButtons(context: Context, stages: Stage[], usesPhoto = true): HTMLElement {
  const { session, signal } = context;
  const file = h("input", {
    type: "file",
    accept: "image/*",
    class: "xai-hidden",
    tabIndex: -1,
    "aria-label": "Photo file",
    onchange: () => {
      const chosen = file.files?.[0];
      if (chosen) void sendPhoto(context, chosen);
      file.value = "";
    },
    signal,
  });
  const name = () => `${session.get<string>("_kind") || "explanation"}.png`;
  return h(
    "div",
    { class: "xai-actions" },
    usesPhoto && file,
    usesPhoto &&
      button("Photo…", () => file.click(), {
        signal,
        title: "Choose a photo; or drop one here, or paste it",
      }),
    button("Save PNG", () => save(stages, name()), { signal, title: "Save the pictures as PNG" }),
  );
}

/** Take photos that are dropped on, or pasted into, an element. */
export function acceptPhotos(context: Context, element: HTMLElement): void {
  const { signal } = context;
  const take = (event: Event, data: DataTransfer | null) => {
    const file = [...(data?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    void sendPhoto(context, file);
  };
  const over = (event: DragEvent) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    element.classList.add("xai-drop");
  };
  const out = () => element.classList.remove("xai-drop");
  element.addEventListener("dragenter", over, { signal });
  element.addEventListener("dragover", over, { signal });
  element.addEventListener("dragleave", out, { signal });
  element.addEventListener(
    "drop",
    (event) => {
      out();
      take(event, event.dataTransfer);
    },
    { signal },
  );
  element.addEventListener("paste", (event) => take(event, event.clipboardData), { signal });
}

async function sendPhoto({ session }: Context, file: File): Promise<void> {
  session.send({ kind: "photo", name: file.name }, [await file.arrayBuffer()]);
}

/** Every stage, at least `SAVED_WIDTH` wide each: side by side, or in rows with their titles. */
export function composed(stages: Stage[], across = 0): HTMLCanvasElement {
  const pictures = stages.map((stage) => stage.render(SAVED_WIDTH));
  const canvas = document.createElement("canvas");
  const columns = across || stages.length;
  const label = across ? LABEL : 0;
  const width = Math.max(...pictures.map((picture) => picture.width)) + GAP;
  const height = Math.max(...pictures.map((picture) => picture.height)) + GAP + label;
  canvas.width = width * columns - GAP;
  canvas.height = height * Math.ceil(stages.length / columns) - GAP;
  const pen = canvas.getContext("2d");
  if (!pen) return canvas;
  if (across) {
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = "#000";
    pen.font = "20px sans-serif";
  }
  pictures.forEach((picture, place) => {
    const left = width * (place % columns);
    const top = height * Math.floor(place / columns) + label;
    if (across) pen.fillText(stages[place]?.title ?? "", left, top - 8, width - GAP);
    pen.drawImage(picture, left, top);
  });
  return canvas;
}

function save(stages: Stage[], name: string): void {
  composed(stages).toBlob((blob) => {
    if (!blob) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}
