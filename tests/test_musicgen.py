"""MusicGen as audiocraft's class: what its own tests assert, and what its README and docstrings promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import musicgen_bridge
from musicgen_bridge import MusicGen
from musicgen_bridge.engine import Row, Sampling
from musicgen_bridge.errors import AudioError, ModelError
from musicgen_bridge.settings import STARTER
from tests import small_demucs


@pytest.fixture
def model() -> MusicGen:
    """Audiocraft's own way to a model that is ready in a moment."""
    torch.manual_seed(7)
    mg = MusicGen.get_pretrained(name="debug", device="cpu")
    mg.set_generation_params(duration=2.0, extend_stride=2.0)
    return mg


@pytest.fixture(scope="module")
def starter() -> MusicGen:
    mg = MusicGen.get_pretrained("starter", device="cpu")
    mg.set_generation_params(duration=0.5, extend_stride=2.0)
    return mg


def tone(hertz: float, seconds: float = 1.0, rate: int = 32_000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(rate * seconds)) / rate)[None]  # [1, T]


class TestAudiocraftsOwn:
    """The assertions of audiocraft's tests/models/test_musicgen.py (MIT licence)."""

    def test_base(self, model: MusicGen) -> None:
        assert model.frame_rate == 25
        assert model.sample_rate == 32_000
        assert model.audio_channels == 1

    def test_generate_unconditional(self, model: MusicGen) -> None:
        assert list(model.generate_unconditional(3).shape) == [3, 1, 64_000]

    def test_generate_continuation(self, model: MusicGen) -> None:
        assert list(model.generate_continuation(torch.randn(3, 1, 32_000), 32_000).shape) == [3, 1, 64_000]
        prompt = torch.randn(2, 1, 32_000)
        assert list(model.generate_continuation(prompt, 32_000, ["youpi", "lapin dort"]).shape) == [2, 1, 64_000]
        with pytest.raises(AssertionError):
            model.generate_continuation(prompt, 32_000, ["youpi", "lapin dort", "one too many"])

    def test_generate(self, model: MusicGen) -> None:
        assert list(model.generate(["youpi", "lapin dort"]).shape) == [2, 1, 64_000]

    def test_generate_long(self, model: MusicGen) -> None:
        model.max_duration = 3.0
        model.set_generation_params(duration=4.0, extend_stride=2.0)
        assert list(model.generate(["youpi", "lapin dort"]).shape) == [2, 1, 32_000 * 4]


def test_the_default_is_fifteen_seconds_in_windows_of_thirty() -> None:
    model = MusicGen.get_pretrained("debug", device="cpu")
    assert (model.duration, model.max_duration, model.extend_stride) == (15, 30, 18)
    assert model.generation_params == {
        "use_sampling": True,
        "temperature": 1.0,
        "top_k": 250,
        "top_p": 0.0,
        "cfg_coef": 3.0,
        "two_step_cfg": False,
    }


def test_tokens_come_along_and_are_the_audio(model: MusicGen) -> None:
    wav, tokens = model.generate(["youpi", "lapin dort"], return_tokens=True)
    assert list(tokens.shape) == [2, 4, 50]
    assert torch.equal(model.generate_audio(tokens), wav)
    assert torch.equal(model.compression_model.decode(tokens, None), wav)


def test_the_compression_model_encodes_what_it_can_decode(model: MusicGen) -> None:
    codec = model.compression_model
    assert (codec.sample_rate, codec.frame_rate, codec.channels) == (32_000, 25, 1)
    codes, scale = codec.encode(torch.randn(2, 1, 12_800))
    assert scale is None
    assert (codes.shape, codec.num_codebooks, codec.cardinality) == ((2, 4, 10), 4, 400)
    assert codes.min() >= 0 and codes.max() < 400
    assert codec.decode(codes).shape == (2, 1, 12_800)
    with pytest.raises(AudioError, match=r"\[B, 1, N\]"):
        codec.encode(torch.randn(2, 2, 12_800))


def test_a_seed_of_torch_repeats_a_result_and_the_next_is_another(model: MusicGen) -> None:
    torch.manual_seed(1)
    first, second = model.generate_unconditional(1), model.generate_unconditional(1)
    torch.manual_seed(1)
    assert torch.equal(model.generate_unconditional(1), first)
    assert not torch.equal(first, second)


def test_it_is_the_daemon_s_engine(model: MusicGen) -> None:
    """The same row gives the same samples through either door."""
    torch.manual_seed(3)
    (seed,) = torch.randint(2**31, (1,)).tolist()
    torch.manual_seed(3)
    theirs = model.generate(["youpi"])
    ours = model._engine.generate([Row("youpi", seed)], 2.0, sampling=Sampling()).audio
    assert np.array_equal(theirs.numpy(), ours)


