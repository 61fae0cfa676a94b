"""One frozen `Settings`: the TOML file, under the environment, under the flags; every mistake is told at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from musicgen_bridge import setting_values as values
from musicgen_bridge.asking.keys import suggestion
from musicgen_bridge.errors import ArgumentError, ModelError
from musicgen_bridge.hub import DEMUCS, HUB_NAME, STOCK_MODELS, downloaded
from musicgen_bridge.roots import Roots

APP = "musicgen-bridge"
STARTER = Path(__file__).parent / "starter"
TEMPO_SOURCES = ("midi", "jack", "link", "ableton", "reaper", "reaper_web", "ardour")
"""What can be followed: MIDI clock, JACK transport, Ableton Link, AbletonOSC, Reaper's OSC and web, Ardour."""
DTYPES = ("auto", "float32", "bfloat16", "float16", "int8")
_PORT = values.whole(1, 65_535)


def config_file() -> Path:
    """Return where the settings are read from unless a flag names another file."""
    return platformdirs.user_config_path(APP, appauthor=False) / "config.toml"


def _read(as_: Callable[[Any], Any], doc: str) -> dict[str, Any]:
    """Return the metadata of a setting: what reads it, and its text in docs/settings.md."""
    return {"read": as_, "doc": doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set."""

    model: str = field(default="starter", metadata=_read(values.text, "alias of the model that is loaded at the start"))
    models: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_read(values.models, "a table alias = folder or hub name; clients choose by alias only"),
    )
    device: str = field(default="auto", metadata=_read(values.device, "auto, cpu, cuda, cuda:1 or mps"))
    dtype: str = field(
        default="auto", metadata=_read(values.one_of(*DTYPES), f"{', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    )
    kernels: str = field(
        default="auto",
        metadata=_read(
            values.one_of("auto", "off"),
            "auto or off: CUDA kernels of our own, where the GPU takes them (Ampere or later)",
        ),
    )
    host: str = field(default="127.0.0.1", metadata=_read(values.text, "address to listen on; leave it at loopback"))
    port: int = field(default=32050, metadata=_read(_PORT, "UDP and TCP port of the OSC protocol"))
    project: Path | None = field(
        default=None, metadata=_read(values.folder, "project folder until a session names its own")
    )
    roots: tuple[Path, ...] = field(
        default_factory=lambda: (Path.home(),),
        metadata=_read(values.folders, "folders below which projects may lie and recordings are read"),
    )
    demucs: str | None = field(
        default=None,
        metadata=_read(
            values.folder_or_hub,
            f"folder with Demucs' weights, or {DEMUCS} once it is downloaded: it separates a mix, and finds the melody "
            "in one",
        ),
    )
    unload_after: int = field(
        default=0,
        metadata=_read(
            values.whole(0, 604_800),
            "seconds without a job after which models leave memory, until one is asked for again; 0 is never, so that "
            "no take waits for its model",
        ),
    )
    queue: int = field(default=64, metadata=_read(values.whole(1, 10_000), "how many jobs may wait"))
    midi: str = field(
        default="on",
        metadata=_read(
            values.text,
            'off, on (a virtual port) or patterns of controllers besides, such as "Launchpad*, nanoKONTROL*"',
        ),
    )
    input: str = field(
        default="default", metadata=_read(values.text, "audio device that is recorded, by its name or a part of it")
    )
    output: str = field(
        default="default",
        metadata=_read(values.text, "audio device that plays what streams, by its name or a part of it"),
    )
    volume: float = field(default=0.0, metadata=_read(values.number(-60, 12), "of what streams, in dB"))
    follow: tuple[str, ...] = field(
        default=("midi",),
        metadata=_read(
            values.some_of(*TEMPO_SOURCES),
            f"whose tempo is followed, the first that is there: {', '.join(TEMPO_SOURCES)}; or none",
        ),
    )
    panel: bool = field(default=False, metadata=_read(values.switch, "serve the local web page, on loopback alone"))
    panel_port: int = field(default=32051, metadata=_read(_PORT, "TCP port of the page"))
    presets: Path = field(
        default_factory=lambda: platformdirs.user_config_path(APP, appauthor=False) / "presets",
        metadata=_read(
            values.folder, "folder of the user's own presets, and of controller maps in its folder controllers"
        ),
    )
    state: Path = field(
        default_factory=lambda: platformdirs.user_state_path(APP, appauthor=False),
        metadata=_read(values.folder, "folder of the journal, the token and the logs"),
    )

    @property
    def known_models(self) -> dict[str, str]:
        """Every alias a client may name, with its folder or hub name."""
        return {"starter": str(STARTER), **STOCK_MODELS, **self.models}

    @property
    def allowed_roots(self) -> Roots:
        """The roots, and the project folder that the user named himself."""
        return Roots.of((*self.roots, *([self.project] if self.project else [])))

    @property
    def home(self) -> Path:
        """The daemon's own folder, one for each port; on several hosts of one port only one daemon may have it."""
        return self.state / str(self.port)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, for the worker."""
        return {name: _plain(getattr(self, name)) for name in _readers()}

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Settings:
        """Return the settings that `to_json` wrote."""
        readers = _readers()
        return cls(**{name: readers[name](value) for name, value in written.items() if value is not None})


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _readers() -> dict[str, Callable[[Any], Any]]:
    """Return what reads each setting, by its name."""
    return {one.name: one.metadata["read"] for one in fields(Settings)}


def _in_environment() -> tuple[str, ...]:
    """Return the settings that a text can hold: all but tables."""
    return tuple(name for name in _readers() if name != "models")


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings in force: defaults < file < `MUSICGEN_BRIDGE_*` < flags (None is a flag left out).

    Raises:
        ArgumentError: something is wrong; the text has one line for each mistake.
    """
    mistakes: list[str] = []
    readers = _readers()
    chosen: dict[str, Any] = {}
    for source, found in (
        _from_file(file, mistakes),
        ("the environment", _from_environment(environment, mistakes)),
        ("the flags", {name: value for name, value in (flags or {}).items() if value is not None}),
    ):
        for name, value in found.items():
            try:
                chosen[name] = readers[name](value)
            except ArgumentError as error:
                mistakes.append(f"{name} in {source} {error.text}")
    settings = replace(Settings(), **chosen)
    if settings.model not in settings.known_models:
        known = ", ".join(settings.known_models)
        near = suggestion(settings.model, settings.known_models)
        mistakes.append(f'model "{settings.model}" is not configured{near}; there are {known}')
    if mistakes:
        raise ArgumentError("\n".join(mistakes))
    return settings


def _from_file(file: Path | None, mistakes: list[str]) -> tuple[str, dict[str, Any]]:
    path = file or config_file()
    if file is None and not path.is_file():
        return str(path), {}
    try:
        table = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        mistakes.append(f"{path} can't be read ({error.strerror}); name a file of settings that is there")
        return str(path), {}
    except ValueError as error:
        mistakes.append(f"{path} can't be read: {error}; correct it, and save it in UTF-8")
        return str(path), {}
    return str(path), _known(table, str(path), mistakes, tuple(_readers()))


def _from_environment(environment: Mapping[str, str], mistakes: list[str]) -> dict[str, Any]:
    prefix = "MUSICGEN_BRIDGE_"
    found = {name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)}
    return _known(found, "the environment", mistakes, _in_environment())


