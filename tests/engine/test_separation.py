"""The melody is found better in the lead than in the whole mix; stems are routed, sum to the mix and go round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal

from musicgen_bridge.engine.chroma import melody_chroma
from musicgen_bridge.engine.demucs_weights import load_demucs
from musicgen_bridge.engine.separation import (
    AS_IT_IS,
    BY_DEMUCS,
    BY_HARMONICS,
    harmonic_lead,
    melody_of,
    separate,
    split,
    within_full_scale,
)
from musicgen_bridge.errors import CancelledError, ModelError
from tests import small_demucs

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
    found, label = melody_of(mix, RATE, None)
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
    found, _ = melody_of(audio, sample_rate, None)
    assert found.shape == (1, samples)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


@pytest.fixture
def demucs(tmp_path: Path) -> Any:
    """Return a small random HTDemucs."""
    small_demucs.make(tmp_path)
    return load_demucs(tmp_path)


class Bands(torch.nn.Module):
    """A model whose estimates are known: bass is what lies under 300 Hz, drums what lies over 3 kHz, of each segment.

    Vocals drift: they are a constant that depends on where in its segment a sample stands.
    """

    sources = ("drums", "bass", "other", "vocals")
    samplerate, audio_channels, segment = RATE, 2, 1.5

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(mix)
        hertz = torch.fft.rfftfreq(mix.shape[-1], 1 / RATE)
        low, high = (torch.fft.irfft(spectrum * (band), mix.shape[-1]) for band in (hertz < 300, hertz > 3000))
        drift = torch.linspace(0, 0.1, mix.shape[-1]).expand_as(mix)
        return torch.stack([high, low, mix - low - high, drift], dim=1)  # [B, S, C, N]


def sines(*hertz: float, seconds: float = 3.0, rate: int = RATE) -> np.ndarray:
    """Return sines that go round in whole periods, [1, N]."""
    time = np.arange(round(rate * seconds)) / rate
    return sum(0.2 * np.sin(2 * np.pi * one * time) for one in hertz)[None].astype(np.float32)


def decibels(audio: np.ndarray) -> float:
    return 20 * float(np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64))) + 1e-12))


def test_each_stem_holds_its_own_source() -> None:
    mix = sines(100, 1000, 6000)
    stems = split(Bands(), mix, RATE, loop=True)
    middle = slice(RATE // 2, -RATE // 2)
    for name, hertz in (("bass", 100), ("drums", 6000)):
        assert decibels((stems[name] - sines(hertz))[:, middle]) < -60
    np.testing.assert_allclose(stems["other"], (mix - stems["bass"] - stems["drums"] - stems["vocals"]), atol=1e-6)


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_stems_sum_to_the_mix(demucs: Any, channels: int, rate: int, loop: bool) -> None:
    mix = np.random.default_rng(3).normal(0, 0.2, (channels, rate + 7)).astype(np.float32)  # beyond 22 kHz too
    stems = split(demucs, mix, rate, loop=loop)
    assert list(stems) == ["drums", "bass", "other", "vocals"]
    assert all(stem.shape == mix.shape and stem.dtype == np.float32 for stem in stems.values())
    assert decibels(sum(stems.values()) - mix) < decibels(mix) - 100


def test_a_loop_s_stems_go_round_without_a_step() -> None:
    mix = sines(100, 1000, 6000)

    def steps(loop: bool) -> list[float]:
        stems = split(Bands(), mix, RATE, loop=loop)
        return [float(np.abs(stems[name][:, 0] - stems[name][:, -1]).max()) for name in ("bass", "vocals")]

    assert max(steps(loop=False)) > 0.01  # each segment's own estimates meet there
    bass, vocals = steps(loop=True)
    assert bass < 2 * np.pi * 100 / RATE * 0.2 * 1.1  # no steeper than the sine itself
    assert vocals < 1e-4


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("loud", [1.2, 2.0, 8.0])
def test_stems_keep_their_sum_within_full_scale(loud: float, loop: bool) -> None:
    rng = np.random.default_rng(4)
    mix = np.clip(rng.normal(0, 0.1, (2, RATE)), -1, 1).astype(np.float32)
    stems = {name: rng.normal(0, 0.05, (2, RATE)).astype(np.float32) for name in ("drums", "bass", "vocals")}
    stems["drums"][:, 10_000:10_050] += loud
    stems["bass"][0, 10_010] -= loud
    stems["vocals"][1, -3:] -= loud
    stems["other"] = mix - sum(stems.values())
    kept = within_full_scale(stems, RATE, loop=loop)
    assert max(np.abs(stem).max() for stem in kept.values()) < 1 + 1e-5
    np.testing.assert_allclose(sum(kept.values()), mix, atol=1e-6)
    calm = slice(12_000, 40_000)  # nothing is touched where nothing is too loud
    for name, stem in stems.items():
        np.testing.assert_allclose(kept[name][:, calm], stem[:, calm], atol=1e-6)


def test_stems_of_a_mix_beyond_full_scale_go_no_further_than_it() -> None:
    mix = np.full((1, 1_000), 1.5, np.float32)
    stems = {"drums": mix * 2, "bass": mix * 0, "vocals": mix * 0, "other": -mix}
    kept = within_full_scale(stems, RATE, loop=False)
    np.testing.assert_allclose(sum(kept.values()), mix, atol=1e-6)
    assert max(np.abs(stem).max() for stem in kept.values()) <= 1.5 + 1e-5


def test_progress_counts_segments_and_a_cancel_ends_within_one(demucs: Any) -> None:
    mix = sines(440, seconds=6.0)
    seen: list[tuple[int, int]] = []
    split(demucs, mix, RATE, loop=False, on_step=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert set(seen) == {(done, 4) for done in range(5)}
    assert seen.count((1, 4)) > 50  # each layer of the second segment is a moment to be cancelled

    calls = []

    def cancel(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 20:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        split(demucs, mix, RATE, loop=False, on_step=cancel)
    assert len(calls) == 20 and set(calls) == {0}
    split(demucs, mix, RATE, loop=False)
    assert len(calls) == 20  # nothing of it is left in the model


def test_demucs_gives_all_but_drums_and_bass(demucs: Any) -> None:
    mix = (melody() + bass() + drums())[None, : 3 * RATE].astype(np.float32)
    sources = separate(demucs, mix, RATE)
    assert list(sources) == ["drums", "bass", "other", "vocals"]
    found, label = melody_of(mix, RATE, demucs)
    assert label == BY_DEMUCS
    assert found.shape == (2, mix.shape[1])
    assert np.abs(found).max() > 0
    np.testing.assert_array_equal(found, sources["other"] + sources["vocals"])


def test_any_part_of_a_recording_can_be_its_melody() -> None:
    mix = sines(100, 1000, 6000)
    middle = slice(RATE // 2, -RATE // 2)
    for part, hertz in (("bass", 100), ("drums", 6000)):
        found, label = melody_of(mix, RATE, Bands(), part)
        assert label == f"demucs: {part}"
        assert decibels((found - sines(hertz))[:, middle]) < -60
    whole, label = melody_of(mix, RATE, None, "all")
    assert label == AS_IT_IS
    np.testing.assert_array_equal(whole, mix)
    with pytest.raises(ModelError, match="from the vocals without Demucs"):
        melody_of(mix, RATE, None, "vocals")


@pytest.mark.parametrize("shape", [(1, 30_001), (2, 30_001), (6, 30_001)])
def test_demucs_takes_any_channels_and_keeps_rate_and_length(demucs: Any, shape: tuple[int, int]) -> None:
    audio = np.random.default_rng(2).normal(0, 0.1, shape).astype(np.float32)
    for source in separate(demucs, audio, 48_000).values():
        assert source.shape == (2, 30_001)
