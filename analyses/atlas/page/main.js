// The page as a whole: what is chosen, what is drawn anew when, and what the buttons do.

let drawing = 0;
let current = null;

/** Look at something else: a deliberate choice, that Back returns from. */
function go(change) {
  return draw({ change, lasting: true });
}

/** The state made valid: what the page does not hold gives way to what is nearest to it. */
async function settle() {
  const names = library.models.map((told) => told.model);
  if (!names.includes(state.model)) state.model = names[0];
  if (!names.includes(state.beside) || state.beside === state.model) delete state.beside;
  const block = await model(state.model);
  const rows = rowsOf(block, CLASSES[state.mode] ? state.mode : (state.mode = "consensus"));
  if (!rows.some((row) => row.concept === state.concept)) {
    const first = rows.find((row) => row.verdict === "localised") ?? rows[0];
    Object.assign(state, { concept: first.concept, labelling: first.labelling });
    if (first.regions.length) state.layer = first.regions.find(([name]) => name === "all")?.[1] ?? state.layer;
  }
  const own = rows.filter((row) => row.concept === state.concept).map((row) => row.labelling);
  if (!own.includes(state.labelling ?? "")) state.labelling = own.find(Boolean) ?? own[0];
  state.layer = Math.min(Math.max(state.layer, -1), block.header.layers - 1);
  const concept = conceptOf(state.concept);
  if (!concept.terms.includes(state.term)) delete state.term;
  if (!concept.labellings.some((labelling) => labelling.name === state.colour)) delete state.colour;
  if (!colouring()?.labels?.includes(state.label)) delete state.label;
  if (!["layer", "depth"].includes(state.axis)) state.axis = "layer";
  if (state.full && !document.querySelector(`[data-panel="${CSS.escape(state.full)}"]`)) delete state.full;
  return block;
}

/** Draw what changed. A later call overtakes an earlier one that still waits for a model. */
async function draw({ change = {}, lasting = false } = {}) {
  drawing += 1;
  const token = drawing;
  const before = { ...state };
  if (change.concept && change.concept !== state.concept) {
    for (const key of ["term", "colour", "label"]) delete state[key];
  }
  Object.assign(state, change);
  const block = await settle();
  if (token !== drawing) return;
  current = block;
  if (lasting) remember(true);
  const changed = (...keys) => !before.drawn || keys.some((key) => before[key] !== state[key]);
  state.drawn = true;
  drawControls(block);
  drawMap(block);
  drawProfiles(block);
  drawLegend();
  drawPicture(block);
  drawFull();
  // What is read and not seen at once comes after the pictures: a slider stays quick.
  afterwards(() => {
    if (token !== drawing) return;
    showAll();
    remember(false);
    drawTerms(block);
    if (changed("model")) drawModel(block);
    if (changed("model", "concept")) drawStability(block);
    drawCompare(block, token);
  });
}

