// The knowledge map: cells by class of confidence, verdicts in words, regions, what techniques mark, planted layers.

const ROW = 34;
/** Cells stand in the upper part of a row, what techniques mark in a strip below them. */
const [CELL_MIDDLE, CELL_HALF] = [-0.17, 0.29];
const WORDS = {
  "not localised": "not localised: no layer stands out",
  "not known": "not known: the model can't answer",
  "not measured": "not measured",
};

/** What the map of a model shows; made anew for another model, mode, axis or theme, not for another layer. */
const mapParts = memoized((block, mode, axis, theme_) => {
  const rows = rowsOf(block, mode);
  const { layers } = block.header;
  const parts = { bars: [], hatch: [], cells: [], techniques: [], dots: [], regions: [], planted: [], hits: [] };
  const colours = classColours();
  rows.forEach((row, y) => {
    const span = (first, last) => ({ x0: edges(first, layers).x0, x1: edges(last, layers).x1 });
    const localised = row.verdict === "localised";
    if (row.verdict !== "localised" && row.verdict !== "not measured") {
      const whole = span(0, layers - 1);
      const [y0, y1] = [y + CELL_MIDDLE - CELL_HALF, y + CELL_MIDDLE + CELL_HALF];
      parts.bars.push({ ...whole, x: (whole.x0 + whole.x1) / 2, y: y + CELL_MIDDLE, y0, y1, words: WORDS[row.verdict] });
    }
    for (let layer = 0; layer < layers; layer += 1) {
      const at = { ...edges(layer, layers), y: y + CELL_MIDDLE };
      const confidence = row.cells[layer];
      const place = classOf(confidence, mode);
      if (localised && place >= 0) {
        const half = HEIGHTS[place] * CELL_HALF;
        parts.cells.push({ ...at, y0: at.y - half, y1: at.y + half, fill: colours[place] });
      }
      if (row.verdict === "not measured") parts.hatch.push(at);
      const agreement = row.agreement[layer];
      if (localised && agreement != null && (place >= 0 || agreement < LEAST_AGREEMENT)) {
        const holds = agreement >= LEAST_AGREEMENT;
        parts.dots.push({ ...at, fill: holds ? (dark() ? "#12161c" : "#fee838") : "#d55e00", shape: holds ? "circle" : "cross" });
      }
      parts.hits.push({ ...at, y0: y - 0.5, y1: y + 0.5, layer, row: y, tip: cellTip(row, layer, mode) });
    }
    for (const [technique, first, last] of row.regions) {
      if (technique === "all") {
        parts.regions.push({ ...span(first, last), y0: y + CELL_MIDDLE - CELL_HALF - 0.02, y1: y + CELL_MIDDLE + CELL_HALF + 0.02 });
      } else {
        const order = TECHNIQUES.indexOf(technique);
        const top = y + 0.15 + order * 0.08;
        parts.techniques.push({ ...span(first, last), y0: top, y1: top + 0.08, fill: techniqueColour(technique) });
      }
    }
    for (const layer of row.planted) parts.planted.push({ ...edges(layer, layers), y0: y + CELL_MIDDLE - CELL_HALF - 0.02, y1: y + CELL_MIDDLE + CELL_HALF + 0.02 });
  });
  return parts;
});

function cellTip(row, layer, mode) {
  const place = classOf(row.cells[layer], mode);
  const lines = [`${row.name}, layer ${layer}`];
  if (row.verdict === "not measured") return `${lines[0]}\nnot measured`;
  const told = mode === "consensus" ? "holds it with probability" : "marked by this share of techniques:";
  lines.push(`${told} ${probability(row.cells[layer])}${place < 0 ? "" : ` (${CLASSES[mode][place][0]})`}`);
  if (row.agreement[layer] != null) lines.push(`maps from other terms, templates or seeds that say the same: ${percent(row.agreement[layer])}`);
  const marks = row.regions.filter(([name, first, last]) => name !== "all" && first <= layer && layer <= last);
  if (marks.length) lines.push(`marked by ${marks.map(([name]) => name).join(", ")}`);
  if (row.planted.includes(layer)) lines.push("planted here");
  if (row.verdict !== "localised") lines.push(row.verdict);
  return lines.join("\n");
}

