// Two models side by side: their maps, layer by layer or by depth, the difference of the maps, and how far a term moved.

let other = null;

/** The layer of the other model at the same place: the same layer, or the same depth. */
function twinLayer(block, second, layer) {
  const [last, end] = [block.header.layers - 1, second.header.layers - 1];
  if (layer < 0) return layer;
  return state.axis === "depth" ? Math.round((layer / Math.max(1, last)) * end) : Math.min(layer, end);
}

/** Rows that both maps have, with the confidence of both at each place. */
function differences(block, second, mode) {
  const theirs = new Map(rowsOf(second, mode).map((row) => [row.name, row]));
  const layers = block.header.layers;
  return rowsOf(block, mode).map((row) => {
    const twin = theirs.get(row.name);
    const told = (one) => one && !["not measured", "not known"].includes(one.verdict);
    const cells = row.cells.map((mine, layer) => {
      const at = twinLayer(block, second, layer);
      const beyond = state.axis !== "depth" && layer >= second.header.layers;
      if (!told(row) || !told(twin) || beyond) return null;
      return { layer, twin: at, mine: confident(row, layer), theirs: confident(twin, at) };
    });
    return { row, twin, cells, layers };
  });
}

/** The confidence that counts: none where a concept is not localised, or not known. */
const confident = (row, layer) => (row.verdict === "localised" ? (row.cells[layer] ?? 0) : 0);

/** The charts of two models; made once somebody compares, for all others would wait for them. */
function chartsBeside() {
  chartsBeside.made ??= Promise.all([
    chart("map-own", "map", ({ layer, row }) => { const found = rowsOf(current)[row]; if (found) go({ concept: found.concept, labelling: found.labelling, layer }); }),
    chart("map-beside", "map", ({ row }) => { const found = rowsOf(other)[row]; if (found) go({ concept: found.concept, labelling: found.labelling }); }),
    chart("difference", "difference", ({ layer, row }) => { const found = rowsOf(current)[row]; if (found) go({ concept: found.concept, labelling: found.labelling, layer }); }),
    chart("chart-beside", "profile", ({ layer }) => layer != null && go({ layer })),
    chart("picture-beside", "picture", ({ term }) => term != null && go({ term: conceptOf(state.concept).terms[term] })),
  ]).then(() => zoomable("picture-beside"));
  return chartsBeside.made;
}

async function drawCompare(block, token) {
  const panel = document.getElementById("compare");
  const choice = document.getElementById("beside");
  choice.value = state.beside ?? "";
  panel.classList.toggle("alone", !state.beside);
  if (!state.beside) return;
  const [second] = await Promise.all([model(state.beside), chartsBeside()]);
  if (token !== drawing) return;
  other = second;
  paintCompare(block);
  showAll();
  await Promise.all(["map-own", "map-beside", "difference", "chart-beside", "picture-beside"].map((place) => views.get(place).view.runAsync()));
}

/** What stands beside the other model, once that is there. */
function paintCompare(block) {
  document.getElementById("beside-name").textContent = `The map of ${state.beside}`;
  document.getElementById("difference-name").textContent =
    `Difference: blue and + where ${state.model} is surer, orange and − where ${state.beside} is; hatched where either can't answer`;
  document.getElementById("own-name").textContent = `The map of ${state.model}`;
  drawMapIn("map-own", block, state.mode);
  drawMapIn("map-beside", other, state.mode, twinLayer(block, other, state.layer));
  const told = differences(block, other, state.mode);
  drawDifference(block, told);
  drawProfileBeside(block, other);
  const at = twinLayer(block, other, state.layer);
  drawPicture(other, "picture-beside", at);
  drawMoved(block, other, at);
}

