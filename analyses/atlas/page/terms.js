// Terms at the layer that is looked at: nearest neighbours, misplaced terms, effects of lesions and patches, and down to
// the prompt: what it asks, what the model says, intact and under lesion.

/** The nearest terms of a term in the original space, at the detail layer nearest to a layer. */
function nearest(block, concept, term, layer) {
  const kept = block.header.concepts[concept]?.neighbours;
  const at = detailOf(block, layer);
  if (!kept || term < 0) return { terms: [], at };
  const flat = integers(block, kept.terms);
  const count = conceptOf(concept).terms.length;
  const own = at.place * count + term;
  const terms = [];
  for (let rank = 0; rank < kept.ranks; rank += 1) {
    const other = flat[own * kept.ranks + rank];
    const similarity = () => decimal(block, kept.similarity, rank * block.header.details.length * count + own);
    if (other >= 0) terms.push({ term: other, similarity: similarity() });
  }
  return { terms, at };
}

/** Terms whose nearest neighbours mostly bear another label than their own. */
function misplaced(block, labelling, layer) {
  const concept = conceptOf(state.concept);
  if (!labelling || labelling.kind === "continuous") return [];
  const found = [];
  concept.terms.forEach((name, term) => {
    const own = labelling.of[term];
    const near = nearest(block, state.concept, term, layer).terms.filter(({ term: other }) => labelling.of[other] >= 0);
    if (own < 0 || near.length < 3) return;
    const counts = new Map();
    for (const { term: other } of near) counts.set(labelling.of[other], (counts.get(labelling.of[other]) ?? 0) + 1);
    const [among, most] = [...counts].reduce((one, other) => (other[1] > one[1] ? other : one));
    const same = counts.get(own) ?? 0;
    if (among !== own && most * 2 > near.length) found.push({ term, name, same, of: near.length, among, most });
  });
  return found.sort((one, other) => other.most / other.of - one.most / one.of || one.term - other.term);
}

/** Mean effects by term at a layer: what its lesion costs the answer, and what its patch restores. */
function effectsByTerm(block, layer) {
  const { effects, restored } = block.header.concepts[state.concept];
  const at = detailOf(block, layer);
  const byTerm = new Map();
  const entry = (term) => byTerm.get(term) ?? byTerm.set(term, { drop: 0, prompts: 0, gained: 0, wide: 0, pairs: 0 }).get(term);
  const labelling = labellingFor(block);
  const asks = (template) => conceptOf(state.concept).templates[template].labelling === labelling;
  if (effects) {
    const [templates, terms] = [integers(block, effects.template), integers(block, effects.term)];
    for (let i = 0; i < effects.n; i += 1) {
      const under = decimal(block, effects.under, at.place * effects.n + i);
      if (under == null || !asks(templates[i])) continue;
      const told = entry(terms[i]);
      told.drop += decimal(block, effects.intact, i) - under;
      told.prompts += 1;
    }
  }
  if (restored?.resid) {
    const [templates, terms, differ] = ["template", "term", "differs"].map((name) => integers(block, restored[name]));
    for (let i = 0; i < restored.n; i += 1) {
      const patched = decimal(block, restored.resid, at.place * restored.n + i);
      // Of pairs whose answers the model hardly tells apart a share would be a quotient of noise.
      if (patched == null || !asks(templates[i]) || !differ[i]) continue;
      const told = entry(terms[i]);
      const corrupted = decimal(block, restored.corrupted, i);
      told.gained += patched - corrupted;
      told.wide += decimal(block, restored.clean, i) - corrupted;
      told.pairs += 1;
    }
  }
  const rows = [...byTerm].map(([term, told]) => ({
    term, prompts: told.prompts, pairs: told.pairs, drop: told.prompts ? told.drop / told.prompts : null,
    restored: told.pairs ? told.gained / told.wide : null,
  }));
  return { at, rows: rows.sort((one, other) => (other.drop ?? -Infinity) - (one.drop ?? -Infinity) || one.term - other.term) };
}

/** Of what the rows of a table of this part are. */
const keysAt = (at, others = {}) => ({ model: state.model, concept: state.concept, ...others, layer: at.layer });

const termButton = (term) => {
  const name = conceptOf(state.concept).terms[term];
  return make("button", { type: "button", class: "term", onclick: () => go({ term: name }) }, name);
};
const atLayer = (at) => (at.exact ? `at layer ${at.layer}` : `at layer ${at.layer}, the nearest that is kept to ${layerName(state.layer)}`);

