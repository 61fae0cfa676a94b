"""A render or a fit from the command line: through the daemon where one runs, else by itself in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from musicgen_bridge.asking.build_request import make_request, over, wire_values
from musicgen_bridge.asking.keys import FIT_KEYS, RECORDINGS, RENDER_KEYS, Value, check_values
from musicgen_bridge.asking.presets import Presets, shipped
from musicgen_bridge.asking.record import RECORD_KEYS
from musicgen_bridge.asking.recut import RECUT_KEYS, make_recut
from musicgen_bridge.client import Bridge, Rendered, pairs
from musicgen_bridge.errors import ArgumentError, CancelledError
from musicgen_bridge.request import Progress, RenderRequest, Session, Stem
from musicgen_bridge.roots import Roots
from musicgen_bridge.settings import Settings, demucs_folder, model_folder
from musicgen_bridge.sidecar import STEM_FOLDER
from musicgen_bridge.stems.files import disk_errors
from musicgen_bridge.stems.manifest import Take, read_take

Tell = Callable[[Progress], None]
Note = Callable[[str], None]
"""Takes a sentence that a person should read."""

_TIMING = ("bpm", "signature", "sample_rate")
_NONE = {key.name: "" for key in RENDER_KEYS.values() if key.kind == "s" and not key.choices}
"""What a sidecar leaves out was not there: said so, neither the daemon's session nor its defaults put it in."""


def render(
    settings: Settings, given: Mapping[str, Value], preset: str | None, again: Path | None, tell: Tell, note: Note
) -> list[Stem]:
    """Render what the render keys say, over a preset or an earlier take's sidecar, and return the stems.

    Raises:
        BridgeError: the render failed.
        KeyboardInterrupt: it was interrupted, and has been cancelled.
    """
    values = _resolved(check_values(given, RENDER_KEYS))
    if again is not None:
        values = over(values, _NONE | wire_values(read_take(again.resolve()).request))
    try:
        bridge = Bridge.connect(settings.host, settings.port)
    except ConnectionError:
        below = Presets(shipped(), settings.presets).find(preset).render if preset is not None else {}
        return _by_itself(settings, over(values, below), tell, note)
    with bridge:
        if preset is None:
            return _through(bridge, "/musicgen/render", values, tell, note)
        return _through(bridge, "/musicgen/trigger", {"slot": preset, **values}, tell, note)


def record(settings: Settings, given: Mapping[str, Value], tell: Tell, note: Note) -> Rendered:
    """Have the daemon record an input as the keys of `RECORD_KEYS` say, and return the file.

    Raises:
        BridgeError: it failed.
        ConnectionError: no daemon runs.
        KeyboardInterrupt: it was interrupted, and has been cancelled.
    """
    values = _resolved(check_values(given, RECORD_KEYS))
    with Bridge.connect(settings.host, settings.port) as bridge:
        (file,) = bridge.render(_with_project(bridge, values), tell, note, address="/musicgen/record")
    return file


def fit(settings: Settings, given: Mapping[str, Value], out: Path | None, tell: Tell) -> list[Stem]:
    """Bring a recording to the session as the keys of `FIT_KEYS` say, and return the stems.

    They lie in the project, or in the folder `out`, into which no daemon writes: then this process does the work, in
    the session of the daemon where one runs.

    Raises:
        BridgeError: it failed.
        KeyboardInterrupt: it was interrupted, and has been cancelled.
    """
    values = _resolved(check_values(given, FIT_KEYS))
    if not values.get("file"):
        raise ArgumentError("fit needs a recording: name its file")
    try:
        bridge = Bridge.connect(settings.host, settings.port)
    except ConnectionError:
        session: dict[str, Value] = {}
    else:
        with bridge:
            if out is None:
                return _through(bridge, "/musicgen/fit", values, tell)
            told = pairs(bridge.request("/musicgen/session")[0])
            session = {name: told[name] for name in _TIMING if told.get(name)}
    if out is None:
        return _by_itself(settings, values, tell)
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    return _by_itself(settings, {**session, **values, "project": str(out.resolve())}, tell, folder="")


def recut(settings: Settings, given: Mapping[str, Value], tell: Tell, note: Note) -> list[Stem]:
    """Cut an earlier take anew as the keys of `RECUT_KEYS` say, and return the stems.

    Raises:
        BridgeError: it failed.
        KeyboardInterrupt: it was interrupted, and has been cancelled.
    """
    values = _resolved(check_values(given, RECUT_KEYS))
    try:
        bridge = Bridge.connect(settings.host, settings.port)
    except ConnectionError:
        folders = [path.parent for path in (Path(str(values.get("take", ""))),) if path.is_absolute()]
        roots = Roots.of((*settings.roots, *(folder.parent for folder in folders)))
        return _rendered(settings, make_recut(values, roots), roots, tell, note)
    with bridge:
        return [_stem(one) for one in bridge.render(values, tell, note, address="/musicgen/recut")]


