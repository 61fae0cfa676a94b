"""The MIDI ports and audio devices that this machine has at the moment."""

from __future__ import annotations

import json
import subprocess

from musicgen_bridge.errors import AudioError
from musicgen_bridge.pipe import command

LOOK_S = 20.0
"""How long a look at the audio devices may take."""


def midi_ports() -> list[str]:
    """Return the names of the MIDI inputs, then of the outputs that are not also inputs; none without MIDI."""
    try:
        import mido

        return list(dict.fromkeys(mido.get_input_names() + mido.get_output_names()))
    except (OSError, ImportError):  # rtmidi's own SystemError is an OSError
        return []


def may_mean(said: str, name: str) -> bool:
    """Whether what was said may mean the device of this name: all its words are in it; capitals don't count."""
    return all(word in name.casefold() for word in said.casefold().replace(",", " ").split())


def audio_devices(kind: str) -> list[dict[str, str | int]]:
    """Return name, api, channels, rate and default of each audio device that is an "input" or an "output".

    A process of its own looks: PortAudio knows only what was there when it was started, and may hang.

    Raises:
        AudioError: PortAudio is missing, or does not answer.
    """
    look = command("sound.devices", kind)
    try:
        printed = subprocess.run(look, capture_output=True, timeout=LOOK_S, check=True, stdin=subprocess.DEVNULL)
        found = json.loads(printed.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise AudioError(f"the audio devices can't be listed ({error}); restart the audio system") from error
    if "error" in found:
        raise AudioError(found["error"])
    names = ("name", "api", "channels", "rate", "default")
    return [{name: device[name] for name in names} for device in found["devices"]]