def _known(found: dict[str, Any], source: str, mistakes: list[str], names: tuple[str, ...]) -> dict[str, Any]:
    mistakes += [
        f'unknown setting "{name}" in {source}{suggestion(name, names)}' for name in found if name not in names
    ]
    return {name: value for name, value in found.items() if name in names}


def model_folder(alias: str, settings: Settings) -> Path:
    """Return the folder of a configured model; a hub name means what the hub's cache holds, nothing is downloaded.

    Raises:
        ModelError: the alias is unknown, its folder is missing, or it was never downloaded.
    """
    known = settings.known_models
    if alias not in known:
        raise ModelError(f'no model "{alias}"{suggestion(alias, known)}; there are {", ".join(known)}')
    return _on_this_machine(f"model {alias}", known[alias])


def demucs_folder(settings: Settings) -> Path:
    """Return the folder with Demucs' weights; as with `model_folder`, nothing is downloaded. Raises ModelError."""
    if settings.demucs is None:
        raise ModelError(
            f"no Demucs is set, and no package brings its weights: run `musicgen-bridge models pull demucs` and set "
            f'demucs = "{DEMUCS}", or name a folder that holds them'
        )
    return _on_this_machine("Demucs", settings.demucs)


def _on_this_machine(what: str, target: str) -> Path:
    folder = Path(target).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(target):
        raise ModelError(f"the folder of {what}, {target}, is not there; put it back, or correct the settings")
    return downloaded(target)


def documentation() -> list[tuple[str, str, str]]:
    """Return (name, environment variable or "", text) of every setting, for docs and flags."""
    named = _in_environment()
    return [
        (one.name, f"MUSICGEN_BRIDGE_{one.name.upper()}" if one.name in named else "", one.metadata["doc"])
        for one in fields(Settings)
    ]
