"""MusicGen as audiocraft's class of that name, on the daemon's engine.

After `audiocraft/models/musicgen.py` and `genmodel.py` of facebookresearch/audiocraft (MIT licence).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musicgen_bridge import settings
from musicgen_bridge.engine import Engine, Melody, Row, Sampling, Span
from musicgen_bridge.engine.debug import debug_engine
from musicgen_bridge.engine.demucs_weights import load_demucs
from musicgen_bridge.engine.separation import melody_of
from musicgen_bridge.hub import downloaded
from musicgen_bridge.request import MELODY_PARTS, SOURCES
from musicgen_bridge.waveform import convert_audio

Result = Tensor | tuple[Tensor, Tensor]
"""Audio [B, C, N], and with `return_tokens` its codes [B, K, T]."""
Progress = Callable[[int, int], None]
"""Is told the steps done and their total."""


class CompressionModel:
    """The codec of a model: audio to codes and back; in stereo the books alternate left and right."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.sample_rate: int = engine.sample_rate
        self.frame_rate: int = engine.frame_rate
        self.channels: int = engine.channels
        self.num_codebooks: int = engine.codebooks
        self.cardinality: int = engine.codebook_size

    def encode(self, x: Tensor) -> tuple[Tensor, None]:
        """Return the codes [B, K, T] of audio [B, C, N], and the scale, which this codec has not.

        Raises AudioError where it has other channels or no samples.
        """
        return torch.from_numpy(self._engine.encode(x.detach().cpu().float().numpy())), None

    def decode(self, codes: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the audio [B, C, N] of codes [B, K, T]; raises ArgumentError where they are not this model's."""
        assert scale is None
        return torch.from_numpy(self._engine.decode(codes.cpu().numpy()))


class MusicGen:
    """A loaded model with audiocraft's methods; tensors come and go on the CPU.

    Each row of a batch is drawn from a seed of its own, and that from torch's generator: `torch.manual_seed` makes a
    result repeatable.
    """

    def __init__(self, engine: Engine, known: settings.Settings | None = None) -> None:
        """`known` are the settings, of which `demucs` finds melodies; their defaults when left out."""
        self.name = engine.name
        self.device = engine.device
        self.compression_model = CompressionModel(engine)
        self._settings = known or settings.Settings()
        self._demucs: Any = None
        self.max_duration: float = engine.max_duration
        self._engine = engine
        self._progress: Progress | None = None
        self.set_generation_params(duration=15, extend_stride=0.6 * self.max_duration)

    @staticmethod
    def get_pretrained(name: str = "facebook/musicgen-melody", device: Any = None) -> MusicGen:
        """Return a model by an alias of the settings (starter, small, melody …), a name on the hub, or a folder.

        `device` is cuda, mps, cpu or a torch device, by default the best there is. A name on the hub means what its
        cache holds: nothing is downloaded. `debug` is a tiny model with random weights. Raises ModelError where the
        model is not on this machine or is none, ArgumentError where the device is not there.
        """
        where = "auto" if device is None else str(device)
        if name == "debug":
            return MusicGen(debug_engine(where))
        known = settings.load()
        if name not in known.known_models:
            known = replace(known, models={**known.models, name: name})
        folder = settings.model_folder(name, known)
        engine = Engine.load(folder, where, known.dtype, fast=known.kernels == "auto", find=downloaded)
        engine.name = name
        return MusicGen(engine, known)

    @property
    def frame_rate(self) -> int:
        """Frames of codes a second."""
        return self._engine.frame_rate

    @property
    def sample_rate(self) -> int:
        """Of the audio, in Hz."""
        return self._engine.sample_rate

    @property
    def audio_channels(self) -> int:
        """Of the audio."""
        return self._engine.channels

    def set_generation_params(
        self,
        use_sampling: bool = True,
        top_k: int = 250,
        top_p: float = 0.0,
        temperature: float = 1.0,
        duration: float = 30.0,
        cfg_coef: float = 3.0,
        two_step_cfg: bool = False,
        extend_stride: float = 18,
    ) -> None:
        """Set how the next takes are made.

        `top_p` above 0 is taken instead of `top_k`; without `use_sampling` the likeliest code is taken. `duration` is
        in seconds, a continued recording included, and is rounded down to whole frames. `cfg_coef` is the scale of
        classifier-free guidance (Ho and Salimans 2022). With `two_step_cfg` its two halves go through the model one
        after the other and not as one batch: the codes are the same, as no row depends on another's padding either way,
        it needs less memory and takes longer. A take longer than `max_duration` is made in windows of that length, each
        `extend_stride` seconds further on.

        Raises AssertionError where a stride is no shorter than `max_duration`.
        """
        assert extend_stride < self.max_duration, "Cannot stride by more than max generation duration."
        self.duration = duration
        self.extend_stride = extend_stride
        self.generation_params: dict[str, Any] = {
            "use_sampling": use_sampling,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "cfg_coef": cfg_coef,
            "two_step_cfg": two_step_cfg,
        }

    def set_custom_progress_callback(self, progress_callback: Progress | None = None) -> None:
        """Have `progress_callback` told the steps done and their total where `progress` is asked for; None prints."""
        self._progress = progress_callback

    def generate_unconditional(self, num_samples: int, progress: bool = False, return_tokens: bool = False) -> Result:
        """Return `num_samples` takes of no description: audio [B, C, N], with `return_tokens` codes [B, K, T] too."""
        return self._generate([None] * num_samples, progress, return_tokens)

    def generate(
        self, descriptions: Sequence[str | None], progress: bool = False, return_tokens: bool = False
    ) -> Result:
        """Return a take of each description: audio [B, C, N], with `return_tokens` codes [B, K, T] too."""
        return self._generate(descriptions, progress, return_tokens)

    def generate_with_chroma(
        self,
        descriptions: Sequence[str | None],
        melody_wavs: Tensor | Sequence[Tensor | None],
        melody_sample_rate: int,
        progress: bool = False,
        return_tokens: bool = False,
        melody_part: str = "lead",
    ) -> Result:
        """Return a take of each description that follows its melody.

        `melody_wavs` is [B, C, T], [C, T] for one description, or a list of [C, T], None for no melody. `melody_part`
        is what of a recording is heard: "lead" is all but drums and bass, found by the Demucs of the settings, or
        without one by a harmonic/percussive split; "all" is the recording as it is; "drums", "bass", "other" and
        "vocals" need Demucs. Returns as `generate`.

        Raises ValueError on other dimensions or parts, AssertionError where the numbers of melodies and descriptions
        differ, RuntimeError where the model follows no melody, AudioError where one is silent or not finite, ModelError
        where Demucs is not on this machine.
        """
        if melody_part not in MELODY_PARTS:
            raise ValueError(f"melody_part should be one of {', '.join(MELODY_PARTS)}.")
        if isinstance(melody_wavs, Tensor):
            melody_wavs = melody_wavs[None] if melody_wavs.dim() == 2 else melody_wavs
            if melody_wavs.dim() != 3:
                raise ValueError("Melody wavs should have a shape [B, C, T].")
        wavs = list(melody_wavs)
        assert all(wav is None or wav.dim() == 2 for wav in wavs), (
            "One melody in the list has the wrong number of dims."
        )
        if self._engine.family == "text":
            raise RuntimeError("This model doesn't support melody conditioning. Use the `melody` model.")
        assert len(wavs) == len(descriptions), (
            "number of melody wavs must match number of descriptions! "
            f"got melody len={len(wavs)}, and descriptions len={len(descriptions)}"
        )
        melodies = [wav if wav is None else self._melody(_floats(wav), melody_sample_rate, melody_part) for wav in wavs]
        return self._generate(descriptions, progress, return_tokens, melodies=melodies)

    def _melody(self, audio: np.ndarray, sample_rate: int, part: str) -> Melody:
        wanted = part in SOURCES or (part == "lead" and self._settings.demucs is not None)
        if wanted and self._demucs is None:
            self._demucs = load_demucs(settings.demucs_folder(self._settings))
        return Melody(melody_of(audio, sample_rate, self._demucs, part, device=self.device)[0], sample_rate)

    def generate_continuation(
        self,
        prompt: Tensor,
        prompt_sample_rate: int,
        descriptions: Sequence[str | None] | None = None,
        progress: bool = False,
        return_tokens: bool = False,
    ) -> Result:
        """Return takes that begin with `prompt`, as the codec gives it back, and go on from it to `duration`.

        `prompt` is [B, C, T], or [C, T] for one; what exceeds whole frames of codes is cut off its end. Returns as
        `generate`.

        Raises ValueError on other dimensions or channels, AssertionError where the numbers of prompts and descriptions
        differ or a prompt leaves nothing to generate, AudioError where it is shorter than a frame or not finite.
        """
        prompt = prompt[None] if prompt.dim() == 2 else prompt
        if prompt.dim() != 3:
            raise ValueError("prompt should have 3 dimensions: [B, C, T] (C = 1).")
        wav = convert_audio(prompt, prompt_sample_rate, self.sample_rate, self.audio_channels)
        descriptions = [None] * len(wav) if descriptions is None else descriptions
        assert len(descriptions) == len(wav), "Prompt and nb. descriptions doesn't match"
        frames = wav.shape[-1] * self.frame_rate // self.sample_rate
        limit = min(self.duration, self.max_duration)
        assert frames <= int(limit * self.frame_rate), "Prompt is longer than audio to generate"
        assert frames < int(self.duration * self.frame_rate), "Prompt is longer than audio to generate"
        whole = _floats(wav[..., : frames * self.sample_rate // self.frame_rate])
        return self._generate(descriptions, progress, return_tokens, prompt=whole)

    def generate_audio(self, gen_tokens: Tensor) -> Tensor:
        """Return the audio [B, C, N] of codes [B, K, T]."""
        assert gen_tokens.dim() == 3
        return self.compression_model.decode(gen_tokens)

    def _generate(
        self,
        descriptions: Sequence[str | None],
        progress: bool,
        return_tokens: bool,
        *,
        melodies: Sequence[Melody | None] | None = None,
        prompt: np.ndarray | None = None,  # [B, C, N], whole frames
    ) -> Result:
        seeds = torch.randint(2**31, (len(descriptions),)).tolist()
        heard = melodies or [None] * len(descriptions)
        rows = [Row(text or "", seed, each) for text, seed, each in zip(descriptions, seeds, heard, strict=True)]
        known = 0 if prompt is None else prompt.shape[-1] / self.sample_rate
        seconds = int(self.duration * self.frame_rate) / self.frame_rate - known
        window = min(self.max_duration, self._engine.max_duration)
        short = self.duration <= window or self.extend_stride < window
        assert short, "Cannot stride by more than max generation duration."
        take = self._engine.generate(
            rows,
            seconds,
            sampling=self._sampling(),
            continue_from=prompt,
            span=Span(window, self.extend_stride),
            on_step=(self._progress or _print_progress) if progress else None,
        )
        audio = torch.from_numpy(np.concatenate([take.prompt, take.audio], axis=2))
        return (audio, torch.from_numpy(take.codes)) if return_tokens else audio

    def _sampling(self) -> Sampling:
        params = self.generation_params
        return Sampling(
            temperature=params["temperature"] if params["use_sampling"] else 0.0,
            top_k=0 if params["top_p"] > 0 else params["top_k"],
            top_p=params["top_p"],
            guidance=params["cfg_coef"],
            two_step=params["two_step_cfg"],
        )


def _floats(wav: Tensor) -> np.ndarray:
    return wav.detach().cpu().float().numpy()


def _print_progress(done: int, total: int) -> None:
    print(f"{done: 6d} / {total: 6d}", end="\r")
