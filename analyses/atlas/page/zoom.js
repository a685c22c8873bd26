// Nearer to a picture and about in it: by buttons, keys, wheel and drag. What is seen is a window of its frame.

const FARTHEST = 24;
const windows = new Map();

/** How near a picture is looked at, and where: the middle of the window as shares of the frame. Another picture is seen whole. */
function windowOf(place, about) {
  const known = windows.get(place);
  if (known?.about === about) return known;
  const whole = { about, near: 1, x: 0.5, y: 0.5 };
  windows.set(place, whole);
  tellNear(place, 1);
  return whole;
}

/** Say how near a picture is seen. */
function tellNear(place, near) {
  views.get(place).element.classList.toggle("near", near > 1);
  tell(document.querySelector(`[data-zoom="${place}"] output`), near > 1 ? `${number(near, 2)} times` : "");
}

/** The part of a frame that is seen. */
function seenOf({ near, x, y }, { left, right, bottom, top }) {
  const [wide, high] = [(right - left) / near, (top - bottom) / near];
  const [cx, cy] = [left + x * (right - left), bottom + y * (top - bottom)];
  return { left: cx - wide / 2, right: cx + wide / 2, bottom: cy - high / 2, top: cy + high / 2 };
}

/** Where the chosen term stands in the window, as shares of it; the middle where none is seen. */
function anchorOf(place) {
  const { frame, wanted } = views.get(place);
  const own = wanted?.find((at) => at.weight === "bold");
  if (!own) return [0.5, 0.5];
  const { left, right, bottom, top } = seenOf(windows.get(place), frame);
  const at = [(own.x - left) / (right - left), (own.y - bottom) / (top - bottom)];
  return at.every((share) => share >= 0 && share <= 1) ? at : [0.5, 0.5];
}

/** Come nearer by a factor; the point at these shares of the window stays where it is, or else the chosen term. */
function nearer(place, factor, [u, v] = anchorOf(place)) {
  const was = windows.get(place);
  const near = Math.min(Math.max(was.near * factor, 1), FARTHEST);
  const shift = 1 / was.near - 1 / near;
  look(place, near, was.x + (u - 0.5) * shift, was.y + (v - 0.5) * shift);
}

/** Move the window by shares of itself. */
function move(place, right, up) {
  const was = windows.get(place);
  look(place, was.near, was.x + right / was.near, was.y + up / was.near);
}

const seeWhole = (place) => look(place, 1, 0.5, 0.5);

function look(place, near, x, y) {
  const half = 0.5 / near;
  const within = (share) => Math.min(Math.max(share, half), 1 - half);
  Object.assign(windows.get(place), { near, x: within(x), y: within(y) });
  tellNear(place, near);
  reframe(place);
}

const ZOOM_KEYS = {
  "+": (place) => nearer(place, 1.5), "=": (place) => nearer(place, 1.5), "-": (place) => nearer(place, 1 / 1.5), 0: seeWhole,
  ArrowLeft: (place) => move(place, -0.15, 0), ArrowRight: (place) => move(place, 0.15, 0),
  ArrowUp: (place) => move(place, 0, 0.15), ArrowDown: (place) => move(place, 0, -0.15),
};

/** Let a picture be looked at from near: its buttons, keys, wheel and drag. */
function zoomable(place) {
  const { element } = views.get(place);
  const bar = document.querySelector(`[data-zoom="${place}"]`);
  const button = (name, title, work) => make("button", { type: "button", title, "aria-label": title, onclick: () => windows.has(place) && work(place) }, name);
  bar.prepend(
    button("+", "Nearer (key +)", ZOOM_KEYS["+"]), button("−", "Farther (key −)", ZOOM_KEYS["-"]), button("Whole", "The whole picture (key 0)", seeWhole),
  );
  element.addEventListener("keydown", (event) => {
    const work = windows.has(place) && ZOOM_KEYS[event.key];
    if (!work || event.altKey || event.ctrlKey || event.metaKey) return;
    // Of a picture that is seen whole arrow keys scroll the page, as everywhere.
    if (event.key.startsWith("Arrow") && windows.get(place).near === 1) return;
    event.preventDefault();
    work(place);
  });
  const shares = (event) => {
    const box = element.querySelector("canvas").getBoundingClientRect();
    const inner = (at, from, size) => Math.min(Math.max((at - from - 8) / (size - 16), 0), 1);
    return [inner(event.clientX, box.left, box.width), 1 - inner(event.clientY, box.top, box.height)];
  };
  // A wheel that passes over the picture scrolls the page: only who is in it, or holds Ctrl, comes nearer.
  element.addEventListener("wheel", (event) => {
    if (!windows.has(place)) return;
    if (!event.ctrlKey && (document.activeElement !== element || (windows.get(place).near === 1 && event.deltaY > 0))) return;
    event.preventDefault();
    nearer(place, Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 100) * 0.003), shares(event));
  }, { passive: false });
  let held = null;
  let moved = false;
  element.addEventListener("pointerdown", (event) => {
    held = event.button === 0 && windows.has(place) ? shares(event) : null;
    moved = false;
  });
  element.addEventListener("pointermove", (event) => {
    if (!held || windows.get(place).near === 1) return;
    const now = shares(event);
    if (!moved && Math.hypot(now[0] - held[0], now[1] - held[1]) < 0.01) return;
    if (!moved) element.setPointerCapture(event.pointerId);
    moved = true;
    move(place, held[0] - now[0], held[1] - now[1]);
    held = now;
  });
  for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => (held = null));
  // What ends a drag chooses no term.
  element.addEventListener("click", (event) => { if (moved) event.stopImmediatePropagation(); moved = false; }, true);
}
