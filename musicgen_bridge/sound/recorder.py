"""The process that makes one recording: an order and what changes in on stdin, how it goes out on stdout, JSON lines.

In:  {"request": {…RecordRequest}, "transport": {…Transport}, "roots": […]} first, then
     {"do": "transport", "transport": {…}}, {"do": "cancel"}
Out: {"is": "progress", …Progress}, {"is": "note", "text": …}, and as the last one {"is": "done", "stem": {…Stem}} or
     {"is": "fail", "code": …, "text": …}

It begins at the next bar line, or at once while nothing plays, and ends without a file when stdin does.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from musicgen_bridge.errors import AudioError, BridgeError, CancelledError, InternalError
from musicgen_bridge.pipe import private_pipes, say
from musicgen_bridge.request import Progress, RecordRequest, Stem, Transport
from musicgen_bridge.roots import Roots
from musicgen_bridge.sound.clock import StreamClock, caught_at, plausible_latency
from musicgen_bridge.sound.devices import Device, find, portaudio
from musicgen_bridge.stems.read import SILENCE
from musicgen_bridge.stems.recordings import publish_recording

Frames = NDArray[np.float32]
"""[n, channels]"""

SETTLE_S = 0.2
"""How much of a stream's beginning is left out: it clicks, and its clock is not sure yet."""
FULL_SCALE = 0.9999
PROGRESS_S = 0.1
LOOK_S = 0.02
GONE_S = 2.0
"""A device that brings nothing for this long has vanished."""


class Catch:
    """What a stream at `rate` Hz brings, from its first frame on, and the cut of it that is wanted."""

    def __init__(self, rate: int) -> None:
        self.count = 0
        """Frames so far."""
        self._clock = StreamClock(rate)
        self._blocks: list[Frames] = []
        self._peak = 0.0
        self._begun = 0.0  # when its first frame sounded, about

    def take(self, block: Frames, moment: float, *, lost: bool = False) -> None:
        """Add frames [n, channels], of which the first one sounded at `moment`; some before it may be `lost`."""
        if not self.count:
            self._begun = moment
        self._clock.note(self.count, moment, lost=lost)
        self._blocks.append(block)
        self._peak = max(self._peak, float(np.abs(block).max(initial=0.0)))
        self.count += len(block)

    def start(self, transport: Transport) -> int:
        """Return the frame of the first bar line; at least one block was taken."""
        return self._clock.frame(transport.bar_line(self._begun + SETTLE_S))

    def level(self) -> float:
        """Return the peak in dBFS since this was last asked, at least that of the last bit of 24."""
        peak, self._peak = self._peak, 0.0
        return 20 * math.log10(max(peak, 2.0**-23))

    def cut(self, first: int, count: int) -> Frames:
        """Return so many frames from the frame `first` on."""
        return np.concatenate(self._blocks)[first : first + count]


class Input:
    """A device that is caught."""

    def __init__(self, device: Device, sample_rate: int) -> None:
        """Open it, at `sample_rate` Hz where it has that, else at its own. Raises AudioError."""
        audio = portaudio()
        self.device = device
        how = {"device": device.index, "channels": device.used_channels, "dtype": "float32"}
        try:
            audio.check_input_settings(**how, samplerate=sample_rate)
            self.rate = sample_rate
        except audio.PortAudioError:
            self.rate = device.rate
        self.catch = Catch(self.rate)
        self.gaps = 0
        """How often the system lost something."""
        self._brought = time.monotonic()
        try:
            self.stream = audio.InputStream(**how, samplerate=self.rate, latency="high", callback=self._take)
            self._latency = plausible_latency(self.stream.latency)
            self.stream.start()
        except audio.PortAudioError as error:
            raise AudioError(f"the input {device.name} can't be opened ({error}); choose another one") from error

    def check(self) -> None:
        """Raise AudioError where the device has vanished."""
        if not self.stream.active or time.monotonic() - self._brought > GONE_S:
            raise AudioError(f"the input {self.device.name} vanished while it was recorded; connect it and try again")

    def _take(self, block: Frames, _: int, times: Any, status: Any) -> None:
        self._brought = time.monotonic()
        self.gaps += bool(status.input_overflow)
        self.catch.take(block.copy(), caught_at(times, self._latency), lost=bool(status.input_overflow))


