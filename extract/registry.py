"""The registry of models: a TOML file that people read, and that `vesalius add` edits.

Belongs here: reading it, finding the folder of each model without asking anyone outside this machine, writing an entry,
and which model a name means. What an entry may say is in `entries`; fetching one from a hub, in `hub`.
"""

import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import tomlkit

from extract.completeness import completeness
from extract.entries import ModelEntry, check_model_slug, check_revision, check_values, is_hub_id, slug_of
from extract.hub import cached_folder
from warehouse.atomic import replacing
from warehouse.errors import InputError, ModelError
from warehouse.twins import is_twin, original_slug

INBOX = "inbox"
"""The folder beside the registry where models may be put: a folder a model, by its slug or its name on the hub."""


def load_registry(file: Path) -> dict[str, ModelEntry]:
    """The models of a registry file, by slug; paths in it count from its own folder. No file means no models.

    A model of a hub is looked for in the inbox and in the hub's cache on this machine; no network is asked.

    Raises:
        ModelError: the file is not what a registry looks like.
        InputError: a slug can't be one.
    """
    if not file.exists():
        return {}
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8")).get("models", {})
        for slug, values in tables.items():
            check_values(f"{file}: [models.{slug}]", values)
        return {check_model_slug(slug): _entry(file, slug, values) for slug, values in tables.items()}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file}: {error}. Each model is a table [models.SLUG] with a `path` or a `hub_id`."
        ) from error


def _entry(file: Path, slug: str, values: Mapping[str, object]) -> ModelEntry:
    folder = _registered(file, values) if "path" in values else _found(file, slug, values)
    return ModelEntry(slug, **{**values, "path": folder})  # type: ignore[arg-type]


def _registered(file: Path, values: Mapping[str, object]) -> Path:
    """A path counts from the registry's folder, or from that of the package that the model comes with."""
    if "package" not in values:
        return (file.parent / str(values["path"])).resolve()
    found = find_spec(str(values["package"]))
    folders = (found.submodule_search_locations or []) if found is not None else []
    return Path(next(iter(folders), file.parent.resolve() / str(values["package"]))) / str(values["path"])


def _found(file: Path, slug: str, values: Mapping[str, object]) -> Path:
    """The folder of a hub's model: the first that is complete, in the inbox or in the cache; else what there is."""
    hub_id, revision = str(values["hub_id"]), values.get("revision")
    inbox = file.parent.resolve() / INBOX
    places = [inbox / slug, inbox / hub_id.split("/")[1], cached_folder(hub_id, str(revision) if revision else None)]
    found = [place for place in places if place is not None and place.is_dir()]
    whole = (place for place in found if completeness(place).is_landed)
    return next(whole, found[0] if found else inbox / slug)


def local_models(registry: Mapping[str, ModelEntry]) -> dict[str, ModelEntry]:
    """Those of a registry that can be run here: registered by their folder, installed, or landed from a hub."""
    return {
        slug: entry
        for slug, entry in registry.items()
        if entry.is_installed and (entry.hub_id is None or completeness(entry.path).is_landed)
    }


def add_folder(file: Path, path: Path, slug: str | None = None) -> ModelEntry:
    """Write a model that is in a folder into the registry; the same model twice is no fault.

    Raises:
        ModelError: the slug belongs to another model.
        InputError: the slug can't be one.
    """
    path = path.resolve()
    name = check_model_slug(slug) if slug else slug_of(path)
    known = load_registry(file).get(name)
    if known is not None:
        if known.path != path:
            raise ModelError(f"{name!r} is registered already, for {known.source}. Give another name with --slug.")
        return known
    _write(file, name, {"path": str(path)})
    return load_registry(file)[name]


def add_hub_model(file: Path, hub_id: str, slug: str | None = None, revision: str | None = None) -> ModelEntry:
    """Write a model of a hub into the registry, or another revision of one that is there. No one is asked.

    Raises:
        ModelError: the slug belongs to another model.
        InputError: the slug, the name or the revision can't be one.
    """
    if not is_hub_id(hub_id):
        raise InputError(f"{hub_id!r} is no name of a model on a hub: it looks like owner/model.")
    check_revision(revision)
    registry = load_registry(file)
    same = [entry.slug for entry in registry.values() if entry.hub_id == hub_id]
    name = check_model_slug(slug) if slug else next(iter(same), slug_of(Path(hub_id)))
    known = registry.get(name)
    if known is not None and known.hub_id != hub_id:
        raise ModelError(f"{name!r} is registered already, for {known.source}. Give another name with --slug.")
    if known is None:
        _write(file, name, {"hub_id": hub_id} | ({"revision": revision} if revision else {}))
    elif revision is not None and revision != known.revision:
        _write(file, name, {"revision": revision})
    return load_registry(file)[name]


def pin(file: Path, slug: str, commit: str) -> ModelEntry:
    """Write the commit of a model's revision into the registry."""
    _write(file, slug, {"revision": commit})
    return load_registry(file)[slug]


def _write(file: Path, slug: str, values: Mapping[str, str]) -> None:
    """Set values of a model's table; comments, order and all else are kept."""
    document = tomlkit.parse(file.read_text(encoding="utf-8") if file.exists() else "")
    models = document.setdefault("models", tomlkit.table(is_super_table=True))
    if slug not in models:
        models[slug] = tomlkit.table()
    models[slug].update(values)
    with replacing(file) as temporary:
        temporary.write_text(tomlkit.dumps(document), encoding="utf-8")


def resolve(name: str, registry: Mapping[str, ModelEntry]) -> ModelEntry:
    """The model meant by a slug, also that of a registered model's untrained twin, by a hub's name, or by a folder.

    Raises:
        ModelError: none of these is there, or the folder's name belongs to another model.
    """
    if name in registry:
        return registry[name]
    if is_twin(name) and original_slug(name) in registry:
        return registry[original_slug(name)].twin()
    path = Path(name).expanduser().resolve()
    if not path.is_dir():
        of_hub = next((entry for entry in registry.values() if entry.hub_id == name), None)
        if of_hub is not None:
            return of_hub
        known = ", ".join(registry) or "none"
        more = f" `vesalius add {name} --download` fetches a hub's model." if is_hub_id(name) else ""
        raise ModelError(f"No model {name!r}: it is no registered slug ({known}) and no folder.{more}")
    for entry in registry.values():
        if entry.path == path:
            return entry
    slug = slug_of(path)
    if slug in registry:
        raise ModelError(
            f"{path} would be called {slug!r}, and so is {registry[slug].source}. "
            f"Name it with `vesalius add {path} --slug NAME`."
        )
    return ModelEntry(slug, path)
