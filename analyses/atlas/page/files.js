// What leaves the page as rows: those behind a panel, and those of the tables that were made with it.

/** The rows behind a panel, as they are given away. */
function rowsBehind(panel) {
  const technique = panel.startsWith("profile-") ? panel.slice("profile-".length) : null;
  if (technique) return profileShown(current, technique) ? profileFile(current, profileShown(current, technique)) : null;
  if (panel === "map") return [MAP_HEADS, mapRows(current)];
  if (panel === "compare") return other && state.beside ? [DIFFERENCE_HEADS, differenceRows(current, other)] : null;
  if (panel === "picture") {
    const found = pictureAt(current, state.layer);
    if (!found) return null;
    const concept = conceptOf(state.concept);
    const rows = [...placesOf(current, found)].map(([term, at]) => [
      state.model, concept.name, found.layer, concept.terms[term], Math.round(1e4 * at.x) / 1e4, Math.round(1e4 * at.y) / 1e4,
      ...concept.labellings.map((labelling) => (labelling.kind === "continuous" ? labelling.numbers[term] : labelOf(labelling, term))),
    ]);
    return [["model", "concept", "layer", "term", "x", "y", ...concept.labellings.map((labelling) => labelling.name)], rows];
  }
  return null;
}

const WITH_INTERVAL = /^(-?[\d.]+) \((-?[\d.]+) to (-?[\d.]+)\)$/;

/** Text of a cell as plain data: numbers as numbers, and nothing where there is a dash. */
function plainCell(text) {
  const value = text.trim().replaceAll("\u2212", "-");
  if (value === "\u2013") return "";
  return /^-?\d{1,3}(,\d{3})+(\.\d+)?$/.test(value) ? Number(value.replaceAll(",", "")) : /^-\d+(\.\d+)?$/.test(value) ? Number(value) : value;
}

/** Rows of a table that was made with the page: a number with its interval becomes three columns. */
function plainRows(found) {
  const [heads, ...rows] = [...found.rows].map((row) => [...row.cells].map((cell) => plainCell(cell.textContent)));
  const splits = heads.map((_, place) => rows.some((row) => WITH_INTERVAL.test(row[place])));
  const split = (row) => row.flatMap((value, place) => (splits[place] ? (WITH_INTERVAL.exec(value)?.slice(1) ?? [value, "", ""]).map((one) => (one && Number.isFinite(Number(one)) ? Number(one) : one)) : [value]));
  return [heads.flatMap((name, place) => (splits[place] ? [name, `${name} low`, `${name} high`] : [name])), rows.map(split)];
}

const VERDICT_HEADS = [
  "model", "concept", "labelling", "verdict", "layers", "surest_layer", "confidence", "lost_answers", "lost_low", "lost_high",
  "first_half_share", "first_half_low", "first_half_high", "agreement", "planted",
];
/** From this confidence on a layer is marked on the map. */
const MARKED = CLASSES.consensus[1][1];

/** The verdicts of the model that is looked at, as the page holds them. */
const verdictRows = () => [VERDICT_HEADS, rowsOf(current, "consensus").map((row) => {
  const isKnown = !["not measured", "not known"].includes(row.verdict);
  // As the table tells it: the least of the marked layers, or of all where none is marked.
  const agreed = row.agreement.filter((value, layer) => isKnown && value != null && (row.verdict !== "localised" || row.cells[layer] >= MARKED));
  return [
    state.model, row.concept, row.labelling, row.verdict, row.places, isKnown ? likeliest(row) : null, isKnown ? row.confidence : null,
    ...row.lost, ...row.first_half, agreed.length ? Math.min(...agreed) : null, row.planted.join(" "),
  ];
})];

/** The tables that were made with the page give their rows too; those of the model that is looked at as the page holds them. */
function filesOfTables() {
  for (const found of document.querySelectorAll("main table")) {
    const caption = found.caption.textContent.trim();
    const button = make("button", { type: "button", class: "file", title: "All rows of this table as a file" }, "CSV");
    button.addEventListener("click", () => {
      const told = found.closest("#findings") ? findingRows() : found.matches(".verdicts") ? verdictRows() : plainRows(found);
      offer(fileName(caption), "text/csv;charset=utf-8", csv(...told));
    });
    found.caption.append(" ", button);
  }
}

const FINDING_HEADS = ["model", "finding", "claimed_by", "title", "verdict", "estimate", "low", "high", "threshold", "null_mean", "null_p", "sentence", "basis"];
const findingRows = () => [FINDING_HEADS, current.header.findings.map((row) => FINDING_HEADS.map((name) => (name === "model" ? state.model : row[name])))];
