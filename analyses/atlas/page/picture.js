// The projection at a layer: terms as points, coloured by any labelling; numbers and stages as a path with its direction.

/** The layer among those that have a picture. */
function pictureAt(block, layer) {
  const pictures = block.header.concepts[state.concept]?.pictures;
  if (!pictures) return null;
  const place = Math.min(Math.max(layer - pictures.first, 0), pictures.trust.length - 1);
  return { pictures, place, layer: place + pictures.first };
}

/** Where each term lies in the picture of a layer, by the term's number. */
function placesOf(block, found) {
  const { pictures, place } = found;
  const flat = integers(block, pictures.points);
  const count = pictures.terms?.length ?? conceptOf(state.concept).terms.length;
  const [left, right, bottom, top] = pictures.frame;
  const last = pictures.steps - 1;
  const places = new Map();
  for (let i = 0; i < count; i += 1) {
    const at = (place * count + i) * 2;
    const term = pictures.terms ? pictures.terms[i] : i;
    places.set(term, {
      x: left + ((right - left) * flat[at]) / last,
      y: bottom + ((top - bottom) * flat[at + 1]) / last,
    });
  }
  return places;
}

/** The labelling that points are coloured by. */
function colouring() {
  const concept = conceptOf(state.concept);
  return concept.labellings.find((labelling) => labelling.name === state.colour) ??
    concept.labellings.find((labelling) => labelling.name === labellingFor(current)) ?? concept.labellings[0];
}

/** How a term is drawn under a labelling. */
function signOf(labelling, term, range) {
  if (!labelling) return labelSign(-1);
  if (labelling.kind === "continuous") {
    const value = labelling.numbers[term];
    return value == null ? labelSign(-1) : { fill: ramp((value - range[0]) / (range[1] - range[0] || 1)), shape: "circle" };
  }
  const place = labelling.of[term];
  if (labelling.kind === "ordinal" && place >= 0) {
    return { fill: ramp(place / Math.max(1, labelling.labels.length - 1)), shape: SHAPES[place % SHAPES.length] };
  }
  return labelSign(place);
}

function drawPicture(block, place = "picture", layer = state.layer) {
  const found = pictureAt(block, layer);
  const made = views.get(place);
  const caption = document.getElementById(`${place}-caption`);
  made.element.hidden = !found;
  if (!found) {
    caption.textContent = "No pictures of this concept: they were left out (--no-umap).";
    return;
  }
  const concept = conceptOf(state.concept);
  const labelling = colouring();
  const range = labelling?.kind === "continuous" ? extent(labelling.numbers) : null;
  const places = placesOf(block, found);
  const term = concept.terms.indexOf(state.term);
  const points = [];
  for (const [number_, at] of places) {
    const label = labelOf(labelling, number_);
    const muted = state.label != null && label !== state.label;
    points.push({
      ...at, ...signOf(labelling, number_, range), term: number_, size: 46, opacity: muted ? 0.12 : 0.88,
      tip: `${concept.terms[number_]}${label == null ? "" : `\n${spoken(labelling.name)}: ${label}`}`,
    });
  }
  const own = places.get(term);
  const close = own ? nearest(block, state.concept, term, found.layer) : null;
  const near = close?.at.exact ? close.terms.filter(({ term: other }) => places.has(other)) : [];
  const links = near.map(({ term: other }) => ({ ...own, x2: places.get(other).x, y2: places.get(other).y }));
  const { paths, arrows, ends, along } = pathsOf(concept, places, labelling, term);
  const [left, right, bottom, top] = found.pictures.frame;
  const [mx, my] = [(right - left) * 0.06, (top - bottom) * 0.06];
  made.frame = { left: left - mx, right: right + mx, bottom: bottom - my, top: top + my };
  made.about = `${block.header.model}|${concept.name}`;
  made.wanted = [
    ...(own ? [{ ...own, text: concept.terms[term], weight: "bold" }] : []),
    ...near.map(({ term: other }) => ({ ...places.get(other), text: concept.terms[other] })), ...ends,
  ];
  made.fitted = () => reframe(place);
  reframe(place, { points, links, paths, arrows, chosen: own ? [{ ...own, shape: signOf(labelling, term, range).shape }] : [] });
  const [first] = places.values();
  if ([...places.values()].every((at) => at.x === first.x && at.y === first.y)) {
    caption.textContent =
      `${block.header.model}, ${concept.name} at ${layerName(found.layer)}: all terms are alike here, since prompts are read at ` +
      "their last token, which no layer has told of the term yet. There is nothing to see.";
    return;
  }
  const trust = found.pictures.trust[found.place];
  caption.textContent =
    `${block.header.model}, ${concept.name} at ${layerName(found.layer)}. Trustworthiness ${number(trust, 2)}, continuity ` +
    `${number(found.pictures.continuity[found.place], 2)} (1: all neighbours kept). A picture is no evidence: only who lies ` +
    `near whom means something${near.length ? "; lines go to the nearest terms in the original space" : ""}.${along}`;
}

/** Feed a picture with what is seen of its frame, and with the names that stand there. */
function reframe(place, datasets = {}) {
  const made = views.get(place);
  if (!made.frame) return;
  const seen = seenOf(windowOf(place, made.about), made.frame);
  feed(place, { ...datasets, names: placedNames(made.wanted, seen, made.view.width()) }, seen);
}

const extent = (values) => {
  const known = values.filter((value) => value != null);
  return [Math.min(...known), Math.max(...known)];
};

/** The legend stays beside the picture; a label that is pressed stands out from the others. */
function drawLegend() {
  const labelling = colouring();
  const place = document.getElementById("legend");
  const key = `${state.concept}|${labelling?.name}|${state.label}`;
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!labelling) return place.replaceChildren();
  if (labelling.kind === "continuous") {
    const [low, high] = extent(labelling.numbers);
    const steps = [0, 0.25, 0.5, 0.75, 1].map((share) => {
      const sign = make("span", { class: "swatch" });
      sign.style.background = ramp(share);
      return make("li", {}, sign, `${number(low + share * (high - low), 3)} ${labelling.unit ?? ""}`);
    });
    return place.replaceChildren(...steps);
  }
  place.replaceChildren(
    ...labelling.labels.map((label, number_) => {
      const count = labelling.of.filter((own) => own === number_).length;
      const sign = signOf(labelling, labelling.of.indexOf(number_), null);
      const button = make(
        "button",
        {
          type: "button", "aria-pressed": String(state.label === label),
          onclick: () => go({ label: state.label === label ? undefined : label }),
        },
        swatch(sign), `${label} (${count})`,
      );
      return make("li", {}, button);
    }),
  );
}

/** A small drawing of a point's sign. */
const swatch = ({ fill, shape }) =>
  svgElement("svg", { viewBox: "-6 -6 12 12", class: "swatch", "aria-hidden": "true" }, svgElement("path", { d: OUTLINES[shape], fill }));
