"""Checkpoints that audiocraft 1.3.0 itself wrote, beside what its own classes compute from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import EncodecConfig, EncodecModel, T5EncoderModel
from twins import CODEC, MODELS, STARTER, TEXT, spread_codebooks

from musicgen_bridge import cli, models, settings
from musicgen_bridge.engine import Engine, Row, Sampling, omegaconf
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.checkpoint import read_pickle
from musicgen_bridge.engine.conditioning import condition
from musicgen_bridge.engine.convert import convert
from musicgen_bridge.errors import ExistsError, ModelError
from musicgen_bridge.worker.shelf import Shelf
from tests.hub_server import Hub, repository

CAPTURED = Path(__file__).parent / "audiocraft"
FAMILIES = ["text", "melody"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What such checkpoints name and don't hold: T5, and a codec, both of transformers' making."""
    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(2)
    T5EncoderModel(TEXT).save_pretrained(root / "t5")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, root / "t5")
    sizes = EncodecConfig(**{**CODEC.to_dict(), "codebook_size": 32, "target_bandwidths": [1.0]})
    codec = EncodecModel(sizes).requires_grad_(False)
    spread_codebooks(codec)
    codec.save_pretrained(root / "codec")
    return {"google-t5/t5-base": root / "t5", "facebook/encodec_32khz": root / "codec"}


@pytest.fixture(scope="module")
def engines(hub: dict[str, Path]) -> dict[str, Engine]:
    return {family: Engine.load(CAPTURED / family, "cpu", "float32", find=hub.__getitem__) for family in FAMILIES}


def logits(engine: Engine, known: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return our logits [1, K, T, V] for what audiocraft was given."""
    model, sequence = engine._model, known["sequence"]
    with torch.inference_mode():
        chromas = list(known["chroma"]) if "chroma" in known else None
        heard = condition(model, list(known["states"]), chromas, guided=False)
        x = torch.cat([heard.prefix, model.embed(sequence)], dim=1)
        position = torch.arange(x.shape[1])
        cache = Cache.allocate(model.config, 1, len(position), model.device, model.dtype)
        mask = model.mask(position, len(position), heard.start)
        states = model.forward(x, position, len(position), mask, cache, heard)[0, -sequence.shape[2] :]
        return model.logits(states).transpose(0, 1)[None]


def drawn(engine: Engine) -> np.ndarray:
    take = engine.generate([Row("lofi piano", 3)], 0.3, sampling=Sampling(top_k=20))
    assert len(np.unique(take.codes)) > 5
    return take.codes


@pytest.mark.parametrize("family", FAMILIES)
def test_the_language_model_computes_what_audiocraft_s_does(engines: dict[str, Engine], family: str) -> None:
    known = load_file(CAPTURED / family / "known.safetensors")
    ours, theirs = logits(engines[family], known), known["logits"]
    assert theirs.std() > 1
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_the_codec_encodes_and_decodes_as_audiocraft_s_does(engines: dict[str, Engine]) -> None:
    known = load_file(CAPTURED / "text" / "known.safetensors")
    codec = engines["text"]._codec
    assert codec.config.pad_mode == "constant"
    assert len(known["codes"].unique()) > 5
    assert torch.equal(codec.encode(known["wave"]), known["codes"])
    theirs = known["decoded"]
    assert (codec.decode(known["codes"]) - theirs).abs().max() < 1e-5 * theirs.abs().max()
    stream = codec.stream(1)
    pieces = [stream.push(known["codes"][..., :2]), stream.push(known["codes"][..., 2:], last=True)]
    assert (torch.cat(pieces, dim=2) - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_sizes_and_channels_are_read_from_its_settings(engines: dict[str, Engine]) -> None:
    text, melody = (engines[family] for family in FAMILIES)
    assert (text.family, text.channels, text.codebooks, text.codebook_size) == ("text", 1, 4, 32)
    assert (melody.family, melody.channels, melody.codebooks) == ("melody", 2, 8)
    assert melody._config.chroma_length == load_file(CAPTURED / "melody" / "known.safetensors")["chroma"].shape[1]
    assert {path.name for path in melody.files} == {"state_dict.bin", "compression_state_dict.bin", "model.safetensors"}


@pytest.mark.parametrize("family", FAMILIES)
def test_converted_it_draws_the_same_here_and_in_transformers(
    engines: dict[str, Engine], hub: dict[str, Path], tmp_path: Path, family: str
) -> None:
    folder = tmp_path / "made" / family
    convert(CAPTURED / family, folder, hub.__getitem__)
    assert [path.name for path in folder.parent.iterdir()] == [family]
    before = drawn(engines[family])
    assert np.array_equal(before, drawn(Engine.load(folder, "cpu", "float32")))
    kind = "musicgen_melody" if family == "melody" else "musicgen"
    model, told = MODELS[kind].from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not told["missing_keys"]
    known = load_file(CAPTURED / family / "known.safetensors")
    with torch.inference_mode():
        states = model.enc_to_dec_proj(known["states"])
        codes = known["sequence"][0]
        if family == "melody":
            states = torch.cat([model.audio_enc_to_dec_proj(known["chroma"]), states], 1)
        theirs = model.eval().decoder(codes, encoder_hidden_states=states).logits[:, -codes.shape[1] :]
    assert (theirs - known["logits"][0]).abs().max() < 1e-5 * theirs.abs().max()
    with pytest.raises(ExistsError, match="new folder"):
        convert(CAPTURED / family, folder, hub.__getitem__)


def test_what_a_trainer_pickled_is_read_without_omegaconf() -> None:
    """Its settings are objects of OmegaConf 2.4; those of an export are YAML."""
    package = read_pickle(CAPTURED / "trained.th", omegaconf.STAND_INS)
    exported = read_pickle(CAPTURED / "melody" / "state_dict.bin")
    assert isinstance(exported["xp.cfg"], str)
    read = omegaconf.settings(package["xp.cfg"])
    assert read == omegaconf.settings(exported["xp.cfg"])
    assert read["conditioners"]["self_wav"]["chroma_stem"]["sample_rate"] == 32_000
    with pytest.raises(ModelError, match="more than weights"):
        read_pickle(CAPTURED / "trained.th")


class Trap:
    """Pickled, it touches a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["xp.cfg", "best_state"])
