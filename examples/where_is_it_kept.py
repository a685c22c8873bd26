"""A marimo notebook: from the warehouse to a figure for a paper, in SQL and Altair.

Open it with `marimo edit examples/where_is_it_kept.py`; as a script it writes the figure that it ends with:
`python examples/where_is_it_kept.py -- --out figure.svg`. It asks the warehouse in `--warehouse`, in
VESALIUS_WAREHOUSE, or in `warehouse/data`.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def _():
    import os
    from pathlib import Path

    import altair as alt
    import marimo as mo
    import polars as pl

    from warehouse.query import run_query

    return Path, alt, mo, os, pl, run_query


@app.cell
def _(Path, mo, os, pl, run_query):
    options = mo.cli_args()
    root = Path(options.get("warehouse") or os.environ.get("VESALIUS_WAREHOUSE") or "warehouse/data")

    def ask(sql: str, **values: object) -> pl.DataFrame:
        """The rows of a statement; values are bound as `$name`, never written into the text."""
        return pl.DataFrame(run_query(root, sql, values))

    return ask, options, root


@app.cell
def _(ask, mo, root):
    models = ask("SELECT model, layers, width FROM models WHERE NOT is_twin(model) ORDER BY model")
    mo.vstack([mo.md(f"# Where is it kept?\n\nThe warehouse in `{root}` holds these models:"), models])
    return (models,)


@app.cell
def _(mo, models, options):
    names = models["model"].to_list()
    asked = options.get("model")
    chosen = mo.ui.dropdown(names, value=asked if asked in names else names[0], label="model")
    concept = mo.ui.text(options.get("concept") or "drugs", label="concept")
    labelling = mo.ui.text(options.get("labelling") or "specialty", label="labelling")
    mo.hstack([chosen, concept, labelling], justify="start")
    return chosen, concept, labelling


@app.cell
def _(ask, chosen, concept, labelling, mo):
    profile = ask(
        "FROM layer_profile($model, $concept, $labelling)",
        model=chosen.value,
        concept=concept.value,
        labelling=labelling.value,
    )
    patched = ask(
        "FROM patch_effect($model, $concept, $labelling)",
        model=chosen.value,
        concept=concept.value,
        labelling=labelling.value,
    )
    mo.md(
        "Two questions of each layer: how well do its activations sort the terms (the silhouette, with its interval "
        "and what permuted labels reach), and how much of the answer does a patch of its output restore?"
    )
    return patched, profile


@app.cell
def _(alt, chosen, concept, labelling, patched, profile):
    layer = alt.X("layer:O", title="layer (-1: embeddings)", axis=alt.Axis(labelAngle=0))
    base = alt.Chart(profile).encode(layer)
    silhouette = (
        base.mark_area(opacity=0.25).encode(alt.Y("low:Q", title="silhouette"), alt.Y2("high:Q"))
        + base.mark_line(point=True).encode(alt.Y("value:Q"))
        + base.mark_line(strokeDash=[4, 3], color="gray").encode(alt.Y("null_high:Q"))
        + base.transform_filter("datum.planted").mark_rule(color="black").encode()
    )
    restored = (
        alt.Chart(patched)
        .mark_bar()
        .encode(alt.X("layer:O", title="patched layer", axis=alt.Axis(labelAngle=0)), alt.Y("restored:Q"))
    )
    figure = alt.vconcat(
        silhouette.properties(width=420, height=180, title="What its activations sort"),
        restored.properties(width=420, height=120, title="What its output restores"),
        title=f"{concept.value} by {labelling.value} in {chosen.value}",
    )
    figure
    return (figure,)


@app.cell
def _(figure, options):
    if options.get("out"):
        figure.save(str(options["out"]))
    return


@app.cell
def _(ask, chosen, concept, labelling, mo, profile):
    best = profile.filter(layer_rank=1)["layer"].to_list()[0]
    term = ask(
        "SELECT min(term) AS term FROM labelled_terms WHERE concept = $concept AND labelling = $labelling",
        concept=concept.value,
        labelling=labelling.value,
    )["term"][0]
    neighbours = ask(
        "SELECT rank, neighbour, label, same_label, round(cosine, 3) AS cosine "
        "FROM nearest($model, $concept, $layer, $term, 8, labelling := $labelling)",
        model=chosen.value,
        concept=concept.value,
        layer=best,
        term=term,
        labelling=labelling.value,
    )
    mo.vstack([mo.md(f"At the best layer ({best}), the nearest neighbours of *{term}*:"), neighbours])
    return (neighbours,)


if __name__ == "__main__":
    app.run()
