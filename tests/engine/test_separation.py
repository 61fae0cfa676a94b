"""The melody is found better in the lead than in the whole mix, and Demucs' weights are loaded safely or not at all."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import signal

from musicgen_bridge.engine.chroma import melody_chroma
from musicgen_bridge.engine.separation import BY_DEMUCS, BY_HARMONICS, harmonic_lead, lead, separate
from musicgen_bridge.errors import ModelError

RATE = 44_100
SECONDS = 8


def melody() -> np.ndarray:
    """Return a sine melody in half seconds, [N]."""
    time = np.arange(RATE // 2) / RATE
    pitches = [523.25, 659.26, 587.33, 783.99, 698.46, 880.0, 493.88, 659.26] * (SECONDS // 4)
    swell = np.sin(np.pi * np.arange(len(time)) / len(time)) ** 0.5
    return np.concatenate([0.06 * swell * np.sin(2 * np.pi * hz * time) for hz in pitches])


def bass() -> np.ndarray:
    """Return a loud bass with overtones on another pitch, [N]."""
    time = np.arange(RATE * SECONDS) / RATE
    return sum(0.6 / n**2 * np.sin(2 * np.pi * 55.0 * 2 ** (1 / 12) * n * time) for n in range(1, 9))


def drums() -> np.ndarray:
    """Return eight bursts of noise a second, [N]."""
    noise = np.random.default_rng(0).normal(0, 0.8, RATE * SECONDS)
    decay = np.exp(-(np.arange(RATE * SECONDS) % (RATE // 8)) / (0.03 * RATE))
    return noise * decay


def right_frames(audio: np.ndarray) -> float:
    """Return which share of the chroma frames is that of the melody alone."""
    wanted = melody_chroma(melody()[None].astype(np.float32), RATE)
    return float((melody_chroma(audio, RATE).argmax(-1) == wanted.argmax(-1)).float().mean())


def test_the_fallback_hears_the_melody_through_bass_and_drums() -> None:
    mix = (melody() + bass() + drums())[None].astype(np.float32)
    found, label = lead(mix, RATE, None)
    assert label == BY_HARMONICS
    assert label.startswith("degraded")
    high = signal.sosfilt(signal.butter(4, 180, "highpass", fs=RATE, output="sos"), mix).astype(np.float32)
    assert right_frames(mix) < 0.4
    assert right_frames(found) > 0.85
    assert right_frames(found) > right_frames(high) + 0.1  # the split does its part, not only the filter


def test_the_fallback_keeps_tones_and_drops_strokes_and_bass() -> None:
    def kept(audio: np.ndarray) -> float:
        return float(np.sum(harmonic_lead(audio[None], RATE) ** 2) / np.sum(audio**2))

    assert kept(melody()) > 0.8
    assert kept(drums()) < 0.3
    assert kept(bass()) < 0.1


@pytest.mark.parametrize("sample_rate", [22_050, 32_000, 48_000, 96_000])
@pytest.mark.parametrize("samples", [0, 10, 4_001, 50_000])
def test_the_fallback_keeps_length_at_any_rate(sample_rate: int, samples: int) -> None:
    audio = np.random.default_rng(1).normal(0, 0.1, (2, samples)).astype(np.float32)
    found, _ = lead(audio, sample_rate, None)
    assert found.shape == (1, samples)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"klass": "subprocess.Popen", "args": '[["touch", "owned"]]', "kwargs": "{}"},
        {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": "{}", "structure": '{"_class": "os.system"}'},
    ],
    ids=["no class", "another class", "quantized"],
)
def test_weights_that_name_code_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match="not a plain Demucs model"):
        lead(np.zeros((2, 1_000), np.float32), RATE, tmp_path)


def test_pickles_and_broken_files_are_refused(tmp_path: Path) -> None:
    torch.save({"klass": dict}, tmp_path / "955717e8-8726e21a.th")
    with pytest.raises(ModelError, match="exactly one"):
        lead(np.zeros((2, 1_000), np.float32), RATE, tmp_path)
    (tmp_path / "955717e8.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="download it again"):
        lead(np.zeros((2, 1_000), np.float32), RATE, tmp_path)


def test_a_missing_demucs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": "{}"}
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=metadata)
    for module in ("demucs", "demucs.hf"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match="pip install"):
        lead(np.zeros((2, 1_000), np.float32), RATE, tmp_path)


@pytest.fixture
def demucs_folder(tmp_path: Path) -> Path:
    """Return a folder with a small random HTDemucs, written as Demucs' own tools/export_hf.py writes it."""
    htdemucs = pytest.importorskip("demucs.htdemucs", reason="the extra `separate` is not installed")
    torch.manual_seed(0)
    kwargs = {"sources": ["drums", "bass", "other", "vocals"], "channels": 8, "t_layers": 1, "bottom_channels": 16}
    model = htdemucs.HTDemucs(**kwargs, segment=Fraction(2, 1))
    metadata = {
        "klass": "demucs.htdemucs.HTDemucs",
        "args": "[]",
        "kwargs": json.dumps(kwargs | {"segment": {"_type": "fraction", "numerator": 2, "denominator": 1}}),
    }
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "955717e8.safetensors", metadata=metadata)
    return tmp_path


def test_demucs_gives_all_but_drums_and_bass(demucs_folder: Path) -> None:
    mix = (melody() + bass() + drums())[None, : 3 * RATE].astype(np.float32)
    sources = separate(mix, RATE, demucs_folder)
    assert list(sources) == ["drums", "bass", "other", "vocals"]
    found, label = lead(mix, RATE, demucs_folder)
    assert label == BY_DEMUCS
    assert found.shape == (2, mix.shape[1])
    assert np.abs(found).max() > 0
    np.testing.assert_array_equal(found, sources["other"] + sources["vocals"])


@pytest.mark.parametrize("shape", [(1, 30_001), (2, 30_001), (6, 30_001)])
def test_demucs_takes_any_channels_and_keeps_rate_and_length(demucs_folder: Path, shape: tuple[int, int]) -> None:
    audio = np.random.default_rng(2).normal(0, 0.1, shape).astype(np.float32)
    for source in separate(audio, 48_000, demucs_folder).values():
        assert source.shape == (2, 30_001)
