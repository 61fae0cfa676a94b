"""From what was made to the stems of a job: every take is matched, the best are kept, parts are brought together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np

from musicgen_bridge.match import Matched, Scores, Target, estimate_key, match, melody_fit, mixed, score, shared_grid
from musicgen_bridge.match.key import KEY_HEARD
from musicgen_bridge.request import Part, RenderRequest
from musicgen_bridge.worker.takes import Made, Result, unseparated
from musicgen_bridge.worker.targets import target_of


def matched_of(request: RenderRequest, made: Made, step: Callable[[int, int], None]) -> list[Result]:
    """Return the stems of a request as they are before anything is separated: the best candidate of each row.

    `step` is told the takes that are done and their total; what it raises ends the job.
    """
    target = target_of(request, made.known, opens=made.opens)
    grid = made.known.grid if made.known else None
    takes: list[Matched] = []
    total = len(made.audio)
    for row in range(total):
        takes.append(match(made.hand_over(row), made.sample_rate, target, grid))
        step(row + 1, total)
    kept, told = _best(request, made, takes)
    if len(request.parts) > 1:
        for variation in range(request.variations):
            together = kept[variation :: request.variations]
            takes = _together(takes, together, made, target)
    results = unseparated(takes, made)
    return [replace(results[row], report=results[row].report | extra) for row, extra in zip(kept, told, strict=True)]


def mixdowns(request: RenderRequest, results: Sequence[Result]) -> list[Result]:
    """Return the mix of each variation's parts, where that is asked for."""
    if not request.mix:
        return []
    return [_mixdown(results[variation :: request.variations], request) for variation in range(request.variations)]


def _best(request: RenderRequest, made: Made, takes: Sequence[Matched]) -> tuple[list[int], list[dict[str, object]]]:
    """Return which takes are kept, in order, and what their sidecars tell of the others."""
    if request.best_of == 1:
        return list(range(len(takes))), [{} for _ in takes]
    scores = [_score(request, made, take, audio) for take, audio in zip(takes, made.audio, strict=True)]
    kept: list[int] = []
    told: list[dict[str, object]] = []
    for first in range(0, len(takes), request.best_of):
        rows = range(first, first + request.best_of)
        kept.append(max(rows, key=lambda row: scores[row].total))
        told.append({"candidates": [_told(request.seed + row, scores[row]) for row in rows]})
    return kept, told


def _score(request: RenderRequest, made: Made, take: Matched, audio: np.ndarray) -> Scores:
    melody = melody_fit(audio, made.sample_rate, *made.followed) if made.followed else None
    return score(take.report, matched=request.match, key=request.key, melody=melody)


def _told(seed: int, scores: Scores) -> dict[str, object]:
    return {"seed": seed, "total": scores.total, **asdict(scores)}


def _together(takes: Sequence[Matched], rows: Sequence[int], made: Made, target: Target) -> list[Matched]:
    """Return the takes, of which those in `rows` were matched as one if they were played so."""
    audios = [made.audio[row] for row in rows]
    grid = shared_grid(audios, made.sample_rate, [takes[row].grid for row in rows], target)
    if grid is None:
        return list(takes)
    anew = {row: match(made.audio[row], made.sample_rate, target, grid) for row in rows}
    return [anew.get(row, take) for row, take in enumerate(takes)]


def _mixdown(parts: Sequence[Result], request: RenderRequest) -> Result:
    if len(parts) == 1:
        return replace(parts[0], part=Part("mix", parts[0].part.prompt), raw=None)
    whole = mixed([part.audio.T for part in parts], target_of(request))
    key, confidence = estimate_key(whole.audio, request.sample_rate)
    heard = {"key": key if confidence >= KEY_HEARD else None, "key_confidence": confidence}
    levels = {"lufs": whole.lufs, "true_peak_db": whole.true_peak_db, "shortfall_lu": whole.shortfall}
    names = [part.part.name for part in parts]
    return replace(
        parts[0],
        audio=np.ascontiguousarray(whole.audio.T),
        part=Part("mix", " ".join(names)),
        report=parts[0].report | heard | levels | {"mix": names},
        raw=None,
    )
