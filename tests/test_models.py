"""Models pulled from a hub on a real socket by the hub's own client: resumed, checked, pinned and removed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from musicgen_bridge import hub as hubs
from musicgen_bridge import models
from musicgen_bridge.errors import ArgumentError, BridgeError, DiskError, ModelError
from musicgen_bridge.settings import Settings, demucs_folder, model_folder
from tests.hub_server import Hub, Repository, repository

SMALL = "facebook/musicgen-small"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB
FILES = {
    "README.md": b"a card",
    "config.json": b'{"model_type": "musicgen"}',
    "tokenizer.json": b"{}",
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"the same again",
    "state_dict.bin": b"and again",
}
USED = {"README.md", "config.json", "tokenizer.json", "model.safetensors"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub({SMALL: repository(FILES)}) as running:
        running.reached(monkeypatch, tmp_path / "cache")
        yield running


def pull(name: str = SMALL, revision: str | None = None) -> tuple[Path, str]:
    told: list[str] = []
    return models.pull(name, revision, told.append), "\n".join(told)


def test_what_is_used_is_fetched_and_pinned(hub: Hub) -> None:
    with pytest.raises(ModelError, match=f"models pull {SMALL}"):
        model_folder("small", Settings())
    folder, told = pull()
    assert {path.name for path in folder.iterdir()} == USED == set(hub.fetched())
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert told == f"{SMALL}: 1.0 MB to fetch, licence cc-by-nc-4.0 (not for commercial use)"
    pin = hubs.pinned(SMALL)
    assert pin is not None
    assert (hubs.folder(SMALL) / "refs" / "main").read_text() == folder.name  # so that others find it too
    assert (pin.revision, pin.licence) == (hub.repositories[SMALL].refs["main"], "cc-by-nc-4.0")
    assert pin.files["model.safetensors"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert model_folder("small", Settings()) == folder  # also with no connection: it lies in the cache
    hub.asked.clear()
    assert pull()[0] == folder
    assert hub.fetched() == []


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)  # of 10 MB, in files of gigabytes
    hub.cut["model.safetensors"] = 350_000
    folder, _ = pull()
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    asked = [each for each in hub.asked if each[:2] == ("GET", "model.safetensors")]
    assert [span for _, _, span in asked] == ["", "bytes=300000-"]


def test_what_was_whole_before_a_failure_is_kept(hub: Hub) -> None:
    hub.failing = {"model.safetensors"}
    with pytest.raises(ModelError, match=r"refused \(403\)"):
        pull()
    assert hubs.pinned(SMALL) is None
    hub.failing.clear()
    hub.asked.clear()
    assert pull()[0].is_dir()
    assert "model.safetensors" in hub.fetched()
    assert len(hub.fetched()) < len(USED)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_what_came_with_a_wrong_checksum_is_deleted(hub: Hub, file: str) -> None:
    hub.altered = {file}
    with pytest.raises(ModelError, match=f"{file} came damaged"):
        pull()
    assert hubs.pinned(SMALL) is None
    hub.altered.clear()
    folder, _ = pull()
    assert (folder / file).read_bytes() == FILES[file]


def test_without_room_nothing_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.claimed = {"model.safetensors": 10**15}
    with pytest.raises(DiskError, match=rf"needs 1000000\.0 GB, and .* GB are free in {tmp_path}.*HF_HOME"):
        pull()
    assert hub.asked == []


def test_without_a_connection_it_says_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder, _ = pull()
    with Hub() as gone:
        gone.reached(monkeypatch, tmp_path / "cache")
    with pytest.raises(ModelError, match=r"no connection.*copy the folder from another machine"):
        pull("facebook/musicgen-large")
    assert model_folder("small", Settings()) == folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="no connection"):
        pull("facebook/musicgen-large")


def test_the_revision_stays_until_another_is_asked_for(hub: Hub) -> None:
    old, new = "1" * 40, "2" * 40
    hub.repositories[SMALL] = Repository({old: FILES, new: FILES | {"config.json": b"{}"}}, {"main": old})
    assert pull()[0].name == old
    hub.repositories[SMALL].refs["main"] = new
    assert pull()[0].name == old
    folder, _ = pull(revision="main")
    assert folder.name == new
    assert model_folder("small", Settings()) == folder
    assert pull(revision=old)[0].name == old
    with pytest.raises(ModelError, match="not in that revision"):
        pull(revision="no-such-branch")


def test_verify_tells_what_was_changed_since(hub: Hub) -> None:
    with pytest.raises(ModelError, match="was not pulled"):
        models.verify(SMALL)
    folder, _ = pull()
    assert models.verify(SMALL) == dict.fromkeys(hubs.pinned(SMALL).files, "ok")  # type: ignore[union-attr]
    weights = (folder / "model.safetensors").resolve()
    weights.chmod(0o644)
    weights.write_bytes(WEIGHTS[:-1] + b"x")
    (folder / "config.json").unlink()
    states = models.verify(SMALL)
    assert {file: state for file, state in states.items() if state != "ok"} == {
        "model.safetensors": "changed",
        "config.json": "missing",
    }


def test_remove_frees_what_pull_took(hub: Hub, tmp_path: Path) -> None:
    pull()
    assert models.remove(SMALL) >= len(WEIGHTS)
    assert not list((tmp_path / "cache").glob("models--*"))
    with pytest.raises(ModelError, match="nothing to remove"):
        models.remove(SMALL)
    with pytest.raises(ModelError, match="models pull"):
        model_folder("small", Settings())


REFUSED: dict[str, tuple[Callable[[Hub], None], type[BridgeError], str]] = {
    "me/nothing": (lambda hub: None, ModelError, "the hub has no me/nothing"),
    "me/gated": (lambda hub: hub.gated.add("me/gated"), ModelError, "hf auth login"),
    "me/bare": (lambda hub: None, ModelError, "no weights of a form that is read"),
    "me/--no..name": (lambda hub: None, ArgumentError, "no name on the hub"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_pulled_says_why(hub: Hub, name: str) -> None:
    spoil, error, says = REFUSED[name]
    hub.repositories |= {"me/gated": repository(FILES), "me/bare": repository({"README.md": b"soon"})}
    spoil(hub)
    with pytest.raises(error, match=says):
        pull(name)


# As the published repositories had them in 2025.
TOKENIZER = ["special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer_config.json"]
BOTH = [".gitattributes", "README.md", "config.json", "generation_config.json", "preprocessor_config.json", *TOKENIZER]
CRAFT = ["compression_state_dict.bin", "state_dict.bin"]
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
PICKLED = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"]
PUBLISHED = {
    "small": ([*BOTH, *CRAFT, "model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
    "melody": ([*BOTH, *CRAFT, *SHARDS], SHARDS),
    "large": ([*BOTH, *CRAFT, *PICKLED], PICKLED),
    "stereo-large": ([*BOTH, *CRAFT, *SHARDS, "model.safetensors.index.fp32.json", *PICKLED], SHARDS),
    "fine-tuned": (["README.md", *CRAFT], CRAFT),
    "adapter": (["adapter_config.json", "adapter_model.safetensors"], ["adapter_model.safetensors"]),
    "t5-base": (
        [*BOTH, "model.safetensors", "pytorch_model.bin", "tf_model.h5", "rust_model.ot"],
        ["model.safetensors"],
    ),
    "Demucs": (["README.md", "955717e8.safetensors"], ["955717e8.safetensors"]),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_one_form_of_the_weights_is_enough(kind: str) -> None:
    there, weights = PUBLISHED[kind]
    wanted = models._wanted("name", there)
    ends = (".safetensors", ".bin", ".h5", ".ot", ".index.json", "fp32.json")
    assert sorted(file for file in wanted if file.endswith(ends)) == sorted(weights)
    assert {"config.json", "tokenizer.json", "adapter_config.json"} & set(there) <= set(wanted)


def test_demucs_and_others_are_listed_once_they_were_pulled(hub: Hub) -> None:
    hub.repositories |= {
        "adefossez/HTDemucs": repository({"955717e8.safetensors": WEIGHTS}, licence="mit"),
        "me/tune": repository({"state_dict.bin": WEIGHTS, "compression_state_dict.bin": b"x"}, licence=""),
    }
    settings = Settings(demucs="adefossez/HTDemucs")
    pull(models.hub_name("demucs", settings))
    pull("me/tune")
    listed = {one.model: one for one in models.listing(settings)}
    assert demucs_folder(settings) == Path(str(listed["demucs"].folder))
    assert (listed["demucs"].licence, listed["me/tune"].licence, listed["small"].licence) == ("mit", "", "cc-by-nc-4.0")
    assert listed["demucs"].bytes == len(WEIGHTS)
    assert listed["large"].folder is None
    assert "models pull facebook/musicgen-large" in str(listed["large"].missing)
    with pytest.raises(ArgumentError, match="no name on the hub"):
        models.hub_name("starter", settings)
    mine = replace(settings, models={"mine": str(listed["demucs"].folder)})
    with pytest.raises(ArgumentError, match="no name on the hub"):
        models.hub_name("mine", mine)


def test_from_the_shell(hub: Hub, tmp_path: Path) -> None:
    """The client draws its progress on stderr; stdout has what a script reads."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        ran = [sys.executable, "-m", "musicgen_bridge.cli", "models", *arguments]
        return subprocess.run(ran, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)

    pulled = run("pull", "small", "--json")
    folder = Path(json.loads(pulled.stdout)["folder"])
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert "not for commercial use" in pulled.stderr
    assert "4/4" in pulled.stderr
    assert {line.split()[0] for line in run("verify", "small").stdout.splitlines()} == {"ok"}
    (folder / "config.json").unlink()
    spoilt = run("verify", "small", "--json")
    assert (spoilt.returncode, json.loads(spoilt.stdout)["files"]["config.json"]) == (1, "missing")
    assert "freed 1.1 MB" in run("remove", "small").stdout
    failed = run("pull", "me/nothing", "--json")
    assert (failed.returncode, json.loads(failed.stdout)["error"]["code"]) == (1, "E_MODEL")
