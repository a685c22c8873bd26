// Profiles: one panel a technique, with interval, null, and the same of the controls; the layer that is looked at in each.

/** The profile that a panel shows: the one chosen, else the one that the consensus reads, else the first. */
function profileShown(block, technique) {
  const found = profilesOf(block, technique, state.concept, labellingFor(block));
  return (
    found.find((profile) => metricName(profile) === state[technique]) ??
    found.find((profile) => (state.mode === "paper" ? isPaper(profile) : library.shown[profile.shown].best)) ??
    found[0]
  );
}

/** Whether a profile is the one that the paper's map is drawn from. */
const isPaper = (profile) => library.shown[profile.shown].title.endsWith("(the paper's)");

/** What a profile is called in the page's address. */
const metricName = (profile) => {
  const { metric, position } = library.shown[profile.shown];
  return `${metric}@${position}`;
};

/** Lines of controls are told apart by their dashes. None begins with a dot: the line of dots is the null's. */
const DASHES = [[6, 3], [12, 4], [9, 3, 2, 3], [6, 7], [18, 3], [9, 3, 2, 3, 2, 3]];

/** The same profile of the control concepts, those that this one is read against, each with its name and its dash. */
function controlsOf(block, profile) {
  profile.controls ??= foundControls(block, profile);
  return profile.controls;
}

function foundControls(block, profile) {
  const found = block.header.profiles.filter(
    (other) =>
      other.shown === profile.shown && other.concept !== profile.concept && conceptOf(other.concept).role === "control",
  );
  const alone = (control) => found.filter((other) => other.concept === control.concept).length === 1;
  return found.map((control, place) => ({
    control, dash: DASHES[place % DASHES.length],
    name: alone(control) ? control.concept : `${control.concept} · ${spoken(control.labelling)}`,
  }));
}

function drawProfiles(block) {
  for (const technique of TECHNIQUES) drawProfile(block, technique);
}

function drawProfile(block, technique) {
  const panel = document.getElementById(`profile-${technique}`);
  const profile = profileShown(block, technique);
  const says = panel.querySelector(".says");
  const select = panel.querySelector("select");
  panel.classList.toggle("empty", !profile);
  if (!profile) {
    const none = block.header.unmeasured.find(([name]) => name === technique);
    says.textContent = none ? `Not measured: ${none[1]}` : "Not measured for this labelling.";
    select.replaceChildren();
    for (const part of [".means", ".against"]) panel.querySelector(part).textContent = "";
    return;
  }
  fillMetrics(select, profilesOf(block, technique, state.concept, profile.labelling), profile);
  const points = pointsOf(block, profile);
  const about = library.shown[profile.shown];
  tell(says, profileTitle(block, points, about, controlsOf(block, profile)));
  tell(panel.querySelector(".means"), about.means);
  tell(panel.querySelector(".against"), againstWhat(block, profile, points));
  fillControls(panel.querySelector(".controlled"), controlsOf(block, profile));
  const place = `chart-${technique}`;
  const parts = profileParts(block, profile, technique);
  const { layers } = block.header;
  const made = views.get(place);
  const at = edges(state.layer, layers);
  made.fitted = () => feed(place, {}, layerAxis(layers, layersWidth(made.element)));
  feed(
    place,
    { ...parts.datasets, column: state.layer < 0 && state.axis === "depth" ? [] : [at] },
    { ...layerAxis(layers, layersWidth(made.element)), ...parts.range, hue: techniqueColour(technique) },
  );
  const details = panel.querySelector("details");
  details.dataset.stale = "1";
  if (details.open) fillProfileTable(block, technique);
}

const partsOfProfile = new WeakMap();

/** Datasets and the range of a profile; remembered, since a step of the layer changes none of them. */
function profileParts(block, profile, technique) {
  const key = `${state.axis}|${state.mode}|${profile.labelling}`;
  const known = partsOfProfile.get(profile);
  if (known?.key === key) return known;
  const { layers } = block.header;
  const placed = (point) => ({ ...point, ...edges(point.layer, layers) });
  const points = pointsOf(block, profile).filter((point) => state.axis !== "depth" || point.layer >= 0);
  const controls = controlsOf(block, profile).flatMap(({ control, dash, name }) =>
    pointsOf(block, control)
      .filter((point) => state.axis !== "depth" || point.layer >= 0)
      .map((point) => ({ ...edges(point.layer, layers), value: point.value, control: name, dash })),
  );
  const all = points.flatMap((point) => [point.value, point.low, point.high, point.null_mean, point.null_high]);
  const known_ = [...all, ...controls.map((point) => point.value), 0].filter((value) => value != null);
  const [low, high] = [Math.min(...known_), Math.max(...known_)];
  const margin = (high - low) * 0.08 || 1;
  const row = rowsOf(block).find((one) => one.concept === profile.concept && one.labelling === profile.labelling);
  const own = row?.regions.filter(([name]) => name === technique) ?? [];
  const line = points.map((point) => ({
    ...placed(point), low: point.low ?? point.value, high: point.high ?? point.value,
    null_mean: point.null_mean ?? 0, null_high: point.null_high ?? point.null_mean ?? 0,
  }));
  const about = library.shown[profile.shown];
  const datasets = {
    line,
    controls,
    zero: [{ value: 0 }],
    regions: own.map(([, first, last]) => ({ x0: edges(first, layers).x0, x1: edges(last, layers).x1 })),
    planted: (row?.planted ?? []).map((layer) => ({ ...edges(layer, layers), value: low - margin * 0.55 })),
    hits: points.map((point) => ({ ...placed(point), tip: pointTip(point, about, profile.n) })),
  };
  const made = { key, datasets, range: { lowest: low - margin, highest: high + margin } };
  partsOfProfile.set(profile, made);
  return made;
}

