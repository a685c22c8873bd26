"""Models of a hub: registered without asking it, found where they are, fetched if asked for, and refusals explained."""

import json
import os
import pty
import shutil
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import COMMIT, OTHER, Hub, hub_of
from tiny_models import save_tiny
from typer.testing import CliRunner

from dagster_project.cli import app
from dagster_project.commands.models import warn_of_unpinned
from extract.completeness import completeness
from extract.hub import cached_folder, download, look
from extract.models import ModelEntry, add_hub_model, load_registry, local_models, model_fingerprint, pin, resolve
from warehouse.errors import InputError, ModelError, StoreError, TransientError

HUB_ID = "maker/small"
ENTRY = ModelEntry("small", Path("nowhere"), hub_id=HUB_ID)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub has of the model: what is wanted, and what must not be fetched."""
    folder = save_tiny(tmp_path_factory.mktemp("hub") / "small")
    (folder / "modeling_small.py").write_text("raise SystemExit('remote code was run')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "original").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "original")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, with which it would ask 127.0.0.1."""
    place = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    return place


@pytest.fixture
def hub(saved: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of(saved) as found:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield found


def _registry(folder: Path, text: str) -> Path:
    (folder / "models.toml").write_text(text)
    return folder / "models.toml"


# Registered, and found


def test_a_hub_s_model_is_registered_without_asking_the_hub(hub: Hub, tmp_path: Path) -> None:
    file = _registry(tmp_path, "# mine\n")
    entry = add_hub_model(file, HUB_ID, revision="main")
    assert (entry.slug, entry.hub_id, entry.revision, entry.is_pinned) == ("small", HUB_ID, "main", False)
    assert entry.path == tmp_path / "inbox" / "small"
    assert file.read_text().startswith("# mine\n")
    assert hub.asked == []
    assert resolve(HUB_ID, load_registry(file)) == entry
    assert add_hub_model(file, HUB_ID, revision=COMMIT).is_pinned
    assert file.read_text().count("[models.small]") == 1


def test_another_model_does_not_take_the_slug_of_one_that_is_there(cache: Path, tmp_path: Path) -> None:
    file = _registry(tmp_path, f'[models.small]\nhub_id = "{HUB_ID}"\n')
    with pytest.raises(ModelError, match="registered already, for maker/small"):
        add_hub_model(file, "other/small")
    assert add_hub_model(file, "other/small", "small-2").slug == "small-2"


@pytest.mark.parametrize(("hub_id", "revision"), [("../up", None), ("a/b/c", None), ("a/b", "../x"), ("a/b", "-x")])
def test_names_and_revisions_that_are_none_are_not_written(
    cache: Path, tmp_path: Path, hub_id: str, revision: str | None
) -> None:
    file = _registry(tmp_path, "")
    with pytest.raises(InputError):
        add_hub_model(file, hub_id, revision=revision)
    assert file.read_text() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("description = 'x'", "does not say where the model is"),
        ("hub_id = 'small'", "it takes a name like owner/model"),
        ("hub_id = 'a/b'\nrevision = '../x'", "is no revision"),
        ("hub_id = 'a/b'\nplacement = 'there'", "it takes one of none, auto, offload"),
        ("hub_id = 'a/b'\nquantization = '2bit'", "it takes one of 8bit, 4bit, mxfp4"),
        ("hub_id = 'a/b'\nparameters = '7B'", "it takes a whole number"),
    ],
)
def test_an_entry_that_can_not_be_is_told_with_file_and_model(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelError) as raised:
        load_registry(_registry(tmp_path, f"[models.small]\n{text}\n"))
    assert "models.toml: [models.small]" in str(raised.value)
    assert message in str(raised.value)


def test_a_model_is_found_in_the_inbox_and_in_the_cache_and_one_that_is_whole_comes_first(
    saved: Path, cache: Path, tmp_path: Path
) -> None:
    file = _registry(tmp_path, f'[models.mine]\nhub_id = "{HUB_ID}"\nrevision = "{COMMIT}"\n')
    inbox, snapshot = tmp_path / "inbox", cache / "models--maker--small" / "snapshots" / COMMIT
    assert load_registry(file)["mine"].path == inbox / "mine"
    assert local_models(load_registry(file)) == {}
    snapshot.mkdir(parents=True)
    shutil.copy(saved / "config.json", snapshot)
    assert load_registry(file)["mine"].path == snapshot
    assert local_models(load_registry(file)) == {}
    shutil.copytree(saved, inbox / "small")
    assert load_registry(file)["mine"].path == inbox / "small"
    assert list(local_models(load_registry(file))) == ["mine"]
    pin(file, "mine", OTHER)
    assert cached_folder(HUB_ID, OTHER) is None, "another revision's files are not this one's"


