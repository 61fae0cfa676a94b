"""MIDI as one more client of the desk: pads, knobs and program changes become requests, replies become lights."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.control.controllers import (
    CANCEL,
    CONTROL,
    NOTE,
    PICKED,
    ControllerMap,
    Maps,
    Pad,
    Slot,
    matches,
)
from musicgen_bridge.control.midi_ports import Ports
from musicgen_bridge.control.osc_codec import Argument, Message

log = logging.getLogger(__name__)

CLIENT = "midi"
"""The name under which the desk knows us."""
DEBOUNCE_S = 0.05
KNOB_S = 0.02
"""For how long the turns of knobs are gathered into one /musicgen/set."""
POLL_S = 1.0
QUEUED, RENDERING, DARK = 127, 64, 0
"""The lights: velocities of the same note."""
PROGRAM = 0xC0
_SYSTEM = 0xF0


class Midi:
    """The controllers in use and the slots they have started; all but the ports' own callbacks runs on the loop."""

    def __init__(
        self,
        wanted: str,
        maps: Maps,
        send: Callable[[Message], None],
        known: Callable[[str], bool],
        clock: Callable[[str, list[int], float], None] = lambda port, message, at: None,
    ) -> None:
        """`wanted` is the setting `midi`; `known` tells whether a request id was used before; `clock` takes what MIDI
        calls system messages: clock, start, stop, continue and position, with their port and time.
        """
        self._wanted, self._maps, self._send, self._known, self._clock = wanted, maps, send, known, clock
        self._ports: Ports | None = None
        self._why_off = "off"
        self._tasks: list[asyncio.Task[None]] = []
        self._picked: Slot = 1
        self._jobs: dict[str, tuple[str, int]] = {}  # slot -> the id of its job, and its light
        self._numbers: dict[str, int] = {}  # slot -> the last n of its ids
        self._pressed: dict[tuple[str, Pad], float] = {}  # port and pad -> when
        self._channels: dict[tuple[str, Pad], int] = {}  # map's name and pad -> where the pad was last pressed
        self._turned: dict[str, Value] = {}  # render key -> what /musicgen/set will say
        self._flushing: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the ports; a machine without MIDI is no error."""
        if self._wanted == "off":
            return
        loop = asyncio.get_running_loop()

        def heard(port: str, message: list[int], at: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self.take, port, message, at)

        ports = Ports(heard, self._is_wanted, lambda name: self._is_wanted(name) and self._map(name).lights)
        try:
            await asyncio.to_thread(ports.open)
        except (OSError, ImportError) as error:
            self._why_off = f"off: {str(error).splitlines()[0] if str(error) else 'no MIDI system'}"
            log.warning("MIDI is %s", self._why_off)
            return
        self._ports = ports
        self._ask("list", "midi-list", "what", "jobs")  # those that an earlier daemon left open
        self._tasks = [loop.create_task(self._watch(ports))]

    async def close(self) -> None:
        """Put out the lights and close the ports."""
        for task in self._tasks:
            task.cancel()
        if self._flushing:
            self._flushing.cancel()
        for slot in list(self._jobs):
            self._light(slot, DARK)
        if self._ports:
            await asyncio.to_thread(self._ports.close)

    @property
    def status(self) -> str:
        """The ports in use, or why there are none."""
        if self._ports is None:
            return self._why_off
        return ", ".join(dict.fromkeys((*self._ports.inputs, *self._ports.outputs))) or "no port is connected"

    async def _watch(self, ports: Ports) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                if await asyncio.to_thread(ports.poll):
                    for slot, (_, light) in self._jobs.items():
                        if light != DARK:
                            self._light(slot, light)
            except Exception:
                log.exception("the MIDI ports can't be looked at")

    def _is_wanted(self, port: str) -> bool:
        patterns = [] if self._wanted == "on" else self._wanted.split(",")
        return any(matches(port, one.strip()) for one in patterns) and self._maps.find(port) is not None

    def _map(self, port: str) -> ControllerMap:
        found = self._maps.find(port)
        assert found is not None, "a port without a map is not opened"
        return found

    # What comes from the controllers

    def take(self, port: str, message: list[int], at: float) -> None:
        """Take in one message of a port that came at `at` (`time.perf_counter`)."""
        match message:
            case [status, *_] if status >= _SYSTEM:
                self._clock(port, message, at)
            case [status, number, value] if status & 0xF0 in (NOTE, CONTROL):
                self._touch(port, Pad(status & 0xF0, number), value, status & 0x0F, at)
            case [status, number] if status & 0xF0 == PROGRAM:
                self._pick(self._map(port).programs.get(number))

    def _touch(self, port: str, pad: Pad, value: int, channel: int, at: float) -> None:
        mapped = self._map(port)
        if pad in mapped.pads:
            if value and at - self._pressed.get((port, pad), -DEBOUNCE_S) >= DEBOUNCE_S:
                self._channels[mapped.name, pad] = channel
                self._press(mapped.pads[pad])
            if value:
                self._pressed[port, pad] = at
        elif pad.kind == CONTROL and (knob := mapped.knobs.get(pad.number)):
            self._turned[knob.key.name] = knob.scaled(value)
            if self._flushing is None:
                self._flushing = asyncio.get_running_loop().call_later(KNOB_S, self._flush)

    def _flush(self) -> None:
        """Say what was turned, ahead of what comes next."""
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        if self._turned:
            pairs = [argument for pair in self._turned.items() for argument in pair]
            self._turned = {}
            self._ask("set", "midi-set", *pairs)

    def _press(self, action: Slot) -> None:
        self._flush()
        if action == CANCEL:
            for request_id, _ in list(self._jobs.values()):
                self._ask("cancel", "midi-cancel", "target", request_id)
            return
        slot = self._picked if action == PICKED else action
        if str(slot) in self._jobs:  # one job a slot
            return
        request_id = self._new_id(slot)
        self._jobs[str(slot)] = (request_id, DARK)
        self._ask("trigger", request_id, "slot", slot)

    def _pick(self, slot: Slot | None) -> None:
        if slot is not None and slot != self._picked:
            self._picked = slot
            _, light = self._jobs.get(str(slot), ("", DARK))
            self._light(PICKED, light)

    def _new_id(self, slot: Slot) -> str:
        """Return midi-<slot>-<n> with an n that the journal does not hold either."""
        while True:
            number = self._numbers[str(slot)] = self._numbers.get(str(slot), 0) + 1
            if not self._known(request_id := f"midi-{slot}-{number}"):
                return request_id

    def _ask(self, command: str, request_id: str, *arguments: Argument) -> None:
        self._send(Message(f"/musicgen/{command}", (request_id, *arguments)))

    # What the desk answers

    def hear(self, message: Message) -> None:
        """Take in a reply of the desk: how a slot's job stands."""
        request_id = str(message.arguments[0])
        if message.address == "/musicgen/list.reply":
            self._resume(dict(zip(message.arguments[3::2], message.arguments[4::2], strict=False)))
        if message.address == "/musicgen/fail":
            log.warning("%s: %s", request_id, message.arguments[3])
        slot = request_id.removeprefix("midi-").rpartition("-")[0]
        if not slot:
            return
        match message.address.rpartition("/")[2], message.arguments:
            case "queued", _:
                self._mark(slot, request_id, QUEUED)
            case "progress", _:
                self._mark(slot, request_id, RENDERING)
            case ("done", (_, _, int(index), int(total), *_)) if index + 1 == total:
                self._mark(slot, request_id, DARK)
            case "fail", _:
                self._mark(slot, request_id, DARK)

    def _resume(self, job: dict[Argument, Argument]) -> None:
        """Take up a job of the list, if it is one of MIDI's that has not ended."""
        lights = {"queued": QUEUED, "running": RENDERING}
        if job.get("client") == CLIENT and (light := lights.get(str(job["state"]))):
            request_id = str(job["target"])
            self._mark(request_id.removeprefix("midi-").rpartition("-")[0], request_id, light)

    def _mark(self, slot: str, request_id: str, light: int) -> None:
        """Note how a slot's job stands."""
        known, before = self._jobs.get(slot, (request_id, DARK))
        if known != request_id:
            return
        if light == DARK:
            self._jobs.pop(slot, None)
        else:
            self._jobs[slot] = (request_id, light)
        if light != before:
            self._light(slot, light)

    def _light(self, slot: Slot, light: int) -> None:
        """Send a light to every pad of a slot, on the channel where it was last pressed."""
        if self._ports is None:
            return
        wanted = {str(slot)} | ({PICKED} if str(slot) == str(self._picked) else set())
        for port in self._ports.outputs:
            mapped = self._map(port)
            pads = [pad for pad, action in mapped.pads.items() if str(action) in wanted]
            for pad in pads if mapped.lights else []:
                channel = self._channels.get((mapped.name, pad), 0)
                self._ports.send(port, [pad.kind | channel, pad.number, light])
