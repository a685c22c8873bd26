// Words, numbers and small pieces of the document. Text is only ever set as text, never as markup.

/** A new element: its attributes, and its children, which are elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value == null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** A new element of a drawing. */
function svgElement(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A number with so many digits that count, as people write it. */
function number(value, digits = 3) {
  if (value == null || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) < 0.001) return value.toExponential(1).replaceAll("-", "−");
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(places, 4)).replace("-", "−");
}

/** Set an element's text, if it has another: what stays as it is costs no layout. */
function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A probability to two digits; one that is nearly sure is not called sure. */
const probability = (value) => (value == null ? "–" : value >= 0.995 ? ">0.99" : value < 0.005 ? "<0.01" : value.toFixed(2));
const percent = (value) => (value == null ? "–" : `${Math.round(100 * value)}%`);
/** A number with its unit: a share of something is told as so much of it, and what has a name and no unit by its name. */
const counted = (value, unit) =>
  ["silhouette", "R²"].includes(unit) ? `${unit} ${number(value)}` : `${number(value)} ${unit.replace(/^share /, "")}`;
const interval = (low, high) => (low == null || high == null ? "" : ` (${number(low)} to ${number(high)})`);
const layerName = (layer) => (layer < 0 ? "the embeddings" : `layer ${layer}`);
const spoken = (name) => name.replaceAll("_", " ");

/**
 * A table with its caption; cells are text, numbers or elements. Its button gives the rows as they are, not as they are
 * shown.
 *
 * @param keys columns that say of what all rows of the file are, as the page is about it: model, concept, …
 * @param file heads and rows of the file, where they are others than the table's: those too that it has no room for
 */
function table(caption, heads, rows, { keys = {}, file: [fileHeads, fileRows] = [heads, rows] } = {}) {
  const head = make("tr", {}, ...heads.map((name) => make("th", { scope: "col" }, name)));
  const cell = (value) =>
    make("td", typeof value === "number" ? { class: "number" } : {}, value instanceof Node ? value : shown(value));
  const body = make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell))));
  const plain = (value) => (value instanceof Node ? value.textContent : value);
  const file = make("button", { type: "button", class: "file", title: "All rows of this table as a file" }, "CSV");
  file.addEventListener("click", () => offer(
    fileName(caption, keys), "text/csv;charset=utf-8",
    csv([...Object.keys(keys), ...fileHeads], fileRows.map((row) => [...Object.values(keys), ...row.map(plain)])),
  ));
  const made = make("table", {}, make("caption", {}, caption, " ", file), make("thead", {}, head), body);
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made);
}

const LONGEST_FILE = 60;
/** A part of a file's name: no other signs than letters, digits and hyphens, and no half words. */
const fileWords = (words) => {
  const whole = words.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
  return whole.length <= LONGEST_FILE ? whole : whole.slice(0, LONGEST_FILE + 1).replace(/-[^-]*$/, "").slice(0, LONGEST_FILE);
};
/** What a table's file is called: by the caption up to its first stop, and of what it is. */
const fileName = (caption, { model, concept, labelling } = {}) => {
  const about = [model, concept, labelling].filter((key) => key && !fileWords(caption.split(/[,:;(]/)[0]).includes(fileWords(key)));
  return `${[caption.split(/[,:;(]/)[0] || caption, ...about].map(fileWords).filter(Boolean).join("-") || "table"}.csv`;
};

/** A cell's text: whole numbers whole, others with three digits that count. */
const shown = (value) =>
  value == null ? "–" : typeof value !== "number" || Number.isInteger(value) ? String(value) : number(value);

/** Rows as CSV: quoted where needed, and never read as a formula by a spreadsheet. */
function csv(heads, rows) {
  const field = (value) => {
    if (value == null) return "";
    // Of a difference of two decimals no more digits than it has.
    if (typeof value === "number") return String(Number(value.toPrecision(10)));
    const text = /^[=+\-@\t\r]/.test(String(value)) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [heads, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
}

/** Offer a file to the reader. */
function offer(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
