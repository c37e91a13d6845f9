// The part of the query picture to search by: drawn with a mouse, tapped, or moved with the arrow keys.

import { byId, element, say } from "./dom.js";

const LEAST = 0.08; // of the picture's width and height
const STEP = 0.02;
const TAP = { size: 0.45, pixels: 6 };
const CORNERS = { nw: [0, 0], ne: [1, 0], sw: [0, 1], se: [1, 1] };
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Crop {
  #stage = byId("stage");
  #box = byId("crop");
  #rectangle = null; // [x, y, width, height] in fractions of the upright picture
  #before = null; // as last searched by
  #drag = null;
  #changed;

  /** `changed(rectangle | null)` is called when a new part (or the whole) is to be searched by. */
  constructor(changed) {
    this.#changed = changed;
    this.#box.tabIndex = 0;
    this.#box.setAttribute("role", "application");
    this.#box.setAttribute("aria-label", "Part of the picture. Arrow keys move it, with Shift they resize it, Enter searches, Escape takes the whole picture.");
    this.#box.append(...Object.keys(CORNERS).map((corner) => element("i", { dataset: { corner } })));
    this.#stage.addEventListener("pointerdown", (event) => this.#press(event));
    this.#stage.addEventListener("pointermove", (event) => this.#move(event));
    this.#stage.addEventListener("pointerup", (event) => this.#release(event));
    this.#stage.addEventListener("pointercancel", () => this.#cancel());
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    byId("crop-start").addEventListener("click", () => {
      this.show([0.2, 0.2, 0.6, 0.6], { searched: false });
      this.#box.focus();
      this.#tell();
    });
    byId("crop-clear").addEventListener("click", () => this.#clear());
    byId("crop-search").addEventListener("click", () => this.#search());
  }

  /** Draw a rectangle, or none; `searched`: results for it are (about to be) shown. */
  show(rectangle, { searched = true } = {}) {
    this.#rectangle = rectangle;
    if (searched) this.#before = rectangle;
    const [x, y, width, height] = (rectangle ?? [0, 0, 1, 1]).map((fraction) => `${100 * fraction}%`);
    Object.assign(this.#box.style, { left: x, top: y, width, height });
    const focused = [this.#box, byId("crop-clear"), byId("crop-search")].includes(document.activeElement);
    this.#box.hidden = rectangle === null;
    byId("query").classList.toggle("part", rectangle !== null);
    byId("crop-start").hidden = rectangle !== null;
    byId("crop-clear").hidden = rectangle === null;
    byId("crop-search").hidden = rectangle === null || searched;
    if (focused && rectangle === null) byId("crop-start").focus();
    else if (focused && document.activeElement === document.body) this.#box.focus();
  }

  /** Whether there is a picture to take a part of. */
  enable(possible) {
    byId("crop-start").disabled = !possible;
    this.#stage.inert = !possible;
  }

  #clear() {
    const searchedByPart = this.#before !== null;
    this.show(null);
    if (searchedByPart) this.#changed(null);
  }

  #point(event) {
    const frame = this.#stage.getBoundingClientRect();
    return [clamp((event.clientX - frame.left) / frame.width, 0, 1), clamp((event.clientY - frame.top) / frame.height, 0, 1)];
  }

  #press(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    const start = this.#point(event);
    const corner = CORNERS[event.target.dataset.corner];
    const inside = event.target === this.#box;
    const [x, y, width, height] = this.#rectangle ?? [0, 0, 0, 0];
    const anchor = corner ? [x + (1 - corner[0]) * width, y + (1 - corner[1]) * height] : start;
    const touch = event.pointerType === "touch";
    // A finger on the bare picture scrolls the page or taps a thing; only a mouse or pen draws.
    const act = corner ? "draw" : inside ? "shift" : touch ? "tap" : "draw";
    this.#drag = { act, anchor, start, touch, from: this.#rectangle, at: [event.clientX, event.clientY], moved: false };
    if (act !== "tap") this.#stage.setPointerCapture(event.pointerId);
    if (!touch) event.preventDefault();
  }

  #move(event) {
    const drag = this.#drag;
    if (drag === null) return;
    drag.moved ||= Math.hypot(event.clientX - drag.at[0], event.clientY - drag.at[1]) > TAP.pixels;
    if (!drag.moved || drag.act === "tap") return;
    const [x, y] = this.#point(event);
    if (drag.act === "shift") {
      const [left, top, width, height] = drag.from;
      this.show([clamp(left + x - drag.start[0], 0, 1 - width), clamp(top + y - drag.start[1], 0, 1 - height), width, height], { searched: false });
    } else {
      const [left, width] = this.#span(drag.anchor[0], x);
      const [top, height] = this.#span(drag.anchor[1], y);
      this.show([left, top, width, height], { searched: false });
    }
  }

  /** Start and length of the stretch between two fractions, at least LEAST long and inside the picture. */
  #span(anchor, end) {
    const length = Math.max(LEAST, Math.abs(end - anchor));
    return [clamp(end < anchor ? anchor - length : anchor, 0, 1 - length), length];
  }

  #release(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (drag === null) return;
    if (drag.act === "tap" && !drag.moved) {
      const [x, y] = this.#point(event);
      const corner = (at) => clamp(at - TAP.size / 2, 0, 1 - TAP.size);
      this.show([corner(x), corner(y), TAP.size, TAP.size], { searched: false });
      this.#search();
    } else if (drag.moved && drag.act !== "tap") {
      this.#search();
    }
  }

  #cancel() {
    if (this.#drag !== null) this.show(this.#drag.from, { searched: false });
    this.#drag = null;
  }

  #key(event) {
    const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
    const [x, y, width, height] = this.#rectangle;
    if (event.key === "Enter") this.#search();
    else if (event.key === "Escape") this.#clear();
    else if (dx === 0 && dy === 0) return;
    else if (event.shiftKey) this.show([x, y, clamp(width + dx, LEAST, 1 - x), clamp(height + dy, LEAST, 1 - y)], { searched: false });
    else this.show([clamp(x + dx, 0, 1 - width), clamp(y + dy, 0, 1 - height), width, height], { searched: false });
    if (dx !== 0 || dy !== 0) this.#tell();
    event.preventDefault();
  }

  #tell() {
    const [x, y, width, height] = this.#rectangle.map((fraction) => Math.round(100 * fraction));
    say(`Part: ${width} % wide, ${height} % high, ${x} % from the left, ${y} % from the top.`);
  }

  #search() {
    const [x, y, width, height] = this.#rectangle.map((fraction) => Math.round(fraction * 10_000));
    // Rounding must not reach beyond the edge.
    const whole = [x, y, Math.min(width, 10_000 - x), Math.min(height, 10_000 - y)];
    this.show(whole.map((part) => part / 10_000));
    this.#changed(this.#rectangle);
  }
}