function pointTip(point, about, terms) {
  const lines = [`${layerName(point.layer)}: ${counted(point.value, about.unit)}`];
  if (point.low != null) lines.push(`95% interval ${number(point.low)} to ${number(point.high)}, ${terms} terms`);
  if (point.null_high != null) lines.push(`null: mean ${number(point.null_mean)}, 95th percentile ${number(point.null_high)}`);
  if (point.null_p != null) lines.push(`p = ${number(point.null_p, 2)}`);
  return lines.join("\n");
}

/** The layer where a profile is highest. */
const highest = (points) =>
  points.filter((point) => point.layer >= 0).reduce((one, other) => (other.value > one.value ? other : one));

/** The finding of a profile, from its own numbers. */
function profileTitle(block, points, about, controls) {
  const best = highest(points);
  const rest = points.filter((point) => point.layer >= 0 && point.layer !== best.layer);
  const next = rest.length ? rest.reduce((one, other) => (other.value > one.value ? other : one)) : null;
  const apart = next && best.low != null && best.low > (next.high ?? next.value);
  const against = next ? `; next is layer ${next.layer} with ${number(next.value)}${apart ? ", well apart" : ""}` : "";
  const faint = best.low != null && best.low <= 0 ? " The interval reaches 0." : "";
  // Where a control does as much at that layer, the height tells nothing of this concept.
  const rival = controls
    .map(({ control, name }) => ({ name, value: pointsOf(block, control).find((point) => point.layer === best.layer)?.value }))
    .filter(({ value }) => value != null && value >= (best.low ?? best.value))
    .reduce((one, two) => (one && one.value >= two.value ? one : two), null);
  const within = rival && rival.value < best.value;
  const beaten = rival
    ? ` ${within ? "A control lies within that interval" : "No more than a control"}: ${rival.name} has ${number(rival.value)} there.`
    : "";
  return `Highest at layer ${best.layer}: ${counted(best.value, about.unit)}${interval(best.low, best.high)}${against}.${faint}${beaten}`;
}

/** What a profile rests on. */
function againstWhat(block, profile, points) {
  const here = points.find((point) => point.layer === state.layer);
  const now = here ? `Here, ${layerName(here.layer)}: ${number(here.value)}${interval(here.low, here.high)}${here.null_p == null ? "" : `, p = ${number(here.null_p, 2)}`}. ` : "";
  const stands = state.labelling ? "" : `By ${spoken(profile.labelling)}, the surest labelling of ${profile.concept}. `;
  return `${stands}${now}${profile.n} terms.`;
}

/** Which dashed line is which control's. */
function fillControls(list, controls) {
  const key = controls.map(({ name }) => name).join("|");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...controls.map(({ name, dash }) => make("li", {}, dashed(dash), name)));
}

/** A small drawing of a dashed line. */
const dashed = (dash) =>
  svgElement(
    "svg", { viewBox: "0 0 36 6", class: "line", "aria-hidden": "true" },
    svgElement("line", { x1: 0, x2: 36, y1: 3, y2: 3, "stroke-dasharray": dash.join(" ") }),
  );

function fillMetrics(select, profiles, chosen) {
  const key = profiles.map((profile) => profile.shown).join();
  if (select.dataset.key !== key) {
    select.dataset.key = key;
    select.replaceChildren(
      ...profiles.map((profile) => {
        const about = library.shown[profile.shown];
        return make("option", { value: metricName(profile), title: about.means }, about.best ? `${about.title} — read by the map` : about.title);
      }),
    );
  }
  select.value = metricName(chosen);
}

const PROFILE_HEADS = ["layer", "value", "95% low", "95% high", "null mean", "null 95th percentile", "p"];
const PROFILE_NAMES = ["layer", "value", "low", "high", "null_mean", "null_high", "null_p"];
/** Which profile it is, as the warehouse's keys say it. */
const aboutProfile = ({ shown: place, concept, labelling }) => {
  const { technique, metric, position } = library.shown[place];
  return { concept, labelling, technique, metric, position };
};
/** A profile as rows of a file. */
function profileFile(block, profile) {
  const keys = { model: block.header.model, ...aboutProfile(profile), terms: profile.n };
  const rows = pointsOf(block, profile).map((point) => [...Object.values(keys), ...PROFILE_NAMES.map((name) => point[name])]);
  return [[...Object.keys(keys), ...PROFILE_NAMES], rows];
}
const profileRows = (block, technique) =>
  pointsOf(block, profileShown(block, technique)).map((point) => [
    point.layer, point.value, point.low, point.high, point.null_mean, point.null_high, point.null_p,
  ]);

function fillProfileTable(block, technique) {
  const details = document.getElementById(`profile-${technique}`).querySelector("details");
  const profile = profileShown(block, technique);
  if (!details.dataset.stale || !profile) return;
  delete details.dataset.stale;
  const about = library.shown[profile.shown];
  const caption = `${about.title} of ${profile.concept}, ${spoken(profile.labelling)}, in ${about.unit}; ${profile.n} terms`;
  details.querySelector(".scroll")?.remove();
  details.append(table(caption, PROFILE_HEADS, profileRows(block, technique), { file: profileFile(block, profile) }));
}
