"""The MIDI ports and audio inputs that this machine has at the moment; where there is no such system, none."""

from __future__ import annotations


def midi_ports() -> list[str]:
    """Return the names of the MIDI inputs, then of the outputs that are not also inputs."""
    try:
        import mido

        return list(dict.fromkeys(mido.get_input_names() + mido.get_output_names()))
    except (OSError, ImportError):  # rtmidi's own SystemError is an OSError
        return []


def audio_inputs() -> list[str]:
    """Return the names of the audio devices that can record."""
    try:
        import sounddevice

        return [str(device["name"]) for device in sounddevice.query_devices() if device["max_input_channels"] > 0]
    except (OSError, ImportError):  # no PortAudio
        return []
