// Clicks and dwell. A token names one shown result; the server counts each (token, type, visit) once, so sending again is safe.

import { postEvents } from "./api.js";

const VISITS = 10; // a result may be opened this often and still be counted
const WAITING = 100;
const outbox = [];
const visits = new Map();
let sending = false;
let timer = null;

function nextVisit(token, type) {
  const key = `${type} ${token}`;
  const visit = visits.get(key) ?? 0;
  visits.set(key, visit + 1);
  return visit < VISITS ? visit : null;
}

function send(event) {
  if (!event.token || event.visit === null) return;
  outbox.push(event);
  if (outbox.length > WAITING) outbox.shift();
  flush();
}

async function flush() {
  if (sending || outbox.length === 0) return;
  sending = true;
  clearTimeout(timer);
  const batch = outbox.slice(0, 20);
  try {
    await postEvents(batch);
    outbox.splice(0, batch.length);
    sending = false;
    flush();
  } catch (problem) {
    sending = false;
    const later = [0, 408, 429, 502, 503, 504].includes(problem.status);
    if (!later) outbox.splice(0, batch.length); // refused for good: it would be refused again
    if (outbox.length > 0) timer = setTimeout(flush, 1000 * (problem.retryAfter ?? 5));
  }
}

window.addEventListener("online", flush);

export function clicked(token) {
  send({ token, type: "click", visit: nextVisit(token, "click") });
}

/**
 * Measures how long one result is looked at: from start to stop, while the page is visible.
 *
 * Each report holds the whole time since start, under a visit of its own, because a hidden page may never come back to
 * report: of several reports the longest counts.
 */
export class Dwell {
  #token = null;
  #since = null;
  #before = 0;
  #reported = 0;

  constructor() {
    document.addEventListener("visibilitychange", () => (document.visibilityState === "hidden" ? this.#pause() : this.#resume()));
    window.addEventListener("pagehide", () => this.#pause());
    window.addEventListener("pageshow", () => this.#resume());
  }

  start(token) {
    this.stop();
    [this.#token, this.#before, this.#reported] = [token, 0, 0];
    if (document.visibilityState === "visible") this.#resume();
  }

  stop() {
    this.#pause();
    this.#token = null;
  }

  #resume() {
    if (this.#token !== null) this.#since ??= performance.now();
  }

  #pause() {
    if (this.#since === null) return;
    this.#before += performance.now() - this.#since;
    this.#since = null;
    const dwell = Math.round(this.#before);
    if (dwell <= this.#reported) return;
    this.#reported = dwell;
    send({ token: this.#token, type: "dwell", dwell_ms: dwell, visit: nextVisit(this.#token, "dwell") });
  }
}
