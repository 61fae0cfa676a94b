"""The audio devices of this machine; as a program, prints those of a kind as JSON: every start looks anew."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

from musicgen_bridge.errors import AudioError
from musicgen_bridge.ports import may_mean

Kind = Literal["input", "output"]

DEFAULT = "default"
"""The name that stands for the system's own choice."""
_MOST_CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Device:
    """One device in one of its directions."""

    index: int
    """PortAudio's, until the process ends."""
    name: str
    api: str
    """The system it belongs to, such as "Core Audio"; on Windows one device is there under several."""
    channels: int
    rate: int
    """Hz, the device's usual one."""
    default: bool
    """Whether it is the system's own choice."""

    @property
    def used_channels(self) -> int:
        """Channels that are recorded or played: one or two."""
        return min(self.channels, _MOST_CHANNELS)


def portaudio() -> Any:
    """Return the package sounddevice. Raises AudioError where PortAudio is missing."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            "there is no PortAudio to reach audio devices with; on Debian and Ubuntu run: apt install libportaudio2, "
            "elsewhere reinstall the package sounddevice"
        ) from error
    return sounddevice


def devices(kind: Kind) -> list[Device]:
    """Return the devices that can be recorded or can play, as they were when PortAudio was first asked.

    Raises:
        AudioError: PortAudio is missing.
    """
    audio = portaudio()
    default = audio.default.device[kind]
    apis = audio.query_hostapis()
    return [
        Device(
            index=index,
            name=str(one["name"]),
            api=str(apis[one["hostapi"]]["name"]),
            channels=one[f"max_{kind}_channels"],
            rate=round(one["default_samplerate"]),
            default=index == default,
        )
        for index, one in enumerate(audio.query_devices())
        if one[f"max_{kind}_channels"] > 0
    ]


def find(kind: Kind, name: str) -> Device:
    """Return the device of this name, or the one in whose name and system all its words are; capitals don't count.

    Raises:
        AudioError: PortAudio is missing, or no device, or more than one, has the name.
    """
    there = devices(kind)
    if not there:
        raise AudioError(f"this machine has no audio {kind}; connect one and try again")
    if name == DEFAULT:
        return next((one for one in there if one.default), there[0])
    exact = [one for one in there if one.name.casefold() == name.casefold()]
    found = exact or [one for one in there if may_mean(name, f"{one.name} {one.api}")]
    names = ", ".join(dict.fromkeys(one.name for one in found or there))
    if not found:
        raise AudioError(f'no audio {kind} "{name}"; there are {names}')
    if len({one.name for one in found}) > 1:
        raise AudioError(f'"{name}" may mean each of {names}; say more of the name')
    return next((one for one in found if one.default), found[0])


def main() -> int:
    """Print the inputs or outputs, or why there are none, as one JSON object."""
    kind: Kind = "output" if sys.argv[1:] == ["output"] else "input"
    try:
        print(json.dumps({"devices": [asdict(one) for one in devices(kind)]}))
    except AudioError as error:
        print(json.dumps({"error": error.text}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
