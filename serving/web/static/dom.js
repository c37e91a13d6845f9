// Elements and words. Everything that comes from data becomes text, never markup.

export const byId = (id) => document.getElementById(id);

/** Make an element: properties by name, `dataset`, `aria-…` and `role` as attributes; children are elements or text. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(made.dataset, value);
    else if (name.startsWith("aria-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const whole = new Intl.NumberFormat("en");
const hundredths = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const count = (number, one, many = `${one}s`) => `${whole.format(number)} ${number === 1 ? one : many}`;
export const formatScore = (score) => hundredths.format(score);

/** A category as a word to read: "t-shirts" → "T-shirts"; nothing becomes the fallback. */
export function title(text, fallback = "Uncategorised") {
  const words = typeof text === "string" ? text.trim() : "";
  return words ? words[0].toUpperCase() + words.slice(1) : fallback;
}

/** The server's sentence as a person reads it: with a capital and a full stop. */
export function sentence(text) {
  const words = text.trim();
  return words && `${words[0].toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
}

/** The score of a result as a bar and a number; a screen reader hears "similarity 0.93". */
export function scoreBar(score) {
  const fill = element("b");
  fill.style.width = `${Math.round(100 * Math.min(1, Math.max(0, score)))}%`;
  return element(
    "span",
    { className: "score", title: "Similarity: 1 is the same picture" },
    element("span", { className: "bar", "aria-hidden": "true" }, fill),
    element("span", { className: "visually-hidden" }, "similarity "),
    element("span", {}, formatScore(score)),
  );
}

let lastSaid = "";

/** Tell a screen reader; the same sentence twice is told twice. */
export function say(text) {
  lastSaid = text === lastSaid ? `${text}\u00a0` : text;
  byId("status").textContent = lastSaid;
}
