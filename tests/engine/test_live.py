"""What is heard while a take renders: the first row, piece by piece, to the last sample, and it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from twins import Twin, tone

from musicgen_bridge.engine import Row, Sampling
from musicgen_bridge.errors import CancelledError

ROWS = [Row("piano", 1), Row("drums", 2)]
SAMPLING = Sampling(top_k=50)


@pytest.mark.parametrize("seconds", [0.05, 1.307])
@pytest.mark.parametrize("continued", [False, True])
def test_the_first_row_is_heard_as_it_will_be(each: Twin, seconds: float, continued: bool) -> None:
    pieces: list[np.ndarray] = []
    engine = each.engine
    before = np.repeat(tone(220, 0.4), engine.channels, axis=0) if continued else None
    silent = engine.generate(ROWS, seconds, sampling=SAMPLING, continue_from=before)
    heard = engine.generate(ROWS, seconds, sampling=SAMPLING, continue_from=before, on_audio=pieces.append)
    assert np.array_equal(heard.audio, silent.audio)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), heard.audio[0], atol=1e-5)


def test_it_comes_while_the_take_renders(each: Twin) -> None:
    steps: list[int] = []
    came: list[tuple[int, int]] = []  # steps done, samples so far
    each.engine.generate(
        ROWS[:1],
        2.0,
        sampling=SAMPLING,
        on_step=lambda done, total: steps.append(done),
        on_audio=lambda audio: came.append((len(steps), audio.shape[1])),
    )
    assert len(came) >= 8
    assert came[0][0] <= 20
    samples = np.cumsum([count for _, count in came])
    behind = [done * 640 - total for (done, _), total in zip(came, samples, strict=True)]
    assert max(behind[:-1]) <= 20 * 640  # never more than 0.4 s behind the codes


def test_across_windows_nothing_is_lost_or_heard_twice(melody: Twin) -> None:
    pieces: list[np.ndarray] = []
    seconds = 1.3 * melody.engine.max_duration
    heard = melody.engine.generate(ROWS[:1], seconds, sampling=SAMPLING, on_audio=pieces.append)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), heard.audio[0], atol=1e-5)


def test_who_listens_may_end_the_take(each: Twin) -> None:
    def enough(_: np.ndarray) -> None:
        raise CancelledError("enough")

    with pytest.raises(CancelledError):
        each.engine.generate(ROWS[:1], 1.0, sampling=SAMPLING, on_audio=enough)
