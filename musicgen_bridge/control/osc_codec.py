"""OSC 1.0 packets to and from bytes: pure functions, strict with what comes and plain in what goes out.

The format is that of https://opensoundcontrol.stanford.edu/spec-1_0.html; where it says that a receiver may be lenient
(no type tags, dirty padding), this one is not.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

MAX_PACKET = 65_536
"""The longest packet that is taken, in bytes."""
MAX_DEPTH = 4
"""How deep bundles may lie in each other."""
MAX_MESSAGES = 64
"""The most messages in one packet."""
IMMEDIATELY = 1
"""The timetag that means now."""

_BUNDLE = b"#bundle\0"
_SKIPPED = {"c": 4, "r": 4, "m": 4, "t": 8, "N": 0, "I": 0, "[": 0, "]": 0}  # type -> bytes of an argument not taken
_FLOAT = struct.Struct(">f")
_FLOAT_END = 2.0**128 - 2.0**103  # from here on a number rounds to infinity as a 32-bit float


class PacketError(ValueError):
    """The bytes are no OSC packet; nothing in them can be answered."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An argument that is sound OSC but not taken here; `why` ends the sentence "it is …"."""

    why: str


Argument = str | int | float | bool | Refused


@dataclass(frozen=True, slots=True)
class Message:
    """An address and its arguments."""

    address: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Bundle:
    """Messages and bundles for one moment.

    `timetag` is 64-bit NTP time: seconds since 1900 in the upper half, fractions of 2**-32 s in the lower.
    """

    timetag: int
    elements: tuple[Message | Bundle, ...]


def decode(data: bytes) -> Message | Bundle:
    """Return the message or bundle in a packet.

    An argument of a type that is not taken, a number that is not finite and text that is not UTF-8 become `Refused`,
    so that the sender can be told. A 32-bit float becomes the shortest decimal that stands for it: 120.1, not
    120.0999984741211.

    Raises:
        PacketError: it is not sound OSC, longer than `MAX_PACKET`, deeper than `MAX_DEPTH` or holds more than
            `MAX_MESSAGES` messages.
    """
    if len(data) > MAX_PACKET:
        _refuse(f"longer than {MAX_PACKET} bytes")
    packet = _element(data, depth=1)
    if sum(1 for _ in messages(packet)) > MAX_MESSAGES:
        _refuse(f"more than {MAX_MESSAGES} messages")
    return packet


def messages(packet: Message | Bundle, timetag: int = IMMEDIATELY) -> Iterator[tuple[int, Message]]:
    """Yield each message of a packet, in order, with the timetag of the innermost bundle around it."""
    if isinstance(packet, Message):
        yield timetag, packet
    else:
        for element in packet.elements:
            yield from messages(element, packet.timetag)


def encode(message: Message) -> bytes:
    """Return a message as bytes; its arguments are str, int (32 bits) and float only.

    Raises:
        TypeError: an argument has another type.
        ValueError: a number does not fit, or a text holds a NUL.
    """
    tags, body = ",", b""
    for argument in message.arguments:
        match argument:
            case bool() | Refused():
                raise TypeError(f"{argument!r} can't go out; only i, f and s do")
            case str():
                tags, body = tags + "s", body + _padded(argument)
            case int() if -(2**31) <= argument < 2**31:
                tags, body = tags + "i", body + argument.to_bytes(4, "big", signed=True)
            case float() if abs(argument) < _FLOAT_END:
                tags, body = tags + "f", body + _FLOAT.pack(argument)
            case _:
                raise ValueError(f"{argument!r} does not fit into an OSC argument")
    return _padded(message.address) + _padded(tags) + body


def shortest(value: float) -> float:
    """Return the decimal with the fewest digits that is the same 32-bit float as `value`, which must be one."""
    exact = _FLOAT.pack(value)
    # Six digits always survive decimal -> float32 -> decimal, and nine always tell one float32 from the next.
    return next(near for digits in range(6, 10) if _FLOAT.pack(near := float(f"{value:.{digits}g}")) == exact)


def _refuse(why: str) -> NoReturn:
    raise PacketError(why)


def _padded(text: str) -> bytes:
    data = text.encode()
    if b"\0" in data:
        raise ValueError(f"{text!r} holds a NUL")
    return data + b"\0" * (4 - len(data) % 4)


def _element(data: bytes, depth: int) -> Message | Bundle:
    if not len(data) or len(data) % 4:
        _refuse("an element's size is no multiple of four")
    if data[0] == ord("/"):
        return _message(data)
    if data[:8] != _BUNDLE or len(data) < 16:
        _refuse("neither a message nor a bundle")
    if depth > MAX_DEPTH:
        _refuse(f"bundles more than {MAX_DEPTH} deep")
    at, elements = 16, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big", signed=True)
        at += 4
        if not 0 < size <= len(data) - at:
            _refuse("an element's size leads out of its bundle")
        elements.append(_element(data[at : at + size], depth + 1))
        at += size
    return Bundle(int.from_bytes(data[8:16], "big"), tuple(elements))


def _message(data: bytes) -> Message:
    raw, at = _string(data, 0)
    if not all(33 <= byte <= 126 for byte in raw):
        _refuse("an address that is not plain ASCII")
    tags, at = _string(data, at)
    if tags[:1] != b",":
        _refuse("no type tags")
    arguments = []
    for tag in tags[1:].decode("latin-1"):
        argument, at = _argument(tag, data, at)
        arguments.append(argument)
    if at != len(data):
        _refuse("bytes behind the last argument")
    return Message(raw.decode("ascii"), tuple(arguments))


def _argument(tag: str, data: bytes, at: int) -> tuple[Argument, int]:
    """Return the argument of type `tag` at byte `at`, and where the next one begins."""
    match tag:
        case "i" | "h":
            raw, end = _bytes(data, at, 4 if tag == "i" else 8)
            return int.from_bytes(raw, "big", signed=True), end
        case "f" | "d":
            raw, end = _bytes(data, at, 4 if tag == "f" else 8)
            (number,) = struct.unpack(">f" if tag == "f" else ">d", raw)
            if not math.isfinite(number):
                return Refused("a number that is not finite"), end
            return shortest(number) if tag == "f" else number, end
        case "s" | "S":
            raw, end = _string(data, at)
            try:
                return raw.decode(), end
            except UnicodeDecodeError:
                return Refused("text that is not UTF-8"), end
        case "T" | "F":
            return tag == "T", at
        case "b":
            raw, at = _bytes(data, at, 4)
            size = int.from_bytes(raw, "big", signed=True)
            _, end = _bytes(data, at, size)
            return Refused("a blob, which is not taken"), _zeros(data, end, -size % 4)
        case _ if tag in _SKIPPED:
            _, end = _bytes(data, at, _SKIPPED[tag])
            return Refused(f'of type "{tag}", which is not taken'), end
    _refuse(f"unknown type tag {tag!r}")


def _bytes(data: bytes, at: int, size: int) -> tuple[bytes, int]:
    if not 0 <= size <= len(data) - at:
        _refuse("an argument leads out of its message")
    return data[at : at + size], at + size


def _zeros(data: bytes, at: int, count: int) -> int:
    padding, end = _bytes(data, at, count)
    if any(padding):
        _refuse("padding that is not zero")
    return end


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the NUL-ended string at byte `at` without its NULs, and where its padding ends."""
    end = data.find(b"\0", at)
    if end < 0:
        _refuse("a string without an end")
    return data[at:end], _zeros(data, end, 4 - (end - at) % 4)
