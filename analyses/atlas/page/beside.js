// The profile of the row that is looked at, of two models over each other: one technique at a time.

/** The profile of a technique that both models have: the one that its panel shows. */
function pairOfProfiles(block, second, technique) {
  const mine = profileShown(block, technique);
  const theirs = mine && second.header.profiles.find(
    (other) => other.shown === mine.shown && other.concept === mine.concept && other.labelling === mine.labelling,
  );
  return theirs ? { mine, theirs } : null;
}

/** The technique that is compared: the one that was chosen, else the first that both models have. */
const comparedTechnique = (block, second) =>
  [state.technique, "lesions", ...TECHNIQUES].find((technique) => technique && pairOfProfiles(block, second, technique));

function drawProfileBeside(block, second) {
  const place = document.getElementById("profile-beside");
  const technique = comparedTechnique(block, second);
  place.classList.toggle("empty", !technique);
  const says = document.getElementById("profile-beside-says");
  if (!technique) {
    says.textContent = `No profile of this row was measured of both ${state.model} and ${state.beside}.`;
    return;
  }
  const have = TECHNIQUES.filter((one) => pairOfProfiles(block, second, one));
  options("technique", have.map((one) => [one, one]));
  document.getElementById("technique").value = technique;
  const { mine, theirs } = pairOfProfiles(block, second, technique);
  const told = library.shown[mine.shown];
  const peak = (name, points) => {
    const best = highest(points);
    return `${name} is highest at layer ${best.layer}: ${counted(best.value, told.unit)}${interval(best.low, best.high)}`;
  };
  tell(says, `${peak(state.model, pointsOf(block, mine))}. ${peak(state.beside, pointsOf(second, theirs))}.`);
  tell(document.getElementById("profile-beside-about"), `${rowOf(block).name}, ${told.title}. ${told.means}`);
  document.getElementById("profile-beside-mine").textContent = `${state.model}, with its 95% interval`;
  document.getElementById("profile-beside-theirs").textContent = `${state.beside}, with its own`;
  document.querySelector("#profile-beside .swatch").style.background = techniqueColour(technique);
  const made = views.get("chart-beside");
  const layers = Math.max(block.header.layers, second.header.layers);
  const placed = (of, profile) =>
    pointsOf(of, profile).filter((point) => state.axis !== "depth" || point.layer >= 0).map((point) => ({
      ...point, ...edges(point.layer, of.header.layers), low: point.low ?? point.value, high: point.high ?? point.value,
      null_mean: 0, null_high: 0,
    }));
  const [line, beside] = [placed(block, mine), placed(second, theirs)];
  const values = [0, ...[...line, ...beside].flatMap((point) => [point.low, point.high])];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = (high - low) * 0.08 || 1;
  const axis = () => layerAxis(layers, layersWidth(made.element));
  made.fitted = () => feed("chart-beside", {}, axis());
  const at = state.layer < 0 && state.axis === "depth" ? [] : [edges(state.layer, block.header.layers)];
  const tipped = (name, point) => ({ ...point, tip: `${name}, ${layerName(point.layer)}: ${counted(point.value, told.unit)}${interval(point.low, point.high)}` });
  feed(
    "chart-beside",
    {
      line, beside, zero: [{ value: 0 }], column: at, hits: line.map((point) => tipped(state.model, point)),
    },
    { ...axis(), lowest: low - margin, highest: high + margin, hue: techniqueColour(technique) },
  );
  const details = document.querySelector("#profile-beside details");
  details.dataset.stale = "1";
  if (details.open) fillBeside(block, second);
}

const BESIDE_HEADS = ["model", "layer", "value", "95% low", "95% high"];
const BESIDE_NAMES = ["model", "layer", "value", "low", "high"];

/** The numbers of both, as a table. */
function fillBeside(block, second) {
  const details = document.querySelector("#profile-beside details");
  const technique = comparedTechnique(block, second);
  if (!details.dataset.stale || !technique) return;
  delete details.dataset.stale;
  const { mine, theirs } = pairOfProfiles(block, second, technique);
  const told = library.shown[mine.shown];
  const rows = [[block, mine], [second, theirs]].flatMap(([of, profile]) =>
    pointsOf(of, profile).map((point) => [of.header.model, point.layer, point.value, point.low, point.high]),
  );
  details.querySelector(".scroll")?.remove();
  details.append(table(`${told.title} of ${mine.concept}, ${spoken(mine.labelling)}, in both models; ${told.unit}`, BESIDE_HEADS, rows, { keys: aboutProfile(mine), file: [BESIDE_NAMES, rows] }));
}
