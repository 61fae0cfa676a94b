"""A stereo model from its request to its files: two channels, each where it belongs, also of what is gone on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import EncodecConfig, MusicgenConfig

from musicgen_bridge.asking.build_request import make_request
from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.match import needed_seconds
from musicgen_bridge.request import RenderRequest, Session, Stem
from musicgen_bridge.settings import STARTER, Settings
from musicgen_bridge.worker.targets import target_of
from musicgen_bridge.worker.worker import Worker, described
from tests.engine import twins


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """A worker whose model draws at random from eight codebooks, and has the starter's codec: its noise is alive."""
    folder = tmp_path_factory.mktemp("stereo")
    config = MusicgenConfig(
        text_encoder=twins.TEXT,
        audio_encoder=EncodecConfig.from_pretrained(STARTER),
        decoder=twins.text_config(
            num_codebooks=8, audio_channels=2, vocab_size=1024, pad_token_id=1024, bos_token_id=1024
        ).decoder,
    )
    twins.save(folder, config)
    own, starters = (load_file(where / "model.safetensors") for where in (folder, STARTER))
    tensors = {name: each for name, each in own.items() if not name.startswith("audio_encoder.")}
    tensors |= {name: each.float() for name, each in starters.items() if name.startswith("audio_encoder.")}
    save_file(tensors, folder / "model.safetensors")
    return Worker(Settings(device="cpu", roots=(folder.parent,), model="stereo", models={"stereo": str(folder)}))


def asked(folder: Path, **values: object) -> RenderRequest:
    session = Session(project=str(folder), bpm=126.5)
    return make_request({"prompt": "wide pads", "seconds": 1.5, "seed": 3, **values}, session, {"model": "stereo"})  # type: ignore[dict-item]


def read(stem: Stem) -> np.ndarray:
    audio, rate = soundfile.read(stem.path, always_2d=True)
    assert (len(audio), rate) == (stem.frames, stem.sample_rate)
    return audio


def alone(engine: Engine, codes: np.ndarray, side: int) -> np.ndarray:
    """Return what the codec makes of one side's codes [1, K, T]; the books alternate left and right."""
    return engine._codec.decode(torch.from_numpy(codes[:, side::2].copy()))[0, 0].numpy()


def alike(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.corrcoef(left, right)[0, 1])


def test_a_stem_has_the_model_s_two_channels(worker: Worker, tmp_path: Path) -> None:
    request = asked(tmp_path)
    (stem,) = worker.render(request)
    audio = read(stem)
    assert audio.shape == (72_000, 2)
    assert alike(*audio.T) < 0.9
    engine: Engine = worker.models.get("stereo").engine
    row = Row(described(request.prompt, request), request.seed)
    take = engine.generate([row], needed_seconds(target_of(request)), sampling=Sampling())
    (raw,) = (tmp_path / "MusicGen" / ".raw").iterdir()
    kept = soundfile.read(raw, always_2d=True)[0].T
    assert kept.shape == take.audio[0].shape
    assert np.abs(kept - take.audio[0]).max() < 1e-4 * np.abs(kept).max()
    left, right = (alone(engine, take.codes, side) for side in (0, 1))
    assert np.abs(kept - np.stack([left, right])[:, : kept.shape[1]]).max() < 1e-4 * np.abs(kept).max()


def test_plainly_matched_and_looped_both_channels_stay_apart(worker: Worker, tmp_path: Path) -> None:
    plain, looped = (worker.render(asked(tmp_path, match=match, loop=match))[0] for match in (False, True))
    for stem in (plain, looped):
        assert alike(*read(stem).T) < 0.9
    stems = worker.render(asked(tmp_path, format="flac", variations=2))
    assert [read(stem).shape for stem in stems] == [(72_000, 2)] * 2


def test_what_is_gone_on_from_keeps_its_sides(worker: Worker, tmp_path: Path) -> None:
    time = np.arange(48_000) / 48_000
    sides = np.stack([0.4 * np.sin(2 * np.pi * 220 * time), np.zeros_like(time)], axis=1)
    soundfile.write(tmp_path / "left.wav", sides, 48_000)
    soundfile.write(tmp_path / "right.wav", sides[:, ::-1], 48_000)
    left, right = (
        worker.render(asked(tmp_path, **{"continue": str(tmp_path / f"{side}.wav")}))[0] for side in ("left", "right")
    )
    assert read(left).shape == (72_000, 2)
    assert not np.array_equal(read(left), read(right))
    engine = worker.models.get("stereo").engine
    heard = sides.T[None].astype(np.float32)[..., ::3].copy()
    codes, swapped = engine.encode(heard), engine.encode(heard[:, ::-1].copy())
    assert np.array_equal(codes[:, 0::2], swapped[:, 1::2])
    assert not np.array_equal(codes[:, 0::2], codes[:, 1::2])