def facts(stem: Stem) -> dict[str, Any]:
    """Return what matching heard of a fitted recording and did about it, from the stem's sidecar: JSON values.

    `source_bpm` is the recording's own tempo, `stretch` how many times as fast it is played now, `downbeat_s` the
    second of the recording's section that the stem begins with, None where it begins with the first sample.
    """
    take = read_take(Path(stem.path).with_suffix(".json"))
    heard = take.report
    return {
        "part": take.part.name,
        "bars": take.request.bars,
        "source_bpm": heard["bpm"],
        "confidence": heard["confidence"],
        "stretch": heard["rate"],
        "downbeat_s": heard["downbeat_s"],
        "key": take.key,
        "key_confidence": heard["key_confidence"],
        "lufs": heard["lufs"],
        "true_peak_db": heard["true_peak_db"],
        "warnings": list(_warnings(take)),
    }


def _warnings(take: Take) -> Iterator[str]:
    heard, request = take.report, take.request
    if request.match and heard["beatless"]:
        yield "no beat was heard: it is not stretched unless file_bpm says its tempo, and begins with its first sample"
    if heard["short_s"] > 0.01:
        yield f"the recording is {heard['short_s']:.2f} s too short for this length; its last bar is repeated"
    if heard["shortfall_lu"] > 0.1:
        yield f"it stays {heard['shortfall_lu']:.1f} LU under the loudness asked for, to spare its peaks"
    if heard.get("warning"):
        yield str(heard["warning"])


def _resolved(values: dict[str, Value]) -> dict[str, Value]:
    """Return the values with their paths as they are from the shell's folder."""
    paths = {
        name: str(Path(str(values[name])).expanduser().resolve())
        for name in ("project", *RECORDINGS)
        if values.get(name)
    }
    return values | paths


def _through(
    bridge: Bridge, address: str, values: dict[str, Value], tell: Tell, note: Note = lambda text: None
) -> list[Stem]:
    """Let the daemon do it: what is left out comes from its session."""
    return [_stem(one) for one in bridge.render(_with_project(bridge, values), tell, note, address=address)]


def _with_project(bridge: Bridge, values: dict[str, Value]) -> dict[str, Value]:
    """Return the values with a project: theirs, or the session's, or as a last resort the shell's folder."""
    if "project" in values or pairs(bridge.request("/musicgen/session")[0]).get("project"):
        return values
    return {**values, "project": str(Path.cwd())}


def _stem(said: Rendered) -> Stem:
    """Return the stem with what its sidecar adds to the wire: the seed, and every digit of the tempo."""
    take = read_take(Path(said.path).with_suffix(".json"))
    return Stem(
        index=said.index,
        total=said.total,
        path=said.path,
        frames=said.frames,
        sample_rate=said.sample_rate,
        bpm=take.bpm,
        seed=take.seed,
    )


def _by_itself(
    settings: Settings,
    values: dict[str, Value],
    tell: Tell,
    note: Note = lambda text: None,
    folder: str = STEM_FOLDER,
) -> list[Stem]:
    """Load the model and render here; whoever sits at the shell may use any folder and recording that he names."""
    session = Session(project=str(settings.project or Path.cwd()))
    request = make_request(values, session, {"model": settings.model})
    roots = Roots.of((*settings.roots, request.project, *request.recordings))
    # The worker looks at these itself, but after the seconds that loading takes.
    roots.project(request.project)
    for path in request.recordings:
        roots.readable(path)
    if request.mode not in ("fit", "recut"):
        model_folder(request.model, settings)
    if request.needs_demucs:
        demucs_folder(settings)
    note(f"no daemon answers on {settings.host}:{settings.port}; this command loads the model and renders by itself")
    return _rendered(settings, request, roots, tell, note, folder)


def _rendered(
    settings: Settings, request: RenderRequest, roots: Roots, tell: Tell, note: Note, folder: str = STEM_FOLDER
) -> list[Stem]:
    from musicgen_bridge.worker.reporter import Asker
    from musicgen_bridge.worker.worker import Worker

    worker = Worker(settings, roots, folder)
    with _interrupts() as cancelled:
        try:
            stems = worker.render(request, Asker(progress=tell, note=note, cancelled=cancelled))
        except CancelledError as error:
            raise KeyboardInterrupt from error
    with suppress(KeyboardInterrupt):  # who has heard enough has the stems all the same
        worker.until_heard()
    return stems


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that the render looks at; a second one interrupts as ever."""
    hits: list[int] = []

    def note(number: int, _: object) -> None:
        hits.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(hits)
    finally:
        signal.signal(signal.SIGINT, before)
