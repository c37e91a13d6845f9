// The grid of results.

import { showThumbnail, thumbnailOf } from "./api.js";
import { byId, count, element, formatScore, scoreBar, sentence, title } from "./dom.js";

const grid = () => byId("grid");

/** Grey shapes where results will be. */
export function showWaiting(k) {
  const tile = () =>
    element(
      "li",
      {},
      element("span", { className: "tile waiting" }, element("span", { className: "frame" }),
        element("span", { className: "caption" }, element("span", { className: "bone" }), element("span", { className: "bone" }))),
    );
  grid().setAttribute("aria-hidden", "true");
  grid().replaceChildren(...Array.from({ length: Math.min(k, 12) }, tile));
  byId("count").textContent = "Searching…";
  byId("how").hidden = true;
}

export function clear() {
  grid().removeAttribute("aria-hidden");
  grid().replaceChildren();
  byId("count").textContent = "";
  byId("how").hidden = true;
}

/** Show the results of a prediction; `open(index)` is called when one is chosen. */
export function show(prediction, open) {
  clear();
  grid().append(...prediction.results.map((result, index) => element("li", {}, tile(result, index, open))));
  byId("count").textContent = prediction.results.length > 0 ? count(prediction.results.length, "result") : "";
  const rules = (prediction.explain ?? []).filter((rule) => rule?.text);
  byId("how-list").replaceChildren(...rules.map((rule) => element("li", {}, sentence(`${rule.text}`))));
  byId("how").hidden = rules.length === 0;
}

export function focus(index) {
  grid().querySelectorAll("button.tile")[index]?.focus();
}

function nameOf(result) {
  const more = result.grouped > 0 ? `, ${count(result.grouped, "more picture")}` : "";
  return `Result ${result.position}: ${title(result.category)}, similarity ${formatScore(result.score)}${more}`;
}

function tile(result, index, open) {
  const image = element("img", { alt: "", loading: index < 12 ? "eager" : "lazy", decoding: "async" });
  const frame = element("span", { className: "frame" }, image);
  const more = result.grouped > 0 ? element("span", { className: "more" }, `+${result.grouped} more`) : null;
  if (more) frame.append(more);
  showThumbnail(image, thumbnailOf(result.image_id, window.devicePixelRatio > 1.2 ? 512 : 256), () => {
    image.remove();
    frame.prepend(element("span", { className: "missing" }, "No picture"));
  });
  return element(
    "button",
    { type: "button", className: "tile", onclick: () => open(index), "aria-haspopup": "dialog", "aria-label": nameOf(result) },
    frame,
    element(
      "span",
      { className: "caption" },
      element("span", { className: "name" }, element("span", {}, title(result.category)), element("span", { className: "place" }, `${result.position}`)),
      scoreBar(result.score),
    ),
  );
}
