// The few choices a person has; kept for the next visit.

import { byId } from "./dom.js";

const KEY = "visual-search-options";
const BOXES = { group_items: "option-group", collapse_duplicates: "option-duplicates", good_only: "option-floor" };
const DEFAULTS = { k: "20", group_items: true, collapse_duplicates: true, good_only: false };

/** Call `changed()` when a choice is made. */
export function listen(changed) {
  const chosen = { ...DEFAULTS, ...stored() };
  const select = byId("option-k");
  if (Array.from(select.options, (option) => option.value).includes(chosen.k)) select.value = chosen.k;
  for (const [name, id] of Object.entries(BOXES)) byId(id).checked = chosen[name] === true;
  byId("options").open = window.matchMedia("(min-width: 761px)").matches;
  for (const id of ["option-k", ...Object.values(BOXES)]) {
    byId(id).addEventListener("change", () => {
      store();
      changed();
    });
  }
}

/** A release without a calibrated floor cannot tell good matches from others. */
export function offerGoodOnly(possible) {
  byId("option-floor-row").hidden = !possible;
}

export function showAll() {
  byId("option-floor").checked = false;
  store();
}

/** The parameters of a search, as the server names them. */
export function parameters() {
  const goodOnly = byId("option-floor").checked && !byId("option-floor-row").hidden;
  return {
    k: Number(byId("option-k").value),
    group_items: byId("option-group").checked,
    collapse_duplicates: byId("option-duplicates").checked,
    ...(goodOnly ? { floor: "calibrated" } : {}),
  };
}

function stored() {
  try { return JSON.parse(localStorage.getItem(KEY)) ?? {}; } catch { return {}; }
}

function store() {
  const chosen = { k: byId("option-k").value };
  for (const [name, id] of Object.entries(BOXES)) chosen[name] = byId(id).checked;
  try { localStorage.setItem(KEY, JSON.stringify(chosen)); } catch { /* lasts as long as the page */ }
}