let waiting = null;
/** Once the pictures are drawn; of several calls in a row only the last. */
function afterwards(work) {
  cancelAnimationFrame(waiting);
  clearTimeout(afterwards.timer);
  waiting = requestAnimationFrame(() => {
    afterwards.timer = setTimeout(() => {
      work();
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
  const list = document.getElementById("term-names");
  if (list.dataset.concept !== state.concept) {
    list.dataset.concept = state.concept;
    list.replaceChildren(...conceptOf(state.concept).terms.map((term) => make("option", { value: term })));
  }
  document.getElementById("paths-choice").hidden = !ordering(conceptOf(state.concept), colouring());
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
function drawModel(block) {
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
      ? table(`Maps of ${state.concept} in ${state.model} made otherwise: the surest layer of each`, ["row", "what was changed", "to", "layer", "confidence"], rows)
      : make("p", { class: "hint" }, `No maps of ${state.concept} were made otherwise.`),
  );
}

/** A panel in the whole window, if one is asked for. */
function drawFull() {
  for (const panel of document.querySelectorAll("[data-panel]")) {
    const full = panel.dataset.panel === state.full;
    if (panel.classList.toggle("full", full) !== full) continue;
    panel.querySelector(".enlarge")?.setAttribute("aria-pressed", String(full));
  }
  document.body.classList.toggle("covered", Boolean(state.full));
}

/** The rows behind a panel, as they are given away. */
function rowsBehind(panel) {
  const technique = panel.startsWith("profile-") ? panel.slice("profile-".length) : null;
  if (technique) return profileShown(current, technique) ? [PROFILE_HEADS, profileRows(current, technique)] : null;
  if (panel === "map") return [MAP_HEADS, mapRows(current)];
  if (panel === "compare") return other && state.beside ? [DIFFERENCE_HEADS, differenceRows(current, other)] : null;
  if (panel === "picture") {
    const found = pictureAt(current, state.layer);
    if (!found) return null;
    const concept = conceptOf(state.concept);
    const rows = [...placesOf(current, found)].map(([term, at]) => [
      concept.terms[term], found.layer, Math.round(1e4 * at.x) / 1e4, Math.round(1e4 * at.y) / 1e4, ...concept.labellings.map((labelling) => labelOf(labelling, term)),
    ]);
    return [["term", "layer", "x", "y", ...concept.labellings.map((labelling) => labelling.name)], rows];
  }
  return tablesIn(panel);
}

/** The rows of the tables that a panel shows. */
function tablesIn(panel) {
  const tables = [...document.querySelectorAll(`[data-panel="${panel}"] table`)].filter((one) => one.offsetParent);
  if (!tables.length) return null;
  const cells = (row) => [...row.cells].map((cell) => cell.textContent);
  const rows = tables.flatMap((one) => [[one.caption?.textContent ?? ""], ...[...one.rows].map(cells)]);
  return [rows[0], rows.slice(1)];
}

const CHARTS = { map: "map", picture: "picture", compare: "difference" };

/** Buttons on each panel: the rows as CSV, the chart as SVG, the whole window. */
function tools() {
  for (const panel of document.querySelectorAll("[data-panel]")) {
    const name = panel.dataset.panel;
    const place = CHARTS[name] ?? (name.startsWith("profile-") ? `chart-${name.slice(8)}` : null);
    const file = () => [name, state.model, name === "map" ? state.mode : state.concept, name === "picture" ? `layer-${state.layer}` : null].filter(Boolean).join("-");
    const bar = make(
      "div", { class: "tools" },
      make("button", {
        type: "button", title: "The rows behind this as a file",
        onclick: () => { const found = rowsBehind(name); if (found) offer(`${file()}.csv`, "text/csv;charset=utf-8", csv(...found)); },
      }, "CSV"),
      place && make("button", { type: "button", title: "The chart as vector graphics", onclick: async () => offer(`${file()}.svg`, "image/svg+xml", await svgOf(place)) }, "SVG"),
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
  on("term-name", "change", ({ target }) => {
    const wanted = target.value.trim();
    const { terms } = conceptOf(state.concept);
    // Names may differ in case alone; the one as it was written comes first.
    const found = terms.find((term) => term === wanted) ?? terms.find((term) => term.toLowerCase() === wanted.toLowerCase());
    document.getElementById("term-unknown").textContent = !wanted || found ? "" : `No term ${target.value} in ${state.concept}.`;
    if (!wanted || found) go({ term: found });
  });
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
  for (const link of document.querySelectorAll(".verdicts a")) {
    link.addEventListener("click", () => document.getElementById("map-panel").scrollIntoView());
  }
  on("theme", "click", () => setTheme(dark() ? "light" : "dark"));
  for (const technique of PANELS) {
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
  return draw({ change: { layer: 0, mode: "consensus", axis: "layer", ...asked() } });
}

/** The chart as SVG: as on white paper, whatever the page's theme is. */
async function svgOf(place) {
  const before = document.documentElement.dataset.theme;
  await setTheme("light");
  if (state.beside) await drawCompare(current, drawing);
  show(views.get(place));
  const svg = await views.get(place).view.background("#ffffff").toSVG();
  views.get(place).view.background("transparent");
  await setTheme(before);
  return svg;
}

function setTheme(name) {
  if (document.documentElement.dataset.theme === name && current) return undefined;
  document.documentElement.dataset.theme = name;
  document.getElementById("theme").textContent = name === "dark" ? "Light" : "Dark";
  return current ? draw() : undefined;
}

/** Paper is white: the page is printed in the light theme, and goes back to its own. */
function printLight() {
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    Promise.resolve(setTheme("light")).then(showAll);
  });
  addEventListener("afterprint", () => before && setTheme(before));
}

/** Charts that say the same for all models are drawn when somebody scrolls to them. */
function drawWhenSeen() {
  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      vegaEmbed(target, library.charts[target.dataset.chart], { mode: "vega", ast: true, renderer: "canvas", actions: false, defaultStyle: false, tooltip: tip });
    }
  }, { rootMargin: "400px" });
  for (const place of document.querySelectorAll("[data-chart]")) seen.observe(place);
}

async function main() {
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  setTheme(prefers.matches ? "dark" : "light");
  prefers.addEventListener("change", ({ matches }) => setTheme(matches ? "dark" : "light"));
  await Promise.all([readLibrary(), runPacked("bundle")]);
  Object.assign(state, asked());
  await Promise.all([
    chart("map", "map", ({ layer, row }) => { const found = rowsOf(current)[row]; if (found) go({ concept: found.concept, labelling: found.labelling, layer }); }),
    chart("map-beside", "map", ({ row }) => { const found = rowsOf(other)[row]; if (found) go({ concept: found.concept, labelling: found.labelling }); }),
    chart("difference", "difference", ({ layer, row }) => { const found = rowsOf(current)[row]; if (found) go({ concept: found.concept, labelling: found.labelling, layer }); }),
    chart("picture", "picture", ({ term }) => term != null && go({ term: conceptOf(state.concept).terms[term] })),
    chart("picture-beside", "picture", ({ term }) => term != null && go({ term: conceptOf(state.concept).terms[term] })),
    ...PANELS.map((technique) => chart(`chart-${technique}`, "profile", ({ layer }) => layer != null && go({ layer }))),
  ]);
  tools();
  listen();
  printLight();
  await draw();
  drawWhenSeen();
}

main();
