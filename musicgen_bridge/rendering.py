"""One render from the command line: through the daemon where one runs, else by itself in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from musicgen_bridge.client import Bridge, Rendered, pairs
from musicgen_bridge.errors import CancelledError
from musicgen_bridge.keys import RENDER_KEYS, Value, check_values, make_request, over, wire_values
from musicgen_bridge.presets import Presets, shipped
from musicgen_bridge.request import Progress, Session, Stem
from musicgen_bridge.roots import Roots
from musicgen_bridge.settings import Settings, model_folder
from musicgen_bridge.stems.manifest import read_take

Tell = Callable[[Progress], None]

_PATHS = ("project", "melody", "continue")


def render(
    settings: Settings, given: Mapping[str, Value], preset: str | None, again: Path | None, tell: Tell
) -> list[Stem]:
    """Render what the render keys say, over a preset or an earlier take's sidecar, and return the stems.

    Raises:
        BridgeError: the render failed.
        KeyboardInterrupt: it was interrupted, and has been cancelled.
    """
    values = check_values(given, RENDER_KEYS)
    values |= {name: str(Path(str(values[name])).expanduser().resolve()) for name in _PATHS if values.get(name)}
    if again is not None:
        values = over(values, wire_values(read_take(again.resolve()).request))
    try:
        bridge = Bridge.connect(settings.host, settings.port)
    except ConnectionError:
        return _by_itself(settings, values, preset, tell)
    with bridge:
        return _through(bridge, values, preset, tell)


def _through(bridge: Bridge, values: dict[str, Value], preset: str | None, tell: Tell) -> list[Stem]:
    """Let the daemon render: what is left out comes from its session, the folder as a last resort from the shell."""
    if "project" not in values and not pairs(bridge.request("/musicgen/session")[0]).get("project"):
        values["project"] = str(Path.cwd())
    if preset is None:
        return [_stem(one) for one in bridge.render(values, tell)]
    return [_stem(one) for one in bridge.render({"slot": preset, **values}, tell, address="/musicgen/trigger")]


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


def _by_itself(settings: Settings, values: dict[str, Value], preset: str | None, tell: Tell) -> list[Stem]:
    """Load the model and render here; whoever sits at the shell may use any folder and recording that he names."""
    below = Presets(shipped(), settings.presets).find(preset).render if preset is not None else {}
    session = Session(project=str(settings.project or Path.cwd()))
    request = make_request(over(values, below), session, {"model": settings.model})
    recordings = [path for path in (request.melody, request.continue_from) if path]
    roots = Roots.of((*settings.roots, request.project, *recordings))
    # The worker looks at these itself, but after the seconds that loading takes.
    roots.project(request.project)
    for path in recordings:
        roots.readable(path)
    model_folder(request.model, settings)
    from musicgen_bridge.worker import Worker

    worker = Worker(settings, roots)
    with _interrupts() as cancelled:
        try:
            return worker.render(request, on_progress=tell, cancelled=cancelled)
        except CancelledError as error:
            raise KeyboardInterrupt from error


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
