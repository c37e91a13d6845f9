// One result, large: what it is, why it is here, and searching on from it.

import { pageOf, showThumbnail, thumbnailOf } from "./api.js";
import { byId, count, element, formatScore, say, scoreBar, sentence, title } from "./dom.js";
import { Dwell } from "./events.js";

export class Detail {
  #dialog = byId("detail");
  #dwell = new Dwell();
  #results = [];
  #index = null;
  #picture = null;
  #hooks;

  /** Hooks: `moved(index)` to another result, `closed(index)` by the person, `searchBy(imageId)`. */
  constructor(hooks) {
    this.#hooks = hooks;
    byId("detail-previous").addEventListener("click", () => this.#step(-1));
    byId("detail-next").addEventListener("click", () => this.#step(1));
    byId("detail-close").addEventListener("click", () => this.#dialog.close());
    byId("detail-search").addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a link like any other: a new tab
      event.preventDefault();
      hooks.searchBy(this.#results[this.#index].image_id);
    });
    byId("detail-image").addEventListener("load", ({ target }) => {
      // A small picture blown up says less than a small picture.
      target.style.maxWidth = `${2 * target.naturalWidth}px`;
      target.style.maxHeight = `${2 * target.naturalHeight}px`;
    });
    this.#dialog.addEventListener("close", () => this.#left());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // beside it
    });
    this.#listenToSwipes(byId("detail-picture"));
    this.#dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      this.#step(by);
    });
  }

  /** Show the result at `index` of `results`; `picture` (an address) is what was searched by. */
  open(results, index, picture) {
    this.#results = results;
    this.#picture = picture;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#show(index);
  }

  /** Close without telling the hooks; return the index of the result that was shown, null if it was closed already. */
  close() {
    if (!this.#dialog.open) return null;
    const index = this.#index;
    this.#forget();
    this.#dialog.close();
    return index;
  }

  #listenToSwipes(area) {
    let from = null;
    area.addEventListener("touchstart", ({ touches }) => (from = touches.length === 1 ? [touches[0].clientX, touches[0].clientY] : null), { passive: true });
    area.addEventListener("touchend", ({ changedTouches: [end] }) => {
      if (from === null) return;
      const [dx, dy] = [end.clientX - from[0], end.clientY - from[1]];
      if (Math.abs(dx) > 48 && Math.abs(dx) > 2 * Math.abs(dy)) this.#step(dx < 0 ? 1 : -1);
    });
  }

  /** The dialog was closed: by the person (Escape, the button, beside it), or by close(), which has told already. */
  #left() {
    if (this.#dialog.open || this.#index === null) return;
    const index = this.#index;
    this.#forget();
    this.#hooks.closed(index);
  }

  #forget() {
    this.#dwell.stop();
    this.#index = null;
    byId("detail-image").removeAttribute("src");
  }

  #step(by) {
    const index = this.#index + by;
    if (index < 0 || index >= this.#results.length) return;
    this.#show(index);
    this.#hooks.moved(index);
    say(`${byId("detail-title").textContent}. ${byId("detail-place").textContent}`);
  }

  #show(index) {
    const result = this.#results[index];
    this.#index = index;
    this.#dwell.start(result.token);
    const name = title(result.category);
    byId("detail-title").textContent = name;
    byId("detail-place").textContent = `Result ${result.position} of ${this.#results.length}`;
    this.#showPicture(result, name);
    byId("detail-score").replaceChildren(scoreBar(result.score));
    byId("detail-query").closest("figure").hidden = this.#picture === null;
    if (this.#picture !== null) showThumbnail(byId("detail-query"), this.#picture, () => (byId("detail-query").closest("figure").hidden = true));
    byId("detail-list").replaceChildren(...facts(result).flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
    const why = (Array.isArray(result.explain) ? result.explain : []).map((reason) => reason?.text ?? `${reason}`);
    byId("detail-why").hidden = why.length === 0;
    byId("detail-why-list").replaceChildren(...why.map((reason) => element("li", {}, sentence(reason))));
    byId("detail-search").href = pageOf(result.image_id);
    for (const [id, end] of [["detail-previous", 0], ["detail-next", this.#results.length - 1]]) {
      if (index === end && document.activeElement === byId(id)) byId("detail-close").focus();
      byId(id).disabled = index === end;
    }
  }

  #showPicture(result, name) {
    const image = byId("detail-image");
    image.alt = `${name}, similarity ${formatScore(result.score)}`;
    image.hidden = false;
    byId("detail-unshown").hidden = true;
    image.removeAttribute("src");
    image.style.maxWidth = image.style.maxHeight = "";
    showThumbnail(image, thumbnailOf(result.image_id, 1024), () => {
      image.hidden = true;
      byId("detail-unshown").hidden = false;
    });
    const after = this.#results[this.#index + 1];
    if (after) showThumbnail(new Image(), thumbnailOf(after.image_id, 1024), () => {});
  }
}

function facts(result) {
  const known = [["Item", result.item_id], ["Picture", result.image_id]];
  if (result.grouped > 0) known.push(["Grouped", count(result.grouped, "more picture")]);
  return known.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([term, value]) => [term, `${value}`]);
}
