// The page as a whole: what is chosen, what is drawn anew when, and what the buttons do.

let drawing = 0;
let current = null;
/** Whether another row or model was chosen, and no layer with it: its own surest layer is looked at, as links to it do. */
let isSeeking = false;
/** What was asked for and is not on the page, and what is shown in its place, in words. */
const missed = [];

/** Look at something else: a deliberate choice, that Back returns from. */
function go(change) {
  return draw({ change, lasting: true });
}

/** The state made valid: what the page does not hold gives way to what is nearest to it; null if overtaken. */
async function settle(token) {
  const names = library.models.map((told) => told.model);
  if (!names.includes(state.model)) {
    if (state.model) missed.push(`There is no model ${state.model} on this page: this is ${names[0]}.`);
    state.model = names[0];
  }
  if (state.beside && !names.includes(state.beside)) missed.push(`There is no model ${state.beside} on this page to stand beside it.`);
  if (!names.includes(state.beside) || state.beside === state.model) delete state.beside;
  if (!TECHNIQUES.includes(state.technique)) delete state.technique;
  const block = await model(state.model);
  if (token !== drawing) return null;
  current = block;
  if (!Object.hasOwn(CLASSES, state.mode)) state.mode = "consensus";
  const rows = rowsOf(block);
  if (!rows.some((row) => row.concept === state.concept)) {
    const first = rows.find((row) => row.verdict === "localised") ?? rows[0];
    if (state.concept) missed.push(`The map of ${state.model} has no concept ${state.concept}: this is ${first.name}.`);
    Object.assign(state, { concept: first.concept, labelling: first.labelling });
  }
  const own = rows.filter((row) => row.concept === state.concept).map((row) => row.labelling);
  if (!own.includes(state.labelling ?? "")) {
    const found = own.find(Boolean) ?? own[0];
    if (state.labelling) missed.push(`The map of ${state.model} has no labelling ${state.labelling} of ${state.concept}: this is ${found ? spoken(found) : "the concept as a whole"}.`);
    state.labelling = found;
  }
  if (isSeeking && rowOf(block).verdict === "localised") delete state.layer;
  isSeeking = false;
  state.layer = Math.min(Math.max(state.layer ?? likeliest(rowOf(block)), -1), block.header.layers - 1);
  const concept = conceptOf(state.concept);
  if (!concept.terms.includes(state.term)) delete state.term;
  if (!concept.labellings.some((labelling) => labelling.name === state.colour)) delete state.colour;
  if (!colouring()?.labels?.includes(state.label)) delete state.label;
  if (!pathChoices().some(([value]) => value === state.path)) delete state.path;
  if (!["layer", "depth"].includes(state.axis)) state.axis = "layer";
  if (state.full && !canFill(state.full)) delete state.full;
  return block;
}

/** The layer that a row of a map is surest of. */
const likeliest = (row) => row.cells.reduce((best, cell, layer) => ((cell ?? -1) > (row.cells[best] ?? -1) ? layer : best), 0);

/** Whether a panel is there and has something to show in the whole window. */
function canFill(name) {
  const panel = document.querySelector(`[data-panel="${CSS.escape(name)}"]`);
  if (!panel || (name === "compare" && !state.beside)) return false;
  return !name.startsWith("profile-") || Boolean(profileShown(current, name.slice("profile-".length)));
}

/** What the slower parts were last drawn for. */
const drawn = {};

/** Draw what changed. A later call overtakes an earlier one that still waits for a model. */
async function draw({ change = {}, lasting = false } = {}) {
  drawing += 1;
  const token = drawing;
  if (change.concept && change.concept !== state.concept) {
    for (const key of ["term", "colour", "label", "path"]) if (!(key in change)) delete state[key];
  }
  isSeeking = !("layer" in change) && (isSeeking || ["model", "concept", "labelling"].some((key) => key in change && change[key] !== state[key]));
  if (Object.keys(change).length) missed.length = 0;
  Object.assign(state, change);
  if ("concept" in change) suggest("");
  const block = await settle(token);
  if (!block) return;
  tell(document.getElementById("unknown"), missed.join(" "));
  if (lasting) remember(true);
  drawFull();
  paint(block);
  // What is read and not seen at once comes after the pictures: a slider stays quick.
  afterwards(async () => {
    if (token !== drawing) return;
    showAll();
    remember(false);
    drawTerms(block);
    if (drawn.model !== state.model) drawModel();
    if (drawn.model !== state.model || drawn.concept !== state.concept) drawStability(block);
    Object.assign(drawn, { model: state.model, concept: state.concept });
    await drawCompare(block, token);
  });
}

