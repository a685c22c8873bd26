"""Models of a hub: the folder of one that is in the hub's cache on this machine, and fetching one when a user asks.

Belongs here: all that talks to a hub, by its own client, and what its refusals mean in words. Only `download` asks a
network, and only `vesalius add --download` calls it. Nothing but config, tokenizer, chat template and safetensors is
fetched: no code, no pickle.
"""

import errno
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from extract.completeness import PICKLES, completeness
from extract.entries import ModelEntry
from warehouse.errors import ModelError, StoreError, TransientError

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
    "chat_template*",
)
"""What is fetched, as patterns; nothing that lies in a folder of the repository."""

_SPARE = 1.02
"""What has to be free on the disk, for each byte that is fetched."""


@dataclass(frozen=True)
class Offer:
    """What the hub has of a model.

    Attributes:
        commit: the one that the revision stands for now.
        files: those that would be fetched, and their bytes.
        folder: the one where they will be, in the hub's cache.
    """

    commit: str
    files: dict[str, int]
    folder: Path

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(self.files.values())


def cached_folder(hub_id: str, revision: str | None) -> Path | None:
    """The folder of a model in the hub's cache on this machine, or None; it may be there in part. Asks no network."""
    from huggingface_hub import constants

    if not Path(constants.HF_HUB_CACHE, f"models--{hub_id.replace('/', '--')}").is_dir():
        return None  # Most are not there, and what follows brings the whole client along.
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def look(entry: ModelEntry) -> Offer:
    """Ask the hub what there is of a model, and whether it can be had.

    Raises:
        ModelError: there is no such model or revision, it is not open to this user, or it has no safetensors.
        TransientError: the hub can't be reached, or refuses for reasons of its own.
        StoreError: the disk has too little room.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    with _explained(entry):
        found = HfApi().model_info(_hub_id(entry), revision=entry.revision, files_metadata=True)
    sizes = {each.rfilename: each.size or 0 for each in found.siblings or []}
    wanted = [name for name in sizes if "/" not in name and _matches(name, FILES)]
    if not any(name.endswith(".safetensors") for name in wanted):
        raise ModelError(_no_safetensors(entry, list(sizes)))
    cache = Path(constants.HF_HUB_CACHE)
    repository = cache / repo_folder_name(repo_id=_hub_id(entry), repo_type="model")
    offer = Offer(str(found.sha), {name: sizes[name] for name in wanted}, repository / "snapshots" / str(found.sha))
    _check_room(entry, offer, cache)
    return offer


def download(entry: ModelEntry, offer: Offer) -> Path:
    """Fetch a model into the hub's cache, whole or with an error; what was fetched before is not fetched again.

    Raises:
        ModelError: as `look`, or what came is not complete.
        TransientError: the connection broke; the next call goes on from there.
        StoreError: the disk refused.
    """
    from huggingface_hub import snapshot_download

    with _explained(entry):
        folder = Path(snapshot_download(_hub_id(entry), revision=offer.commit, allow_patterns=list(offer.files)))
    found = completeness(folder)
    if not found.is_landed:
        raise ModelError(f"{entry.hub_id} was fetched, but is no whole model: {found.reason}. Its folder: {folder}.")
    return folder


def _hub_id(entry: ModelEntry) -> str:
    if entry.hub_id is None:
        raise ModelError(f"{entry.slug} is registered by its folder, {entry.path}: there is no hub to ask for it.")
    return entry.hub_id


@contextmanager
def _explained(entry: ModelEntry) -> Iterator[None]:
    """What the hub's client raises, as errors of ours that say what to do."""
    import httpx2
    from huggingface_hub import constants, errors, get_token

    page = f"{constants.ENDPOINT}/{entry.hub_id}"
    try:
        yield
    except errors.GatedRepoError as error:
        todo = "The account of HF_TOKEN has not been let in." if get_token() else "HF_TOKEN is not set."
        raise ModelError(
            f"{entry.hub_id} is gated. {todo} Accept its terms at {page}, make a token that may read at "
            f"{constants.ENDPOINT}/settings/tokens, and set HF_TOKEN to it."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{entry.hub_id} has no revision {entry.revision!r}: give another with --revision ({page}/commits/main)."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"The hub has no model {entry.hub_id}, or keeps it private. Look at {page}; for a private one set HF_TOKEN."
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, httpx2.TransportError) as error:
        reason = _reason(error)
        raise TransientError(
            f"The hub at {constants.ENDPOINT} can't be reached ({reason}). Try again with a network, without "
            "HF_HUB_OFFLINE, or put the model's files into the inbox beside models.toml."
        ) from error
    except errors.HfHubHTTPError as error:
        raise TransientError(f"The hub at {constants.ENDPOINT} refuses {entry.hub_id}: {_reason(error)}.") from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EPERM}:
            raise TransientError(f"{entry.hub_id} was not fetched whole ({_reason(error)}). Try again.") from error
        raise StoreError(
            f"{entry.hub_id} can't be written to {constants.HF_HUB_CACHE} ({error.strerror}). Make room, or choose "
            "another cache with HF_HOME."
        ) from error


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _no_safetensors(entry: ModelEntry, files: list[str]) -> str:
    if not any(_matches(name, PICKLES) for name in files):
        return f"{entry.hub_id} has no weights as safetensors. Is it a model of transformers?"
    return (
        f"{entry.hub_id} has its weights as pickles alone, which run code when they are opened. Where the hub's "
        "converter has been asked, a pull request has them as safetensors: add it with --revision refs/pr/NUMBER. "
        "Else convert them on a machine that you can spare (model.save_pretrained), and add the folder."
    )


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_room(entry: ModelEntry, offer: Offer, cache: Path) -> None:
    there = sum((offer.folder / name).stat().st_size for name in offer.files if (offer.folder / name).exists())
    place = next(each for each in (cache, *cache.parents) if each.exists())
    free = shutil.disk_usage(place).free
    if (offer.bytes - there) * _SPARE > free:
        raise StoreError(
            f"{entry.hub_id} takes {(offer.bytes - there) / 1e9:,.1f} GB, and {cache} has {free / 1e9:,.1f} GB left. "
            "Make room, or choose another cache with HF_HOME."
        )
