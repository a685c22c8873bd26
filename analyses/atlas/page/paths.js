// Paths through a picture: from step to step of what has an order, numbers or stages, for each thing that goes through it.

/** All groups of a picture have their paths; the name of no label. */
const ALL_PATHS = "*";
/** So many paths are shown at once without being asked for. */
const FEW_PATHS = 3;

const orders = new Map();

/** The order of a concept, if it has one: numbers or stages; and what goes through it (a disease, a sex). */
function ordering(concept, shownBy) {
  const key = `${concept.name}|${shownBy?.name}`;
  if (!orders.has(key)) orders.set(key, orderOf(concept, shownBy));
  return orders.get(key);
}

function orderOf(concept, shownBy) {
  const ordered = (labelling) => labelling.kind !== "categorical";
  const order = (shownBy && ordered(shownBy) ? shownBy : null) ?? concept.labellings.find((one) => one.kind === "ordinal") ??
    concept.labellings.find(ordered);
  if (!order) return null;
  const at = (term) => (order.kind === "continuous" ? order.numbers[term] : order.of[term] < 0 ? null : order.of[term]);
  const group = concept.labellings.find((labelling) => {
    if (labelling.kind !== "categorical") return false;
    const steps = labelling.labels.map(() => new Set());
    labelling.of.forEach((place, term) => place >= 0 && at(term) != null && steps[place].add(at(term)));
    return steps.length > 1 && steps.every((found) => found.size >= 3);
  });
  return { order, at, group };
}

/** Which paths can be chosen: values and names; none where there is one path alone, or none. */
function pathChoices() {
  const group = ordering(conceptOf(state.concept), colouring())?.group;
  if (!group) return [];
  const each = group.labels.map((label) => [label, label]);
  return group.labels.length > FEW_PATHS
    ? [["", "the chosen term, else the first"], [ALL_PATHS, `each ${spoken(group.name)}`], ...each]
    : [["", `each ${spoken(group.name)}`], ...each];
}

/** The groups whose paths are shown: those that were chosen; else all of few, of many that of the chosen term. */
function shownGroups(group, there, chosen) {
  const asked = group ? group.labels.indexOf(state.path) : -1;
  if (there.includes(asked)) return [asked];
  if (there.length <= FEW_PATHS || state.path === ALL_PATHS) return there;
  const own = chosen >= 0 ? group.of[chosen] : -1;
  return [there.includes(own) ? own : there[0]];
}

/** Paths through the means of each step of the order, with arrows, and at their ends whose they are. */
function pathsOf(concept, places, labelling, chosen) {
  const found = ordering(concept, labelling);
  const [paths, arrows, ends] = [[], [], []];
  if (!found || !document.getElementById("paths").checked) return { paths, arrows, ends, along: "" };
  const groups = new Map();
  for (const [term, place] of places) {
    const step = found.at(term);
    const group = found.group ? found.group.of[term] : 0;
    if (step == null || group < 0) continue;
    const steps = groups.get(group) ?? groups.set(group, new Map()).get(group);
    const sum = steps.get(step) ?? steps.set(step, { x: 0, y: 0, n: 0 }).get(step);
    Object.assign(sum, { x: sum.x + place.x, y: sum.y + place.y, n: sum.n + 1 });
  }
  const shownHere = shownGroups(found.group, [...groups.keys()].sort((one, other) => one - other), chosen);
  const name = (group) => (found.group ? found.group.labels[group] : "");
  for (const group of shownHere) {
    const steps = [...groups.get(group)].sort(([one], [other]) => one - other);
    // A path wears the colour of its points, or where they tell something else a colour of its own.
    const hue = found.group === labelling ? labelSign(group).fill : HUES[(group + 3) % HUES.length];
    const stroke = shownHere.length > 1 ? hue : theme().ink;
    const line = steps.map(([step, sum]) => ({ step, x: sum.x / sum.n, y: sum.y / sum.n, path: group, stroke }));
    paths.push(...line);
    if (found.group && line.length) ends.push({ ...line.at(-1), text: name(group) });
    const few = line.length <= 12;
    for (let i = 1; i < line.length; i += 1) {
      if (!few && i !== line.length - 1) continue;
      const [from, to] = [line[i - 1], line[i]];
      // Vega turns clockwise from the top; the axis of y goes up.
      const angle = (Math.atan2(to.x - from.x, to.y - from.y) * 180) / Math.PI;
      arrows.push({ x: (from.x + to.x) / 2, y: (from.y + to.y) / 2, angle, stroke });
    }
  }
  const every = shownHere.length > FEW_PATHS ? `each ${spoken(found.group.name)}` : shownHere.map(name).join(" and ");
  const whose = found.group ? `, for ${every}` : "";
  const steps = found.order.kind === "continuous" ? `each value of ${spoken(found.order.name)}` : `each ${spoken(found.order.name)}`;
  return { paths, arrows, ends, along: ` The path goes through the mean at ${steps}${whose}, in order.` };
}
