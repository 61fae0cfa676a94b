"""The delay pattern, and the windows of a long take."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.engine.pattern import UNKNOWN, delay, first_unknown, undelay
from musicgen_bridge.engine.windows import Span, windows

P = 9


def test_each_book_lags_the_one_before_by_a_step() -> None:
    codes = torch.tensor([[[1, 2], [3, 4], [5, 6], [7, 8]]])
    assert delay(codes, 1, P).tolist() == [
        [
            [P, 1, 2, P, P, P],
            [P, P, 3, 4, P, P],
            [P, P, P, 5, 6, P],
            [P, P, P, P, 7, 8],
        ]
    ]


def test_left_and_right_lag_together() -> None:
    codes = torch.tensor([[[1, 2], [3, 4], [5, 6], [7, 8]]])
    assert delay(codes, 2, P).tolist() == [[[P, 1, 2, P], [P, 3, 4, P], [P, P, 5, 6], [P, P, 7, 8]]]


sizes = st.integers(1, 12)


@given(sizes, st.integers(1, 4), st.sampled_from([1, 2]), sizes)
def test_undelay_undoes_delay(batch: int, pairs: int, channels: int, frames: int) -> None:
    codes = torch.randint(0, 8, (batch, pairs * channels, frames))
    assert torch.equal(undelay(delay(codes, channels, P), channels), codes)


@given(sizes, sizes)
def test_sampling_begins_one_step_after_what_is_known(known: int, ahead: int) -> None:
    codes = torch.zeros(2, 4, known + ahead, dtype=torch.long)
    codes[:, :, known:] = UNKNOWN
    assert first_unknown(delay(codes, 1, P)) == known + 1
    assert first_unknown(delay(codes.clamp(min=0), 1, P)) == known + ahead + 4


def test_a_take_that_fits_is_one_window_and_hears_all_that_is_known() -> None:
    assert windows(0, 1500, 1500) == [(0, 0, 1500)]
    assert windows(1400, 1500, 1500) == [(0, 1400, 1500)]


def test_a_longer_take_goes_on_by_audiocraft_s_stride() -> None:
    """18 s of 30, as MusicGen.extend_stride: each later window hears the last 12 s of the one before."""
    assert windows(0, 3000, 1500) == [(0, 0, 1500), (900, 1500, 2400), (1800, 2400, 3000)]


def test_another_overlap_is_another_stride() -> None:
    assert windows(0, 3000, 1500, 500) == [(0, 0, 1500), (1000, 1500, 2500), (2000, 2500, 3000)]
    assert windows(0, 3000, 1500, 0) == [(0, 0, 1500), (1500, 1500, 3000)]


@pytest.mark.parametrize(("stride", "frames"), [(None, (100, None)), (2.5, (100, 38))])
def test_a_span_in_frames(stride: float | None, frames: tuple[int, int | None]) -> None:
    assert Span(4, stride).frames(25) == frames


@given(st.integers(0, 400), st.integers(0, 3000), st.integers(10, 300))
def test_windows_add_each_frame_once_and_are_never_too_long(known: int, more: int, length: int) -> None:
    spans = windows(known, known + more, length)
    added = [frame for span in spans for frame in range(span.known, span.stop)]
    assert added == list(range(known, known + more))
    assert all(0 <= span.start <= span.known and span.stop - span.start <= length for span in spans)
    assert all(span.start < span.known for span in spans[1:])