/** All about terms at this layer. */
function drawTerms(block) {
  const labelling = colouring();
  const place = document.getElementById("terms");
  place.replaceChildren(neighboursPart(block, labelling), misplacedPart(block, labelling), effectsPart(block));
  drawTerm(block);
}

/** Which prompts neighbours are of: all of a kind, those too that ask for another labelling than the one that is looked at. */
const promptsOfNeighbours = (block) => {
  const { kind } = block.header.concepts[state.concept].neighbours;
  return `all ${kind} prompts of ${state.concept} that are not held out${kind === "asking" ? ", whichever labelling they ask for" : ""}`;
};

function neighboursPart(block, labelling) {
  const term = conceptOf(state.concept).terms.indexOf(state.term);
  if (term < 0) return make("p", { class: "hint" }, "Choose a term, in the picture or by name, to see what lies nearest to it.");
  const { terms, at } = nearest(block, state.concept, term, state.layer);
  if (!terms.length) return make("p", { class: "hint" }, "No neighbours were kept of this concept.");
  const rows = terms.map(({ term: other, similarity }) => [termButton(other), labelOf(labelling, other), similarity]);
  const caption = `Nearest to ${state.term} ${atLayer(at)}, by cosine in the original space, over ${promptsOfNeighbours(block)}`;
  return make(
    "div", {}, table(caption, ["term", labelling ? spoken(labelling.name) : "label", "cosine"], rows, {
      keys: { ...keysAt(at), term: state.term },
      file: [["rank", "neighbour", labelling?.name ?? "label", "similarity"], terms.map(({ term: other, similarity }, rank) => [
        rank, conceptOf(state.concept).terms[other], labelling?.kind === "continuous" ? labelling.numbers[other] : labelOf(labelling, other), similarity,
      ])],
    }),
    make("p", { class: "hint" }, "A term's point is its mean over those prompts, each template centred first over the terms. ",
      make("code", {}, "nearest"), " in SQL takes the cosines of each template by itself, uncentred, and then their mean: its ranks may differ."),
  );
}

function misplacedPart(block, labelling) {
  const found = misplaced(block, labelling, state.layer);
  if (!labelling || labelling.kind === "continuous") return make("p", { class: "hint" }, "Numbers are not misplaced: colour by a labelling with labels to see which terms are.");
  const at = detailOf(block, state.layer);
  const total = labelling.of.filter((own) => own >= 0).length;
  const rows = found.map((one) => [
    termButton(one.term), labelling.labels[labelling.of[one.term]], labelling.labels[one.among], `${one.most} of ${one.of}`,
  ]);
  const caption = `Misplaced ${atLayer(at)}: ${found.length} of ${total} terms have most neighbours of another ${spoken(labelling.name)}${
    block.header.concepts[state.concept].neighbours ? `, over ${promptsOfNeighbours(block)}` : ""}`;
  if (!found.length) return make("p", { class: "hint" }, `${caption}.`);
  return table(found.length > 40 ? `${caption}; the first 40` : caption, ["term", "is", "lies among", "neighbours"], rows.slice(0, 40), {
    keys: keysAt(at, { labelling: labelling.name }),
    file: [["term", "is", "lies among", "neighbours there", "neighbours"], found.map((one) => [
      one.name, labelling.labels[labelling.of[one.term]], labelling.labels[one.among], one.most, one.of,
    ])],
  });
}

const EFFECT_HEADS = ["term", "lesion costs, nats", "prompts", "patch restores", "pairs"];

function effectsPart(block) {
  const { at, rows } = effectsByTerm(block, state.layer);
  if (!rows.length) return make("p", { class: "hint" }, "No lesion and no patch was run on prompts of this concept.");
  const told = rows.map((row) => [termButton(row.term), row.drop, row.prompts, row.restored, row.pairs]);
  const lesion = block.header.concepts[state.concept].effects?.lesion ?? "";
  return table(
    `Effects by term ${atLayer(at)}: ${lesion} lesion of the layer, patch of the residual stream at the last token; prompts ` +
    `that ask for ${spoken(labellingFor(block))}${rows.length > 40 ? `; the first 40 of ${rows.length}` : ""}`,
    EFFECT_HEADS, told.slice(0, 40), { keys: keysAt(at, { labelling: labellingFor(block) }), file: [EFFECT_HEADS, told] },
  );
}