class Recording:
    """One recording from its order to its file."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.transport = Transport.from_json(order["transport"])
        """May change until the bar line."""
        self.cancelled = False
        self._request = RecordRequest.from_json(order["request"])
        self._roots = Roots.of(order["roots"])
        self._source: Input | None = None

    def run(self) -> Stem:
        """Record and return the file. Raises AudioError, CancelledError, DiskError or PathError."""
        source = self._source = Input(find("input", self._request.input), self._request.sample_rate)
        frames = self._request.timing.frames(source.rate)
        first = self._wait(source, frames)
        audio = source.catch.cut(first, frames)
        stem = publish_recording(audio, source.rate, self._request, roots=self._roots)
        for text in remarks(audio, source.device.name, source.gaps):
            say(**{"is": "note"}, text=text)
        return stem

    def close(self) -> None:
        """Let go of the device, which is there still."""
        if self._source is not None:
            self._source.stream.close()

    def _wait(self, source: Input, frames: int) -> int:
        """Tell how it goes until all frames are there; return which one is the first."""
        first: int | None = None
        told = 0.0
        while first is None or source.catch.count < first + frames:
            if self.cancelled:
                raise CancelledError("cancelled while it recorded; nothing was kept")
            source.check()
            count = source.catch.count
            if first is None and count:
                start = source.catch.start(self.transport)
                first = start if count >= start else None
            if count and time.monotonic() - told >= PROGRESS_S:
                told = time.monotonic()
                self._tell(source, start if first is None else first, frames)
            time.sleep(LOOK_S)
        return first

    def _tell(self, source: Input, first: int, frames: int) -> None:
        done, left = source.catch.count - first, first + frames - source.catch.count
        now = Progress(
            fraction=min(max(done / frames, 0.0), 1.0),
            eta_s=max(left, 0) / source.rate,
            stage="waiting" if done < 0 else "recording",
            level=source.catch.level(),
        )
        say(**{"is": "progress"}, **now.to_json())


def remarks(audio: Frames, name: str, gaps: int) -> list[str]:
    """Return what is odd about a recording [frames, channels] of the input called `name`."""
    peak = float(np.abs(audio).max(initial=0.0))
    clipped = int((np.abs(audio) >= FULL_SCALE).any(axis=1).sum())
    found = []
    if peak < SILENCE:
        found.append(f"the recording is silent; is {name} the right input, and turned up?")
    if clipped:
        found.append(f"{name} clips in {clipped} frames of the recording; turn it down and record again")
    if gaps:
        found.append(f"the system was too busy and lost something of {name} ({gaps} gaps); record again")
    return found


def listen(stdin: BinaryIO, recording: Recording) -> None:
    """Do as stdin says; when it ends, the daemon is gone, and so is this process."""
    for line in stdin:
        match json.loads(line):
            case {"do": "transport", "transport": values}:
                recording.transport = Transport.from_json(values)
            case {"do": "cancel"}:
                recording.cancelled = True
    os._exit(1)


def main() -> None:
    """Make one recording, and end without PortAudio's own ending where a device has gone: it aborts or hangs there."""
    stdin, sys.stdout = private_pipes()
    recording = Recording(json.loads(stdin.readline()))
    threading.Thread(target=listen, args=(stdin, recording), daemon=True).start()
    try:
        say(**{"is": "done"}, stem=recording.run().to_json())
        recording.close()
    except CancelledError as error:
        say(**{"is": "fail"}, code=error.code, text=error.text)
        recording.close()
    except BridgeError as error:
        say(**{"is": "fail"}, code=error.code, text=error.text)
    except Exception as error:
        traceback.print_exc()
        say(**{"is": "fail"}, code=InternalError.code, text=f"the recorder failed: {error!r}; see the daemon's folder")
    os._exit(0)


if __name__ == "__main__":
    main()
