"""Channels, rate, level and PCM: what audiocraft's tests/data/test_audio_utils.py asserts (MIT licence), and ours."""

from __future__ import annotations

import math

import julius
import pytest
import torch
from torchaudio.transforms import Loudness

from musicgen_bridge import convert_audio, convert_audio_channels, f32_pcm, i16_pcm, normalize_audio


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("there", "wanted"), [(3, 2), (3, 3), (1, 3), (3, 1)])
def test_channels_down_up_and_as_they_are(there: int, wanted: int) -> None:
    audio = noise(2, there, 100)
    result = convert_audio_channels(audio, channels=wanted)
    assert list(result.shape) == [2, wanted, 100]
    expected = audio.mean(1, keepdim=True).expand(2, wanted, 100) if 1 in (there, wanted) else audio[:, :wanted]
    assert torch.equal(result, expected)


def test_two_channels_are_not_made_three() -> None:
    with pytest.raises(ValueError, match="2 channels"):
        convert_audio_channels(noise(2, 2, 100), channels=3)


@pytest.mark.parametrize(("there", "wanted"), [(3, 2), (1, 3)])
def test_a_rate_that_is_right_changes_channels_alone(there: int, wanted: int) -> None:
    audio = noise(2, there, 512)
    result = convert_audio(audio, from_rate=128, to_rate=128, to_channels=wanted)
    assert torch.equal(result, convert_audio_channels(audio, wanted))


@pytest.mark.parametrize(("old", "new"), [(2, 3), (3, 2)])
def test_resampling_is_julius_s(old: int, new: int) -> None:
    audio = noise(2, 1, 4 * old)
    result = convert_audio(audio, from_rate=old, to_rate=new, to_channels=1)
    assert torch.allclose(result, julius.resample.resample_frac(audio, old_sr=old, new_sr=new))


@pytest.mark.parametrize("strategy", ["clip", "rms", "peak"])
def test_what_is_too_loud_fits_afterwards(strategy: str) -> None:
    audio = 10.0 * noise(2, 1, 12)
    before = audio.clone()
    assert normalize_audio(audio, strategy=strategy).abs().max() <= 1
    assert torch.equal(audio, before)


def test_peak_and_clip_keep_their_headroom() -> None:
    audio = noise(2, 1000)
    assert float(normalize_audio(audio, peak_clip_headroom_db=6).abs().max()) == pytest.approx(10 ** (-6 / 20))
    clipped = normalize_audio(audio, strategy="clip", peak_clip_headroom_db=6)
    assert torch.equal(clipped, audio.clamp(-(10 ** (-6 / 20)), 10 ** (-6 / 20)))


def test_rms_is_that_of_the_mono_mix() -> None:
    result = normalize_audio(noise(2, 10_000), strategy="rms", rms_headroom_db=18)
    assert float(result.mean(0).pow(2).mean().sqrt()) == pytest.approx(10 ** (-18 / 20), rel=1e-4)


@pytest.mark.parametrize("strategy", ["peak", "rms"])
def test_without_normalize_nothing_gets_louder(strategy: str) -> None:
    quiet, loud = 0.01 * noise(2, 1000), 10 * noise(2, 1000)
    assert torch.equal(normalize_audio(quiet, normalize=False, strategy=strategy), quiet)
    assert torch.equal(normalize_audio(loud, False, strategy), normalize_audio(loud, True, strategy))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("level", [0.01, 0.2, 3.0])
@pytest.mark.parametrize("headroom", [14, 23])
def test_loudness_is_reached_whatever_it_was(channels: int, level: float, headroom: float) -> None:
    audio = level * noise(channels, 64_000)
    result = normalize_audio(audio, strategy="loudness", loudness_headroom_db=headroom, sample_rate=32_000)
    # torchaudio's own meter clips at full scale, so it is given a fourth of it.
    assert float(Loudness(32_000)(result / 4)) + 20 * math.log10(4) == pytest.approx(-headroom, abs=0.01)
    assert result.abs().max() <= 1


def test_the_compressor_bends_what_the_clipping_would_cut() -> None:
    audio = noise(1, 64_000)
    plain, bent = (
        normalize_audio(audio, strategy="loudness", loudness_compressor=on, loudness_headroom_db=3, sample_rate=32_000)
        for on in (False, True)
    )
    assert plain.abs().max() == 1
    assert bent.abs().max() < 1
    within = plain.abs() < 1
    assert torch.allclose(bent[within], torch.tanh(plain[within]), atol=1e-6)


def test_what_is_shorter_than_a_block_of_the_meter_has_a_loudness_too() -> None:
    short = normalize_audio(noise(1, 3_200), strategy="loudness", sample_rate=32_000)
    assert float(Loudness(32_000)(short.repeat(1, 10))) == pytest.approx(-14, abs=0.3)


@pytest.mark.parametrize("strategy", ["peak", "rms", "loudness", "clip", "none"])
def test_silence_stays_silence(strategy: str) -> None:
    silence = torch.zeros(2, 32_000)
    assert torch.equal(normalize_audio(silence, strategy=strategy, sample_rate=32_000), silence)


def test_what_is_nearly_silent_is_not_made_loud() -> None:
    hiss = 1e-3 * noise(1, 32_000)
    assert torch.equal(normalize_audio(hiss, strategy="loudness", sample_rate=32_000), hiss)


def test_clipping_is_told_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    loud = noise(1, 10_000)
    normalize_audio(loud, strategy="rms", rms_headroom_db=0)
    assert capsys.readouterr().err == ""
    normalize_audio(loud, strategy="rms", rms_headroom_db=0, log_clipping=True, stem_name="song")
    assert capsys.readouterr().err.startswith("CLIPPING song happening")


def test_bad_strategies_are_refused() -> None:
    with pytest.raises(AssertionError, match="Unexpected strategy: 'louder'"):
        normalize_audio(0.1 * torch.ones(1, 10), strategy="louder")
    with pytest.raises(AssertionError, match="requires sample rate"):
        normalize_audio(noise(1, 32_000), strategy="loudness")
    with pytest.raises(AssertionError):
        normalize_audio(torch.ones(1, 10), strategy="none")
    assert torch.equal(normalize_audio(0.5 * torch.ones(1, 10), strategy="none"), 0.5 * torch.ones(1, 10))


def test_pcm_there_and_back() -> None:
    every = torch.arange(-(2**15), 2**15).short()
    assert torch.equal(i16_pcm(f32_pcm(every)), every)
    assert float(f32_pcm(every).max()) == 1 - 2**-15
    assert torch.equal(i16_pcm(every), every)
    wave = noise(10).clamp(-1, 1)
    assert f32_pcm(wave) is wave


def test_full_scale_does_not_wrap_around() -> None:
    assert i16_pcm(torch.tensor([1.0, -1.0, 0.5])).tolist() == [32767, -32767, 16384]
    with pytest.raises(AssertionError):
        i16_pcm(torch.tensor([1.1]))
    with pytest.raises(AssertionError):
        f32_pcm(torch.zeros(3, dtype=torch.int32))
