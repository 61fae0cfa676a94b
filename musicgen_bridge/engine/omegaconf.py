"""Settings as audiocraft stores them, YAML or pickled objects of OmegaConf's, to plain containers without it."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import yaml

from musicgen_bridge.engine.config import Json
from musicgen_bridge.errors import ModelError


class _Plain:
    """Takes whatever state an object had, and does nothing."""


class _Dict(_Plain):
    """In the place of a DictConfig."""


class _List(_Plain):
    """In the place of a ListConfig."""


class _Node(_Plain):
    """In the place of a value."""


_NODES = ("Any", "String", "Integer", "Float", "Boolean", "Path", "Bytes", "Enum")
STAND_INS: list[tuple[Any, str]] = [
    (_Dict, "omegaconf.dictconfig.DictConfig"),
    (_List, "omegaconf.listconfig.ListConfig"),
    *((_Node, f"omegaconf.nodes.{kind}Node") for kind in _NODES),
    (_Plain, "omegaconf.base.Metadata"),
    (_Plain, "omegaconf.base.ContainerMetadata"),
    (_Plain, "typing.Any"),
    (defaultdict, "collections.defaultdict"),
    *((kind, f"builtins.{kind.__name__}") for kind in (dict, list, int, float, bool, str)),
]
"""Classes that a pickled config names, by their full names, with those that are made instead."""


def settings(stored: object) -> Json:
    """Return the settings of a checkpoint's `xp.cfg`, with `${a.b}` replaced by what stands at a.b.

    Raises ModelError where they can't be read.
    """
    if isinstance(stored, str):
        try:
            stored = yaml.safe_load(stored)
        except yaml.YAMLError as error:
            raise ModelError(f"The checkpoint's settings can't be read ({error}): export it again.") from error
    values = _plain(stored)
    if not isinstance(values, dict):
        raise ModelError("The checkpoint's settings are no table: export it again with audiocraft's `export_lm`.")
    return {key: _resolved(value, values) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, _Node):
        return value.__dict__.get("_val")
    if isinstance(value, _Dict | _List):
        return _plain(value.__dict__.get("_content"))
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _resolved(value: Any, root: Json, depth: int = 0) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(each, root, depth) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolved(each, root, depth) for each in value]
    found = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    if found is None or depth > 8:
        return value
    target: Any = root
    for key in found[1].split("."):
        target = target.get(key) if isinstance(target, dict) else None
    return _resolved(target, root, depth + 1)
