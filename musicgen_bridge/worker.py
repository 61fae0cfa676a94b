"""One job: a request through engine, match and stems to files in the project folder."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from musicgen_bridge.engine import Engine, Melody, Row, Sampling
from musicgen_bridge.engine.demucs_weights import load_demucs
from musicgen_bridge.engine.separation import lead
from musicgen_bridge.errors import CancelledError
from musicgen_bridge.match import Matched, Target, match, needed_seconds
from musicgen_bridge.request import STAGES, Part, Progress, RenderRequest, Stem
from musicgen_bridge.roots import Roots
from musicgen_bridge.settings import Settings, demucs_folder, model_folder
from musicgen_bridge.stems.manifest import Take
from musicgen_bridge.stems.publish import check_space, publish, space_for
from musicgen_bridge.stems.read import read_audio, read_end

LONGEST_RECORDING_S = 600.0
PROGRESS_S = 0.1
"""The shortest time between two reports of progress."""
_SHARES = {
    "reading": 0.01,
    "conditioning": 0.02,
    "generating": 0.85,
    "decoding": 0.04,
    "matching": 0.06,
    "writing": 0.02,
}
"""How much of a job's time each stage takes, about; what a progress bar is drawn from."""


class Worker:
    """One model in hand, and the way of a request from its words to its files."""

    def __init__(self, settings: Settings, roots: Roots | None = None) -> None:
        """`roots` are the settings' own unless the caller knows better, as the command line does."""
        self._settings = settings
        self._roots = roots if roots is not None else settings.allowed_roots
        self._engine: Engine | None = None
        self._fingerprint: Future[str]
        self._separator: Any = None
        self.model = settings.model
        """Alias of the model in hand."""

    @property
    def device(self) -> str:
        """Where the model runs, as "cpu" or "cuda:0"; "" before one is loaded."""
        return str(self._engine.device) if self._engine else ""

    def warm_up(self) -> None:
        """Load the settings' model and render a moment of it. Raises ModelError, ArgumentError, OutOfMemoryError."""
        self._load(self._settings.model).warm_up()

    def render(
        self,
        request: RenderRequest,
        *,
        job: int = 0,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[Stem]:
        """Render a request and return its stems, which lie complete in the project folder.

        Raises:
            BridgeError: any of them; CancelledError soon after `cancelled` turns true. No stem is left behind by a
                request that fails before it writes.
        """
        report = Reporter(on_progress, cancelled)
        report.stage("reading")
        project = self._roots.project(request.project)
        check_space(project, space_for(request))
        engine = self._load(request.model)
        melody, melody_from = self._melody(request, engine)
        target = _target(request)
        report.stage("conditioning")
        rendered = engine.generate(
            _rows(request, melody),
            needed_seconds(target),
            sampling=Sampling(request.temperature, request.top_k, request.top_p, request.guidance),
            continue_from=self._continued(request, engine),
            on_step=report.step,
            on_stage=report.stage,
        )
        report.stage("matching")
        matched = []
        for index, audio in enumerate(rendered.audio):
            matched.append(match(audio, engine.sample_rate, target))
            report.step(index + 1, len(rendered.audio))
        report.stage("writing")
        takes = self._takes(request, job, matched, melody_from)
        return [
            publish(one.audio, take, roots=self._roots, raw=(raw.T, engine.sample_rate))
            for one, take, raw in zip(matched, takes, rendered.audio, strict=True)
        ]

    def _load(self, alias: str) -> Engine:
        if self._engine is None or alias != self.model:
            folder = model_folder(alias, self._settings)
            self._engine = None  # before the next is loaded: there may be no room for both
            self._engine = Engine.load(folder, self._settings.device, self._settings.dtype)
            self.model = alias
            self._fingerprint = ThreadPoolExecutor(1).submit(fingerprint, folder)
        return self._engine

    def _demucs(self) -> Any:
        """Return Demucs, loaded once. Raises ModelError."""
        if self._separator is None:
            self._separator = load_demucs(demucs_folder(self._settings))
        return self._separator

    def _melody(self, request: RenderRequest, engine: Engine) -> tuple[Melody | None, str]:
        """Return the part of the recording that is the melody, and how it was found."""
        if request.melody is None:
            return None, ""
        recording = read_audio(
            self._roots.readable(request.melody),
            start=request.melody_start,
            end=request.melody_end,
            max_seconds=LONGEST_RECORDING_S,
        )
        demucs = self._demucs() if self._settings.demucs is not None else None
        audio, how = lead(recording.audio, recording.sample_rate, demucs, device=engine.device)
        return Melody(audio, recording.sample_rate), how

    def _continued(self, request: RenderRequest, engine: Engine) -> np.ndarray | None:
        """Return the recording's end [C, N] at the model's rate."""
        if request.continue_from is None:
            return None
        heard = min(request.continue_seconds, engine.max_duration / 2)
        recording = read_end(self._roots.readable(request.continue_from), seconds=heard)
        resampled = soxr.resample(recording.audio.T, recording.sample_rate, engine.sample_rate, quality="VHQ")
        return np.ascontiguousarray(resampled.T, dtype=np.float32)

    def _takes(self, request: RenderRequest, job: int, matched: list[Matched], melody_from: str) -> list[Take]:
        assert self._engine is not None
        now = datetime.now().astimezone()
        return [
            Take(
                request=request,
                part=part,
                index=index,
                total=len(matched),
                variation=index % request.variations,
                seed=request.seed + index,
                bpm=request.bpm if request.match else one.report.bpm or request.bpm,
                key=request.key or one.report.key,
                fingerprint=self._fingerprint.result(),
                device=str(self._engine.device),
                dtype=str(self._engine.dtype),
                job=str(job),
                created=now,
                report=asdict(one.report) | ({"melody": melody_from} if melody_from else {}),
            )
            for index, (part, one) in enumerate(zip(request.rows, matched, strict=True))
        ]


@dataclass
class Reporter:
    """Turns stages and steps into `Progress`, at most ten a second, and ends the job when it is cancelled."""

    tell: Callable[[Progress], None]
    cancelled: Callable[[], bool]
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0
    _stage: str = "waiting"

    def stage(self, name: str) -> None:
        """A stage begins. Raises CancelledError."""
        self._stage = name
        self.step(0, 1)

    def step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the stage are over. Raises CancelledError."""
        if self.cancelled():
            raise CancelledError("cancelled")
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        before = sum(_SHARES.get(name, 0.0) for name in STAGES[: STAGES.index(self._stage)])
        fraction = before + _SHARES[self._stage] * done / max(1, total)
        elapsed = now - self._began
        eta = elapsed * (1 - fraction) / fraction if fraction > 0.05 else -1.0
        self.tell(Progress(fraction=fraction, eta_s=eta, stage=self._stage))


def described(prompt: str, request: RenderRequest) -> str:
    """Return the prompt with the session's tempo and key, as in MusicGen's training, unless it names its own.

    Copet et al. 2023, 4.1: metadata such as tempo and key were merged into the descriptions.
    """
    words = [prompt] if prompt else []
    if not words or not request.match:
        return prompt
    if not re.search(r"\d\s*bpm", prompt, re.IGNORECASE):
        words.append(f"{request.bpm:.0f} BPM")
    if request.key and not re.search(r"\b(major|minor)\b", prompt, re.IGNORECASE):
        words.append(f"in {request.key}")
    return ", ".join(words)


def fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights: of its safetensors files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    return digest.hexdigest()


def _rows(request: RenderRequest, melody: Melody | None) -> list[Row]:
    parts: tuple[Part, ...] = request.rows
    return [Row(described(part.prompt, request), request.seed + index, melody) for index, part in enumerate(parts)]


def _target(request: RenderRequest) -> Target:
    return Target(
        bpm=request.bpm,
        signature=request.signature,
        frames=request.frames,
        sample_rate=request.sample_rate,
        loop=request.loop,
        match=request.match,
        loudness=request.loudness,
        continues=request.continue_from is not None,
    )
