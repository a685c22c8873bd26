"""Untrained twins by name: a model of the same shape and tokenizer with random weights, which others are read against.

Only the slug is here, for whoever lists models and has to tell twins from them. What a twin is made of is in
`extract.untrained`; the table `models` says of which model it is one.
"""

TWIN = ".untrained"
"""Ends the slug of a twin, and of nothing else."""


def is_twin(slug: str) -> bool:
    """Whether a slug is that of an untrained twin."""
    return slug.endswith(TWIN)


def twin_slug(slug: str) -> str:
    """The slug of a model's twin."""
    return slug + TWIN


def original_slug(slug: str) -> str:
    """The slug of the model that a twin belongs to; that of any other model as it is."""
    return slug.removesuffix(TWIN)
