// The page: what is shown, and what happens next.

import * as api from "./api.js";
import { Crop } from "./crop.js";
import { Detail } from "./detail.js";
import { byId, count, element, say, title } from "./dom.js";
import { clicked } from "./events.js";
import * as intake from "./intake.js";
import { Journey } from "./journey.js";
import * as notice from "./notice.js";
import * as options from "./options.js";
import * as results from "./results.js";

const SAMPLES = 12;

let current = null; // the entry shown
let asking = null; // stops the search under way
let pictureUrl = null; // of an uploaded picture shown
let begun = false; // the first thing has been shown: from here on the focus is led

const journey = new Journey(arrive);
const crop = new Crop((rectangle) => go({ ...current.query, crop: rectangle }, { keepFocus: true }));
const detail = new Detail({
  moved: (index) => journey.open(index),
  closed: (index) => {
    results.focus(index);
    journey.close();
  },
  searchBy: (imageId) => go({ imageId, crop: null }),
});

/** Show what the browser's address and state say. */
function arrive(entry, open) {
  const lost = journey.isLost;
  show(entry, { open });
  if (!lost) return;
  journey.forgetLost();
  notice.tell("Give the picture again", "It was not kept when the page was reloaded.", { place: "start-notice" });
}

function go(query, { keepFocus = false } = {}) {
  show(journey.go(query), { keepFocus });
  if (!keepFocus) window.scrollTo({ top: 0 });
}

/** Show the start (null) or a search, as it was if it has been answered; `open`: the result that is looked at. */
function show(entry, { open = null, keepFocus = false } = {}) {
  asking?.abort();
  notice.clear();
  const same = entry !== null && entry === current;
  current = entry;
  byId("start").hidden = entry !== null;
  byId("search").hidden = entry === null;
  if (entry === null) return showStart();
  if (!same) showQuery(entry.query);
  if (entry.prediction === null) {
    detail.close();
    if (!keepFocus) byId("answer-title").focus({ preventScroll: true });
    return ask(entry);
  }
  if (!same) showPrediction(entry.prediction);
  if (open !== null && entry.prediction.results[open]) detail.open(entry.prediction.results, open, pictureOf(entry.query));
  else {
    const looked = detail.close();
    if (!same) byId("answer-title").focus({ preventScroll: true });
    else if (looked !== null) results.focus(looked);
  }
  return undefined;
}

function showStart() {
  detail.close();
  if (begun) byId("main").focus({ preventScroll: true });
  results.clear();
  document.title = "Visual search";
  if (byId("sample-list").childElementCount === 0) loadSamples();
}

const pictureOf = (query) => (query.blob ? pictureUrl : api.thumbnailOf(query.imageId, 256));

function showQuery(query) {
  if (pictureUrl !== null) URL.revokeObjectURL(pictureUrl);
  pictureUrl = query.blob ? URL.createObjectURL(query.blob) : null;
  const image = byId("query-image");
  const shown = (isShown) => {
    image.hidden = !isShown;
    byId("query-unshown").hidden = isShown;
    crop.enable(isShown);
  };
  shown(true);
  image.alt = query.blob ? "The picture you gave" : `Picture ${query.imageId} of the catalogue`;
  api.showThumbnail(image, pictureUrl ?? api.thumbnailOf(query.imageId, 1024), () => shown(false));
  crop.show(query.crop);
}

async function ask(entry, attempt = 0) {
  asking?.abort();
  const stop = new AbortController();
  asking = stop;
  notice.clear();
  const parameters = options.parameters();
  results.showWaiting(parameters.k);
  say("Searching");
  try {
    const prediction = await api.search(entry.query, parameters, stop.signal);
    if (stop.signal.aborted) return;
    entry.prediction = prediction;
    showPrediction(prediction);
    const found = prediction.results.length;
    if (found > 0) say(`${count(found, "result")}, the closest first.`);
  } catch (problem) {
    if (stop.signal.aborted) return;
    if (!(problem instanceof api.Problem)) throw problem;
    results.clear();
    notice.tellProblem(problem, { retry: () => ask(entry, attempt + 1), attempt });
  }
}

function showPrediction(prediction) {
  notice.clear();
  results.show(prediction, openResult);
  const first = prediction.results[0];
  document.title = first ? `${title(first.category, "Similar pictures")} – Visual search` : "Visual search";
  showProvenance(prediction);
  if (prediction.results.length === 0) tellNothing(prediction);
  else if (prediction.no_good_match) notice.tell("No really good match", "These are the closest there are.");
}

function tellNothing(prediction) {
  if (!prediction.no_good_match) {
    notice.tell("Nothing to show", "No picture of the catalogue can be shown for this search.");
    return;
  }
  const nearest = notice.button("Show the closest anyway", () => {
    options.showAll();
    ask(current);
  });
  notice.tell("No good match", "Nothing in the catalogue looks enough like this picture.", { actions: [nearest] });
}

function openResult(index) {
  const { results: list } = current.prediction;
  clicked(list[index].token);
  journey.open(index);
  detail.open(list, index, pictureOf(current.query));
}

async function take(file) {
  detail.close();
  const blob = await intake.prepare(file);
  go({ blob, crop: null });
}

async function loadSamples(attempt = 0) {
  try {
    const samples = await api.fetchSamples(SAMPLES);
    byId("samples").hidden = samples.length === 0;
    byId("sample-list").replaceChildren(...samples.map(sampleTile));
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    // The page is of use without samples; only what stops a search too is told.
    const stops = problem.status === 401 || problem.code === "not_ready";
    if (stops && current === null) notice.tellProblem(problem, { place: "start-notice", retry: () => begin(attempt + 1), attempt });
  }
}

function sampleTile(sample) {
  const image = element("img", { alt: title(sample.category, "Picture"), loading: "eager", width: 256, height: 256 });
  const link = element("a", { href: api.pageOf(sample.image_id), title: title(sample.category, "Picture") }, image);
  api.showThumbnail(image, api.thumbnailOf(sample.image_id, 256), () => link.closest("li").remove());
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({ imageId: sample.image_id, crop: null });
  });
  return element("li", {}, link);
}

async function loadFacts() {
  try {
    const facts = await api.fetchRelease();
    byId("facts").replaceChildren(count(facts.images, "picture"), element("span", { className: "items" }, ` of ${count(facts.items, "item")}`));
    options.offerGoodOnly(Number.isFinite(facts.floors?.calibrated));
    showProvenance(current?.prediction); // the answer may have come first
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    options.offerGoodOnly(false);
  }
}

function showProvenance(prediction) {
  const release = prediction?.release_id ?? api.server.release;
  const arm = prediction?.arm ?? api.server.arm;
  const parts = [release && `Release ${release.slice(0, 14)}`, arm && `arm ${arm}`, prediction?.query_id && `search ${prediction.query_id.slice(0, 14)}`];
  byId("provenance").textContent = parts.filter(Boolean).join(" · ");
}

function begin(attempt) {
  notice.clear();
  loadFacts();
  loadSamples(attempt);
}

intake.listen(take);
options.listen(() => current && ask(current));
byId("more-samples").addEventListener("click", () => loadSamples());
byId("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (current !== null) journey.goToStart();
  show(null);
});

loadFacts();
arrive(journey.here(), null);
begun = true;