/** The charts of the model that is looked at; all at once, as a printer needs them. */
function paint(block) {
  drawControls(block);
  drawMap(block);
  drawLook(block);
  drawProfiles(block);
  drawLegend();
  drawPicture(block);
}

let waiting = null;
/** Once the pictures are drawn; of several calls in a row only the last. */
function afterwards(work) {
  cancelAnimationFrame(waiting);
  clearTimeout(afterwards.timer);
  waiting = requestAnimationFrame(() => {
    afterwards.timer = setTimeout(async () => {
      await work();
      document.documentElement.dataset.ready = "1";
    }, document.documentElement.dataset.ready ? 60 : 0);
  });
}

/** What is chosen, in the controls. */
function drawControls(block) {
  const set = (id, value) => (document.getElementById(id).value = value);
  options("model", library.models.map((told) => [told.model, told.model]));
  options("beside", [["", "no other model"], ...library.models.map((told) => [told.model, told.model]).filter(([name]) => name !== state.model)]);
  options("row", rowsOf(block).map((row) => [`${row.concept}|${row.labelling}`, row.name]));
  options("colour", conceptOf(state.concept).labellings.map((labelling) => [labelling.name, spoken(labelling.name)]));
  set("model", state.model);
  set("row", `${state.concept}|${rowOf(block)?.labelling ?? ""}`);
  set("colour", colouring()?.name ?? "");
  set("mode", state.mode);
  set("axis", state.axis);
  const slider = document.getElementById("layer");
  slider.max = block.header.layers - 1;
  slider.value = state.layer;
  slider.setAttribute("aria-valuetext", layerName(state.layer));
  document.getElementById("layer-name").textContent = layerName(state.layer);
  document.getElementById("paths-choice").hidden = !ordering(conceptOf(state.concept), colouring());
  const choices = pathChoices();
  options("path", choices);
  set("path", state.path ?? "");
  document.getElementById("path-choice").hidden = !choices.length || !document.getElementById("paths").checked;
  const classes = classColours();
  const swatches = document.getElementById("classes");
  const key = `${state.mode}|${classes}`;
  if (swatches.dataset.key === key) return;
  swatches.dataset.key = key;
  swatches.replaceChildren(
    ...CLASSES[state.mode].map(([name, least], place) => {
      const sign = make("span", { class: "swatch class" });
      sign.style.background = classes[place];
      sign.style.height = `${HEIGHTS[place]}em`;
      return make("li", {}, sign, `${name}: from ${percent(least)}`);
    }),
  );
}

function options(id, choices) {
  const select = document.getElementById(id);
  const key = JSON.stringify(choices);
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  select.replaceChildren(...choices.map(([value, name]) => make("option", { value }, name)));
}

/** The parts of the page that speak of the chosen model alone. */
function drawModel() {
  for (const part of document.querySelectorAll("[data-of]")) part.hidden = part.dataset.of !== state.model;
}

/** The maps of this concept made otherwise: from half of the terms, other templates, seeds, metrics. */
function drawStability(block) {
  const place = document.getElementById("stability");
  const rows = rowsOf(block, "consensus")
    .filter((row) => row.concept === state.concept)
    .flatMap((row) => row.stability.map((made) => [row.name, made.change, made.detail, made.layer, made.confidence]));
  place.replaceChildren(
    rows.length
      ? table(`Maps of ${state.concept} in ${state.model} made otherwise: the surest layer of each`, ["row", "what was changed", "to", "layer", "confidence"], rows, {
        keys: { model: state.model, concept: state.concept },
        file: [["labelling", "change", "detail", "layer", "confidence"], rowsOf(block, "consensus").filter((row) => row.concept === state.concept)
          .flatMap((row) => row.stability.map((made) => [row.labelling, made.change, made.detail, made.layer, made.confidence]))],
      })
      : make("p", { class: "hint" }, `No maps of ${state.concept} were made otherwise.`),
  );
}

/** A panel in the whole window, if one is asked for; the rest of the page is out of reach meanwhile. */
function drawFull() {
  const key = state.full ?? "";
  if (drawn.full === key) return;
  drawn.full = key;
  for (const panel of document.querySelectorAll("[data-panel]")) {
    const full = panel.dataset.panel === state.full;
    panel.classList.toggle("full", full);
    panel.inert = Boolean(state.full) && !full;
    const button = panel.querySelector(".enlarge");
    button.setAttribute("aria-pressed", String(full));
    button.textContent = full ? "Close" : "Enlarge";
  }
  document.body.classList.toggle("covered", Boolean(state.full));
}

