// What is looked at, as the page's address says it: one state, that everything is drawn from.

const KEYS = [
  "model", "concept", "labelling", "layer", "term", "mode", "axis", "colour", "label", "path", "beside", "technique", "full", "activations",
  "lesions", "patches", "saliency",
];
const state = { mode: "consensus", axis: "layer" };

/** The state that the address asks for. What is unknown there is ignored. */
function asked() {
  const found = {};
  for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
    if (KEYS.includes(key)) found[key] = key === "layer" ? Number.parseInt(value, 10) : value;
  }
  if (Number.isNaN(found.layer)) delete found.layer;
  return found;
}

/** The address of the state. */
function address() {
  const told = new URLSearchParams();
  for (const key of KEYS) if (state[key] != null && state[key] !== "") told.set(key, state[key]);
  return `#${told}`;
}

/**
 * Write the state into the address. A deliberate choice can be gone back from; while a slider moves the entry is
 * replaced. A page that is opened from a disk may be refused a new address: it then works without.
 */
function remember(lasting) {
  const wanted = address();
  if (wanted === location.hash) return;
  try {
    history[lasting ? "pushState" : "replaceState"](null, "", wanted);
  } catch (refused) {
    if (refused.name !== "SecurityError") throw refused;
    location.hash = wanted;
  }
}
