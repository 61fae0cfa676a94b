"""What cuts an earlier take anew: the keys of /musicgen/recut, and the request that they make over the take's own."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from musicgen_bridge.asking.build_request import make_request, over
from musicgen_bridge.asking.keys import LENGTHS, RENDER_KEYS, Value, check_values, listed
from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.request import RenderRequest, Session
from musicgen_bridge.roots import Roots, shown
from musicgen_bridge.sidecar import STEM_FOLDER, read_sidecar
from musicgen_bridge.tempo_map import TempoMap, end_of_bars

RECUT_KEYS = {
    name: RENDER_KEYS[name]
    for name in ("take", "shift_beats", "shift_ms", "bars", "seconds", "beats", "bpm", "loudness", "name")
}
_KEPT = (
    *(*LENGTHS, "bpm", "signature", "tempo_map", "sample_rate", "key", "continue"),
    *("loop", "match", "model", "loudness", "format", "bits", "name"),
)


def make_recut(values: Mapping[str, Value], roots: Roots) -> RenderRequest:
    """Return the complete request for (checked) values of `RECUT_KEYS`; what they leave out stays as the take has it.

    It asks the disk. The new stem goes to the folder of the take, wherever that lies now.

    Raises:
        ArgumentError: no take is named, it is none that the model made, or it can't be cut so.
        PathError: it, or its sidecar, is none that may be read, or lies in no project.
    """
    if not values.get("take"):
        raise ArgumentError("recut needs a take: name its file")
    path = roots.readable(str(values["take"]))
    if path.parent.name != STEM_FOLDER:
        raise PathError(f"{shown(path)} lies in no {STEM_FOLDER} folder; name a stem where it was rendered to")
    sidecar = roots.readable(str(path.with_suffix(".json")))
    try:
        kept = _kept(read_sidecar(sidecar))
        project = roots.project(str(path.parents[1]))
        below = kept | {"take": str(path), "mode": "recut", "project": str(project)}
        if below.get("tempo_map"):
            below["tempo_map"] = _map_until_end(make_request(below, Session(), {}).timing, values)
        return make_request(over({**values, "take": str(path)}, below), Session(), {})
    except ArgumentError as error:
        raise ArgumentError(f"{shown(path)} can't be cut anew: {error.text}") from error


def _map_until_end(tempo_map: TempoMap, values: Mapping[str, Value]) -> str:
    """Return a take's tempo map as far as the length among `values` reaches: a shorter stem goes along it as before."""
    end = tempo_map.quarters
    if "bars" in values:
        end = end_of_bars(tempo_map.points, Fraction(values["bars"]))
    elif "beats" in values:
        end = Fraction(values["beats"])
    elif "seconds" in values:
        end = Fraction(tempo_map.position(float(values["seconds"])))
    points = tempo_map.until(float(end)) if end < tempo_map.quarters else tempo_map.points
    return "; ".join(map(str, points))


def _kept(fields: dict[str, Any]) -> dict[str, Value]:
    """Return what stays of a sidecar's request, in render keys. Raises ArgumentError."""
    asked = fields["request"]
    if not isinstance(asked, dict):
        raise ArgumentError("its request is no table; use the file as it was written")
    asked = check_values(asked, RENDER_KEYS, " in request")
    if asked.get("fill"):
        raise ArgumentError("it is a recording with a section made anew; fill that again")
    if asked.get("file"):
        raise ArgumentError("it was made of a recording; fit that again")
    if asked.get("separate"):
        raise ArgumentError(
            "it is one stem of a separation; render it anew, or recut a take and fit that with separate"
        )
    report = fields.get("report")
    if isinstance(report, dict) and report.get("mix"):
        raise ArgumentError(f"it is the sum of {listed(report['mix'])}; cut those anew")
    kept = {name: asked[name] for name in _KEPT if name in asked}
    return check_values({**kept, "seed": fields.get("seed", 0)}, RENDER_KEYS)