/** How often a term stands in English texts, in words: on the Zipf scale 0 is one use in 10⁹ words, 3 one in 10⁶. */
function frequencyWords(zipf) {
  if (zipf == null) return "";
  if (zipf === 0) return " · a rare word in English: under 10 uses in 10⁹";
  return ` · in English ${Number((10 ** zipf).toPrecision(2)).toLocaleString("en")} uses in 10⁹ words`;
}

/** The chosen term, down to its prompts. */
function drawTerm(block) {
  const place = document.getElementById("term");
  const concept = conceptOf(state.concept);
  const term = concept.terms.indexOf(state.term);
  const input = document.getElementById("term-name");
  if (document.activeElement !== input) input.value = term < 0 ? "" : state.term;
  if (term < 0) return place.replaceChildren(...costliestPart(block, concept));
  const labels = concept.labellings.map((labelling) => `${spoken(labelling.name)}: ${labelOf(labelling, term) ?? "–"}`);
  const tokens = integers(block, block.header.concepts[concept.name].tokens)[term];
  const source = concept.sources[term];
  place.replaceChildren(
    make("h3", {}, state.term),
    make("p", {}, `${labels.join(" · ")} · ${tokens < 0 ? "not tokenized" : `${tokens} token${tokens === 1 ? "" : "s"}`}${
      frequencyWords(concept.zipf[term])}`),
    make("p", { class: "hint" }, source ? `Source: ${source}` : ""),
    promptsPart(block, concept, term), pairsPart(block, concept, term), answersPart(block, concept, term),
  );
}

/** The prompts that lose most with this layer, the first of them first. */
function costliest(block, most) {
  const concept = conceptOf(state.concept);
  const { effects } = block.header.concepts[concept.name];
  if (!effects) return { at: detailOf(block, state.layer), rows: [] };
  const at = detailOf(block, state.layer);
  const labelling = labellingFor(block);
  const [templates, terms] = [integers(block, effects.template), integers(block, effects.term)];
  const rows = [];
  for (let i = 0; i < effects.n; i += 1) {
    const under = decimal(block, effects.under, at.place * effects.n + i);
    const template = concept.templates[templates[i]];
    if (under == null || template.labelling !== labelling) continue;
    const intact = decimal(block, effects.intact, i);
    const answer = labellingOf(concept.name, labelling)?.answers?.[terms[i]] ?? null;
    rows.push({ term: terms[i], text: promptText(concept, template, terms[i]), answer, intact, under, cost: intact - under });
  }
  rows.sort((one, two) => two.cost - one.cost || one.term - two.term);
  return { at, rows: rows.slice(0, most) };
}

/** Without a term: which prompts to look at, and of which terms there are whole answers. */
function costliestPart(block, concept) {
  const { at, rows } = costliest(block, 8);
  const { answers, effects } = block.header.concepts[concept.name];
  const written = answers ? [...new Set(integers(block, answers.term))].filter((term) => term >= 0) : [];
  const parts = [];
  if (rows.length) {
    parts.push(table(
      `Prompts that lose most ${atLayer(at)} (${effects.lesion} lesion); choose a term for all about it`,
      ["term", "prompt", "answer", "intact", "lesioned", "cost, nats"],
      rows.map((row) => [termButton(row.term), row.text, row.answer, row.intact, row.under, row.cost]),
      { keys: keysAt(at, { labelling: labellingFor(block) }) },
    ));
  } else parts.push(make("p", { class: "hint" }, "No prompt of this concept was lesioned. Choose a term to see its prompts."));
  if (written.length) parts.push(make("p", { class: "hint" }, "Whole answers were written for: ", ...written.slice(0, 12).flatMap((term) => [termButton(term), " "])));
  return parts;
}

