"""A take that is heard while it renders: when it may begin so that it won't run dry, and the process that plays it."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen_bridge.pipe import command, heard
from musicgen_bridge.request import Transport

log = logging.getLogger(__name__)

LEAD_S = 0.25
"""What is decided is decided this much before it sounds."""
CAUTION = 0.85
"""The part of the speed of rendering so far that is counted on."""
LONG_WAIT_S = 3.0
"""A wait that is told of."""
FADE_S = 0.01


def wait_for(done_s: float, total_s: float, speed: float) -> float:
    """Return for how many seconds a take of `total_s` must be held back, now that `done_s` of it are there.

    `speed` is seconds of sound a second. What is left comes within (total - done) / speed; if it starts after the wait
    w, its end is due at w + total, and up to there the need grows in a straight line: w = (total - done) / speed -
    total, or none.
    """
    return max(0.0, (total_s - done_s) / speed - total_s)


class Playback:
    """One take of `seconds` at `rate` Hz, played by a process of its own, which begins at the next bar line."""

    def __init__(
        self,
        *,
        rate: int,
        channels: int,
        seconds: float,
        output: str,
        volume: float,
        transport: Callable[[], Transport],
        note: Callable[[str], None],
        instead_of: Playback | None = None,
    ) -> None:
        """`volume` is in dB; `note` is told, perhaps from another thread, what a person should know.

        What is heard still, `instead_of`, is stopped as soon as this one can begin.
        """
        self._rate, self._channels, self._total = rate, channels, round(seconds * rate)
        self._transport, self._note, self._instead_of = transport, note, instead_of
        self._fed, self._speed = 0, 0.0
        self._first: tuple[float, int] | None = None  # when the first samples came, and how many
        self._open = self._ended = self._waited = False
        self._start: float | None = None
        self._underruns = 0
        self._lock = threading.Lock()
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._process = subprocess.Popen(command("sound.player"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._say(device=output, rate=rate, channels=channels, gain=10 ** (volume / 20))
        for work in (self._send, self._listen):
            threading.Thread(target=work, daemon=True, name=f"playback{work.__name__}").start()

    def feed(self, audio: NDArray[np.float32]) -> None:
        """Take the next samples [channels, n]; what lies behind the take's length is dropped."""
        frames = audio[:, : max(0, self._total - self._fed)].T  # [n, channels]
        left = self._total - self._fed - np.arange(len(frames))  # [n]
        faded = frames * np.clip(left / (FADE_S * self._rate), 0, 1)[:, None]
        self._say(faded.astype(np.float32).tobytes(), do="samples")
        with self._lock:
            self._fed += len(frames)
            self._measure()
            self._decide()

    def end(self) -> None:
        """All has been fed: what is left is played, and then the process ends."""
        with self._lock:
            self._ended = True
            self._decide()
        self._say(do="end")
        if self._underruns:
            often = "once" if self._underruns == 1 else f"{self._underruns} times"
            self._note(
                f"it broke off {often} while it was heard, as rendering is slower than playing here; the stem is whole"
            )

    def stop(self) -> None:
        """Fade out at once, and end the process."""
        self._outgoing.put(None)

    def wait(self) -> None:
        """Wait until all has been heard."""
        self._process.wait()

    def _measure(self) -> None:
        now = time.perf_counter()
        if self._first is None:
            self._first = now, self._fed
        elif now > self._first[0]:
            self._speed = (self._fed - self._first[1]) / self._rate / (now - self._first[0])

    def _decide(self) -> None:
        """Say when it begins, which may be changed as long as that is not near. Called with the lock held."""
        now = time.perf_counter()
        if not self._open or not (self._speed or self._ended) or (self._start or now + LEAD_S) < now + LEAD_S:
            return
        speed = CAUTION * self._speed
        wait = 0.0 if self._ended else wait_for(self._fed / self._rate, self._total / self._rate, speed)
        if wait > LONG_WAIT_S and not self._waited:
            self._waited = True
            self._note(f"rendering is slower than playing here, so it will be heard in about {wait:.0f} s")
        if self._instead_of is not None:
            self._instead_of.stop()
            self._instead_of = None
        start = self._transport().bar_line(now + LEAD_S + wait)
        if start != self._start:
            self._start = start
            self._say(do="start", at=start)

    def _say(self, data: bytes = b"", **message: Any) -> None:
        head = message | {"bytes": len(data)} if data else message
        self._outgoing.put(json.dumps(head).encode() + b"\n" + data)

    def _send(self) -> None:
        """Write to the process, whose opening of a device must not hold up the render."""
        assert self._process.stdin is not None
        try:
            while (data := self._outgoing.get()) is not None:
                self._process.stdin.write(data)
                self._process.stdin.flush()
            self._process.stdin.close()
        except OSError:
            log.info("the player has ended")

    def _listen(self) -> None:
        """Take in what the process says."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            match heard(line, "player"):
                case {"is": "open", "device": device}:
                    log.info("playing on %s", device)
                    with self._lock:
                        self._open = True
                        self._decide()
                case {"is": "underrun"}:
                    self._underruns += 1
                    log.warning("the sound broke off")
                case {"is": "fail", "text": text}:
                    self._note(f"{text}; it is not heard, and rendered all the same")
        self._process.wait()
        self._outgoing.put(None)
