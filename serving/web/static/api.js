// What the page asks of the server, and who it says it is.

const MODEL = "/v1/models/visual-search:predict";
const USER_KEY = "visual-search-user";
const ACCESS_KEY = "visual-search-key";
const PIN_KEY = "visual-search-pin";
const TYPES = new Set(["image/jpeg", "image/png", "image/webp"]);

/** An answer that is no result: `code` and `message` as the server gave them, or "offline". */
export class Problem extends Error {
  constructor(code, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** What the first answer said: the arm and release that later calls stay with. */
export const server = { release: null, arm: null, facts: null };

// Storage may be forbidden (private windows); then things last as long as the page.
const memory = new Map();
function recall(store, key) {
  try { return store().getItem(key) ?? memory.get(key) ?? null; } catch { return memory.get(key) ?? null; }
}
function remember(store, key, value) {
  memory.set(key, value);
  try { store().setItem(key, value); } catch { /* kept in memory */ }
}
const lasting = () => window.localStorage;
const passing = () => window.sessionStorage;

/** The pseudonym of this browser: random, without meaning, kept until the site's data are cleared. */
export function userId() {
  let id = recall(lasting, USER_KEY);
  if (!/^[A-Za-z0-9_-]{8,64}$/.test(id ?? "")) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    id = `u-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    remember(lasting, USER_KEY, id);
  }
  return id;
}

export const setAccessKey = (key) => remember(passing, ACCESS_KEY, key);
export const accessKey = () => recall(passing, ACCESS_KEY);

/** Headers that keep this browser with the arm that answered first, if the server names any. */
function pin() {
  try { return JSON.parse(recall(passing, PIN_KEY) ?? "{}"); } catch { return {}; }
}

export function headers() {
  const key = accessKey();
  return { ...pin(), "X-Visual-Search-User": userId(), ...(key ? { "X-Api-Key": key } : {}) };
}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline", "The server cannot be reached.");
  }
  server.release ??= response.headers.get("X-Visual-Search-Release");
  server.arm ??= response.headers.get("X-Visual-Search-Arm");
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const wait = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  throw new Problem(body?.error?.code ?? `http_${response.status}`, body?.error?.message ?? "", {
    status: response.status,
    retryAfter: Number.isFinite(wait) ? Math.min(Math.max(wait, 1), 120) : null,
  });
}

export async function fetchRelease() {
  const facts = await (await call("/v1/release")).json();
  Object.assign(server, { facts, release: facts.release_id, arm: facts.arm });
  const wanted = Object.entries(facts.pin ?? {}).filter(([name, value]) => /^(X-[\w-]{1,60}|Knative-Serving-Tag)$/i.test(name) && typeof value === "string");
  if (wanted.length > 0 && recall(passing, PIN_KEY) === null) remember(passing, PIN_KEY, JSON.stringify(Object.fromEntries(wanted)));
  return facts;
}

export async function fetchSamples(n) {
  return (await (await call(`/v1/samples?n=${n}`)).json()).samples;
}

/**
 * Search by `{blob}` or `{imageId}`, with an optional `crop` [x, y, width, height] in fractions of the upright picture.
 * An image of the catalogue is searched by its stored vector; a part of it has none, so its picture is sent.
 */
export async function search(query, parameters, signal) {
  const asked = { ...parameters, explain: true };
  let body;
  let path = MODEL;
  let type = "application/json";
  const picture = query.blob ?? (query.crop ? await (await call(thumbnailOf(query.imageId, 1024), { signal })).blob() : null);
  if (picture) {
    if (query.crop) asked.crop = query.crop.join(",");
    path += `?${new URLSearchParams(asked)}`;
    body = picture;
    type = TYPES.has(picture.type) ? picture.type : "image/jpeg";
  } else body = JSON.stringify({ instances: [{ image_id: query.imageId }], parameters: asked });
  const response = await call(path, { method: "POST", body, signal, headers: { "Content-Type": type } });
  const answer = await response.json();
  return answer.predictions ? answer.predictions[0] : answer;
}

export async function postEvents(events) {
  const options = { method: "POST", keepalive: true, headers: { "Content-Type": "application/json" } };
  return (await call("/v1/events", { ...options, body: JSON.stringify({ events }) })).json();
}

export const thumbnailOf = (imageId, side) => `/v1/images/${encodeURIComponent(imageId)}/thumbnail?side=${side}`;
export const pageOf = (imageId) => `/?${new URLSearchParams({ image: imageId })}`;

/** Show a thumbnail, or a picture given (a blob: address). An <img> sends no headers, so where a key or a pin is in use the picture is fetched. */
export async function showThumbnail(img, path, missing) {
  img.onerror = missing;
  delete img.dataset.wanted;
  if (path.startsWith("blob:") || (accessKey() === null && Object.keys(pin()).length === 0)) {
    img.src = path;
    return;
  }
  img.dataset.wanted = path; // a later picture for the same element wins
  try {
    const blob = await (await call(path)).blob();
    if (img.dataset.wanted !== path) return;
    const url = URL.createObjectURL(blob);
    img.onload = () => URL.revokeObjectURL(url);
    img.src = url;
  } catch {
    missing();
  }
}
