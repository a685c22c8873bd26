// Charts: how a specification becomes a view, is fed, sized, and given away as a picture. What is fed is decided elsewhere.

const SPECS = JSON.parse(document.getElementById("charts").textContent);
const views = new Map();
const LEFT = 168;
const NARROW_LEFT = 104;
const RIGHT = 14;

/** Make the chart `spec` in the element called `place`; `chosen` gets the datum that was clicked. */
async function chart(place, spec, chosen) {
  const element = document.getElementById(place);
  // Vega names the element that it is given; the outer one keeps its role and its label.
  const inner = element.appendChild(make("div", { "aria-hidden": "true" }));
  const { view } = await vegaEmbed(inner, SPECS[spec], {
    mode: "vega", ast: true, renderer: "canvas", actions: false, defaultStyle: false, tooltip: tip,
  });
  if (chosen) view.addEventListener("click", (event, item) => item?.datum && chosen(item.datum));
  const made = { view, element, spec, fed: new Map(), told: new Map(), waiting: { datasets: {}, signals: {} }, isSeen: false };
  views.set(place, made);
  new ResizeObserver(() => fit(made)).observe(element);
  new IntersectionObserver((entries) => {
    made.isSeen = entries.at(-1).isIntersecting;
    if (made.isSeen) show(made);
  }, { rootMargin: "100px" }).observe(element);
  return made;
}

/** Hand datasets and signals to a chart. One that nobody sees is drawn when it is seen, or once all else is (`showAll`). */
function feed(place, datasets, signals = {}) {
  const made = views.get(place);
  if (!made) return;
  Object.assign(made.waiting.datasets, datasets);
  Object.assign(made.waiting.signals, theme(), signals);
  if (made.isSeen) show(made);
}

const showAll = () => [...views.values()].forEach(show);

/** Draw what was handed to a chart: of datasets and signals those alone that are not the ones it has. */
function show(made) {
  const { datasets, signals } = made.waiting;
  if (!Object.keys(signals).length) return;
  made.waiting = { datasets: {}, signals: {} };
  for (const [name, value] of Object.entries(signals)) {
    // A signal that is told again is no news, but Vega would draw the axes anew for another array of the same ticks.
    const told = JSON.stringify(value);
    if (made.told.get(name) === told) continue;
    made.told.set(name, told);
    made.view.signal(name, value);
  }
  for (const [name, rows] of Object.entries(datasets)) {
    if (made.fed.get(name) === rows || (!rows.length && made.fed.get(name)?.length === 0)) continue;
    made.fed.set(name, rows);
    // Vega marks rows that it holds; it gets its own.
    made.view.data(name, rows.map((row) => ({ ...row })));
  }
  made.view.run();
}

const narrowWindow = matchMedia("(max-width: 639px)");
const narrow = () => narrowWindow.matches;
const leftOf = () => (narrow() ? NARROW_LEFT : LEFT);

/** How wide the part with the layers is, of a chart in this element. */
const layersWidth = (element) => Math.max(120, (widths.get(element) ?? element.clientWidth) - leftOf() - RIGHT);
/** Of each chart's place the width when it was last fitted: to ask for it at each step would lay the page out anew. */
const widths = new WeakMap();

/** Give a chart the width of its place. */
function fit(made) {
  const { view, element, spec } = made;
  if (!element.clientWidth) return;
  widths.set(element, element.clientWidth);
  if (spec === "picture") {
    const room = element.closest(".full") ? Math.min(element.clientWidth, innerHeight - 200) : element.clientWidth;
    const side = Math.max(220, Math.min(room, element.closest(".full") ? 1200 : 520)) - 16;
    view.padding({ left: 8, right: 8, top: 8, bottom: 8 }).width(side).height(side);
  } else {
    view.padding({ left: leftOf(), right: RIGHT, top: 6, bottom: 22 }).width(layersWidth(element));
    view.signal("rowLimit", leftOf() - 12).signal("rowOffset", narrow() ? -6 : 0);
  }
  view.runAsync().then(() => {
    made.fitted?.();
    show(made);
  });
}

/** What the pointer is over, beside the pointer. */
function tip(handler, event, item, value) {
  const box = document.getElementById("tip");
  if (!value) {
    box.hidden = true;
    return;
  }
  box.textContent = value;
  box.hidden = false;
  const { clientWidth: width, clientHeight: height } = box;
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - width - 8);
  const top = event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18;
  box.style.left = `${Math.max(4, left)}px`;
  box.style.top = `${Math.max(4, top)}px`;
}

/** Where a layer stands on the axis of layers: its edges and its middle; by depth from 0 to 1. */
function edges(layer, layers) {
  if (state.axis !== "depth") return { x0: layer - 0.5, x: layer, x1: layer + 0.5 };
  return { x0: layer / layers, x: (layer + 0.5) / layers, x1: (layer + 1) / layers };
}

/** Domain, ticks and their names of the axis of layers: all layers where there is room, always the last. */
function layerAxis(layers, width) {
  if (state.axis === "depth") {
    const ticks = [0, 0.25, 0.5, 0.75, 1];
    return { first: 0, last: 1, ticks, tickNames: Object.fromEntries(ticks.map((tick) => [tick, percent(tick)])) };
  }
  const most = Math.max(2, Math.floor(width / 26));
  const step = [1, 2, 5, 10, 20, 50].find((size) => layers / size <= most) ?? 100;
  const ticks = [-1];
  for (let layer = 0; layer < layers - 1; layer += step) if (layer + step * 0.6 < layers - 1 || step === 1) ticks.push(layer);
  ticks.push(layers - 1);
  return { first: -1.5, last: layers - 0.5, ticks, tickNames: { "-1": "emb" } };
}
