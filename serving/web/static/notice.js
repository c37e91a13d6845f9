// What is said when there is no result to show, and what can be done about it.

import { setAccessKey } from "./api.js";
import { byId, element, say, sentence as sentenceOf } from "./dom.js";

const TITLES = {
  bad_image: "This picture cannot be used",
  too_large: "This picture is too large",
  unsupported_media_type: "This is not a picture that can be read",
  not_found: "This picture is not in the catalogue",
  bad_request: "The search was not understood",
  overloaded: "Many people are searching just now",
  not_ready: "The catalogue is being loaded",
  encoder_timeout: "That took too long",
  encoder_failed: "The search did not work this time",
  offline: "The server cannot be reached",
};
const ADVICE = {
  too_large: "Choose a smaller one.",
  unsupported_media_type: "Choose a JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP picture.",
  not_found: "It may have been removed since.",
  offline: "Check the connection; the search resumes when it is back.",
  encoder_timeout: "Try it again.",
  encoder_failed: "Try it again.",
};
// The server's own sentence says most about a picture; about an overload ours says enough.
const OWN_SENTENCE = new Set(["bad_image", "too_large", "unsupported_media_type", "bad_request"]);
const WAITS = new Set(["overloaded", "not_ready", "offline"]);
const AUTOMATIC_RETRIES = 8;

let timer = null;
let forget = () => {};

/** Take away what is said. */
export function clear() {
  clearInterval(timer);
  forget();
  forget = () => {};
  for (const id of ["notice", "start-notice"]) byId(id).replaceChildren();
}

/** Say something in a box: a heading, a sentence and what can be done. */
export function tell(heading, sentence = "", { wrong = false, place = "notice", actions = [], silent = false } = {}) {
  clear();
  const words = element("div", {}, element("strong", {}, heading), element("p", {}, sentence));
  byId(place).append(element("div", { className: wrong ? "notice wrong" : "notice" }, words, ...actions));
  if (!silent) say(`${heading}. ${sentence}`);
  return words.lastChild;
}

export const button = (label, act) => element("button", { type: "button", onclick: act }, label);

/** Say what went wrong; `retry()` asks again, `attempt` counts how often that was done by itself. */
export function tellProblem(problem, { place = "notice", retry, attempt = 0 }) {
  const code = problem.status === 401 ? "unauthorised" : problem.code;
  if (code === "unauthorised") return askForKey(place, retry);
  const own = OWN_SENTENCE.has(code) && problem.message;
  const sentence = own ? sentenceOf(problem.message) : (ADVICE[code] ?? "Try again in a moment.");
  const heading = TITLES[code] ?? "Something went wrong";
  const picture = ["bad_image", "too_large", "unsupported_media_type", "not_found", "bad_request"].includes(code);
  const line = tell(heading, sentence, { wrong: !WAITS.has(code), place, actions: picture ? [] : [button("Try again", retry)] });
  if (code === "offline") {
    window.addEventListener("online", retry, { once: true });
    forget = () => window.removeEventListener("online", retry);
  }
  if (WAITS.has(code) && attempt < AUTOMATIC_RETRIES) countDown(line, code === "offline" ? 15 : (problem.retryAfter ?? 2 ** attempt), retry);
  return undefined;
}

function countDown(line, wait, retry) {
  let left = Math.ceil(wait);
  const show = () => (line.textContent = `Trying again in ${left} second${left === 1 ? "" : "s"}.`);
  show();
  timer = setInterval(() => {
    left -= 1;
    if (left > 0) return show();
    clearInterval(timer);
    return retry();
  }, 1000);
}

function askForKey(place, retry) {
  const input = element("input", { type: "password", autocomplete: "off", required: true, spellcheck: false });
  const form = element("form", {}, element("label", {}, "Access key", input), element("button", { className: "primary" }, "Go on"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setAccessKey(input.value.trim());
    retry();
  });
  tell("An access key is needed", "Whoever runs this search can give you one.", { place, actions: [form] });
  input.focus();
}
