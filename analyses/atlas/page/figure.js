// A chart as a figure that stands alone: with title, what it shows, names of axes and a key, on white, as SVG.

const FIGURE_FONT = 'Arial, Helvetica, "Liberation Sans", sans-serif';
const [FIGURE_INK, FIGURE_FAINT] = ["#222222", "#555555"];

/** Words in lines that are at most so wide at a size of letters; a word that is longer than a line is cut. */
function wrapped(text, width, size, bold = false) {
  const wide = (line) => (nameWidth(line, bold) * size) / 12;
  const lines = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    let rest = word;
    const last = lines.at(-1);
    if (last != null && wide(`${last} ${word}`) <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
      continue;
    }
    while (wide(rest) > width && rest.length > 1) {
      const fits = Math.max(1, Math.floor((rest.length * width) / wide(rest)) - 1);
      lines.push(rest.slice(0, fits));
      rest = rest.slice(fits);
    }
    lines.push(rest);
  }
  return lines;
}

/** The sign of an entry of the key, in a field of 22 by 12. */
function keySign({ kind, colour, edge, dash, shape, share = 1 }) {
  if (kind === "line") return svgElement("line", { x1: 0, x2: 22, y1: 6, y2: 6, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash?.join(" ") });
  if (kind === "frame") return svgElement("rect", { x: 2, y: 1, width: 18, height: 10, fill: "none", stroke: colour, "stroke-width": 1.6, "stroke-dasharray": dash?.join(" ") });
  if (kind === "sign") return svgElement("path", { d: OUTLINES[shape], fill: colour, stroke: edge, transform: "translate(11 6)" });
  return svgElement("rect", { x: 2, y: 6 - 6 * share, width: 18, height: 12 * share, fill: colour, stroke: "#888888", "stroke-width": 0.5 });
}

/**
 * A drawing with its words around it.
 *
 * @param svg the chart as Vega gives it
 * @param words `title`, `about`, `x` and `y` (names of axes, or nothing), `middle` of the axis of x, `aside`: where in the
 * chart the name of y has room (else beside it), `key` with `name`s
 */
function figure(svg, { title, about, x, y, middle, aside, key = [] }) {
  const chart = parsed(svg);
  const [wide, high] = [Number(chart.getAttribute("width")), Number(chart.getAttribute("height"))];
  const [left, edge] = [y && aside == null ? 18 : 0, 10];
  const width = Math.max(wide + left, 340) + 2 * edge;
  const parts = [];
  let top = edge;
  const write = (text, size, fill, bold) => {
    for (const line of wrapped(text, width - 2 * edge, size, bold)) {
      top += Math.round(size * 1.3);
      parts.push(svgElement("text", { x: edge, y: top - 4, "font-size": size, "font-weight": bold ? "bold" : null, fill }, line));
    }
  };
  write(title, 15, FIGURE_INK, true);
  write(about, 11, FIGURE_FAINT, false);
  top += 8;
  chart.setAttribute("x", edge + left);
  chart.setAttribute("y", top);
  parts.push(chart);
  if (y) {
    const at = [edge + (aside ?? 10), top + (high - (x ? 22 : 0)) / 2];
    parts.push(svgElement("text", { "text-anchor": "middle", "font-size": 11, fill: FIGURE_INK, transform: `translate(${at.join(" ")}) rotate(-90)` }, y));
  }
  top += high;
  if (x) {
    top += 14;
    parts.push(svgElement("text", { x: edge + left + middle, y: top - 2, "text-anchor": "middle", "font-size": 11, fill: FIGURE_INK }, x));
  }
  let across = edge;
  if (key.length) top += 10;
  for (const entry of key) {
    const name = shortened(entry.name, 60);
    const room = 28 + (nameWidth(name, false) * 11) / 12 + 16;
    if (across > edge && across + room > width) {
      across = edge;
      top += 17;
    }
    parts.push(svgElement("g", { transform: `translate(${across} ${top})` }, keySign(entry), svgElement("text", { x: 28, y: 10, "font-size": 11, fill: FIGURE_INK }, name)));
    across += room;
  }
  const height = top + (key.length ? 17 : 0) + edge;
  const whole = svgElement(
    "svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "font-family": FIGURE_FONT },
    svgElement("title", {}, title), svgElement("desc", {}, about), svgElement("rect", { width, height, fill: "#ffffff" }), ...parts,
  );
  return written(whole);
}

/** A drawing as elements; characters that XML does not know are let go. */
const parsed = (svg) => new DOMParser().parseFromString(known(svg), "image/svg+xml").documentElement;
const written = (svg) => known(new XMLSerializer().serializeToString(svg));
const known = (text) => text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");

/** A drawing that has its words already, with the title that programs and screen readers look for. */
function titled(svg, title) {
  const whole = parsed(svg);
  whole.prepend(svgElement("title", {}, title));
  return written(whole);
}

const axisTitle = () => (state.axis === "depth" ? "relative depth" : "layer");

