"""From the values of a message to a complete render request: models, folders and recordings checked; and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

from musicgen_bridge.asking.build_request import make_request, over, update_session
from musicgen_bridge.asking.keys import RECORDINGS, Value, suggestion
from musicgen_bridge.asking.notation import parse_parts, parse_separate, parse_tempo_map
from musicgen_bridge.asking.record import make_recording
from musicgen_bridge.asking.recut import make_recut
from musicgen_bridge.control.commands import MAX_PROJECT_BYTES, Request
from musicgen_bridge.errors import ArgumentError, ModelError, PathError
from musicgen_bridge.jobs import Job
from musicgen_bridge.request import RecordRequest, RenderRequest, Session
from musicgen_bridge.roots import Roots
from musicgen_bridge.tempo_map import COMMON_TIME


def check_texts(values: Mapping[str, Value]) -> None:
    """Raise ArgumentError where a signature, key, tempo map, parts or separate cannot be read."""
    update_session(Session(), {name: values[name] for name in ("signature", "key") if name in values})
    parse_tempo_map(str(values.get("tempo_map", "")), COMMON_TIME)
    parse_parts(str(values.get("parts", "")))
    parse_separate(str(values.get("separate", "")))


def project_folder(path: str, roots: Roots) -> str:
    """Return the resolved project folder.

    Raises:
        PathError: it is none that may be used, or its path is too long for the paths of its stems to fit on the wire.
    """
    folder = str(roots.project(path))
    if len(folder.encode()) > MAX_PROJECT_BYTES:
        raise PathError(f"the project's path is longer than {MAX_PROJECT_BYTES} bytes; choose a folder nearer the root")
    return folder


def check_model(alias: str, models: Mapping[str, str]) -> None:
    """Raise ModelError where there is no model of that name."""
    if alias not in models:
        raise ModelError(f'no model "{alias}"{suggestion(alias, models)}; /musicgen/list what models shows them')


def settled(values: Mapping[str, Value], roots: Roots, models: Mapping[str, str]) -> dict[str, Value]:
    """Return the values with their paths resolved.

    Raises:
        ModelError: the model is not known.
        PathError: a path is none that may be used.
    """
    result = dict(values)
    if model := str(values.get("model", "")):
        check_model(model, models)
    if project := values.get("project"):
        result["project"] = project_folder(str(project), roots)
    for name in RECORDINGS:
        if path := values.get(name):
            result[name] = str(roots.readable(str(path)))
    return result


def complete(
    values: Mapping[str, Value],
    session: Session,
    defaults: Mapping[str, Value],
    roots: Roots,
    models: Mapping[str, str],
) -> RenderRequest:
    """Return the request for `values` over `defaults` over the session. It asks the disk: not for the loop.

    Raises:
        ArgumentError, ModelError, PathError: it cannot be rendered; the text says why.
    """
    project = {"project": session.project} if session.project else {}
    merged = settled({**project, **over(values, defaults)}, roots, models)
    return make_request(merged, session, {})


def complete_recording(values: Mapping[str, Value], session: Session, device: str, roots: Roots) -> RecordRequest:
    """Return the request to record for `values` over the session, by default from `device`. It asks the disk.

    Raises:
        ArgumentError, PathError: it cannot be recorded; the text says why.
    """
    request = make_recording(values, session, device)
    return replace(request, project=project_folder(request.project, roots))


def complete_recut(values: Mapping[str, Value], job: Job | None, roots: Roots) -> RenderRequest:
    """Return the request to cut a take anew, where `target` and `index` name it a stem of `job`. It asks the disk.

    Raises:
        ArgumentError, PathError: it cannot be cut so; the text says why.
    """
    given = {name: value for name, value in values.items() if name not in ("target", "index")}
    index = int(values.get("index", 0))
    if "target" in values:
        if "take" in given:
            raise ArgumentError("take and target both name a take; give one of them")
        if job is None or index >= len(job.stems):
            raise ArgumentError(f"the request {values['target']!r} has no stem {index}; name the take's file instead")
        given["take"] = job.stems[index].path
    request = make_recut(given, roots)
    return replace(request, project=project_folder(request.project, roots))


def digest(request: Request) -> str:
    """Return what tells one request's content from another's: address, keys and values, in whatever order they came."""
    content = [request.command.address, sorted(request.values.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
