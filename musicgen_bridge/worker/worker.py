"""One job: a request through engine, match and stems to files in the project folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from musicgen_bridge.engine import Engine, Melody, Row, Sampling, Take
from musicgen_bridge.engine.demucs_weights import load_demucs
from musicgen_bridge.engine.device import device_called
from musicgen_bridge.engine.separation import melody_of, split, within_full_scale
from musicgen_bridge.errors import AudioError
from musicgen_bridge.match import needed_seconds
from musicgen_bridge.match.resample import resample
from musicgen_bridge.request import Part, RenderRequest, Stem
from musicgen_bridge.roots import Roots, shown
from musicgen_bridge.settings import Settings, demucs_folder
from musicgen_bridge.shipped import sha256
from musicgen_bridge.sidecar import STEM_FOLDER
from musicgen_bridge.sound.playback import Playback
from musicgen_bridge.stems.publish import check_space, publish_all, space_for
from musicgen_bridge.stems.read import Recording, read_audio, read_end
from musicgen_bridge.worker.filling import Filling, begin_fill
from musicgen_bridge.worker.matching import matched_of, mixdowns
from musicgen_bridge.worker.raw_takes import recut
from musicgen_bridge.worker.reporter import NOBODY, Asker, Reporter, stages_of
from musicgen_bridge.worker.shelf import Shelf
from musicgen_bridge.worker.takes import Made, Result, of_mix, takes_of
from musicgen_bridge.worker.targets import needed_of, target_of, with_length
from musicgen_bridge.worker.underway import Underway, Wanted

LONGEST_RECORDING_S = 600.0
SHORTEST_RECORDING_S = 0.1


class Worker:
    """The models in memory, and the way of a request from its words to its files."""

    def __init__(self, settings: Settings, roots: Roots | None = None, folder: str = STEM_FOLDER) -> None:
        """`roots` are the settings' own unless the caller knows better, as the command line does.

        `folder` is where stems go below the project.
        """
        self._settings = settings
        self._roots = roots if roots is not None else settings.allowed_roots
        self._folder = folder
        self.models = Shelf(settings)
        self._separator: Any = None
        self._playing: tuple[int, Playback] | None = None
        """What is, or was last, heard, and the job that it is of."""

    def warm_up(self) -> Engine:
        """Load the settings' model and render a moment of it. Raises ModelError, ArgumentError, OutOfMemoryError."""
        engine = self.models.get(self._settings.model).engine
        engine.warm_up()
        return engine

    def unload(self, alias: str | None) -> None:
        """Free a model's memory, or that of all and Demucs'; what is asked for again is loaded again."""
        self.models.unload(alias)
        if alias is None:
            self._separator = None

    def render(self, request: RenderRequest, asker: Asker = NOBODY) -> list[Stem]:
        """Render a request and return its stems, which lie complete in the project folder.

        A request to stream is heard from the asker's next bar line on, perhaps still when this returns.

        Raises:
            BridgeError: any of them; CancelledError soon after the asker has cancelled. A request that fails leaves no
                stem behind.
        """
        render = self.begin(request, asker)
        if render.wanted is not None:
            render.finish(render.wanted.drawn)
        return render.stems

    def begin(self, request: RenderRequest, asker: Asker) -> Underway:
        """Begin what `render` does, up to where it needs a take of the model's."""
        return Underway(self._stages(request, asker))

    def _stages(self, request: RenderRequest, asker: Asker) -> Generator[Wanted, Take, list[Stem]]:
        report = Reporter(asker, stages_of(request.mode, separate=bool(request.separate)))
        report.stage("reading")
        project = self._roots.project(request.project)
        demucs = self._demucs() if request.needs_demucs else None  # what is missing is told now, not after the render
        recording = self._recording(request) if request.file else None
        if recording is not None:
            request = with_length(request, recording)
        filling = begin_fill(request, self._roots) if request.fill else None
        if filling is not None:
            request = filling.request
        check_space(project, space_for(request))
        if request.take:
            made = recut(request, self._roots)
        elif recording is not None:
            made, recording = self._recorded(request, recording), None
        else:
            made = yield from self._generated(request, report, filling)
        report.stage("matching")
        if filling is not None:
            results = filling.results(made, report.step)
        else:
            results = matched_of(request, made, report.step)
        for warning in dict.fromkeys(one.report["warning"] for one in results):
            if warning is not None:
                asker.note(warning)
        mixes = mixdowns(request, results)
        if request.separate:
            report.stage("separating")
            results = self._separated(results, request, demucs, report)
        results += mixes
        report.stage("writing")
        takes = takes_of(request, asker.job, results, made)
        stems = ((one.audio, take, one.raw) for one, take in zip(results, takes, strict=True))
        return publish_all(stems, roots=self._roots, folder=self._folder)

    def silence(self, job: int) -> None:
        """Let a job's take not be heard any more."""
        if self._playing is not None and self._playing[0] == job:
            self._playing[1].stop()

    def until_heard(self) -> None:
        """Wait until what streams has been heard."""
        if self._playing is not None:
            self._playing[1].wait()

    @contextmanager
    def _heard(
        self, request: RenderRequest, engine: Engine, asker: Asker
    ) -> Iterator[Callable[[np.ndarray], None] | None]:
        """Yield what plays the take as it comes, if it is to be heard."""
        if not request.stream:
            yield None
            return
        playback = Playback(
            rate=engine.sample_rate,
            channels=engine.channels,
            seconds=request.duration,
            output=self._settings.output,
            volume=self._settings.volume,
            transport=asker.transport,
            note=asker.note,
            instead_of=self._playing[1] if self._playing is not None else None,
        )
        self._playing = asker.job, playback
        try:
            yield playback.feed
        except BaseException:
            playback.stop()
            raise
        playback.end()

    def _generated(
        self, request: RenderRequest, report: Reporter, filling: Filling | None
    ) -> Generator[Wanted, Take, Made]:
        model = self.models.get(request.model)
        engine = model.engine
        for prompt in dict.fromkeys(part.prompt for part in request.candidates if part.prompt):
            if not engine.knows(prompt):
                report.asker.note(f'{request.model} knows no word of "{prompt:.60}"; try others, in English')
        melody, melody_from = self._melody(request, engine, report)
        report.stage("conditioning")
        opens = engine.opens_on_downbeat and request.continue_from is None
        draft = engine.draft(
            _rows(request, melody),
            filling.seconds if filling else needed_seconds(target_of(request, opens=opens)),
            sampling=Sampling(request.temperature, request.top_k, request.top_p, request.guidance),
            continue_from=filling.heard(engine.sample_rate, engine.max_duration / 2)
            if filling
            else self._continued(request, engine),
        )
        with self._heard(request, engine, report.asker) as on_audio:
            rendered = yield Wanted(engine, draft, report, on_audio)
        return Made(
            audio=list(rendered.audio),
            prompts=rendered.prompt,
            sample_rate=engine.sample_rate,
            parts=request.candidates,
            fingerprint=model.fingerprint,
            device=str(engine.device),
            dtype=str(engine.dtype),
            melody=melody_from,
            followed=(melody.audio, melody.sample_rate) if melody else None,
            opens=opens,
        )

    def _recording(self, request: RenderRequest) -> Recording:
        """Return the section of the recording that is to be fitted."""
        assert request.file is not None
        path = self._roots.readable(request.file)
        recording = read_audio(
            path, start=request.file_start, end=request.file_end, max_seconds=LONGEST_RECORDING_S, keys="file"
        )
        _check_length(recording, path)
        return recording

    def _recorded(self, request: RenderRequest, recording: Recording) -> Made:
        assert request.file is not None
        path = self._roots.readable(request.file)
        return Made(
            audio=[needed_of(recording, request)],
            sample_rate=recording.sample_rate,
            parts=(Part("", path.stem),),
            fingerprint=sha256(path),
            device=str(device_called(self._settings.device)),
            dtype="torch.float32",
            kept=False,
        )

    def _separated(
        self, mixes: Sequence[Result], request: RenderRequest, demucs: Any, report: Reporter
    ) -> list[Result]:
        """Return the stems of each mix that are asked for, in the order asked for."""
        device = device_called(self._settings.device)
        results: list[Result] = []
        for mix in mixes:

            def tell(done: int, total: int, before: int = mix.row) -> None:
                report.step(before * total + done, len(mixes) * total)

            seamless = request.loop and request.continue_from is None
            stems = split(demucs, mix.audio.T, request.sample_rate, loop=seamless, device=device, on_step=tell)
            if not request.floating:
                stems = within_full_scale(stems, request.sample_rate, loop=seamless)
            results += of_mix(mix, {name: stems[name] for name in request.separate})
        return results

    def _demucs(self) -> Any:
        """Return Demucs, loaded once. Raises ModelError."""
        if self._separator is None:
            self._separator = load_demucs(demucs_folder(self._settings))
        return self._separator

    def _melody(self, request: RenderRequest, engine: Engine, report: Reporter) -> tuple[Melody | None, str]:
        """Return the part of the recording that is the melody, and how it was found."""
        if request.melody is None:
            return None, ""
        path = self._roots.readable(request.melody)
        recording = read_audio(
            path, start=request.melody_start, end=request.melody_end, max_seconds=LONGEST_RECORDING_S
        )
        _check_length(recording, path)
        demucs = self._demucs() if self._settings.demucs is not None and request.melody_part != "all" else None
        audio, how = melody_of(
            *(recording.audio, recording.sample_rate, demucs, request.melody_part),
            device=engine.device,
            on_step=report.step,
        )
        return Melody(audio, recording.sample_rate), how

    def _continued(self, request: RenderRequest, engine: Engine) -> np.ndarray | None:
        """Return the recording's end [C, N] at the model's rate."""
        if request.continue_from is None:
            return None
        heard = min(request.continue_seconds, engine.max_duration / 2)
        recording = read_end(self._roots.readable(request.continue_from), seconds=heard)
        return resample(recording.audio, recording.sample_rate, engine.sample_rate)


def _check_length(recording: Recording, path: Path) -> None:
    """Raise AudioError where a section is too short to hold anything, as where its end was mistyped."""
    seconds = recording.audio.shape[1] / recording.sample_rate
    if seconds < SHORTEST_RECORDING_S:
        raise AudioError(f"{shown(path)} is {seconds:.3f} s long there; give at least {SHORTEST_RECORDING_S} s of it")


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


def _rows(request: RenderRequest, melody: Melody | None) -> list[Row]:
    parts: tuple[Part, ...] = request.candidates
    return [Row(described(part.prompt, request), request.seed + index, melody) for index, part in enumerate(parts)]
