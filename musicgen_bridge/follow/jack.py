"""JACK transport: tempo, meter and position as JACK's timebase master tells them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.follow.session import Tell

if TYPE_CHECKING:
    import jack

LOOK_S = 0.25
AGAIN_S = 2.0
"""How long until a server that is not there, or has gone, is looked for again."""


async def follow(tell: Tell) -> None:
    """Follow JACK's transport for ever.

    Raises:
        ImportError: the package JACK-Client, or JACK itself, is not installed.
    """
    package = await asyncio.to_thread(_quiet_jack)
    while True:
        with contextlib.suppress(package.JackOpenError):
            client = await asyncio.to_thread(package.Client, "musicgen-bridge-follow", no_start_server=True)
            await _look(client, package.ROLLING, tell)
        await asyncio.sleep(AGAIN_S)


def _quiet_jack() -> Any:
    """Return the package, which keeps to itself that no server runs."""
    try:
        import jack
    except OSError as error:  # libjack is missing
        raise ImportError(str(error)) from error
    jack.set_error_function(lambda text: None)
    jack.set_info_function(lambda text: None)
    return jack


async def _look(client: jack.Client, rolling: object, tell: Tell) -> None:
    """Tell the transport until the server has gone."""
    gone = threading.Event()
    client.set_shutdown_callback(lambda status, reason: gone.set())
    client.activate()
    try:
        while not gone.is_set():
            state, position = client.transport_query()
            passed = client.transport_frame - position["frame"] if state == rolling else 0
            tell({"playing": state == rolling, **session_values(position, passed)})
            await asyncio.sleep(LOOK_S)
    finally:
        client.close()


def session_values(position: dict[str, Any], frames: int = 0) -> dict[str, Value]:
    """Return tempo, meter and position of JACK's bar, beat and tick; nothing where no timebase master tells them.

    A position is that of a cycle's first frame; `frames` have passed since then.

    JACK leaves open which note its beats a minute count; they are taken for quarter notes, as Ardour means them.
    """
    if "beats_per_minute" not in position:
        return {}
    beats, unit = position["beats_per_bar"], position["beat_type"]
    passed = (position["bar"] - 1) * beats + position["beat"] - 1 + position["tick"] / position["ticks_per_beat"]
    seconds = frames / position["frame_rate"] if frames else 0.0
    return {
        "bpm": position["beats_per_minute"],
        "signature": f"{beats:.0f}/{unit:.0f}",
        "beat": passed * 4 / unit + seconds * position["beats_per_minute"] / 60,
    }