def test_nothing_in_a_file_runs(tmp_path: Path, hub: dict[str, Path], where: str) -> None:
    torch.save({"best_state": {}, "xp.cfg": "", where: Trap(tmp_path / "sprung")}, tmp_path / "state_dict.bin")
    with pytest.raises(ModelError, match="not read for safety"):
        Engine.load(tmp_path, "cpu", find=hub.__getitem__)
    assert not (tmp_path / "sprung").exists()
    torch.load(tmp_path / "state_dict.bin", weights_only=False)
    assert (tmp_path / "sprung").exists()  # it would have


def changed(folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> None:
    package = torch.load(folder / file, weights_only=True)
    settings = yaml.safe_load(package["xp.cfg"])
    change(settings)
    torch.save({**package, "xp.cfg": yaml.safe_dump(settings)}, folder / file)


REFUSED: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "positional_embedding": ("state_dict.bin", lambda cfg: cfg["transformer_lm"].update(positional_embedding="rope")),
    "codebooks_pattern.modeling": ("state_dict.bin", lambda cfg: cfg["codebooks_pattern"].update(modeling="parallel")),
    "delays its codebooks": ("state_dict.bin", lambda cfg: cfg["codebooks_pattern"]["delay"].update(delays=[0] * 4)),
    "conditioned on description, genre": (
        "state_dict.bin",
        lambda cfg: cfg["conditioners"].update(genre={"model": "lut"}),
    ),
    "in a way unknown": ("state_dict.bin", lambda cfg: cfg["fuser"].update(cross=[], prepend=["description"])),
    "normalize": ("compression_state_dict.bin", lambda cfg: cfg["encodec"].update(renormalize=True)),
}


@pytest.mark.parametrize("says", REFUSED)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, hub: dict[str, Path], says: str) -> None:
    folder = Path(shutil.copytree(CAPTURED / "text", tmp_path / "model"))
    changed(folder, *REFUSED[says])
    with pytest.raises(ModelError, match=says):
        Engine.load(folder, "cpu", find=hub.__getitem__)


@pytest.mark.parametrize("file", ["state_dict.bin", "compression_state_dict.bin"])
def test_a_damaged_or_missing_file_is_named(tmp_path: Path, hub: dict[str, Path], file: str) -> None:
    folder = Path(shutil.copytree(CAPTURED / "text", tmp_path / "model"))
    path = folder / file
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match=file):
        Engine.load(folder, "cpu", find=hub.__getitem__)
    path.unlink()
    with pytest.raises(ModelError, match=r"config\.json|compression_state_dict\.bin"):
        Engine.load(folder, "cpu", find=hub.__getitem__)


def test_a_fine_tune_goes_from_the_hub_to_a_take(
    hub: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pulled, it says what it lacks; then it loads by its alias, and converted it draws the same."""
    config = tmp_path / "config.toml"
    config.write_text('[models]\ntune = "me/tune"\n', "utf-8")
    known = settings.load(file=config, environment={})
    with Hub() as running:
        running.reached(monkeypatch, tmp_path / "cache")
        for name, folder in {**hub, "me/tune": CAPTURED / "text"}.items():
            running.repositories[name] = repository({path.name: path.read_bytes() for path in folder.iterdir()})
        models.pull("me/tune", None, lambda text: None)
        with pytest.raises(ModelError, match="models pull google-t5/t5-base"):
            Shelf(replace(known, device="cpu", dtype="float32")).get("tune")
        models.pull("google-t5/t5-base", None, lambda text: None)
    before = drawn(Shelf(replace(known, device="cpu", dtype="float32")).get("tune").engine)
    with pytest.raises(SystemExit) as ended:
        cli.main(["models", "convert", "tune", str(tmp_path / "made"), "--config", str(config)])
    assert ended.value.code == 0
    assert np.array_equal(drawn(Engine.load(tmp_path / "made", "cpu", "float32")), before)


def test_what_it_needs_besides_is_told() -> None:
    with pytest.raises(ModelError, match=r"google-t5/t5-base.*pull"):
        Engine.load(CAPTURED / "text", "cpu")