def test_without_sampling_or_with_temperature_0_the_likeliest_code_is_taken(model: MusicGen) -> None:
    model.set_generation_params(use_sampling=False, duration=1)
    first = model.generate(["youpi"])
    model.set_generation_params(temperature=0, duration=1)
    assert torch.equal(model.generate(["youpi"]), first)
    model.set_generation_params(top_k=1, duration=1)
    assert torch.equal(model.generate(["youpi"]), first)
    model.set_generation_params(duration=1)
    assert not torch.equal(model.generate(["youpi"]), first)


def drawn(model: MusicGen, **params: object) -> torch.Tensor:
    model.set_generation_params(duration=1, **params)
    torch.manual_seed(5)
    return model.generate(["youpi"], return_tokens=True)[1]


def test_top_p_is_taken_instead_of_top_k(model: MusicGen) -> None:
    assert torch.equal(drawn(model, top_p=0.9, top_k=1), drawn(model, top_p=0.9, top_k=0))
    assert not torch.equal(drawn(model, top_p=0.5), drawn(model))


def test_guidance_matters_and_two_steps_of_it_are_one(model: MusicGen) -> None:
    assert torch.equal(drawn(model, two_step_cfg=True), drawn(model))
    assert not torch.equal(drawn(model, cfg_coef=1.0), drawn(model))


def test_the_stride_says_what_a_window_hears(model: MusicGen) -> None:
    """Both begin alike; after the first window they hear differently much of it."""
    model.max_duration = 2.0
    first, second = (drawn_long(model, stride) for stride in (0.5, 1.5))
    assert torch.equal(first[:, :, :50], second[:, :, :50])
    assert not torch.equal(first, second)


def drawn_long(model: MusicGen, stride: float) -> torch.Tensor:
    model.set_generation_params(duration=4, extend_stride=stride)
    torch.manual_seed(5)
    return model.generate(["youpi"], return_tokens=True)[1]


def test_a_stride_as_long_as_a_window_is_refused(model: MusicGen) -> None:
    with pytest.raises(AssertionError, match="Cannot stride"):
        model.set_generation_params(extend_stride=30)
    model.max_duration = 1.0  # now shorter than the stride that was set
    with pytest.raises(AssertionError, match="Cannot stride"):
        model.generate(["youpi"])


