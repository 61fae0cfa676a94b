"""What this machine offers the bridge, looked at one thing at a time, each with what to do where it falls short."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from musicgen_bridge.asking.presets import Presets, shipped
from musicgen_bridge.cli.install import check
from musicgen_bridge.errors import AudioError, ModelError
from musicgen_bridge.hub import STOCK_MODELS
from musicgen_bridge.ports import audio_devices, may_mean
from musicgen_bridge.settings import APP, Settings, demucs_folder, model_folder

State = Literal["ok", "warning", "problem"]

REPAIR = f"run: uv pip install --upgrade {APP}"
LEAST_FREE = 1 << 30
"""Bytes below which a folder's disk is called nearly full."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do about a warning or a problem."""

    area: str
    state: State
    text: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one finding after the other; a look that fails itself is a problem and ends nothing."""
    looks: tuple[tuple[str, Callable[[Settings], Iterator[Finding]]], ...] = (
        ("device", device),
        ("packages", packages),
        ("port", port),
        ("folders", folders),
        ("models", models),
        ("presets", presets),
        ("programs", programs),
        ("MIDI", midi),
        ("audio", audio),
        ("files", files),
    )
    for area, look in looks:
        try:
            yield from look(settings)
        except Exception as error:
            yield Finding(
                area, "problem", f"could not be looked at: {error!r}", "please report this with the text above"
            )


def device(settings: Settings) -> Iterator[Finding]:
    """Tell which device a worker would use, its name and memory."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    found = {"cpu": f"cpu, {psutil.cpu_count()} cores, {_size(memory.available)} of {_size(memory.total)} free"}
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found["cuda"] = f"cuda, {torch.cuda.get_device_name()}, {_size(free)} of {_size(total)} free"
    if torch.backends.mps.is_available():
        found["mps"] = "mps, memory shared with the system"
    wanted = settings.device.partition(":")[0]
    if wanted not in ("auto", *found):
        yield Finding("device", "problem", f"{wanted} is not there", f"use --device auto; there is {', '.join(found)}")
    elif wanted == "cpu" or len(found) == 1:
        yield Finding("device", "warning", found["cpu"], "the large models are slow here; a GPU renders in real time")
    else:
        yield Finding("device", "ok", found[wanted if wanted != "auto" else "cuda" if "cuda" in found else "mps"])


def packages(_: Settings) -> Iterator[Finding]:
    """Compare the installed versions with what this package asks for; extras only where they are installed."""
    from packaging.requirements import Requirement

    missing: list[str] = []
    wrong: list[str] = []
    good: list[str] = []
    for line in metadata.requires(APP) or ():
        wanted = Requirement(line)
        extra = wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            if not extra:
                missing.append(wanted.name)
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        (good if fits else wrong).append(f"{wanted.name} {version}" + ("" if fits else f" ({wanted.specifier})"))
    if missing:
        yield Finding("packages", "problem", f"missing: {', '.join(missing)}", REPAIR)
    if wrong:
        yield Finding("packages", "problem", f"of a version that does not fit: {', '.join(wrong)}", REPAIR)
    if good:
        yield Finding("packages", "ok", ", ".join(good))


def port(settings: Settings) -> Iterator[Finding]:
    """Tell whether the OSC port is free on UDP and TCP, and who has it otherwise."""
    from musicgen_bridge.client import Bridge
    from musicgen_bridge.daemon import port_owner

    where = f"{settings.host}:{settings.port}"
    try:
        with Bridge.connect(settings.host, settings.port) as bridge:
            yield Finding("port", "ok", f"{where} is answered by a running {APP} {bridge.version}")
            return
    except ConnectionError:
        pass
    lost = [name for name, kind in (("UDP", socket.SOCK_DGRAM), ("TCP", socket.SOCK_STREAM)) if taken(settings, kind)]
    if lost:
        text = f"{where} is taken on {' and '.join(lost)} by {port_owner(settings.port) or 'another program'}"
        yield Finding("port", "problem", text, "end that program, or choose another --port")
    else:
        yield Finding("port", "ok", f"{where} is free, UDP and TCP")


def taken(settings: Settings, kind: socket.SocketKind) -> bool:
    """Return whether somebody has the port, for UDP (SOCK_DGRAM) or TCP (SOCK_STREAM)."""
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM and os.name == "posix":  # connections that ended a moment ago don't count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return True
    return False


def folders(settings: Settings) -> Iterator[Finding]:
    """Tell of each folder whether it exists, may be written, and how much space its disk has."""
    yield _folder("state", settings.state, needed=False, written=True)
    yield _folder("presets", settings.presets, needed=False, written=False)
    for root in settings.roots:
        yield _folder("root", root, needed=True, written=False)
    if settings.project is not None:
        yield _folder("project", settings.project, needed=True, written=True)


def _folder(name: str, path: Path, *, needed: bool, written: bool) -> Finding:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if path.exists() and not path.is_dir():
        return Finding("folders", "problem", f"{name} {path} is a file", f"move it away or name another {name} folder")
    if needed and there != path:
        return Finding("folders", "problem", f"{name} {path} does not exist", "create it or name another one")
    if written and not _writable(there):
        return Finding(
            "folders", "problem", f"{name} {path} may not be written", f"give this user the right to {there}"
        )
    if not written:
        return Finding("folders", "ok", f"{name} {path}" + ("" if there == path else " (not there, not needed)"))
    free = shutil.disk_usage(there).free
    text = f"{name} {path}, {_size(free)} free" + ("" if there == path else " (will be created)")
    if free < LEAST_FREE:
        return Finding("folders", "warning", text, "free some space: a stem of a minute takes 17 MB")
    return Finding("folders", "ok", text)


