/** What a run says of itself: the diagnostics of its method, in words. */

import { h } from "../dom.ts";
import type { Context } from "../types.ts";
import { percent, short } from "./scale.ts";

/** Told in the status line, or parts of another number. */
const HIDDEN = /^(settled|split_half|acted_on_.*)$/;

type Fact = [label: string, help?: string, told?: (value: number) => string];

const yes = (value: number) => (value ? "yes" : "no");

const FACTS: Record<string, Fact> = {
  completeness_gap: [
    "Completeness gap",
    "Sum of the attribution minus the rise of the score from the baseline to the photo",
  ],
  completeness_relative: ["Relative gap", "The gap's size as a share of that rise", percent],
  score_photo: ["Score of the photo"],
  score_baseline: ["Score of the baseline", "Where nothing of the photo is there"],
  score_reference: ["Score of the reference", "Where all of the photo is taken away"],
  score_masked: ["Score through the mask", "Of what the mask leaves"],
  area: ["Area of the mask", "Its mean", percent],
  area_penalty: ["Distance from the area", "How far the mask is from the area asked for"],
  loss: ["Objective", "What the search makes small"],
  loss_in: ["Objective inside"],
  loss_out: ["Objective outside"],
  regularization: ["Size and roughness", "Their part of the objective"],
  probability_photo: ["Probability on the photo", "Of the class", percent],
  probability_in: ["Inside the mask", "Probability with all outside taken away", percent],
  probability_out: ["Outside the mask", "Probability with all inside taken away", percent],
  lead: ["Lead of the class", "Over the best other class after the change, in logits"],
  lead_photo: ["Lead on the photo", "Over the best other class before the change, in logits"],
  image_distance: ["Change of the image"],
  feature_distance: ["Change of the features"],
  leak: ["Relevance kept on the way", "By biases and epsilon: score minus sum of the relevance"],
  leak_relative: ["Kept share of the score", "Of the relevance, likewise", percent],
  acted_on: ["Operations under the rule", "Of the network, on the way back"],
  not_acted_on: ["Left as they are", "Other activations keep their plain gradient"],
  r2: ["R²", "How well the linear model fits the answers; 1 is perfect"],
  exact: ["Exact", "Whether every coalition of segments was asked", yes],
  mean_score: ["Mean score under the masks"],
  explained: ["Explained", "Share of the layer's variation that the map tells of", percent],
  unassigned: ["Given to no pixel", "Change of the score on steps without a gradient"],
  precision_error: ["Error of the score", "Of the reduced precision, on the photo", percent],
  precision_error_gradient: ["Error of the gradient", "Likewise", percent],
};

/** Names and numbers, with what they mean under the pointer. */
export function facts({ session, signal }: Context): HTMLElement {
  const element = h("dl", { class: "xai-facts", "aria-label": "What the run says of itself" });
  session.map.watch((map) => {
    const all = map?.diagnostics ?? {};
    const told = Object.entries(all).filter(([name]) => !HIDDEN.test(name));
    element.replaceChildren(
      ...told.map(([name, value]) => {
        const [label, help, format = short] = FACTS[name] ?? [plain(name)];
        const text = format(value ?? Number.NaN) + parts(all, `${name}_`);
        return h("div", { title: help }, h("dt", {}, label), h("dd", {}, text));
      }),
    );
    element.hidden = told.length === 0;
  }, signal);
  return element;
}

/** What operations a rule acted on: " (20 relu, 13 relu6)". */
function parts(all: Record<string, number | null>, start: string): string {
  if (start !== "acted_on_") return "";
  const found = Object.entries(all).filter(([name]) => name.startsWith(start));
  const texts = found.map(([name, count]) => `${count} ${name.slice(start.length)}`);
  return texts.length ? ` (${texts.join(", ")})` : "";
}

/** `layers_z_plus`: "Layers under z plus". */
function plain(name: string): string {
  const text = name.replace("layers_", "layers under ").replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
