"""One frozen `Settings`: the TOML file, under the environment, under the flags; every mistake is told at once."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from musicgen_bridge.errors import ArgumentError, ModelError
from musicgen_bridge.hub import downloaded
from musicgen_bridge.keys import suggestion
from musicgen_bridge.roots import Roots

APP = "musicgen-bridge"
STARTER = Path(__file__).parent / "starter"
STOCK_MODELS = {
    "small": "facebook/musicgen-small",
    "medium": "facebook/musicgen-medium",
    "melody": "facebook/musicgen-melody",
    "large": "facebook/musicgen-large",
    "stereo-small": "facebook/musicgen-stereo-small",
    "stereo-medium": "facebook/musicgen-stereo-medium",
    "stereo-melody": "facebook/musicgen-stereo-melody",
    "stereo-large": "facebook/musicgen-stereo-large",
}
"""Aliases of the published checkpoints by their names on the Hugging Face hub."""
STOCK_LICENCE = "cc-by-nc-4.0"
"""Of their weights: not for commercial use."""
DEMUCS = "adefossez/HTDemucs"
"""Demucs' own weights on the hub."""

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""How a name on the hub looks."""

TEMPO_SOURCES = ("midi", "jack", "link", "ableton", "reaper", "reaper_web", "ardour")
"""What can be followed: MIDI clock, JACK transport, Ableton Link, AbletonOSC, Reaper's OSC and web, Ardour."""


