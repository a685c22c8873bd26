// Which prompt to look at, and how much its loss says.

/**
 * Which prompt to look at: the one that loses most with this layer. Its loss is raw: where the map does not mark the
 * layer, it stands beside what prompts of control concepts lose there.
 */
function drawLook(block) {
  const place = document.getElementById("look");
  const { at, rows } = state.layer < 0 ? { rows: [] } : costliest(block, 1);
  const doubt = rows.length ? doubtOf(block, at) : null;
  const key = rows.length ? `${state.model}|${state.concept}|${labellingFor(block)}|${at.layer}|${doubt?.marked}` : "";
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  if (!rows.length) return place.replaceChildren();
  const [row] = rows;
  const show = () => {
    go({ term: conceptOf(state.concept).terms[row.term] });
    document.querySelector('[data-panel="term"]').scrollIntoView();
  };
  place.replaceChildren(
    doubt ? `${doubt.marked} The prompt that loses most there: ` : "Prompt to look at: ",
    make("button", { type: "button", class: "term", onclick: show }, `${row.text} …`),
    ` “${row.answer ?? "its answer"}” loses ${number(row.cost)} nats without ${layerName(at.layer)}.${doubt ? ` ${doubt.raw}` : ""}`,
  );
}

/** Why a loss at a layer tells nothing of the row by itself; null where the map marks the layer. */
function doubtOf(block, at) {
  const row = rowOf(block);
  const isLocalised = row.verdict === "localised";
  if (isLocalised && classOf(row.cells[at.layer], state.mode) >= 0) return null;
  const marked = isLocalised ? `The map does not mark ${layerName(at.layer)}.` : `${row.verdict === "not localised" ? "No layer stands out" : `This row is ${row.verdict}`}.`;
  const control = costliestControl(block, at);
  const raw = "That is the raw loss, controls not taken off: ";
  return { marked, raw: raw + (control ? `of the control ${control.concept} a prompt loses ${number(control.cost)} nats there.` : "any concept may lose as much.") };
}

/** The largest raw loss of a control's prompt at a detail layer, of another concept than the one that is looked at. */
function costliestControl(block, at) {
  block.costliest ??= new Map();
  if (!block.costliest.has(at.place)) {
    block.costliest.set(at.place, Object.entries(block.header.concepts)
      .filter(([concept, { effects }]) => effects && conceptOf(concept).role === "control")
      .map(([concept, { effects }]) => {
        let cost = -Infinity;
        for (let i = 0; i < effects.n; i += 1) {
          const under = decimal(block, effects.under, at.place * effects.n + i);
          if (under != null) cost = Math.max(cost, decimal(block, effects.intact, i) - under);
        }
        return { concept, cost };
      })
      .filter(({ cost }) => cost > -Infinity));
  }
  const others = block.costliest.get(at.place).filter(({ concept }) => concept !== state.concept);
  return others.length ? others.reduce((one, two) => (two.cost > one.cost ? two : one)) : null;
}