def test_the_commit_is_part_of_the_fingerprint_and_a_branch_is_not(saved: Path) -> None:
    plain = ModelEntry("small", saved)
    found = {
        model_fingerprint(ModelEntry("small", saved, hub_id=HUB_ID, revision=revision))
        for revision in (COMMIT, OTHER, "main", None)
    }
    assert len(found) == 3
    assert model_fingerprint(plain) in found
    placed = ModelEntry("small", saved, placement="offload", license="X", parameters=3)
    assert model_fingerprint(placed) == model_fingerprint(plain)
    assert model_fingerprint(ModelEntry("small", saved, quantization="8bit")) not in found


# Fetched


def test_what_is_fetched_is_config_tokenizer_and_safetensors_alone(hub: Hub, cache: Path, saved: Path) -> None:
    offer = look(ENTRY)
    assert offer.commit == COMMIT
    assert offer.bytes == sum((saved / name).stat().st_size for name in offer.files)
    folder = download(ENTRY, offer)
    assert folder == offer.folder == cached_folder(HUB_ID, COMMIT)
    assert {file.name for file in folder.rglob("*")} == {
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    assert completeness(folder).is_landed
    before = len(hub.asked)
    download(ENTRY, offer)
    assert not [path for path in hub.asked[before:] if "resolve" in path], "what is there is not fetched again"


def test_a_connection_that_breaks_can_be_gone_on_with(hub: Hub, saved: Path) -> None:
    offer = look(ENTRY)
    hub.broken = (saved / "model.safetensors").stat().st_size // 2
    with pytest.raises(TransientError):
        download(ENTRY, offer)
    assert not completeness(offer.folder).is_landed
    hub.broken = None
    assert completeness(download(ENTRY, offer)).is_landed


def test_a_gated_model_says_what_to_do_and_a_token_that_was_let_in_opens_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.token = "let-me-in"
    with pytest.raises(ModelError, match=r"is gated\. HF_TOKEN is not set\. Accept its terms at http.*/maker/small"):
        look(ENTRY)
    monkeypatch.setenv("HF_TOKEN", "someone-else")
    with pytest.raises(ModelError, match="The account of HF_TOKEN has not been let in"):
        look(ENTRY)
    monkeypatch.setenv("HF_TOKEN", "let-me-in")
    assert completeness(download(ENTRY, look(ENTRY))).is_landed


def test_what_the_hub_does_not_have_is_told(hub: Hub) -> None:
    with pytest.raises(ModelError, match=r"The hub has no model maker/none, or keeps it private"):
        look(ModelEntry("none", Path("nowhere"), hub_id="maker/none"))
    with pytest.raises(ModelError, match=r"has no revision 'v9': give another with --revision"):
        look(ModelEntry("small", Path("nowhere"), hub_id=HUB_ID, revision="v9"))
    assert look(ModelEntry("small", Path("nowhere"), hub_id=HUB_ID, revision="refs/pr/1")).commit == COMMIT
    with pytest.raises(ModelError, match="there is no hub to ask"):
        look(ModelEntry("small", Path("nowhere")))


def test_weights_that_are_pickles_alone_are_not_fetched(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(ModelError, match=r"pickles alone.*--revision refs/pr/NUMBER"):
        look(ENTRY)
    del hub.files["pytorch_model.bin"]
    with pytest.raises(ModelError, match="has no weights as safetensors"):
        look(ENTRY)
    assert not [path for path in hub.asked if "resolve" in path]


def test_a_hub_that_is_away_or_ill_is_tried_again_later(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.status = 500
    with pytest.raises(TransientError, match="refuses maker/small"):
        look(ENTRY)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"can't be reached.*inbox"):
        look(ENTRY)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TransientError, match="HF_HUB_OFFLINE"):
        look(ENTRY)


def test_a_disk_without_room_is_told_before_anything_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(StoreError, match=r"takes .* GB, and .* has 0\.0 GB left"):
        look(ENTRY)


# The commands


@pytest.fixture
def place(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VESALIUS_WAREHOUSE", str(tmp_path / "warehouse"))
    monkeypatch.setenv("VESALIUS_MODELS", str(tmp_path / "models.toml"))
    monkeypatch.setenv("VESALIUS_INBOX", str(tmp_path / "inbox"))
    return tmp_path


def on_a_terminal(words: list[str], environment: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a command whose standard error is a terminal; how it ended, and what the terminal was told."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 200))
    said: list[bytes] = []

    def listen() -> None:
        # Reading a terminal that nobody writes to any more is an error on Linux, and the end elsewhere.
        with suppress(OSError):
            while part := os.read(ours, 65536):
                said.append(part)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=theirs, text=True, check=False)
    os.close(theirs)
    listener.join(10)
    os.close(ours)
    return done, b"".join(said).decode()


def test_add_fetches_a_model_in_a_process_of_its_own_and_pins_it(saved: Path, place: Path) -> None:
    with hub_of(saved) as hub:
        # Other commands of this process tell the hub's client to be quiet.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_HUB_")}
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(place / "hf")}
        done, told = on_a_terminal(
            [sys.executable, "-c", "from dagster_project.cli import main; main()", "add", HUB_ID, "--download"],
            environment,
        )
    assert done.returncode == 0, told
    assert "small has landed" in done.stdout
    # The terminal may break the line.
    assert f"had no commit, only 'main': models.toml now says {COMMIT}" in told.replace("\r\n", " ")
    assert "100%" in told, "how far it is, is shown"
    assert load_registry(place / "models.toml")["small"].revision == COMMIT
    assert completeness(place / "hf" / "hub" / "models--maker--small" / "snapshots" / COMMIT).is_landed


def test_models_tells_states_in_words_and_as_json(saved: Path, place: Path) -> None:
    shutil.copytree(saved, place / "inbox" / "whole")
    shutil.copytree(saved, place / "inbox" / "half")
    weights = place / "inbox" / "half" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    entries = "\n".join(f'[models.{name}]\nhub_id = "maker/{name}"' for name in ("whole", "half", "none"))
    _registry(place, f'{entries}\nrevision = "{COMMIT}"\nparameters = 70_000_000_000\n')
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0, listed.output
    assert "main (not pinned)" in listed.stdout
    assert "(70.0B weights)" in listed.stdout
    assert f"half is not complete: model.safetensors is not whole: {weights.stat().st_size:,} of" in listed.stderr
    records = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert {record["model"]: record["state"] for record in records} == {
        "whole": "landed",
        "half": "partly",
        "none": "known",
    }
    assert records[1]["bytes_expected"] == records[1]["bytes_found"] + 1


def test_add_says_what_is_next_and_what_can_not_be(saved: Path, place: Path) -> None:
    said = CliRunner().invoke(app, ["add", HUB_ID, "--revision", "main"])
    assert said.exit_code == 0, said.output
    assert f"`vesalius add small --download`, or put its files in {place / 'inbox' / 'small'}" in said.stdout
    refused = CliRunner().invoke(app, ["add", str(saved), "--download"])
    assert (refused.exit_code, "is a folder here" in refused.stderr) == (2, True)
    refused = CliRunner().invoke(app, ["add", "nothing", "--download"])
    assert (refused.exit_code, "is no name of a model on a hub" in refused.stderr) == (2, True)


def test_a_model_without_a_commit_is_warned_of(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [ModelEntry(str(revision), saved, hub_id=HUB_ID, revision=revision) for revision in ("main", COMMIT)]
    warn_of_unpinned([*entries, ModelEntry("folder", saved)])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: main has no commit in models.toml, only 'main'.")


def test_a_run_of_all_models_leaves_those_alone_that_are_not_here(place: Path) -> None:
    _registry(place, f'[models.small]\nhub_id = "{HUB_ID}"\n')
    refused = CliRunner().invoke(app, ["run"])
    assert (refused.exit_code, "registers no model that is on this machine" in refused.stderr) == (2, True)
    refused = CliRunner().invoke(app, ["run", "--model", "small"])
    assert (refused.exit_code, "vesalius add maker/small --download" in refused.stderr) == (2, True)
