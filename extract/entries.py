"""A model as the registry names it: its slug, where it is, and how it is run.

Belongs here: the dataclass, which values its settings take, and which names may be slugs. How a registry is read and
written is in `registry`; what is in a model's folder, in `models`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from warehouse.errors import InputError, ModelError
from warehouse.store import check_slug
from warehouse.twins import TWIN, is_twin, twin_slug

DTYPES = ("float32", "bfloat16")
"""What models are run in. Not float16: residual streams leave its range."""

ATTENTIONS = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3")
"""What attention can be computed with. Transformers takes the names of kernels on a hub too, and would fetch them."""

PLACEMENTS = ("none", "auto", "offload")
"""Where weights lie: all on the device; wherever there is room, accelerators first; layers apart, fetched in turn."""

QUANTIZATIONS = ("8bit", "4bit", "mxfp4")
"""8bit and 4bit are made while loading, by bitsandbytes. Weights stored as mxfp4 are made bfloat16 while loading."""

_SETTINGS: Mapping[str, type] = {
    "path": str,
    "package": str,
    "hub_id": str,
    "revision": str,
    "description": str,
    "chat_template": bool,
    "dtype": str,
    "attention": str,
    "placement": str,
    "quantization": str,
    "architecture": str,
    "parameters": int,
    "license": str,
    "gated": str,
}
_ALLOWED = {"dtype": DTYPES, "attention": ATTENTIONS, "placement": PLACEMENTS, "quantization": QUANTIZATIONS}
_KINDS = {str: "text in quotes", bool: "true or false", int: "a whole number"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"[\w][\w./-]*")


@dataclass(frozen=True)
class ModelEntry:
    """A model that the project knows by name.

    Attributes:
        slug: its name in paths, SQL and charts.
        path: the folder with config, tokenizer and weights; of a model of a hub, the one where it was found, or the one
            in the inbox where it may be put.
        description: a line for people.
        chat_template: whether prompts go into the tokenizer's chat template, as a user's message.
        dtype: what it is run in, one of DTYPES; by default what its config says.
        attention: what attention is computed with, one of ATTENTIONS; by default what transformers chooses.
        untrained_seed: of the random weights that stand for those in the folder, if this is an untrained twin.
        package: the Python package that the folder comes with, if it comes with one; its path is then a folder that is
            not there as long as the package is not installed.
        hub_id: `owner/name` on the hub, if it comes from there.
        revision: of the hub's repository: a commit, or a branch or tag until it is downloaded.
        placement: where its weights lie, one of PLACEMENTS.
        quantization: what its weights are stored or held as, one of QUANTIZATIONS; by default as they are.
        architecture: the class that its config names, for what is said of it before it is there.
        parameters: weights, about.
        license: what its card says.
        gated: what has to be done before the hub gives it; empty if nothing.
    """

    slug: str
    path: Path
    description: str = ""
    chat_template: bool = False
    dtype: str | None = None
    attention: str | None = None
    untrained_seed: int | None = None
    package: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    placement: str = "none"
    quantization: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    license: str = ""
    gated: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether the package that the model comes with is there, if it comes with one."""
        return self.package is None or self.path.is_dir()

    @property
    def is_untrained(self) -> bool:
        """Whether this is an untrained twin: its weights are random, those in the folder are not read."""
        return self.untrained_seed is not None

    @property
    def is_pinned(self) -> bool:
        """Whether its revision is a commit, which no one can move."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    @property
    def source(self) -> str:
        """Where it comes from, as registered: the same wherever a hub's model was found."""
        return self.hub_id or str(self.path)

    def twin(self, seed: int = 1) -> "ModelEntry":
        """Its untrained twin: the same config, tokenizer and settings, random weights from a seed, whole in memory."""
        return replace(
            self,
            slug=twin_slug(self.slug),
            description=f"{self.slug} before any training.",
            untrained_seed=seed,
            placement="none",
            quantization=None,
        )


def is_hub_id(name: str) -> bool:
    """Whether a name is written as a hub's models are: `owner/name`."""
    return _HUB_ID.fullmatch(name) is not None and ".." not in name


def check_model_slug(slug: str) -> str:
    """The slug itself, if a model may go by it.

    Raises:
        InputError: it can't be a slug, or belongs to untrained twins.
    """
    if is_twin(check_slug(slug)):
        raise InputError(
            f"{slug!r} can't be a model's slug: names that end in {TWIN!r} are those of untrained twins. Give another "
            "with `vesalius add PATH --slug NAME`."
        )
    return slug


def slug_of(path: Path) -> str:
    """A slug made from a folder's name, or from the last part of a hub's.

    Raises:
        InputError: nothing of the name can stay.
    """
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", path.name.lower())).strip("-._")
    if not name:
        raise InputError(
            f"No slug can be made of the name {path.name!r}: none of its letters are a-z or 0-9. Give the model "
            "one with `vesalius add PATH --slug NAME`."
        )
    return check_model_slug(name)


def check_dtype(dtype: str | None) -> None:
    """See that models can be run in a type, where one is asked for.

    Raises:
        InputError: they can't.
    """
    if dtype not in {None, *DTYPES}:
        raise InputError(f"{dtype!r} is no type that models are run in: take one of {', '.join(DTYPES)}.")


def check_placement(placement: str | None) -> None:
    """See that weights can lie so, where it is asked for.

    Raises:
        InputError: they can't.
    """
    if placement not in {None, *PLACEMENTS}:
        raise InputError(f"{placement!r} is no placement of weights: take one of {', '.join(PLACEMENTS)}.")


def check_revision(revision: str | None) -> None:
    """See that a revision can be one, where one is given.

    Raises:
        InputError: it can't.
    """
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError(f"{revision!r} is no revision: give a commit, a branch, a tag, or refs/pr/NUMBER.")


def check_values(where: str, values: Mapping[str, object]) -> None:
    """See that the table of a model says what it may, and where the model is.

    Args:
        where: file and table, for the message.
        values: by name of the setting.

    Raises:
        ModelError: a setting that is none, or has a value that it can't have; neither a path nor a hub's name.
    """
    strangers = sorted(values.keys() - _SETTINGS)
    if strangers:
        raise ModelError(f"{where} has {strangers[0]!r}, which is no setting. There are {', '.join(_SETTINGS)}.")
    for name, kind in _SETTINGS.items():
        if name in values and type(values[name]) is not kind:
            raise ModelError(f"{where} has {name} = {values[name]!r}; it takes {_KINDS[kind]}.")
    for name, allowed in _ALLOWED.items():
        if values.get(name, allowed[0]) not in allowed:
            raise ModelError(f"{where} has {name} = {values[name]!r}; it takes one of {', '.join(allowed)}.")
    package = values.get("package", "a")
    if not str(package).isidentifier():
        raise ModelError(f"{where} has package = {package!r}; it takes the name that the package is imported by.")
    if "package" in values and "path" not in values:
        raise ModelError(f"{where} names a package and no `path`: the model's folder within it.")
    if "path" not in values and "hub_id" not in values:
        raise ModelError(f"{where} does not say where the model is: it takes a `path` or a `hub_id`.")
    if "hub_id" in values and not is_hub_id(str(values["hub_id"])):
        raise ModelError(f"{where} has hub_id = {values['hub_id']!r}; it takes a name like owner/model.")
    try:
        check_revision(values.get("revision"))  # type: ignore[arg-type]
    except InputError as error:
        raise ModelError(f"{where}: {error}") from error
