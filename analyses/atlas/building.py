"""The page: its parts put into one file that needs nothing else and may do nothing else.

Belongs here: the template, the policy of the page, and the order of its parts. What the parts tell is in `library`,
`models` and `telling`. The policy lets run and colour the page only what was built in: scripts and styles are named by
their hashes, requests are forbidden. Text from data is escaped by the template, or lies in blocks that are no markup.
Two builds from the same tables are the same to the byte: nothing in the page tells when it was built.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
import vl_convert
from markupsafe import Markup

from analyses import palette
from analyses.atlas import telling
from analyses.atlas.inputs import MadeWith
from analyses.atlas.library import Concept, Tables, concepts_of
from analyses.atlas.models import model_part
from analyses.atlas.packing import Pack, packed
from analyses.atlas.profiles import shown
from analyses.atlas.specs import page_charts
from analyses.validity import ASIDE_FILE, kept_validation
from analyses.validity_summary import summarize_validation
from warehouse.errors import InputError
from warehouse.versions import CODE_VERSION

_PAGE = Path(__file__).with_name("page")
_SCRIPTS = (
    "words", "codec", "state", "colours", "charts", "models", "map", "profiles", "naming", "paths", "picture", "zoom",
    "terms", "search", "beside", "compare", "figure", "theme", "look", "files", "main",
)  # fmt: skip
_TECHNIQUES = (
    ("activations", "Activations: do terms lie by label?"),
    ("lesions", "Lesions: what is lost with the layer?"),
    ("patches", "Patches: where does the answer come in?"),
    ("saliency", "Gradients: which weights push towards it?"),
)
_LEAD = (
    "Concept by layer, with how sure each cell is. Probabilities come from techniques weighed by how often they find "
    "knowledge that was planted; “not localised” is an answer too."
)

Chart = tuple[str, str, Mapping[str, Any]]
"""A chart that says the same for all models: its name, what it shows, its Vega-Lite specification."""


def build_atlas(
    shared: Tables,
    models: Sequence[str],
    tables_of: Callable[[str], Tables],
    charts: Sequence[Chart] = (),
    made_with: Mapping[str, MadeWith] | None = None,
) -> bytes:
    """The atlas of some models as one HTML file in UTF-8.

    Args:
        shared: `inputs.SHARED_TABLES`.
        models: the models, in the order in which they are offered; planted ones come last all the same.
        tables_of: gives `inputs.MODEL_TABLES` of one model; asked for one model at a time.
        charts: charts for the part on validity.
        made_with: of models what their files say, for the data card.

    Raises:
        InputError: there is no model, or one has no map yet.
    """
    if not models:
        raise InputError("There is no model to show: run one first (`vesalius run --model reference`).")
    concepts = concepts_of(shared)
    headers, blocks = [], []
    for model in models:
        header, block = model_part(model, {**tables_of(model), "concepts": shared["concepts"]}, concepts)
        headers.append(header)
        blocks.append(block)
    # What was planted is there to judge the maps by: what people came for stands before it.
    order = sorted(range(len(headers)), key=lambda place: _is_planted(headers[place]))
    headers, blocks = [headers[place] for place in order], [blocks[place] for place in order]
    validation = shared["validation"]
    judged = [] if validation.is_empty() else summarize_validation(validation)
    aside = summarize_validation(pl.DataFrame(kept_validation(ASIDE_FILE))) if judged else []
    style, script = (_inline(text) for text in (_style(), _script()))
    page = _template().render(
        # The bundle is run as it is unpacked, so its hash is that of its own text.
        policy=_policy([_bundle(), script], style),
        title=_title(headers),
        lead=_LEAD,
        models=[
            _model(header, place, block) for place, (header, block) in enumerate(zip(headers, blocks, strict=True))
        ],
        techniques=_TECHNIQUES,
        charts=[{"name": name, "title": title} for name, title, _ in charts],
        believe=telling.believe(judged, aside),
        closed_loop=telling.closed_loop(shared["edits"]),
        published_rows=telling.published_rows(shared["published"]),
        validity_rows=telling.validity_rows(judged),
        glossary=telling.glossary(judged),
        card=telling.card_rows(headers, concepts, shared, made_with or {}),
        version=CODE_VERSION,
        style=Markup(style),
        bundle=Markup(packed(_bundle().encode())),
        script=Markup(script),
        specs=_data(page_charts()),
        library=Markup(_library(concepts, headers, charts)),
    )
    return page.encode()


def _is_planted(header: dict[str, Any]) -> bool:
    return any(row["planted"] for row in header["maps"]["consensus"])


def _title(headers: Sequence[dict[str, Any]]) -> str:
    named = "one model keeps" if len(headers) == 1 else f"{len(headers)} models keep"
    return f"Where {named} medical knowledge, layer by layer"


def _model(header: dict[str, Any], place: int, block: str) -> dict[str, Any]:
    told = telling.findings(header)
    return {
        "model": header["model"],
        "headline": telling.headline(header),
        "rows": telling.verdict_rows(header),
        "findings": told,
        "paper": telling.claims(told),
        "block_id": _block_id(place),
        "block": Markup(block),
    }


def _library(concepts: Sequence[Concept], headers: Sequence[dict[str, Any]], charts: Iterable[Chart]) -> str:
    header = {
        "concepts": [concept.told for concept in concepts],
        "models": [{"model": header["model"], "block": _block_id(place)} for place, header in enumerate(headers)],
        "shown": shown(),
        "charts": {name: vl_convert.vegalite_to_vega(dict(spec)) for name, _, spec in charts},
    }
    return Pack().block(header)


def _block_id(place: int) -> str:
    return f"model-{place}"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.jinja")


def _style() -> str:
    """The page's own style, with the colours that it shares with all other charts."""
    themes = {":root": palette.TECHNIQUES, ':root[data-theme="dark"]': palette.TECHNIQUES_ON_DARK}
    shared = [
        f"{theme} {{ {' '.join(f'--{name}: {colour};' for name, colour in colours.items())} }}"
        for theme, colours in themes.items()
    ]
    return "\n".join([*shared, (_PAGE / "style.css").read_text(encoding="utf-8")])


@cache
def _bundle() -> str:
    """Vega and what embeds it, once for all charts."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _script() -> str:
    parts = ((_PAGE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


def _inline(text: str) -> str:
    """Code as it may stand inside its element: nothing in it ends the element or opens a comment."""
    return re.sub(r"</(?=script|style)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", "<\\!--")


def _data(content: object) -> Markup:
    """JSON as it may stand inside a script element."""
    told = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(told.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _policy(scripts: Iterable[str], style: str) -> str:
    named = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {named}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
