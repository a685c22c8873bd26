// What the blocks hold, by name: the library that all models share, and each model once it is looked at.

const loaded = new Map();
let library;

/** Read the library and what the page is told of its models. */
async function readLibrary() {
  const { header } = await unpack("library");
  library = header;
  library.byName = new Map(library.concepts.map((concept) => [concept.name, concept]));
}

/** A model's block; read once. */
function model(name) {
  const known = library.models.find((told) => told.model === name);
  if (!known) throw new Error(`No model ${name} on this page.`);
  if (!loaded.has(name)) loaded.set(name, unpack(known.block));
  return loaded.get(name);
}

const conceptOf = (name) => library.byName.get(name);
const labellingOf = (concept, name) => conceptOf(concept).labellings.find((labelling) => labelling.name === name);
const rowsOf = (block, mode = state.mode) => block.header.maps[mode];
const rowOf = (block, mode = state.mode) =>
  rowsOf(block, mode).find((row) => row.concept === state.concept && row.labelling === (state.labelling ?? "")) ??
  rowsOf(block, mode).find((row) => row.concept === state.concept);

/** The labelling that is shown: the one that is looked at, or of a concept as a whole the surest of its labellings. */
function labellingFor(block) {
  if (state.labelling) return state.labelling;
  const own = rowsOf(block, "consensus").filter((row) => row.concept === state.concept && row.labelling);
  const rank = (row) => (row.verdict === "localised" ? 1 : 0) + row.confidence;
  if (own.length) return own.reduce((one, other) => (rank(other) > rank(one) ? other : one)).labelling;
  return (conceptOf(state.concept).labellings.find((labelling) => labelling.asked) ?? conceptOf(state.concept).labellings[0])?.name ?? "";
}

/** What a term is called under a labelling: its label, or its number with the unit. */
function labelOf(labelling, term) {
  if (!labelling) return null;
  if (labelling.kind === "continuous") {
    const value = labelling.numbers[term];
    return value == null ? null : `${number(value, 4)}${labelling.unit ? ` ${labelling.unit}` : ""}`;
  }
  return labelling.of[term] < 0 ? null : labelling.labels[labelling.of[term]];
}

/** The text of a prompt. */
function promptText(concept, template, term) {
  const name = concept.terms[term];
  const own = template.own && Object.hasOwn(template.own, name) ? template.own[name] : null;
  return own ?? `${template.before}${concept.spellings[term] ?? name}${template.behind}`;
}

/** The detail layer nearest to a layer, and its place among them. */
function detailOf(block, layer) {
  const kept = block.header.details;
  let best = 0;
  kept.forEach((found, place) => {
    if (Math.abs(found - layer) < Math.abs(kept[best] - layer)) best = place;
  });
  return { place: best, layer: kept[best], exact: kept[best] === layer };
}

/** The profiles of a technique that the model has for a concept and labelling, in the order of the page's choice. */
function profilesOf(block, technique, concept, labelling) {
  return block.header.profiles.filter((profile) => {
    const about = library.shown[profile.shown];
    return about.technique === technique && profile.concept === concept && profile.labelling === labelling;
  });
}

/** A profile as points: a layer, its value, interval and null; layers without a value are left out. */
function pointsOf(block, profile) {
  profile.points ??= (() => {
    const layers = block.header.layers + 1;
    const found = [];
    for (let place = 0; place < layers; place += 1) {
      const told = Object.fromEntries(
        block.header.numbers.map((name, row) => [name, decimal(block, profile.numbers, row * layers + place)]),
      );
      if (told.value != null) found.push({ layer: place - 1, ...told, null_p: decimal(block, profile.p, place) });
    }
    return found;
  })();
  return profile.points;
}
