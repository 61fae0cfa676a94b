"""The promise to the first in line, by figures."""

from __future__ import annotations

import time

import pytest

from musicgen_bridge.engine import Engine
from musicgen_bridge.settings import STARTER
from musicgen_bridge.worker.costs import SLOWEST, Costs, First, measured

STEPS = {1: 0.010, 2: 0.012, 3: 0.0126, 4: 0.020}


def first(left: int, since: float = 100.0, rows: int = 1) -> First:
    return First(rows=rows, steps=1000, left=left, since=since)


@pytest.mark.parametrize(("rows", "allowed"), [(2, True), (3, False), (4, False), (5, False)])
def test_at_its_beginning_only_what_costs_little_may_join(rows: int, allowed: bool) -> None:
    assert Costs(dict(STEPS)).allow(first(1000), rows, now=100.0) is allowed


def test_the_nearer_its_end_the_more_may_join() -> None:
    costs = Costs(dict(STEPS))
    assert not costs.allow(first(300), 4, now=107.0)  # 7 s alone, then 300 steps of 20 ms: 13 s
    assert costs.allow(first(250), 4, now=107.5)  # 7.5 + 5: just what 1.25 times 10 s allows


def test_what_it_has_lost_already_counts() -> None:
    costs = Costs(dict(STEPS))
    assert costs.allow(first(500), 2, now=105.0)
    assert not costs.allow(first(500), 2, now=106.6)  # 6.6 + 6


def test_so_does_the_time_that_joining_takes() -> None:
    costs = Costs(dict(STEPS))
    costs.joined(0.6)
    assert not costs.allow(first(1000), 2, now=100.0)
    costs.joined(0.1)
    assert costs.join == pytest.approx(0.3)
    assert costs.allow(first(1000), 2, now=100.0)


def test_its_own_rows_are_what_it_is_measured_by() -> None:
    costs = Costs(dict(STEPS))
    assert costs.allow(first(1000, rows=2), 3, now=100.0)
    assert not costs.allow(first(1000, rows=5), 6, now=100.0)


def test_a_step_that_takes_longer_now_counts_little_by_little() -> None:
    costs = Costs(dict(STEPS))
    for _ in range(500):
        costs.took(2, 0.015)
        costs.took(7, 1.0)
    assert costs.steps[2] == pytest.approx(0.015, rel=1e-3)
    assert 7 not in costs.steps
    assert not costs.allow(first(1000), 2, now=100.0)
    assert SLOWEST == 1.25


def test_steps_are_told_apart_where_the_monotonic_clock_is_windows_coarse_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: fine() * 64 // 1 / 64)
    steps = measured(Engine.load(STARTER, "cpu")).steps
    assert all(steps.values())
    assert len(set(steps.values())) == len(steps)
