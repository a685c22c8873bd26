// Colours: of the theme, of classes of confidence, of labels and of numbers. Safe for the colour-blind; nothing hangs on
// a hue alone: classes have heights, labels have shapes, signs have words.

const HUES = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8a8a"];
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"];
const OUTLINES = {
  circle: "M5,0A5,5,0,1,1,-5,0A5,5,0,1,1,5,0", square: "M-4.4,-4.4h8.8v8.8h-8.8Z", "triangle-up": "M0,-5L5,4H-5Z",
  diamond: "M0,-5.5L5,0L0,5.5L-5,0Z", cross: "M-1.7,-5h3.4v3.3H5v3.4H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z", "triangle-down": "M0,5L5,-4H-5Z",
};
const VIRIDIS = [
  [68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121],
  [110, 206, 88], [181, 222, 43], [253, 231, 37],
];
const TECHNIQUES = ["activations", "lesions", "patches", "saliency"];

const CLASSES = {
  consensus: [["sure", 0.9], ["likely", 0.5], ["a hint", 0.2]],
  paper: [["most techniques", 0.7], ["half of them", 0.45], ["fewer", 0.01]],
};
const HEIGHTS = [0.94, 0.62, 0.32];
const LEAST_AGREEMENT = 0.8;

const dark = () => document.documentElement.dataset.theme === "dark";

/** The colours of the theme, as the page's style names them. */
function palette() {
  const { theme: name } = document.documentElement.dataset;
  if (themed?.name !== name) {
    const style = getComputedStyle(document.documentElement);
    const colours = (of) => Object.fromEntries(of.map((one) => [one, style.getPropertyValue(`--${one}`).trim()]));
    themed = { name, charts: colours(["ink", "faint", "line", "paper", "accent"]), techniques: colours(TECHNIQUES) };
  }
  return themed;
}
let themed = null;

/** The colours that charts take from the theme. */
const theme = () => palette().charts;

/** The colour of a technique, as it stands out from the page. */
const techniqueColour = (name) => palette().techniques[name];

/** The colours of the three classes: the surest one stands out most from the page. */
const classColours = () => (dark() ? ["#fee838", "#a59c74", "#575d6d"] : ["#00224e", "#6c6e72", "#cbba69"]);

/** The class of a confidence: its place among the mode's three, or -1. */
const classOf = (confidence, mode) =>
  confidence == null ? -1 : CLASSES[mode].findIndex(([, least]) => confidence >= least);

/** A hue for each of seven labels, then the next shape. */
const labelSign = (place) =>
  place < 0
    ? { fill: "#9a9a9a", shape: "circle" }
    : { fill: HUES[place % HUES.length], shape: SHAPES[Math.floor(place / HUES.length) % SHAPES.length] };

/** A place from 0 to 1 on viridis. */
function ramp(share) {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const from = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mixed = VIRIDIS[from].map((start, i) => Math.round(start + (at - from) * (VIRIDIS[from + 1][i] - start)));
  return `rgb(${mixed.join(",")})`;
}

/** The colour of a difference: blue where the first is surer, orange where the second is. */
function diverging(difference) {
  const strength = Math.min(Math.abs(difference), 1);
  const end = difference > 0 ? [0, 114, 178] : [213, 94, 0];
  const start = dark() ? [40, 44, 52] : [246, 246, 246];
  return `rgb(${start.map((value, i) => Math.round(value + strength * (end[i] - value))).join(",")})`;
}
