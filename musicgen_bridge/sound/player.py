"""The process that plays one take while it comes: commands and samples in on stdin, JSON lines out on stdout.

In:  {"device": …, "rate": …, "channels": …, "gain": …} first, then {"do": "samples", "bytes": n} and n bytes of
     float32 frames, {"do": "start", "at": seconds of time.perf_counter}, {"do": "end"}, {"do": "stop"}
Out: {"is": "open", "device": …}, {"is": "underrun"} each time the sound breaks off, {"is": "fail", "text": …}

It ends when all has been played, when it is stopped, and when stdin ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from typing import Any, BinaryIO

import numpy as np
import soxr
from numpy.typing import NDArray

from musicgen_bridge.errors import AudioError
from musicgen_bridge.pipe import private_pipes, say
from musicgen_bridge.sound.clock import StreamClock, heard_at, plausible_latency
from musicgen_bridge.sound.devices import Device, find, portaudio

Frames = NDArray[np.float32]
"""[n, channels]"""

FADE_S = 0.01
LOOK_S = 0.02
GONE_S = 2.0
"""A device that asks for nothing for this long has vanished."""


class Tape:
    """What is to be played, from a moment on; one thread writes and starts it, another one reads it."""

    def __init__(self, rate: int, channels: int) -> None:
        self.underruns = 0
        """How often there was nothing to play before the end."""
        self.finished = False
        self._rate, self._channels = rate, channels
        self._pieces: deque[Frames] = deque()
        self._lock = threading.Lock()
        self._start: float | None = None
        self._begun = self._ended = self._stopping = self._dry = False

    def write(self, frames: Frames) -> None:
        """Add frames [n, channels] to its end."""
        with self._lock:
            self._pieces.append(frames)

    def start(self, moment: float) -> None:
        """Sound from `moment` on; it may be changed until then. Of what begins late, the beginning is left out."""
        with self._lock:
            self._start = moment

    def end(self) -> None:
        """Nothing more will be written."""
        self._ended = True

    def stop(self) -> None:
        """Fade out within `FADE_S` of what is read from now on."""
        self._stopping = True

    def read(self, count: int, moment: float) -> Frames:
        """Return the next [count, channels], of which the first one sounds at `moment`."""
        out = np.zeros((count, self._channels), np.float32)
        with self._lock:
            if self._stopping:
                self._fade(out)
            elif (at := self._place(moment)) is not None and at < count:
                self._fill(out[at:])
        return out

    def _place(self, moment: float) -> int | None:
        """Return how many frames from now it begins: 0 once it sounds."""
        if self._begun or self._start is None:
            return 0 if self._begun else None
        place = round((self._start - moment) * self._rate)
        if place < 0:
            self._take(np.zeros((-place, self._channels), np.float32))
        return max(place, 0)

    def _fill(self, out: Frames) -> None:
        self._begun = True
        filled = self._take(out)
        lacking = filled < len(out)
        self.finished = lacking and self._ended
        dry = lacking and not self._ended
        self.underruns += dry and not self._dry
        self._dry = dry

    def _fade(self, out: Frames) -> None:
        if self._begun and not self.finished:
            faded = out[: round(FADE_S * self._rate)]
            filled = self._take(faded)
            faded[:filled] *= np.linspace(1, 0, len(faded), dtype=np.float32)[:filled, None]
        self.finished = True

    def _take(self, out: Frames) -> int:
        """Move frames from the beginning of the tape to `out` and return how many there were."""
        filled = 0
        while self._pieces and filled < len(out):
            piece = self._pieces.popleft()
            used = min(len(piece), len(out) - filled)
            out[filled : filled + used] = piece[:used]
            filled += used
            if used < len(piece):
                self._pieces.appendleft(piece[used:])
        return filled


class Output:
    """A device that plays a tape."""

    def __init__(self, device: Device) -> None:
        """Open it. Raises AudioError."""
        audio = portaudio()
        self.device = device
        self.tape = Tape(device.rate, device.used_channels)
        self._clock, self._frame = StreamClock(device.rate), 0
        self._asked = time.monotonic()
        try:
            self._stream = audio.OutputStream(
                samplerate=device.rate,
                device=device.index,
                channels=device.used_channels,
                dtype="float32",
                latency="high",
                callback=self._play,
            )
            self.latency = plausible_latency(self._stream.latency)
            """Seconds."""
            self._stream.start()
        except audio.PortAudioError as error:
            raise AudioError(f"the output {device.name} can't be opened ({error}); choose another one") from error

    @property
    def gone(self) -> bool:
        """Whether the device has vanished."""
        return not self._stream.active or time.monotonic() - self._asked > GONE_S

    def close(self) -> None:
        """Let go of the device, which is there still."""
        self._stream.close()

    def _play(self, out: Frames, count: int, times: Any, status: Any) -> None:
        self._asked = time.monotonic()
        self._clock.note(self._frame, heard_at(times, self.latency), lost=bool(status.output_underflow))
        out[:] = self.tape.read(count, self._clock.moment(self._frame))
        self._frame += count


def spread(audio: Frames, channels: int) -> Frames:
    """Return [n, C] as [n, channels]: one channel on all, several mixed to one."""
    if audio.shape[1] == channels:
        return audio
    return np.repeat(audio.mean(axis=1, keepdims=True), channels, axis=1)


def watch(output: Output) -> None:
    """Tell what happens to the sound, and end the process with it."""
    told = 0
    while not output.tape.finished:
        if output.gone:
            say(**{"is": "fail"}, text=f"the output {output.device.name} vanished while it played")
            os._exit(1)  # PortAudio aborts or hangs where a device has gone
        while told < output.tape.underruns:
            told += 1
            say(**{"is": "underrun"})
        time.sleep(LOOK_S)
    time.sleep(FADE_S + output.latency)  # what the device has in hand
    output.close()
    os._exit(0)


def obey(stdin: BinaryIO, output: Output, head: dict[str, Any]) -> None:
    """Do as stdin says, until it ends."""
    channels, rate, tape = head["channels"], output.device.rate, output.tape
    resampler = soxr.ResampleStream(head["rate"], rate, channels, dtype="float32", quality="HQ")

    def write(audio: Frames, *, last: bool) -> None:
        frames = resampler.resample_chunk(np.ascontiguousarray(audio), last=last)
        tape.write(np.clip(spread(frames, output.device.used_channels) * np.float32(head["gain"]), -1, 1))

    for line in stdin:
        match json.loads(line):
            case {"do": "samples", "bytes": size}:
                write(np.frombuffer(stdin.read(size), np.float32).reshape(-1, channels), last=False)
            case {"do": "start", "at": moment}:
                tape.start(moment)
            case {"do": "end"}:
                write(np.zeros((0, channels), np.float32), last=True)
                tape.end()
            case {"do": "stop"}:
                break
    tape.stop()


def main() -> int:
    """Play one take; exit code 1 where the device can't be opened or vanishes."""
    stdin, sys.stdout = private_pipes()
    head = json.loads(stdin.readline())
    try:
        output = Output(find("output", head["device"]))
    except AudioError as error:
        say(**{"is": "fail"}, text=error.text)
        return 1
    say(**{"is": "open"}, device=output.device.name)
    threading.Thread(target=obey, args=(stdin, output, head), daemon=True).start()
    watch(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
