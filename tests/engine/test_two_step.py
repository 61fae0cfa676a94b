"""Guidance in two steps goes through the decoder twice, with half of the rows each time, to the same codes."""

from __future__ import annotations

import numpy as np
import pytest
from twins import Twin, tone

from musicgen_bridge.engine import Melody, Row, Sampling
from musicgen_bridge.engine.transformer import Transformer

ROWS = [Row("lofi hip hop, piano", 7), Row("", 8), Row("drums", 9)]


def rows_a_pass(twin: Twin, rows: list[Row], monkeypatch: pytest.MonkeyPatch, **sampling: object) -> tuple[set, object]:
    """Return how many rows went through the decoder at once, and the codes."""
    seen: set[int] = set()
    forward = Transformer.forward

    def spied(self: Transformer, x: object, *rest: object) -> object:
        seen.add(len(x))  # type: ignore[arg-type]
        return forward(self, x, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Transformer, "forward", spied)
        known = np.random.default_rng(1).normal(0, 0.1, (twin.engine.channels, 5 * 640)).astype(np.float32)
        take = twin.engine.generate(rows, 0.3, sampling=Sampling(top_k=20, **sampling), continue_from=known)
    return seen, take.codes


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS], ids=["one row", "three rows, of other lengths"])
def test_two_steps_give_the_codes_of_one(each: Twin, rows: list[Row], monkeypatch: pytest.MonkeyPatch) -> None:
    if each.engine.family == "melody":
        rising = np.concatenate([tone(220, 1.0), tone(330, 1.0)], axis=1)
        rows = [Row(rows[0].prompt, 7, Melody(rising, 32_000)), *rows[1:]]
    passes, codes = rows_a_pass(each, rows, monkeypatch, two_step=True)
    together, same = rows_a_pass(each, rows, monkeypatch)
    assert passes == {len(rows)}
    assert max(together) == 2 * len(rows)
    assert np.array_equal(codes, same)


def test_without_guidance_there_is_one_pass(text: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, codes = rows_a_pass(text, ROWS, monkeypatch, two_step=True, guidance=1.0)
    once, same = rows_a_pass(text, ROWS, monkeypatch, guidance=1.0)
    assert passes == once == {len(ROWS)}
    assert np.array_equal(codes, same)
