"""The machine's MIDI ports: our own where the system has virtual ones, and controllers that come and go."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import rtmidi

log = logging.getLogger(__name__)

OWN = "musicgen-bridge"
"""The name of our clients and of our own port."""

Heard = Callable[[str, list[int], float], None]
"""Called on a thread of the MIDI system with port, message and the time of its arrival (`time.perf_counter`)."""


class Ports:
    """Open ports by name. All but `send` may wait for the system, so it is not for the loop.

    One client a direction is kept to look at the names, since no system tells of an unplugged device; its port is
    our own virtual one. The API is the system's first; `MIDO_BACKEND=mido.backends.rtmidi/UNIX_JACK` chooses another.
    """

    def __init__(self, heard: Heard, is_input: Callable[[str], bool], is_output: Callable[[str], bool]) -> None:
        """`is_input` and `is_output` tell by its name whether a port is to be opened."""
        self._heard, self._is_input, self._is_output = heard, is_input, is_output
        self._inputs: _Side | None = None
        self._outputs: _Side | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open our own port and look for the others.

        Raises:
            OSError, ImportError: this machine has no MIDI system.
        """
        import rtmidi

        self._inputs = _Side(rtmidi.MidiIn, self._is_input, self._listen)
        self._outputs = _Side(rtmidi.MidiOut, self._is_output, lambda name, port: None)
        with contextlib.suppress(rtmidi.UnsupportedOperationError, NotImplementedError):  # Windows has none
            self._inputs.open_virtual()
            self._outputs.open_virtual()
        self.poll()

    def poll(self) -> bool:
        """Open what has come and close what has gone; return whether something has."""
        with self._lock:
            changes = [side.poll() for side in (self._inputs, self._outputs) if side is not None]
            return any(changes)

    def close(self) -> None:
        """Close every port."""
        with self._lock:
            for side in filter(None, (self._inputs, self._outputs)):
                side.close()
            self._inputs = self._outputs = None

    @property
    def inputs(self) -> list[str]:
        """The inputs that are open."""
        return self._inputs.names if self._inputs else []

    @property
    def outputs(self) -> list[str]:
        """The outputs that are open."""
        return self._outputs.names if self._outputs else []

    def send(self, name: str, message: list[int]) -> None:
        """Send a message to an output; to one that has gone it is lost."""
        if self._outputs:
            self._outputs.send(name, message)

    def _listen(self, name: str, port: rtmidi.MidiIn) -> None:
        port.ignore_types(sysex=True, timing=False, active_sense=True)
        port.set_callback(lambda timed, _: self._heard(name, timed[0], time.perf_counter()))


class _Side:
    """The inputs, or the outputs."""

    def __init__(self, kind: Any, wanted: Callable[[str], bool], prepare: Callable[[str, Any], None]) -> None:
        self._kind, self._wanted, self._prepare = kind, wanted, prepare
        self._watching = self._client()
        self._open: dict[str, Any] = {}
        self._refused: set[str] = set()
        self._lock = threading.Lock()
        """Held while a port is used or leaves `_open`: rtmidi crashes when one is used that was deleted."""

    @property
    def names(self) -> list[str]:
        """The ports that are open, our own first."""
        return list(self._open)

    def open_virtual(self) -> None:
        """Open our own port; raises an error of rtmidi where the system has no virtual ones."""
        self._watching.open_virtual_port(OWN)
        self._prepare(OWN, self._watching)
        self._open[OWN] = self._watching

    def poll(self) -> bool:
        """Open and close ports as their names have come and gone; return whether one has."""
        names = self._watching.get_ports()
        self._refused &= set(names)
        gone = [name for name in self._open if name not in names and name != OWN]
        for name in gone:
            self._leave(name)
            log.info("MIDI port %s has gone", name)
        come = [name for name in names if OWN not in name and name not in {*self._open, *self._refused}]
        come = [name for name in come if self._wanted(name) and self._opened(name, names.index(name))]
        return bool(gone or come)

    def send(self, name: str, message: list[int]) -> None:
        """Send a message if the port is open."""
        with self._lock, contextlib.suppress(OSError):
            if name in self._open:
                self._open[name].send_message(message)

    def close(self) -> None:
        """Close every port."""
        for name in self.names:
            self._leave(name)
        self._watching.delete()

    def _opened(self, name: str, at: int) -> bool:
        port = self._client()
        try:
            port.open_port(at, name=OWN)
            self._prepare(name, port)
        except OSError as error:  # another program has it, or it went in between
            log.warning("MIDI port %s can't be opened: %s", name, error)
            self._refused.add(name)
            port.delete()
            return False
        log.info("MIDI port %s is open", name)
        self._open[name] = port
        return True

    def _leave(self, name: str) -> None:
        with self._lock:
            port = self._open.pop(name)
        with contextlib.suppress(OSError):
            if hasattr(port, "cancel_callback"):
                port.cancel_callback()
            port.close_port()
        if port is not self._watching:
            port.delete()  # its client outlives its last reference otherwise

    def _client(self) -> Any:
        """Return a client of the API that mido was told to use, else of the first there is."""
        import mido
        import rtmidi

        api = getattr(rtmidi, f"API_{mido.backend.api}", rtmidi.API_UNSPECIFIED)
        return self._kind(api, name=OWN)
