"""Takes that are decoded together although they began at different times: one step for all, at one position.

A step serves one position of the cache, so who joins a batch that is under way is laid to its right:

    position     0 1 2 3 4 5 6 7 8 9
    first        P P a a a a a a .         P prefix, a what it has heard of itself, . the step to come
    who joined   - - - - P P P b .         - nothing, hidden as the padding of a shorter prefix is

Positions count from where a row's prefix begins (`Condition.start`), so that a row hears what it would hear alone.
Who joins is prefilled by itself; then, and when somebody leaves, every row's keys and values move to a new cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.conditioning import condition
from musicgen_bridge.engine.decode import REPEATABLE, Advance
from musicgen_bridge.engine.device import memory_errors
from musicgen_bridge.engine.groups import takes_at_once
from musicgen_bridge.engine.pattern import first_unknown, undelay
from musicgen_bridge.engine.sampler import Noise, Sampling
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition, Transformer


@dataclass(slots=True, eq=False)
class Voice:
    """One take of B rows in an ensemble, R rows of the cache with their null rows."""

    texts: Sequence[Tensor | None]  # [S, d_text] each
    chromas: Sequence[Tensor] | None  # [C, bins] each
    sequence: Tensor  # [B, K, S]
    channels: int
    """Of the audio."""
    draw: Noise
    position: int = field(init=False)
    """What of the sequence goes in next."""
    first: int = field(init=False)
    """The position that it began with."""
    before: int = field(init=False)
    """Positions of the prefix."""
    start: Tensor = field(init=False)  # [R], where each row's prefix begins
    past: Tensor | None = None  # [L, 2, R, H, before + position, D] while it is in no cache

    def __post_init__(self) -> None:
        self.first = self.position = first_unknown(self.sequence) - 1

    @property
    def rows(self) -> int:
        """B."""
        return len(self.texts)

    @property
    def steps(self) -> int:
        """How many steps it takes in all."""
        return self.sequence.shape[2] - 1 - self.first

    @property
    def left(self) -> int:
        """How many steps are left; 0 when it is done."""
        return self.sequence.shape[2] - 1 - self.position

    @property
    def codes(self) -> Tensor:
        """[B, K, T], once it has left."""
        return undelay(self.sequence, self.channels)


class Ensemble:
    """One batch that takes join and leave; all are drawn alike, and all have null rows or none has."""

    def __init__(self, model: Transformer, sampling: Sampling, guided: bool, room: Callable[[int, int], Cache]) -> None:
        """`room` gives a cache for so many rows and at least so many positions, perhaps the one that it gave last."""
        self.voices: list[Voice] = []
        self._model = model
        self._sampling = sampling
        self._guided = guided
        self._room = room
        self._under_way: _UnderWay | None = None

    @property
    def rows(self) -> int:
        """How many rows are drawn, not counting null rows."""
        return sum(voice.rows for voice in self.voices)

    @torch.inference_mode()
    def welcomes(self, voice: Voice) -> bool:
        """Whether the step would stay in the form that it has now, which may be several times as fast as another."""
        if self._under_way is None or not self._under_way.advance.fused:
            return True
        rows = self.rows + voice.rows
        return takes_at_once(self._model, self._hears([*self.voices, voice]), rows) == rows

    @memory_errors()
    @torch.inference_mode()
    @sdpa_kernel(REPEATABLE)
    def join(self, voice: Voice) -> None:
        """Have a take drawn with the others from the next step on. Raises OutOfMemoryError."""
        heard = self._hears([voice])
        rows, voice.before = heard.prefix.shape[:2]
        voice.start = heard.start
        length = voice.before + voice.position
        c = self._model.config
        cache = Cache.allocate(c, rows, max(1, length), self._model.device, self._model.dtype)
        Step(self._model, heard, voice.sequence, self._sampling, cache).prefill(voice.position)
        voice.past = cache.data[..., :length, :]
        self._pause()
        self.voices.append(voice)

    @torch.inference_mode()
    def leave(self, voice: Voice) -> None:
        """Have a take drawn no more; its sequence keeps what was drawn."""
        self._pause()
        self.voices.remove(voice)
        voice.past = None

    @memory_errors()
    @torch.inference_mode()
    @sdpa_kernel(REPEATABLE)
    def step(self) -> None:
        """Draw the next position of every take; whose `left` is 0 then has to leave. Raises OutOfMemoryError."""
        if self._under_way is None:
            self._under_way = _UnderWay(self._model, self.voices, self._hears(self.voices), self._sampling, self._room)
        self._under_way.step()
        for voice in self.voices:
            voice.position += 1

    def _hears(self, voices: Sequence[Voice]) -> Condition:
        texts = [text for voice in voices for text in voice.texts]
        chromas = [chroma for voice in voices for chroma in voice.chromas or ()]
        return condition(self._model, texts, chromas or None, self._guided)

    def _pause(self) -> None:
        """Give every take back its own part of the batch, before the batch changes."""
        if self._under_way is not None:
            self._under_way.hand_back()
            self._under_way = None


class _UnderWay:
    """The batch as it is until somebody joins or leaves."""

    def __init__(
        self,
        model: Transformer,
        voices: Sequence[Voice],
        heard: Condition,
        sampling: Sampling,
        room: Callable[[int, int], Cache],
    ) -> None:
        before = heard.prefix.shape[1]
        self._voices = list(voices)
        self._column = max(max(v.position, v.before + v.position - before) for v in voices)
        self._end = before + self._column  # of what has been heard, in the cache
        rows = sum(voice.rows for voice in voices)
        total = self._column + max(v.left for v in voices) + 1
        cache = room(len(heard.prefix), before + total - 1)
        self._cache = cache.data
        self._sequence = voices[0].sequence.new_full((rows, model.config.codebooks, total), model.config.pad)
        start = torch.empty_like(heard.start)
        self._places = dict(zip(self._voices, _places(self._voices, rows, len(start), start.device), strict=True))
        for voice, (here, index) in self._places.items():
            own = voice.before + voice.position
            start[index] = voice.start + self._end - own
            assert voice.past is not None
            self._cache[:, :, index, :, self._end - own : self._end] = voice.past
            self._sequence[here, :, self._column - voice.position :][..., : voice.sequence.shape[2]] = voice.sequence
            voice.past = None
        alone = len(self._voices) == 1
        heard = replace(heard, start=start, ragged=heard.ragged or not alone)
        self.advance = Advance(model, heard, self._sequence, sampling, cache)
        self.advance.resume(self._column)
        self._noise = None if sampling.greedy else Noise.together([voice.draw for voice in voices])

    def step(self) -> None:
        self._column += 1
        self._end += 1
        self.advance(self._column, self._noise() if self._noise is not None else None)

    def hand_back(self) -> None:
        for voice, (here, index) in self._places.items():
            own = voice.before + voice.position
            voice.past = self._cache[:, :, index, :, self._end - own : self._end]  # a copy, by the index
            drawn = self._sequence[here, :, self._column - voice.position :]
            voice.sequence = drawn[..., : voice.sequence.shape[2]].clone()


def _places(voices: Sequence[Voice], rows: int, all_rows: int, device: torch.device) -> list[tuple[slice, Tensor]]:
    """Return each take's rows of the sequence, and those of the cache [R]: its own, then its null rows."""
    places, at = [], 0
    for voice in voices:
        here = torch.arange(at, at + voice.rows, device=device)
        places.append((slice(at, at + voice.rows), torch.cat([here, here + rows]) if all_rows > rows else here))
        at += voice.rows
    return places
