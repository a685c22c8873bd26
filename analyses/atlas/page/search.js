// Looking for a term by a part of its name: what is typed, what it finds, and what is chosen.

const MOST_FOUND = 8;

/** A name as it is compared: in any case, without accents. */
const folded = (name) => name.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** The terms with these letters in their name or spelling: those that begin so first, then those with a word that does. */
function termsLike(concept, typed) {
  const wanted = folded(typed.trim());
  if (!wanted) return [];
  const rank = (name) => {
    const at = folded(name).indexOf(wanted);
    return at < 0 ? 3 : at === 0 ? 0 : /[^\p{L}\p{N}]/u.test(folded(name)[at - 1]) ? 1 : 2;
  };
  const found = concept.terms.map((name, place) => ({ name, place, rank: Math.min(rank(name), rank(concept.spellings[place] ?? name)) }));
  return found.filter((one) => one.rank < 3).sort((one, two) => one.rank - two.rank || one.place - two.place).map(({ name }) => name);
}

/** The term that is meant: by its name, in any case, or as the only one with these letters; else nothing. */
function termMeant(concept, typed) {
  const wanted = typed.trim();
  const like = termsLike(concept, wanted);
  // Names may differ in case alone; the one as it was written comes first.
  return concept.terms.find((term) => term === wanted) ?? like.find((term) => folded(term) === folded(wanted)) ?? (like.length === 1 ? like[0] : null);
}

/** Show what is found by the letters so far, or let it go. */
function suggest(typed) {
  const list = document.getElementById("term-found");
  const concept = conceptOf(state.concept);
  const found = typed.trim() && typed !== state.term ? termsLike(concept, typed) : [];
  const choose = (term) => { suggest(""); document.getElementById("term-name").value = term; go({ term }); };
  list.replaceChildren(...found.slice(0, MOST_FOUND).map((term) =>
    make("li", {}, make("button", { type: "button", class: "term", onclick: () => choose(term) }, term)),
  ));
  const more = found.length - MOST_FOUND;
  const told = !typed.trim() || typed === state.term ? "" : !found.length ? `No term ${typed} in ${state.concept}.` : more > 0 ? `and ${more} more with these letters` : "";
  tell(document.getElementById("term-unknown"), told);
}

/** The field and what is found: Enter takes what is meant, arrow keys go through the list, Escape lets it go. */
function searchTerms() {
  const input = document.getElementById("term-name");
  const list = document.getElementById("term-found");
  input.addEventListener("input", () => suggest(input.value));
  const take = () => {
    const found = termMeant(conceptOf(state.concept), input.value);
    if (found) {
      suggest("");
      input.value = found;
    }
    if (found || !input.value.trim()) go({ term: found ?? undefined });
  };
  input.addEventListener("keydown", (event) => event.key === "Enter" && take());
  // Who goes from a name to what was found with it has not chosen it yet; who empties the field lets the term go.
  input.addEventListener("change", () => input.value.trim() || take());
  input.parentElement.parentElement.addEventListener("keydown", (event) => {
    const stops = [input, ...list.querySelectorAll("button")];
    const at = stops.indexOf(document.activeElement);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0 || stops.length < 2) return;
    if (step) {
      event.preventDefault();
      stops[Math.min(Math.max(at + step, 0), stops.length - 1)].focus();
    } else if (event.key === "Escape") {
      event.stopPropagation();
      suggest("");
      input.focus();
    }
  });
}