def test_progress_is_told_only_where_it_is_asked_for(model: MusicGen, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    model.set_custom_progress_callback(lambda done, total: told.append((done, total)))
    model.generate(["youpi"])
    assert told == []
    model.generate(["youpi"], progress=True)
    assert told == [(step, 53) for step in range(1, 54)]  # 50 frames, and a delay of 3
    assert capsys.readouterr().out == ""
    model.set_custom_progress_callback()
    model.generate(["youpi"], progress=True)
    assert capsys.readouterr().out.split("\r")[-2:] == ["    53 /     53", ""]


def test_each_row_goes_on_from_its_own_prompt(model: MusicGen) -> None:
    prompts = torch.randn(2, 1, 32_000)
    _, tokens = model.generate_continuation(prompts, 32_000, ["youpi", None], return_tokens=True)
    assert torch.equal(tokens[:, :, :25], model.compression_model.encode(prompts)[0])
    assert not torch.equal(tokens[0, :, :25], tokens[1, :, :25])


@pytest.mark.parametrize("shape", [(1, 16_000), (1, 1, 16_000), (2, 16_000), (1, 2, 16_000)])
def test_a_prompt_of_another_rate_and_in_stereo_is_converted(model: MusicGen, shape: tuple[int, ...]) -> None:
    assert list(model.generate_continuation(torch.randn(shape), 16_000).shape) == [1, 1, 64_000]


def test_a_prompt_of_no_whole_frames_keeps_its_beginning(model: MusicGen) -> None:
    prompt = torch.randn(1, 1, 32_000 + 500)
    wav, tokens = model.generate_continuation(prompt, 32_000, return_tokens=True)
    assert list(wav.shape) == [1, 1, 64_000]
    assert torch.equal(tokens[:, :, :25], model.compression_model.encode(prompt[..., :32_000])[0])


def test_bad_prompts_are_refused(model: MusicGen) -> None:
    with pytest.raises(ValueError, match="3 dimensions"):
        model.generate_continuation(torch.randn(32_000), 32_000)
    for seconds in (2, 3):
        with pytest.raises(AssertionError, match="longer than audio to generate"):
            model.generate_continuation(torch.randn(1, 1, 32_000 * seconds), 32_000)
    with pytest.raises(AudioError, match="too short"):
        model.generate_continuation(torch.randn(1, 1, 100), 32_000)


def test_a_model_without_melody_says_so(model: MusicGen) -> None:
    with pytest.raises(RuntimeError, match="doesn't support melody"):
        model.generate_with_chroma(["youpi"], tone(440), 32_000)


def test_the_melody_is_heard(starter: MusicGen) -> None:
    def codes(melodies: object) -> torch.Tensor:
        torch.manual_seed(2)
        return starter.generate_with_chroma(["rock", "rock"], melodies, 32_000, return_tokens=True)[1]

    batch = torch.stack([tone(262), tone(440)])  # [2, 1, T]
    both = codes(batch)
    assert list(both.shape) == [2, 4, 25]
    assert torch.equal(codes(list(batch)), both)
    only_first = codes([batch[0], None])
    assert torch.equal(only_first[0], both[0])
    assert not torch.equal(only_first[1], both[1])


def test_one_melody_needs_no_batch(starter: MusicGen) -> None:
    assert list(starter.generate_with_chroma(["rock"], tone(262), 32_000).shape) == [1, 1, 16_000]


def test_bad_melodies_are_refused(starter: MusicGen) -> None:
    with pytest.raises(ValueError, match=r"\[B, C, T\]"):
        starter.generate_with_chroma(["rock"], tone(262)[0], 32_000)
    with pytest.raises(AssertionError, match="wrong number of dims"):
        starter.generate_with_chroma(["rock"], [tone(262)[0]], 32_000)
    with pytest.raises(AssertionError, match="got melody len=1, and descriptions len=2"):
        starter.generate_with_chroma(["rock", "jazz"], [tone(262)], 32_000)


def test_demucs_finds_the_part_that_is_the_melody(
    starter: MusicGen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a Demucs that finds nothing in any recording, the whole alone has a melody."""
    small_demucs.make(tmp_path, levels=(0.0, 0.0, 0.0, 0.0))
    monkeypatch.setenv("MUSICGEN_BRIDGE_DEMUCS", str(tmp_path))
    model = MusicGen.get_pretrained("starter", device="cpu")
    model.set_generation_params(duration=0.1)

    def codes(part: str) -> torch.Tensor:
        torch.manual_seed(2)
        return model.generate_with_chroma(["rock"], tone(262), 32_000, return_tokens=True, melody_part=part)[1]

    assert list(codes("all").shape) == [1, 4, 5]
    for part in ("lead", "vocals"):
        with pytest.raises(AudioError, match="silent"):
            codes(part)
    with pytest.raises(ModelError, match="models pull demucs"):
        starter.generate_with_chroma(["rock"], tone(262), 32_000, melody_part="vocals")
    with pytest.raises(ValueError, match="melody_part should be one of lead, all, drums"):
        codes("guitar")


def test_a_model_is_found_by_alias_and_by_folder(starter: MusicGen) -> None:
    by_folder = MusicGen.get_pretrained(str(STARTER), device=torch.device("cpu"))
    assert (starter.name, by_folder.name) == ("starter", str(STARTER))
    assert (starter.sample_rate, starter.frame_rate, by_folder.frame_rate) == (32_000, 50, 50)
    for model in (starter, by_folder):
        model.set_generation_params(duration=0.2)
    assert torch.equal(*(seeded(model) for model in (starter, by_folder)))
    starter.set_generation_params(duration=0.5)


def seeded(model: MusicGen) -> torch.Tensor:
    torch.manual_seed(4)
    return model.generate(["rock"])


def test_a_model_that_is_not_here_says_how_to_fetch_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="models pull facebook/no-such-musicgen"):
        MusicGen.get_pretrained("facebook/no-such-musicgen", device="cpu")


HEAVY = "torch", "torchaudio", "numpy", "scipy", "transformers", "julius", "soundfile", "tokenizers"


def test_importing_the_package_imports_nothing_heavy() -> None:
    """What keeps `import musicgen_bridge` under 0.2 s, and still tells what there is."""
    code = f"""
import sys, musicgen_bridge
print(dir(musicgen_bridge), musicgen_bridge.__version__)
assert not {{*{HEAVY}}} & sys.modules.keys()
musicgen_bridge.MusicGen
assert "torch" in sys.modules
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "'generate'" not in run.stdout and "'audio_write'" in run.stdout


@pytest.mark.parametrize("name", musicgen_bridge.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(musicgen_bridge, name) is not None


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'AudioGen'"):
        _ = musicgen_bridge.AudioGen