function promptsPart(block, concept, term) {
  const { effects } = block.header.concepts[concept.name];
  const at = detailOf(block, state.layer);
  const measured = new Map();
  if (effects) {
    const [templates, terms] = [integers(block, effects.template), integers(block, effects.term)];
    for (let i = 0; i < effects.n; i += 1) if (terms[i] === term) measured.set(templates[i], i);
  }
  const rows = concept.templates.map((template, place) => {
    const labelling = labellingOf(concept.name, template.labelling);
    const i = measured.get(place);
    const intact = i == null ? null : decimal(block, effects.intact, i);
    const under = i == null ? null : decimal(block, effects.under, at.place * effects.n + i);
    const rank = i == null ? null : integers(block, effects.rank)[i];
    return [
      promptText(concept, template, term), template.held_out ? `${template.kind}, held out` : template.kind,
      labelling?.answers?.[term] ?? null, rank == null ? null : rank === 0 ? "yes" : `no (rank ${rank + 1})`, intact, under,
      intact == null || under == null ? null : intact - under,
    ];
  });
  const heads = ["prompt", "kind", "answer", "known", "intact", "lesioned", "cost, nats"];
  const known = rows.filter((row) => row[4] != null);
  const rest = rows.filter((row) => row[4] == null).map((row) => row.slice(0, 3));
  const name = concept.terms[term];
  const parts = make("div");
  if (known.length) parts.append(table(`Prompts of ${name} that were lesioned: the answer's log-probability, intact and under the ${effects.lesion} lesion ${atLayer(at)}`, heads, known, { keys: keysAt(at) }));
  const others = make("details", {}, make("summary", {}, `${rest.length} other prompts of ${name}, whose activations alone were taken`));
  others.append(table(`Other prompts of ${name}`, heads.slice(0, 3), rest, { keys: { model: state.model, concept: state.concept } }));
  if (!known.length) others.open = true;
  parts.append(others);
  return parts;
}

function pairsPart(block, concept, term) {
  const { restored } = block.header.concepts[concept.name];
  if (!restored) return null;
  const at = detailOf(block, state.layer);
  const [templates, terms, others] = ["template", "term", "corrupting"].map((name) => integers(block, restored[name]));
  const [rows, asks] = [[], []];
  for (let i = 0; i < restored.n; i += 1) {
    if (terms[i] !== term) continue;
    const patched = (site) => (restored[site] ? decimal(block, restored[site], at.place * restored.n + i) : null);
    const template = concept.templates[templates[i]];
    asks.push(template.labelling);
    rows.push([
      promptText(concept, template, term), spoken(template.labelling), concept.terms[others[i]], decimal(block, restored.clean, i),
      decimal(block, restored.corrupted, i), patched("resid"), patched("delta"),
    ]);
  }
  if (!rows.length) return null;
  // Those that ask for the labelling that is looked at stand first.
  const chosen = labellingFor(block);
  const order = rows.map((_, place) => place).sort((one, two) => (asks[two] === chosen) - (asks[one] === chosen) || one - two);
  return table(
    `Pairs of ${concept.terms[term]} and their logit differences, patched ${atLayer(at)} at the last token; first those that ask for ${spoken(chosen)}`,
    ["clean prompt", "asks for", "corrupted by", "clean", "corrupted", "stream patched", "contribution patched"], order.map((place) => rows[place]), { keys: keysAt(at) },
  );
}

function answersPart(block, concept, term) {
  const { answers } = block.header.concepts[concept.name];
  if (!answers) return null;
  const at = detailOf(block, state.layer);
  const read = Object.fromEntries(["template", "term", "lesion", "layer", "text", "reason"].map((name) => [name, integers(block, answers[name])]));
  const judged = answers.judges.length > 0;
  const rows = [];
  for (let i = 0; i < answers.n; i += 1) {
    const lesion = answers.lesions[read.lesion[i]];
    if (read.term[i] !== term || (lesion !== "none" && read.layer[i] !== at.layer)) continue;
    const row = [promptText(concept, concept.templates[read.template[i]], term), lesion === "none" ? "intact" : lesion, answers.texts[read.text[i]], decimal(block, answers.chrf, i)];
    if (judged) row.push(decimal(block, answers.score, i), read.reason[i] < 0 ? null : answers.reasons[read.reason[i]]);
    rows.push(row);
  }
  // Each prompt's intact answer stands before what the lesion made of it.
  const intact = (row) => (row[1] === "intact" ? 0 : 1);
  rows.sort((one, two) => (one[0] < two[0] ? -1 : one[0] > two[0] ? 1 : intact(one) - intact(two)));
  if (!rows.length) {
    const written = new Set(read.term);
    const some = [...written].slice(0, 8).map((other) => termButton(other));
    return make("p", { class: "hint" }, "Answers in full were written for other terms: ", ...some.flatMap((one) => [one, " "]));
  }
  const heads = ["prompt", "model", "answer", "chrF, %", ...(judged ? ["score", "reason"] : [])];
  const scored = judged ? `; scores by ${answers.judges.join(", ")}, from 1 (no change) to 10 (gibberish)` : "";
  return table(`Answers to prompts of ${concept.terms[term]}, intact and with layer ${at.layer} lesioned${scored}`, heads, rows, { keys: keysAt(at, { term: concept.terms[term] }) });
}