/** What stands around a chart when it leaves the page. */
function figureWords(place) {
  const { element } = views.get(place);
  const ofLayers = { x: axisTitle(), middle: leftOf() + layersWidth(element) / 2 };
  if (place === "map") return { ...ofLayers, ...mapWords() };
  if (place === "difference") {
    return {
      ...ofLayers, y: "concept · labelling", title: `Difference of the knowledge maps of ${state.model} and ${state.beside}`,
      about: document.getElementById("difference-says").textContent,
      key: [
        { kind: "rect", colour: diverging(1), name: `+ ${state.model} is surer` }, { kind: "rect", colour: diverging(-1), name: `− ${state.beside} is surer` },
      ],
    };
  }
  if (place === "picture") return pictureWords();
  if (place === "chart-beside") return { ...ofLayers, ...besideWords() };
  return { ...ofLayers, ...profileWords(place.slice("chart-".length)) };
}

function mapWords() {
  const rows = rowsOf(current);
  const classes = classColours();
  const planted = rows.some((row) => row.planted.length);
  const hasAgreement = rows.some((row) => row.agreement.some((agreed) => agreed != null));
  return {
    title: `Knowledge map of ${state.model}, ${state.mode === "paper" ? "by the paper's rules" : "by consensus of the techniques"}`,
    about: "Concept by layer. The colour and height of a cell say how sure it is that the layer holds the concept; lines below cells say which technique marks the layer.",
    y: "concept · labelling",
    key: [
      ...CLASSES[state.mode].map(([name, least], at) => ({ kind: "rect", colour: classes[at], share: HEIGHTS[at], name: `${name}: from ${percent(least)}` })),
      { kind: "frame", colour: theme().ink, name: "a region" },
      ...(planted ? [{ kind: "frame", colour: theme().accent, name: "planted: the knowledge was put here on purpose" }] : []),
      { kind: "frame", colour: theme().faint, dash: [4, 2], name: "not localised, or not known" },
      ...(hasAgreement ? [
        { kind: "sign", colour: "#fee838", edge: theme().ink, shape: "circle", name: "maps from other terms, templates or seeds say the same" },
        { kind: "sign", colour: "#d55e00", shape: "cross", name: "they often say otherwise" },
      ] : []),
      ...TECHNIQUES.map((name) => ({ kind: "line", colour: techniqueColour(name), name })),
    ],
  };
}

function profileWords(technique) {
  const profile = profileShown(current, technique);
  const about = library.shown[profile.shown];
  const points = pointsOf(current, profile);
  const controls = controlsOf(current, profile);
  const { faint, accent } = theme();
  const hasNull = points.some((point) => point.null_mean != null);
  const row = rowsOf(current).find((one) => one.concept === profile.concept && one.labelling === profile.labelling);
  return {
    title: `${profile.concept} · ${spoken(profile.labelling)} in ${state.model}: ${technique}, ${about.title}`,
    about: `${profileTitle(current, points, about, controls)} ${about.means} ${profile.n} terms.`,
    y: about.unit, aside: leftOf() - 42,
    key: [
      { kind: "line", colour: techniqueColour(technique), name: "value, with its 95% interval" },
      ...(hasNull ? [{ kind: "line", colour: faint, dash: [1, 3], name: "null: mean, and grey up to its 95th percentile" }] : []),
      ...controls.map(({ name, dash }) => ({ kind: "line", colour: faint, dash, name: `control: ${name}` })),
      ...(row?.regions.some(([name]) => name === technique) ? [{ kind: "rect", colour: "#f6e2da", name: "marked on the map by this technique" }] : []),
      ...(row?.planted.length ? [{ kind: "sign", colour: accent, shape: "triangle-up", name: "planted: the knowledge was put here on purpose" }] : []),
    ],
  };
}

function besideWords() {
  const technique = comparedTechnique(current, other);
  const about = library.shown[pairOfProfiles(current, other, technique).mine.shown];
  return {
    title: `${rowOf(current).name} in ${state.model} and ${state.beside}: ${technique}, ${about.title}`,
    about: `${document.getElementById("profile-beside-says").textContent} ${about.means}`,
    y: about.unit, aside: leftOf() - 42,
    key: [
      { kind: "line", colour: techniqueColour(technique), name: `${state.model}, with its 95% interval` },
      { kind: "line", colour: theme().ink, dash: [8, 3], name: `${state.beside}, with its own` },
    ],
  };
}

function pictureWords() {
  const labelling = colouring();
  const found = pictureAt(current, state.layer);
  const key = [];
  if (labelling?.kind === "continuous") {
    const [low, high] = extent(labelling.numbers);
    for (const share of [0, 0.25, 0.5, 0.75, 1]) key.push({ kind: "rect", colour: ramp(share), name: `${number(low + share * (high - low), 3)} ${labelling.unit ?? ""}` });
  } else {
    labelling?.labels.forEach((label, at) => {
      const { fill, shape } = signOf(labelling, labelling.of.indexOf(at), null);
      key.push({ kind: "sign", colour: fill, shape, name: label });
    });
  }
  return {
    title: `${state.concept} at ${layerName(found.layer)} of ${state.model}, coloured by ${spoken(labelling?.name ?? "nothing")}`,
    about: document.getElementById("picture-caption").textContent,
    x: "UMAP 1", y: "UMAP 2", middle: 8 + views.get("picture").view.width() / 2, key,
  };
}