function drawDifference(block, told) {
  const made = views.get("difference");
  const { layers } = block.header;
  const parts = { cells: [], hatch: [], signs: [], hits: [] };
  let largest = null;
  told.forEach(({ row, cells }, y) => {
    cells.forEach((cell, layer) => {
      const at = { ...edges(layer, layers), y, y0: y - 0.46, y1: y + 0.46 };
      if (!cell) return parts.hatch.push(at);
      const difference = cell.mine - cell.theirs;
      if (!largest || Math.abs(difference) > Math.abs(largest.difference)) largest = { row, layer, difference };
      parts.cells.push({ ...at, fill: diverging(difference) });
      if (Math.abs(difference) >= 0.2) parts.signs.push({ ...at, sign: difference > 0 ? "+" : "−", ink: Math.abs(difference) > 0.6 ? "#ffffff" : theme().ink });
      parts.hits.push({
        ...at, layer, row: y,
        tip: `${row.name}\n${state.model}, layer ${layer}: ${number(cell.mine, 2)}\n${state.beside}, layer ${cell.twin}: ${number(cell.theirs, 2)}`,
      });
    });
  });
  const y = told.findIndex(({ row }) => row === rowOf(block));
  const at = edges(state.layer, layers);
  const shape = () => ({ ...layerAxis(layers, layersWidth(made.element)), rowNames: told.map(({ row }) => rowName(row)) });
  made.view.height(told.length * rowHeight(made.element, told.length));
  made.fitted = () => feed("difference", {}, shape());
  feed(
    "difference",
    {
      ...parts,
      column: state.layer < 0 ? [] : [{ ...at, y0: -0.5, y1: told.length - 0.5 }],
      cursor: state.layer < 0 || y < 0 ? [] : [{ ...at, y0: y - 0.5, y1: y + 0.5 }],
    },
    {
      ...shape(), rows: told.length, rowTicks: told.map((_, place) => place),
    },
  );
  document.getElementById("difference-says").textContent = largest && Math.abs(largest.difference) >= 0.2
    ? `They differ most in ${largest.row.name} at layer ${largest.layer}: ${state.model} is ${largest.difference > 0 ? "surer" : "less sure"} by ${number(Math.abs(largest.difference), 2)}.`
    : "No cell of the two maps differs by 0.2 or more.";
}

const DIFFERENCE_HEADS = ["model", "beside", "mode", "concept", "labelling", "layer", "layer beside", "confidence", "confidence beside", "difference"];
const differenceRows = (block, second) =>
  differences(block, second, state.mode).flatMap(({ row, cells }) =>
    cells.filter(Boolean).map((cell) => [
      block.header.model, second.header.model, state.mode, row.concept, row.labelling, cell.layer, cell.twin, cell.mine, cell.theirs, Math.round(1e4 * (cell.mine - cell.theirs)) / 1e4,
    ]),
  );

/** How many neighbours of each term the two models share, the pinned term first: the original spaces are compared. */
function moved(block, second, at) {
  const concept = conceptOf(state.concept);
  const rows = concept.terms.map((name, term) => {
    const mine = nearest(block, state.concept, term, Math.max(0, state.layer)).terms.map((one) => one.term);
    const theirs = new Set(nearest(second, state.concept, term, Math.max(0, at)).terms.map((one) => one.term));
    return { term, name, of: Math.min(mine.length, theirs.size), kept: mine.filter((one) => theirs.has(one)).length };
  });
  return rows.filter((row) => row.of > 0);
}

function drawMoved(block, second, at) {
  const place = document.getElementById("moved");
  const rows = moved(block, second, at);
  if (!rows.length) return place.replaceChildren(make("p", { class: "hint" }, "No neighbours of this concept to compare."));
  const pinned = rows.find((row) => row.name === state.term);
  const mean = rows.reduce((sum, row) => sum + row.kept / row.of, 0) / rows.length;
  const says = pinned
    ? `${pinned.name} keeps ${pinned.kept} of its ${pinned.of} nearest terms from one model to the other; the mean over terms is ${percent(mean)}.`
    : `From one model to the other a term keeps ${percent(mean)} of its nearest terms. Choose a term to pin it.`;
  const order = [...rows].sort((one, two) => one.kept / one.of - two.kept / two.of || one.term - two.term).slice(0, 15);
  place.replaceChildren(
    make("p", {}, says),
    table(
      `Terms that moved most: ${state.model} at ${layerName(state.layer)}, ${state.beside} at ${layerName(at)}`,
      ["term", "nearest terms kept"], order.map((row) => [termButton(row.term), `${row.kept} of ${row.of}`]),
      {
        keys: { model: state.model, beside: state.beside, concept: state.concept, layer: state.layer, layer_beside: at },
        file: [["term", "kept", "nearest"], [...rows].sort((one, two) => one.kept / one.of - two.kept / two.of || one.term - two.term).map((row) => [row.name, row.kept, row.of])],
      },
    ),
  );
}