/** Draw the map of the model that is looked at. */
function drawMap(block) {
  drawMapIn("map", block, state.mode);
  const row = rowOf(block);
  const told = document.getElementById("cell");
  tell(told, state.layer < 0 ? "The embeddings: the map begins at layer 0." : row ? cellTip(row, state.layer, state.mode).replaceAll("\n", " · ") : "");
  tell(document.getElementById("verdict"), row ? `${row.name}: ${row.sentence}` : "");
}

function drawMapIn(place, block, mode, layer = state.layer) {
  const made = views.get(place);
  const rows = rowsOf(block, mode);
  const { layers } = block.header;
  const parts = mapParts(block, mode, state.axis, document.documentElement.dataset.theme);
  const y = rows.indexOf(rowOf(block, mode));
  const at = layer < 0 ? null : edges(layer, layers);
  const shape = () => ({ ...layerAxis(layers, layersWidth(made.element)), rowNames: rows.map(rowName) });
  made.view.height(rows.length * rowHeight(made.element, rows.length));
  made.fitted = () => {
    made.view.height(rows.length * rowHeight(made.element, rows.length));
    feed(place, {}, shape());
  };
  feed(
    place,
    {
      ...parts,
      column: at ? [{ ...at, y0: -0.5, y1: rows.length - 0.5 }] : [],
      cursor: at && y >= 0 ? [{ ...at, y0: y - 0.5, y1: y + 0.5 }] : [],
    },
    {
      ...shape(),
      rows: rows.length,
      rowTicks: rows.map((_, place_) => place_),
    },
  );
}

/** What a row is called beside a chart: where there is little room, its concept and its labelling on a line each. */
function rowName(row) {
  const name = row.name.replace("control: ", "ctrl: ");
  return narrow() && row.labelling ? name.split(/ · (?=[^·]*$)/) : name;
}

/** How high a row is: in the whole window as high as there is room for. */
const rowHeight = (element, rows) =>
  element.closest(".full") ? Math.max(ROW, Math.min(64, (innerHeight - 330) / rows)) : ROW;

/** The map as rows of a table: one a cell, with the row's verdict. */
function mapRows(block, mode = state.mode) {
  return rowsOf(block, mode).flatMap((row) =>
    row.cells.map((confidence, layer) => [
      block.header.model, row.concept, row.labelling, mode, layer, confidence, row.agreement[layer],
      row.planted.includes(layer), row.verdict,
    ]),
  );
}
const MAP_HEADS = ["model", "concept", "labelling", "mode", "layer", "confidence", "agreement", "planted", "verdict"];

/** Arrow keys move over the map; Home and End go to the first and the last layer. */
function mapKeys(event, block) {
  const rows = rowsOf(block);
  const y = Math.max(0, rows.indexOf(rowOf(block)));
  const last = block.header.layers - 1;
  const moves = {
    ArrowLeft: [y, state.layer - 1], ArrowRight: [y, state.layer + 1], ArrowUp: [y - 1, state.layer],
    ArrowDown: [y + 1, state.layer], Home: [y, 0], End: [y, last],
  };
  const move = moves[event.key];
  if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const row = rows[Math.min(Math.max(move[0], 0), rows.length - 1)];
  // Keys that follow one another are one step back.
  const now = performance.now();
  const lasting = now - mapKeys.before > 1000;
  mapKeys.before = now;
  draw({ change: { concept: row.concept, labelling: row.labelling, layer: Math.min(Math.max(move[1], 0), last) }, lasting });
}

mapKeys.before = -Infinity;

/** A function that remembers what it made last for its first argument, as long as the others are the same. */
function memoized(makeIt) {
  const kept = new WeakMap();
  return (block, ...others) => {
    const key = others.join("|");
    const known = kept.get(block);
    if (known?.key === key) return known.made;
    const made = makeIt(block, ...others);
    kept.set(block, { key, made });
    return made;
  };
}
