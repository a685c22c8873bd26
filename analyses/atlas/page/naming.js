// Names in a picture: each beside its point, where it covers no other name and none of the points that are spoken of.

const NAME_HEIGHT = 14;
const LONGEST_NAME = 30;

/** How wide a name is drawn. */
const nameWidth = (() => {
  let pen = null;
  const known = new Map();
  return (text, bold) => {
    const key = `${bold}|${text}`;
    if (!known.has(key)) {
      pen ??= document.createElement("canvas").getContext("2d");
      pen.font = `${bold ? "bold " : ""}12px Arial, Helvetica, "Liberation Sans", sans-serif`;
      known.set(key, pen.measureText(text).width);
    }
    return known.get(key);
  };
})();

const shortened = (name, most = LONGEST_NAME) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

/** Where a name may stand beside its point, the best place first: its middle, in pixels from the point. */
function placesBeside(width) {
  const aside = width / 2 + 9;
  const found = [[0, -13], [0, 14], [aside, 0], [-aside, 0]];
  for (const way of [1, 2, 3]) for (const up of [-1, 1]) for (const side of [0, 1, -1]) found.push([side * aside, up * (14 + 15 * way)]);
  return found;
}

/**
 * Names with the places that they get, the first ones first. What finds no free place takes the one that covers least.
 *
 * @param wanted points with `x`, `y` and `text`; `weight` is bold for the one that all is about
 * @param window what of the picture is seen: `left`, `right`, `bottom`, `top`
 * @param side pixels of the picture's side
 */
function placedNames(wanted, { left, right, bottom, top }, side) {
  const pixels = (at) => [((at.x - left) / (right - left)) * side, ((top - at.y) / (top - bottom)) * side];
  const seen = wanted.filter((at) => at.x >= left && at.x <= right && at.y >= bottom && at.y <= top);
  const taken = seen.map((at) => { const [x, y] = pixels(at); return [x - 5, y - 5, x + 5, y + 5]; });
  return seen.map((at) => {
    const text = shortened(at.text);
    const width = nameWidth(text, at.weight === "bold") + 4;
    const [px, py] = pixels(at);
    let best = null;
    for (const [dx, dy] of placesBeside(width)) {
      // A name stays in the picture, or its end could not be read.
      const x = Math.min(Math.max(px + dx, width / 2), side - width / 2);
      const y = Math.min(Math.max(py + dy, NAME_HEIGHT / 2), side - NAME_HEIGHT / 2);
      const box = [x - width / 2, y - NAME_HEIGHT / 2, x + width / 2, y + NAME_HEIGHT / 2];
      const covers = taken.reduce((sum, other) => sum + overlap(box, other), 0);
      if (!best || covers < best.covers) best = { covers, box, dx: x - px, dy: y - py };
      if (!covers) break;
    }
    taken.push(best.box);
    return { x: at.x, y: at.y, text, weight: at.weight ?? "normal", dx: best.dx, dy: best.dy };
  });
}

const overlap = (one, other) =>
  Math.max(0, Math.min(one[2], other[2]) - Math.max(one[0], other[0])) *
  Math.max(0, Math.min(one[3], other[3]) - Math.max(one[1], other[1]));
