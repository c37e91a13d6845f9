// Where the person has been: the browser's back and forward bring back what was shown, without asking the server again.

const KEPT = 20; // searches kept in memory, with their pictures

/** One search: `query` {blob | imageId, crop}, and its `prediction` once there is one. */
export class Journey {
  #entries = new Map();
  #run = crypto.getRandomValues(new Uint32Array(1))[0].toString(36); // entries of an earlier load of the page are not ours
  #next = 1;

  /** `show(entry | null, open)` is called when the person goes back or forward; null: the start. */
  constructor(show) {
    window.addEventListener("popstate", () => show(this.here(), history.state?.open ?? null));
  }

  /** What the browser's address and state say is shown now; null: the start. */
  here() {
    const known = this.#entries.get(history.state?.entry);
    if (known) return known;
    const asked = new URLSearchParams(location.search);
    const imageId = asked.get("image");
    if (imageId) {
      const entry = this.#keep({ imageId, crop: readCrop(asked.get("crop")) });
      history.replaceState({ entry: entry.id, open: null }, "");
      return entry;
    }
    return null;
  }

  /** Whether this place was a search by a picture which the page no longer has (it was loaded anew). */
  get isLost() {
    return Boolean(history.state?.entry) && !this.#entries.has(history.state.entry) && !location.search;
  }

  /** Go on to a new search. */
  go(query) {
    const entry = this.#keep(query);
    history.pushState({ entry: entry.id, open: null }, "", addressOf(query));
    return entry;
  }

  goToStart() {
    history.pushState({ entry: null, open: null }, "", "/");
  }

  forgetLost() {
    history.replaceState({ entry: null, open: null }, "", "/");
  }

  /** A result of the present search is opened (a step of its own, so that "back" closes it), or another one instead. */
  open(index) {
    const state = { entry: history.state?.entry ?? null, open: index };
    if (history.state?.open === null || history.state?.open === undefined) history.pushState(state, "");
    else history.replaceState(state, "");
  }

  close() {
    history.back();
  }

  #keep(query) {
    const entry = { id: `${this.#run}-${this.#next++}`, query, prediction: null };
    this.#entries.set(entry.id, entry);
    if (this.#entries.size > KEPT) this.#entries.delete(this.#entries.keys().next().value);
    return entry;
  }
}

function addressOf(query) {
  if (!query.imageId) return "/";
  return `/?${new URLSearchParams({ image: query.imageId, ...(query.crop ? { crop: query.crop.join(",") } : {}) })}`;
}

function readCrop(text) {
  const numbers = (text ?? "").split(",").map(Number);
  const [x, y, width, height] = numbers;
  const fits = numbers.length === 4 && numbers.every((n) => n >= 0 && n <= 1) && width > 0 && height > 0 && x + width <= 1 && y + height <= 1;
  return fits ? numbers : null;
}
