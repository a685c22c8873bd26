"""A model and a concept library in, Arrow tables out.

Belongs here: the concept library and its prompts, the loading of models, the sweeps that record activations, lesions,
patches and saliency, the embedded models and their training. May use torch and transformers.
Does not belong here: anything about Dagster, DuckDB, or how tables are analysed; where they lie on disk, only in `job`.
This package imports `warehouse` and no other package of the project; importing it runs nothing.
"""
