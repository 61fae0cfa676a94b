"""Rows of prompt, melody and seed to audio: the whole of MusicGen behind one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicgen_bridge.engine import config as configs
from musicgen_bridge.engine import kernels, weights
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.channels import ChannelCodec
from musicgen_bridge.engine.checkpoint import Find
from musicgen_bridge.engine.chroma import HOP, SAMPLE_RATE, chroma_window, melody_chroma
from musicgen_bridge.engine.codec import Codec
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.config import Family, ModelConfig
from musicgen_bridge.engine.decode import decode
from musicgen_bridge.engine.device import device_called, memory_errors
from musicgen_bridge.engine.ensemble import Ensemble, Voice
from musicgen_bridge.engine.layouts import nowhere, opened
from musicgen_bridge.engine.linear import DTYPES, Rounding, computed
from musicgen_bridge.engine.live import Live
from musicgen_bridge.engine.pattern import UNKNOWN, delay
from musicgen_bridge.engine.sampler import Noise, Sampling
from musicgen_bridge.engine.take import Draft, Floats, Row, Take
from musicgen_bridge.engine.text import MAX_TOKENS, TextEncoder, load_tokenizer
from musicgen_bridge.engine.transformer import Transformer
from musicgen_bridge.engine.windows import Span, windows
from musicgen_bridge.errors import ArgumentError, AudioError, ModelError


class Engine:
    """A loaded model. It renders one batch at a time; after any error it is as usable as before."""

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        text: TextEncoder,
        model: Transformer,
        codec: Codec,
        files: tuple[Path, ...] = (),
        rounding: Rounding = "none",
    ) -> None:
        """`files` are those that the weights were read from, `rounding` what was done to them."""
        self.name = name
        self.files = files
        self.family: Family = config.family
        self.device = model.device
        self.dtype = DTYPES.get(rounding, model.dtype)
        self._config = config
        self._decoder = config.decoder
        self._text = text
        self._model = model
        self._codec = codec
        self._channels = ChannelCodec(codec, config.decoder.channels)
        self._cache: Cache | None = None

    @classmethod
    @memory_errors()
    def load(
        cls, folder: Path, device: str = "auto", dtype: str = "auto", *, fast: bool = True, find: Find = nowhere
    ) -> Engine:
        """Return the engine of a checkpoint `folder` in Hugging Face's layout or Audiocraft's, or of a LoRA adapter.

        The last two name other models, which `find` finds by their names on the hub.
        `device` is auto, cuda, mps or cpu; `dtype` is auto, float32, float16, bfloat16 or int8 and concerns the
        language model alone. On an x86 CPU float16 and int8 are what its weights are rounded to, and the rest is
        float32; on CUDA int8 is, and the rest is float16. `fast` has kernels of our own where the GPU takes them; the
        portable path is their off switch and their oracle. Raises ModelError where the folder is no MusicGen,
        ArgumentError where the device or the dtype is not there, OutOfMemoryError where it is too small.
        """
        where = device_called(device)
        kind, rounding = computed(dtype, where, fast)
        with opened(folder, where, find) as checkpoint:
            config = configs.parse(checkpoint.config)
            tokenizer = load_tokenizer(checkpoint.tokenizer, config.text)
            text = TextEncoder(tokenizer, weights.text(checkpoint, config.text), config.text)
            codec = Codec.load(checkpoint.codec(), config.codec, where)
            _check_fit(codec, config)
            window = int(config.window * codec.frame_rate) + config.decoder.codebooks
            positions = config.chroma_length + MAX_TOKENS + window
            packed = fast and kind != torch.float32 and kernels.available(where)
            model = Transformer(weights.decoder(checkpoint, config, kind, packed, rounding), config.decoder, positions)
        return cls(folder.name, config, text, model, codec, checkpoint.files, rounding)

    @property
    def sample_rate(self) -> int:
        """Of the audio, in Hz."""
        return self._codec.sample_rate

    @property
    def frame_rate(self) -> int:
        """Frames of codes a second."""
        return self._codec.frame_rate

    @property
    def channels(self) -> int:
        """Of the audio."""
        return self._decoder.channels

    @property
    def max_duration(self) -> float:
        """Seconds that the model hears at once; a longer take is made of windows."""
        return self._config.window

    @property
    def opens_on_downbeat(self) -> bool:
        """Whether a take that continues nothing begins a bar with its first sample."""
        return self._config.opens_on_downbeat

    @property
    def codebooks(self) -> int:
        """Codes in a frame; a stereo model's alternate left and right."""
        return self._decoder.codebooks

    @property
    def codebook_size(self) -> int:
        """Entries of a codebook."""
        return self._decoder.vocab

    @memory_errors()
    @torch.inference_mode()
    def generate(
        self,
        rows: Sequence[Row],
        seconds: float,
        *,
        sampling: Sampling,
        continue_from: Floats | None = None,
        span: Span | None = None,
        on_step: Callable[[int, int], None] | None = None,
        on_audio: Callable[[Floats], None] | None = None,
    ) -> Take:
        """Render `seconds` of each row, as one batch.

        `continue_from` [C, N], at `sample_rate`, is what every row goes on from, or [B, C, N] each row from its own;
        a melody then begins with the new part. A take longer than `span`'s window is made of several. `on_step` is
        told the steps done and their total after each, `on_audio` the first row's new part [C, n] piece by piece as it
        becomes final; what either raises ends the take.
        Raises ArgumentError, AudioError, ModelError or OutOfMemoryError.
        """
        draft = self.draft(rows, seconds, sampling=sampling, continue_from=continue_from, span=span)
        return self.take(draft, self.codes(draft, on_step=on_step, on_audio=on_audio))

    def knows(self, prompt: str) -> bool:
        """Return whether the model knows any word of `prompt`; those that it does not are all one to it."""
        return self._text.knows(prompt)

    @memory_errors()
    @torch.inference_mode()
    def draft(
        self,
        rows: Sequence[Row],
        seconds: float,
        *,
        sampling: Sampling,
        continue_from: Floats | None = None,
        span: Span | None = None,
    ) -> Draft:
        """Return a take that is conditioned and can be drawn; as `generate`, of which this is the first third."""
        frames = self._frames(rows, seconds)
        texts, chromas = self._heard(rows)
        codes = self._prompt(continue_from, len(rows))  # [B, K, P]
        before = codes.shape[2]
        span = span or Span(self.max_duration)
        return Draft(
            texts=texts,
            chromas=chromas,
            known=codes,
            samples=math.floor(seconds * self.sample_rate + 0.5),
            windows=windows(before, before + frames, *span.frames(self.frame_rate)),
            guided=sampling.guidance != 1 and any(row.prompt or row.melody for row in rows),
            sampling=sampling,
            draw=Noise([row.seed for row in rows], self._decoder.codebooks, self._decoder.vocab, self.device),
        )

    @memory_errors()
    @torch.inference_mode()
    def codes(
        self,
        draft: Draft,
        *,
        on_step: Callable[[int, int], None] | None = None,
        on_audio: Callable[[Floats], None] | None = None,
    ) -> Tensor:
        """Return the codes [B, K, T] of a draft, drawn as a batch of its own."""
        codes, before = draft.known, draft.known.shape[2]
        total = sum(at.stop - at.known + self._decoder.lag for at in draft.windows)
        progress = _Progress(on_step or (lambda done, total: None), total)
        live = Live(self._codec, self.channels, before, draft.samples, on_audio) if on_audio else None
        for at in draft.windows:
            heard = condition(self._model, draft.texts, self._at(draft.chromas, at.start - before), draft.guided)
            ahead = codes.new_full((*codes.shape[:2], at.stop - at.known), UNKNOWN)
            window = torch.cat([codes[:, :, at.start :], ahead], dim=2)
            hear = live.from_frame(at.start) if live else None
            rows, prefix = heard.prefix.shape[:2]
            room = self._room(rows, prefix + at.stop - at.start + self._decoder.lag)
            window = decode(self._model, heard, window, draft.sampling, draft.draw, room, progress, on_codes=hear)
            codes = torch.cat([codes[:, :, : at.start], window], dim=2)
        if live is not None:
            live.end(codes)
        return codes

    @memory_errors()
    @torch.inference_mode()
    def take(self, draft: Draft, codes: Tensor) -> Take:
        """Return the audio of a draft whose `codes` [B, K, T] have been drawn."""
        audio, cut = self._channels.decode(codes), draft.known.shape[2] * self._codec.hop
        return Take(audio[:, :, cut : cut + draft.samples], audio[:, :, :cut], codes.cpu().numpy())

    def ensemble(self, draft: Draft) -> Ensemble:
        """Return an empty batch for takes that are drawn as this one is."""
        return Ensemble(self._model, draft.sampling, draft.guided, self._room)

    @torch.inference_mode()
    def voice(self, draft: Draft) -> Voice:
        """Return a draft of one window as a part of an ensemble."""
        (at,) = draft.windows
        ahead = draft.known.new_full((*draft.known.shape[:2], at.stop - at.known), UNKNOWN)
        sequence = delay(torch.cat([draft.known, ahead], dim=2), self._decoder.channels, self._decoder.pad)
        chromas = self._at(draft.chromas, at.start - draft.known.shape[2])
        return Voice(draft.texts, chromas, sequence, self._decoder.channels, draft.draw)

    def wait(self) -> None:
        """Wait until the device has done what it was asked to."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def warm_up(self) -> None:
        """Render half a second, so that the first take waits for nothing that is done once."""
        self.generate([Row("warm", 0)], 0.5, sampling=Sampling())

    def _frames(self, rows: Sequence[Row], seconds: float) -> int:
        if not rows or not 0 < seconds < math.inf:
            raise ArgumentError("A take needs at least one row and a length above zero seconds.")
        return math.ceil(round(seconds * self.frame_rate, 6))

    def _heard(self, rows: Sequence[Row]) -> tuple[list[Tensor | None], list[Tensor | None]]:
        """Return each row's text [S, d_text] and chroma [T, bins], None for none; equal ones are computed once."""
        melodies = {row.melody for row in rows if row.melody}
        if melodies and self.family == "text":
            raise ModelError(
                f"{self.name} follows no melody: choose a model of the MusicGen-Melody family, such as starter."
            )
        bins = self._config.chroma
        chromas = {each: melody_chroma(each.audio, each.sample_rate, num_chroma=bins) for each in melodies}
        texts = {row.prompt: self._text(row.prompt) for row in rows if row.prompt}
        return (
            [texts.get(row.prompt) for row in rows],
            [chromas[row.melody] if row.melody else None for row in rows],
        )

    def _at(self, chromas: list[Tensor | None], frame: int) -> list[Tensor] | None:
        """Return each row's chroma [C, bins] from `frame` of the new part on, or None in the text family.

        A melody repeats both ways: in the continued part, before frame 0, its end is heard.
        """
        if self.family == "text":
            return None
        length = self._config.chroma_length

        def heard(chroma: Tensor | None) -> Tensor:
            if chroma is None:
                return null_chroma(length, self._config.chroma)
            lasts = len(chroma) * HOP / SAMPLE_RATE  # seconds
            return chroma_window(chroma, frame / self.frame_rate % lasts, length)

        return [heard(chroma) for chroma in chromas]

    def _prompt(self, audio: Floats | None, rows: int) -> Tensor:
        """Return the codes [B, K, P] of what is gone on from; what lacks to whole frames is cut at its start."""
        if audio is None:
            return torch.zeros(rows, self.codebooks, 0, dtype=torch.long, device=self.device)
        audio = audio if audio.ndim == 3 else audio[None]
        audio = audio[..., audio.shape[2] % self._codec.hop :]
        if not audio.size or not np.isfinite(audio).all():
            raise AudioError("The recording to continue is too short or not finite: choose another one.")
        if audio.shape[1] != self.channels:
            audio = np.broadcast_to(audio.mean(1, keepdims=True), (len(audio), self.channels, audio.shape[2]))
        return self._channels.encode(np.array(audio, np.float32)).expand(rows, -1, -1)

    @memory_errors()
    @torch.inference_mode()
    def encode(self, audio: Floats) -> NDArray[np.int64]:
        """Return the codes [B, K, T] of `audio` [B, C, N] at `sample_rate`.

        Raises AudioError where it is empty or not of `channels`, OutOfMemoryError where the device is too small.
        """
        if audio.ndim != 3 or audio.shape[1] != self.channels or not audio.size:
            raise AudioError(f"The codec takes [B, {self.channels}, N], and was given {list(audio.shape)}: convert it.")
        return self._channels.encode(audio).cpu().numpy()

    @memory_errors()
    @torch.inference_mode()
    def decode(self, codes: NDArray[np.int64]) -> Floats:
        """Return the audio [B, C, N] of `codes` [B, K, T]; raises ArgumentError where they are not the model's."""
        if codes.ndim != 3 or codes.shape[1] != self.codebooks or not codes.size:
            raise ArgumentError(f"Codes are [B, {self.codebooks}, T], and these are {list(codes.shape)}.")
        if codes.min() < 0 or codes.max() >= self.codebook_size:
            raise ArgumentError(f"Codes go from 0 to {self.codebook_size - 1}, and these don't.")
        return self._channels.decode(torch.from_numpy(codes).to(self.device))

    def _room(self, rows: int, length: int) -> Cache:
        """Return a cache of so many rows and positions, the last one if it can."""
        if self._cache is None or not self._cache.fits(rows, length):
            self._cache = None  # before the next is allocated: there may be no room for both
            length = -(-length // 256) * 256
            self._cache = Cache.allocate(self._decoder, rows, length, self.device, self._model.dtype)
        return self._cache


class _Progress:
    """Counts the steps of all windows."""

    def __init__(self, tick: Callable[[int, int], None], total: int) -> None:
        self._tick = tick
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        self._tick(self._done, self._total)


def _check_fit(codec: Codec, config: ModelConfig) -> None:
    books = codec.codebooks * config.decoder.channels
    if (books, codec.codebook_size) != (config.decoder.codebooks, config.decoder.vocab):
        raise ModelError(
            f"The codec has {books} codebooks of {codec.codebook_size} and the decoder {config.decoder.codebooks} of "
            f"{config.decoder.vocab}: they don't belong together; copy or download the model again."
        )
