"""Audio files: what audiocraft's tests/data/test_audio.py asserts (MIT licence), and ours."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import soundfile
import torch
from torchaudio.transforms import Loudness

from musicgen_bridge import audio_info, audio_read, audio_write, f32_pcm, i16_pcm
from musicgen_bridge.errors import AudioError, DiskError, PathError

RATES_AND_CHANNELS = list(itertools.product([8_000, 16_000], [1, 2]))
each_rate_and_channels = pytest.mark.parametrize(("rate", "channels"), RATES_AND_CHANNELS)


def noise(channels: int, frames: int) -> torch.Tensor:
    return torch.randn(channels, frames, generator=torch.Generator().manual_seed(1234))


@pytest.fixture
def saved(tmp_path: Path):
    """Returns a function that writes noise of a second, or of so many frames, and returns it with its path."""

    def save(rate: int, channels: int, suffix: str = ".wav", frames: int | None = None) -> tuple[torch.Tensor, Path]:
        wav = noise(channels, frames or rate).mul(0.3).clamp(-0.99, 0.99)
        path = tmp_path / f"sample{suffix}"
        soundfile.write(path, wav.t().numpy(), rate)
        return wav, path

    return save


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@each_rate_and_channels
def test_info(saved, rate: int, channels: int, suffix: str) -> None:
    info = audio_info(saved(rate, channels, suffix)[1])
    assert (info.sample_rate, info.channels) == (rate, channels)
    if suffix != ".mp3":  # whose length encoders pad
        assert info.duration == pytest.approx(1.0, abs=1e-5)


@each_rate_and_channels
def test_read_whole_in_part_and_from_a_time(saved, rate: int, channels: int) -> None:
    wav, path = saved(rate, channels)
    for seek, duration in ((0.0, -1.0), (0.0, 0.37), (0.61, 1.0), (0.2, 0.3), (0.25, -1.0)):
        read, read_rate = audio_read(str(path), seek, duration)
        first = int(rate * seek)
        expected = wav[:, first : first + int(rate * duration) if duration > 0 else None]
        assert read_rate == rate
        assert read.shape == expected.shape
        assert torch.allclose(read, expected, rtol=1e-3, atol=1e-4)


@each_rate_and_channels
def test_read_padded(saved, rate: int, channels: int) -> None:
    wav, path = saved(rate, channels)
    read, _ = audio_read(path, 0.61, 1.0, pad=True)
    rest = rate - int(rate * 0.61)
    assert read.shape == (channels, rate)
    assert torch.allclose(read[:, :rest], wav[:, -rest:], rtol=1e-3, atol=1e-4)
    assert not read[:, rest:].any()


@each_rate_and_channels
def test_beyond_the_end_there_is_nothing(saved, rate: int, channels: int) -> None:
    read, _ = audio_read(saved(rate, channels)[1], 1.5, 1.0)
    assert read.shape == (channels, 0)


@pytest.mark.parametrize("frames", [1000, 1001, 1002])
@each_rate_and_channels
def test_the_last_frame_can_be_read(saved, rate: int, channels: int, frames: int) -> None:
    """int((frames - 1) / rate * rate) is not always frames - 1."""
    _, path = saved(rate, channels, frames=frames)
    seek = (frames - 1) / rate
    read, _ = audio_read(path, seek, frames / rate)
    assert read.shape == (channels, frames - int(seek * rate))


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
def test_other_formats_are_read_from_a_time_too(saved, suffix: str) -> None:
    _, path = saved(16_000, 2, suffix)
    whole, _ = audio_read(path)
    part, _ = audio_read(path, 0.5, 0.25)
    assert torch.allclose(part, whole[:, 8_000:12_000], atol=1e-4)


@pytest.mark.parametrize("frames", [1000, 1001, 1002])
@pytest.mark.parametrize("strategy", ["peak", "clip", "rms"])
@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "ogg"])
@each_rate_and_channels
def test_write(tmp_path: Path, rate: int, channels: int, kind: str, strategy: str, frames: int) -> None:
    wav, stem = noise(channels, frames), tmp_path / "pred"
    path = audio_write(stem, wav, rate, kind, strategy=strategy, log_clipping=False)
    assert path == tmp_path / f"pred.{kind}"
    read, read_rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert (read_rate, read.shape[1]) == (rate, channels)
    if kind in ("wav", "flac"):
        assert len(read) == frames
    if kind == "wav" and strategy != "clip":
        back = torch.from_numpy(read.T)
        back = back / back.abs().max() * wav.abs().max()
        # A Gaussian's peak is below 5 times its deviation, and RMS leaves four times as much headroom.
        assert torch.allclose(wav, back, rtol=0, atol=(5 if strategy == "peak" else 20) / 2**15)


def test_write_at_minus_14_lufs_as_the_readme_does(tmp_path: Path) -> None:
    wav = 0.02 * noise(1, 64_000)
    path = audio_write(tmp_path / "0", wav, 32_000, strategy="loudness", loudness_compressor=True)
    read, rate = audio_read(path)
    assert rate == 32_000
    assert float(Loudness(rate)(torch.atanh(read.clamp(-0.9999, 0.9999)))) == pytest.approx(-14, abs=0.05)


def test_wav_is_16_bits_to_the_bit_and_flac_24(tmp_path: Path) -> None:
    wav = 0.1 * noise(2, 4000)
    steps = i16_pcm(wav)
    assert torch.equal(audio_read(audio_write(tmp_path / "a", wav, 8_000, strategy="none"))[0], f32_pcm(steps))
    flac = audio_write(tmp_path / "a", wav, 8_000, "flac", strategy="none")
    assert torch.allclose(audio_read(flac)[0], wav, rtol=0, atol=2**-23)
    assert [soundfile.info(flac.with_suffix(f".{kind}")).subtype for kind in ("wav", "flac")] == ["PCM_16", "PCM_24"]


@pytest.mark.parametrize(("rate", "kbits"), [(32_000, 320), (32_000, 128), (16_000, 64)])
def test_mp3_has_the_rate_asked_for(tmp_path: Path, rate: int, kbits: int) -> None:
    path = audio_write(tmp_path / "a", noise(2, 10 * rate), rate, "mp3", mp3_rate=kbits)
    assert path.stat().st_size * 8 / 10_000 == pytest.approx(kbits, rel=0.03)


def test_a_lower_ogg_rate_is_a_smaller_file(tmp_path: Path) -> None:
    sizes = [
        audio_write(tmp_path / "a", noise(2, 320_000), 32_000, "ogg", ogg_rate=kbits).stat().st_size
        for kbits in (64, 128, 320)
    ]
    assert sizes == sorted(set(sizes))


def test_a_vector_is_mono_and_a_batch_is_refused(tmp_path: Path) -> None:
    assert audio_info(audio_write(tmp_path / "a", noise(1, 100)[0], 8_000)).channels == 1
    with pytest.raises(ValueError, match="at most 2 dimension"):
        audio_write(tmp_path / "b", noise(1, 100)[None], 8_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


def test_folders_are_made_and_the_suffix_may_be_one_s_own(tmp_path: Path) -> None:
    deep = tmp_path / "new" / "folder" / "take.final"
    assert audio_write(deep, noise(1, 100), 8_000) == deep.with_name("take.final.wav")
    assert audio_write(str(deep), noise(1, 100), 8_000, add_suffix=False) == deep
    assert audio_info(deep).channels == 1
    with pytest.raises(PathError):
        audio_write(tmp_path / "nowhere" / "a", noise(1, 100), 8_000, make_parent_dir=False)


def test_a_file_of_that_name_is_replaced_and_never_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = audio_write(tmp_path / "a", noise(1, 100), 8_000)
    audio_write(tmp_path / "a", noise(1, 200), 8_000)
    assert audio_read(path)[0].shape == (1, 200)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(DiskError, match="the disk is full"):
        patched.setattr("os.fsync", full)
        audio_write(tmp_path / "a", noise(1, 300), 8_000)
    assert audio_read(path)[0].shape == (1, 200)
    assert [one.name for one in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("wav", "kind", "error", "text"),
    [
        (torch.zeros(1, 10, dtype=torch.int16), "wav", AssertionError, "not floating point"),
        (torch.full((1, 10), torch.nan), "wav", AssertionError, "not finite"),
        (torch.ones(1, 10), "m4a", RuntimeError, "Invalid format m4a"),
        (torch.ones(9, 10), "flac", AudioError, "can't hold 9 channels"),
    ],
)
def test_what_can_t_be_written_leaves_nothing(
    tmp_path: Path, wav: torch.Tensor, kind: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        audio_write(tmp_path / "a", wav, 8_000, kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [audio_read, audio_info])
def test_what_is_no_audio_says_so(tmp_path: Path, read) -> None:
    (tmp_path / "a.wav").write_bytes(b"words")
    with pytest.raises(AudioError, match="can't be read as audio"):
        read(tmp_path / "a.wav")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "b.wav")