def _writable(folder: Path) -> bool:
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def models(settings: Settings) -> Iterator[Finding]:
    """Tell of each alias whether its files lie on this machine, their size, and the family; and of Demucs."""
    try:
        yield Finding("models", "ok", f"Demucs, {demucs_folder(settings)}")
    except ModelError as error:
        state: State = "problem" if settings.demucs else "warning"
        yield Finding("models", state, "Demucs is missing: nothing can be separated", error.text)
    for alias, target in settings.known_models.items():
        try:
            folder = model_folder(alias, settings)
            kind = _kind(folder)
            size = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
        except ModelError as error:
            optional = alias != settings.model and STOCK_MODELS.get(alias) == target
            yield Finding("models", "warning" if optional else "problem", f"{alias} is missing", error.text)
            continue
        except (OSError, ValueError, KeyError) as error:
            yield Finding("models", "problem", f"{alias} can't be read: {error}", f"fetch {target} again")
            continue
        text = f"{alias}, {kind}, {_size(size)}, {folder}"
        if size == 0:
            yield Finding("models", "problem", text, "it has no file with weights; fetch it again")
        else:
            yield Finding("models", "ok", text)


def _kind(folder: Path) -> str:
    """Return what a model's folder holds."""
    if (adapter := folder / "adapter_config.json").is_file():
        return f"adapter to {json.loads(adapter.read_text('utf-8'))['base_model_name_or_path']}"
    if (folder / "state_dict.bin").is_file() and not (folder / "config.json").is_file():
        return "in Audiocraft's layout"
    return str(json.loads((folder / "config.json").read_text("utf-8")).get("model_type", "of no known family"))


def presets(settings: Settings) -> Iterator[Finding]:
    """Count the presets and tell which files could not be read."""
    found = Presets(shipped(), settings.presets)
    if found.all():
        yield Finding("presets", "ok", f"{len(found.all())} presets")
    else:
        yield Finding("presets", "problem", "no presets", f"the package is incomplete; {REPAIR}")
    for problem in found.problems:
        yield Finding("presets", "problem", problem, "mend the file or move it away")


def programs(settings: Settings) -> Iterator[Finding]:
    """Compare what was installed for Live, Max and Reaper with what this package has."""
    found = list(check(settings.state))
    for name, folder, wrong in found:
        if wrong:
            advice = f"run: {APP} uninstall {name}, then {APP} install {name} --dest '{folder}'"
            yield Finding("programs", "problem", f"{name} in {folder}: {wrong}", advice)
        else:
            yield Finding("programs", "ok", f"{name} in {folder}")
    if not found:
        yield Finding("programs", "ok", f"nothing is installed; {APP} install live, max, ardour or reaper")


def midi(_: Settings) -> Iterator[Finding]:
    """List the MIDI ports, or tell why there are none."""
    import mido

    advice = "MIDI is optional; plug in a controller, or start the system's MIDI service, to use one"
    try:
        names = dict.fromkeys(mido.get_input_names() + mido.get_output_names())
    except (OSError, ImportError) as error:
        yield Finding("MIDI", "warning", f"no MIDI system: {error}", advice)
        return
    if names:
        yield Finding("MIDI", "ok", f"ports: {', '.join(names)}")
    else:
        yield Finding("MIDI", "warning", "no MIDI ports", advice)


def audio(settings: Settings) -> Iterator[Finding]:
    """List the audio devices, or tell why there are none, and whether those in the settings are there."""
    advice = "audio devices are optional: stems are files; connect an interface to record or to listen"
    try:
        found = {kind: audio_devices(kind) for kind in ("input", "output")}
    except AudioError as error:
        yield Finding("audio", "warning", error.text, advice)
        return
    for kind, wanted in (("input", settings.input), ("output", settings.output)):
        names = [f"{one['name']}{' (default)' if one['default'] else ''}" for one in found[kind]]
        if not names:
            yield Finding("audio", "warning", f"no audio {kind}", advice)
        elif wanted != "default" and not any(may_mean(wanted, f"{one['name']} {one['api']}") for one in found[kind]):
            there = ", ".join(names)
            yield Finding("audio", "warning", f'no {kind} "{wanted}"; there are {there}', f"change the setting {kind}")
        else:
            yield Finding("audio", "ok", f"{kind}s: {', '.join(names)}")


def files(_: Settings) -> Iterator[Finding]:
    """Tell which audio files can be read, and that the written ones can be."""
    import soundfile

    formats = soundfile.available_formats()
    lacking = [name for name in ("WAV", "FLAC", "AIFF") if name not in formats]
    text = f"libsndfile {soundfile.__libsndfile_version__}: {', '.join(formats)}"
    if lacking:
        yield Finding("files", "problem", f"{text}; not {', '.join(lacking)}", "reinstall the package soundfile")
    else:
        yield Finding("files", "ok", text)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