const CHARTS = { map: "map", picture: "picture", compare: "difference" };

/** The profiles of two models leave as a figure too. */
function figureBeside() {
  const give = async () => offer(`${["profiles", state.model, state.beside, state.concept, labellingFor(current)].filter(Boolean).join("-")}.svg`, "image/svg+xml", await svgOf("chart-beside"));
  document.querySelector("#profile-beside h3").append(" ", make("button", { type: "button", class: "file", onclick: give, title: "The chart as vector graphics, with title, axes and key" }, "SVG"));
}

/** Buttons on each panel: the rows as CSV, the chart as SVG, the whole window. */
function tools() {
  for (const panel of document.querySelectorAll("[data-panel]")) {
    const name = panel.dataset.panel;
    const place = CHARTS[name] ?? (name.startsWith("profile-") ? `chart-${name.slice(8)}` : null);
    const file = () => [name, state.model, name === "map" || name === "compare" ? state.mode : state.concept, name.startsWith("profile-") ? labellingFor(current) : null, name === "picture" ? `layer-${state.layer}` : null].filter(Boolean).join("-");
    const bar = make(
      "div", { class: "tools" },
      place && make("button", {
        type: "button", title: "The rows behind this chart as a file",
        onclick: () => { const found = rowsBehind(name); if (found) offer(`${file()}.csv`, "text/csv;charset=utf-8", csv(...found)); },
      }, "CSV"),
      place && make("button", { type: "button", title: "The chart as vector graphics, with title, axes and key", onclick: async () => offer(`${file()}.svg`, "image/svg+xml", await svgOf(place)) }, "SVG"),
      make("button", { type: "button", class: "enlarge", title: "In the whole window; Escape leaves it", "aria-pressed": "false", onclick: () => go({ full: state.full === name ? undefined : name }) }, "Enlarge"),
    );
    panel.querySelector("header").append(bar);
  }
}

/** What people do, and what follows. */
function listen() {
  const on = (id, event, work) => document.getElementById(id).addEventListener(event, work);
  on("model", "change", ({ target }) => go({ model: target.value }));
  on("beside", "change", ({ target }) => go({ beside: target.value || undefined }));
  on("row", "change", ({ target }) => { const [concept, labelling] = target.value.split("|"); go({ concept, labelling }); });
  on("mode", "change", ({ target }) => go({ mode: target.value }));
  on("axis", "change", ({ target }) => go({ axis: target.value }));
  on("colour", "change", ({ target }) => go({ colour: target.value, label: undefined }));
  // A drag is one step back, however many layers it passes.
  let sliding = false;
  on("layer", "input", ({ target }) => {
    draw({ change: { layer: Number(target.value) }, lasting: !sliding });
    sliding = true;
  });
  on("layer", "change", () => (sliding = false));
  on("paths", "change", () => draw());
  on("technique", "change", ({ target }) => go({ technique: target.value }));
  document.querySelector("#profile-beside details").addEventListener("toggle", ({ target }) => target.open && fillBeside(current, other));
  on("path", "change", ({ target }) => go({ path: target.value || undefined }));
  searchTerms();
  on("map", "keydown", (event) => mapKeys(event, current));
  for (const link of document.querySelectorAll("nav a, .skip")) {
    // The address tells what is looked at; going to a part of the page leaves it alone.
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const part = document.querySelector(link.getAttribute("href"));
      part.scrollIntoView();
      part.setAttribute("tabindex", "-1");
      part.focus({ preventScroll: true });
    });
  }
  for (const link of document.querySelectorAll(".verdicts a, .models a")) {
    // Only what the link names changes: mode, axis and the model beside stay.
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const asks = new URLSearchParams(link.getAttribute("href").slice(1));
      const change = Object.fromEntries(asks);
      if ("layer" in change) change.layer = Number(change.layer);
      if ("concept" in change) change.labelling ??= "";
      go(change);
      if ("concept" in change) document.getElementById("map-panel").scrollIntoView();
    });
  }
  on("theme", "click", () => chooseTheme(dark() ? "light" : "dark"));
  for (const technique of TECHNIQUES) {
    const panel = document.getElementById(`profile-${technique}`);
    panel.querySelector("select").addEventListener("change", ({ target }) => go({ [technique]: target.value }));
    panel.querySelector("details").addEventListener("toggle", ({ target }) => target.open && fillProfileTable(current, technique));
  }
  document.querySelector("#map-table").addEventListener("toggle", ({ target }) => {
    if (target.open) target.replaceChildren(target.querySelector("summary"), table("The map, cell by cell", MAP_HEADS, mapRows(current)));
  });
  addEventListener("keydown", (event) => event.key === "Escape" && state.full && go({ full: undefined }));
  addEventListener("popstate", () => follow());
  addEventListener("hashchange", () => location.hash !== address() && follow());
}