def config_file() -> Path:
    """Return where the settings are read from unless a flag names another file."""
    return platformdirs.user_config_path(APP, appauthor=False) / "config.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set; the field's text is its documentation in docs/settings.md."""

    model: str = field(default="starter", metadata={"doc": "alias of the model that is loaded at the start"})
    models: Mapping[str, str] = field(
        default_factory=dict, metadata={"doc": "a table alias = folder or hub name; clients choose by alias only"}
    )
    device: str = field(default="auto", metadata={"doc": "auto, cpu, cuda, cuda:1 or mps"})
    dtype: str = field(default="auto", metadata={"doc": "auto, float32, bfloat16, float16 or int8"})
    kernels: str = field(
        default="auto",
        metadata={"doc": "auto or off: CUDA kernels of our own, where the GPU takes them (Hopper or later)"},
    )
    host: str = field(default="127.0.0.1", metadata={"doc": "address to listen on; leave it at loopback"})
    port: int = field(default=32050, metadata={"doc": "UDP and TCP port of the OSC protocol"})
    project: Path | None = field(default=None, metadata={"doc": "project folder until a session names its own"})
    roots: tuple[Path, ...] = field(
        default_factory=lambda: (Path.home(),),
        metadata={"doc": "folders below which projects may lie and recordings are read"},
    )
    demucs: str | None = field(
        default=None,
        metadata={
            "doc": f"folder with Demucs' weights, or {DEMUCS} once it is downloaded: it separates a mix, and finds the "
            "melody in one"
        },
    )
    unload_after: int = field(
        default=0,
        metadata={
            "doc": "seconds without a job after which models leave memory, until one is asked for again; 0 is never, "
            "so that no take waits for its model"
        },
    )
    queue: int = field(default=64, metadata={"doc": "how many jobs may wait"})
    midi: str = field(
        default="on",
        metadata={
            "doc": 'off, on (a virtual port) or patterns of controllers besides, such as "Launchpad*, nanoKONTROL*"'
        },
    )
    input: str = field(
        default="default", metadata={"doc": "audio device that is recorded, by its name or a part of it"}
    )
    output: str = field(
        default="default", metadata={"doc": "audio device that plays what streams, by its name or a part of it"}
    )
    volume: float = field(default=0.0, metadata={"doc": "of what streams, in dB"})
    follow: tuple[str, ...] = field(
        default=("midi",),
        metadata={"doc": f"whose tempo is followed, the first that is there: {', '.join(TEMPO_SOURCES)}; or none"},
    )
    panel: bool = field(default=False, metadata={"doc": "serve the local web page, on loopback alone"})
    panel_port: int = field(default=32051, metadata={"doc": "TCP port of the page"})
    presets: Path = field(
        default_factory=lambda: platformdirs.user_config_path(APP, appauthor=False) / "presets",
        metadata={"doc": "folder of the user's own presets, and of controller maps in its folder controllers"},
    )
    state: Path = field(
        default_factory=lambda: platformdirs.user_state_path(APP, appauthor=False),
        metadata={"doc": "folder of the journal, the token and the logs"},
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
        """The daemon's own folder; one for each port, since a port has one daemon at a time."""
        return self.state / str(self.port)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values, for the worker."""
        return {name: _plain(getattr(self, name)) for name in _READERS}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Return the settings that `to_json` wrote."""
        return cls(**{name: _READERS[name](value) for name, value in values.items() if value is not None})


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [str(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise ArgumentError(f"must be a whole number from {low} to {high}, not {value!r}")
        return number

    return read


def _switch(value: Any) -> bool:
    words = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    known = words.get(str(value).lower())
    if known is None:
        raise ArgumentError(f"must be true or false, not {value!r}")
    return known


def _decibels(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else low - 1
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ArgumentError(f"must be a number from {low:g} to {high:g}, not {value!r}")
        return number

    return read


def _folder(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ArgumentError(f"must be a folder, not {value!r}")
    return Path(value).expanduser().absolute()


def _folder_or_hub(value: Any) -> str:
    """A hub name is left alone, all else is a folder."""
    folder = _folder(value)
    return str(value) if HUB_NAME.fullmatch(str(value)) and not folder.is_dir() else str(folder)


def _folders(value: Any) -> tuple[Path, ...]:
    listed = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed:
        raise ArgumentError(f"must be a list of folders, not {value!r}")
    return tuple(_folder(one) for one in listed)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"must be text, not {value!r}")
    return value


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in choices and not str(value).startswith("cuda:"):
            raise ArgumentError(f"must be one of {', '.join(choices)}, not {value!r}{suggestion(str(value), choices)}")
        return str(value)

    return read


def _models(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(target, str) for target in value.values()):
        raise ArgumentError('must be a table such as [models] mine = "/folder"')
    return dict(value)


def _sources(value: Any) -> tuple[str, ...]:
    listed = value.split(",") if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
        raise ArgumentError(f"must be a list of {', '.join(TEMPO_SOURCES)}, not {value!r}")
    names = tuple(name for name in (one.strip() for one in listed) if name not in ("", "none"))
    for name in names:
        if name not in TEMPO_SOURCES:
            near = suggestion(name, TEMPO_SOURCES)
            raise ArgumentError(f"must be a list of {', '.join(TEMPO_SOURCES)}, not {name!r}{near}")
    return names


_READERS: dict[str, Callable[[Any], Any]] = {
    "model": _text,
    "models": _models,
    "device": _one_of("auto", "cpu", "cuda", "mps"),
    "dtype": _one_of("auto", "float32", "bfloat16", "float16", "int8"),
    "kernels": _one_of("auto", "off"),
    "host": _text,
    "port": _whole(1, 65_535),
    "project": _folder,
    "roots": _folders,
    "demucs": _folder_or_hub,
    "unload_after": _whole(0, 604_800),
    "queue": _whole(1, 10_000),
    "midi": _text,
    "input": _text,
    "output": _text,
    "volume": _decibels(-60, 12),
    "follow": _sources,
    "panel": _switch,
    "panel_port": _whole(1, 65_535),
    "presets": _folder,
    "state": _folder,
}
_FROM_ENVIRONMENT = tuple(name for name in _READERS if name != "models")


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
    values: dict[str, Any] = {}
    for source, found in (
        _from_file(file, mistakes),
        ("the environment", _from_environment(environment, mistakes)),
        ("the flags", {name: value for name, value in (flags or {}).items() if value is not None}),
    ):
        for name, value in found.items():
            try:
                values[name] = _READERS[name](value)
            except ArgumentError as error:
                mistakes.append(f"{name} in {source} {error.text}")
    settings = replace(Settings(), **values)
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
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        mistakes.append(f"{path} can't be read: {error}")
        return str(path), {}
    return str(path), _known(table, str(path), mistakes)


def _from_environment(environment: Mapping[str, str], mistakes: list[str]) -> dict[str, Any]:
    prefix = "MUSICGEN_BRIDGE_"
    found = {name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)}
    return _known(found, "the environment", mistakes, _FROM_ENVIRONMENT)


def _known(
    found: dict[str, Any], source: str, mistakes: list[str], names: tuple[str, ...] = tuple(_READERS)
) -> dict[str, Any]:
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
        raise ModelError(f"the folder of {what} is missing: {target}")
    return downloaded(target)


def documentation() -> list[tuple[str, str, str]]:
    """Return (name, environment variable or "", text) of every setting, for docs and `doctor`."""
    return [
        (f.name, f"MUSICGEN_BRIDGE_{f.name.upper()}" if f.name in _FROM_ENVIRONMENT else "", f.metadata["doc"])
        for f in fields(Settings)
    ]