/** Go where the address says: what it does not name goes back to what it was at first. */
function follow() {
  for (const key of KEYS) delete state[key];
  return draw({ change: { mode: "consensus", axis: "layer", ...asked() } });
}

/** The chart as a figure of its own: as on white paper, without the marks of what is looked at. */
async function svgOf(place) {
  const before = document.documentElement.dataset.theme;
  const made = views.get(place);
  const { view } = made;
  repaint("light");
  show(made);
  const marks = ["column", "cursor"].filter((name) => made.fed.has(name));
  feed(place, Object.fromEntries(marks.map((name) => [name, []])));
  show(made);
  const svg = figure(await view.background("#ffffff").toSVG(), figureWords(place));
  view.background("transparent");
  repaint(before);
  return svg;
}

/** Draw all charts in a theme, at once. */
function repaint(name) {
  document.documentElement.dataset.theme = name;
  paint(current);
  if (state.beside && other) paintCompare(current);
}

/** Paper is white: the page is printed in the light theme, and goes back to its own. */
function printLight() {
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    repaint("light");
    showAll();
  });
  addEventListener("afterprint", () => repaint(before));
}

/** Of its own width a drawing keeps so much where there is less room: its letters stay readable, and the rest is scrolled to. */
const LEAST_SCALE = 0.75;

/** Give a drawing the width of its place; where it would be too small to read, say that more of it is at the side. */
function fitDrawing(place) {
  const drawing = place.querySelector("svg");
  const least = Math.round(LEAST_SCALE * Number(drawing.getAttribute("width")));
  drawing.style.minWidth = `${least}px`;
  const hint = make("p", { class: "hint aside", hidden: true }, "Wider than the screen: scroll it sideways for the rest →");
  const scroll = place.closest(".scroll");
  scroll.before(hint);
  new ResizeObserver(() => { hint.hidden = least <= scroll.clientWidth; }).observe(scroll);
}

/** Charts that say the same for all models are drawn one after the other once the page is at rest. */
async function drawAtRest() {
  const rest = () => new Promise((done) => (globalThis.requestIdleCallback ?? setTimeout)(done));
  for (const place of document.querySelectorAll("[data-chart]")) {
    await rest();
    const inner = place.appendChild(make("div", { "aria-hidden": "true" }));
    const { view } = await vegaEmbed(inner, library.charts[place.dataset.chart], { mode: "vega", ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: tip });
    fitDrawing(place);
    const give = async () => offer(`${place.dataset.chart}.svg`, "image/svg+xml", titled(await view.toSVG(), place.getAttribute("aria-label")));
    place.closest("figure").querySelector("figcaption").append(" ", make("button", { type: "button", class: "file", onclick: give, title: "The chart as vector graphics" }, "SVG"));
  }
}

async function main() {
  followTheme();
  await Promise.all([readLibrary(), runPacked("bundle")]);
  Object.assign(state, asked());
  await Promise.all([
    chart("map", "map", ({ layer, row }) => { const found = rowsOf(current)[row]; if (found) go({ concept: found.concept, labelling: found.labelling, layer }); }),
    chart("picture", "picture", ({ term }) => term != null && go({ term: conceptOf(state.concept).terms[term] })),
    ...TECHNIQUES.map((technique) => chart(`chart-${technique}`, "profile", ({ layer }) => layer != null && go({ layer }))),
  ]);
  zoomable("picture");
  filesOfTables();
  tools();
  figureBeside();
  listen();
  printLight();
  await draw();
  await drawAtRest();
}

main().catch((failed) => {
  const told = document.getElementById("failed");
  told.textContent = `The maps can't be drawn in this browser: ${failed.message}. The verdicts and the tables are complete without.`;
  told.hidden = false;
  throw failed;
});
