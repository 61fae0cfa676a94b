"""Sampling: which codes may come, how often, and that a row's draw is its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.engine.sampler import Noise, Sampling, above_zero, guide, sample

CPU = torch.device("cpu")
LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])


def frequencies(sampling: Sampling, draws: int = 40_000) -> torch.Tensor:
    """Return how often each code of `LOGITS` is drawn."""
    noise = torch.empty(draws, len(LOGITS)).exponential_(generator=torch.Generator().manual_seed(0))
    codes = sample(LOGITS.expand(draws, -1), sampling, noise)
    return torch.bincount(codes, minlength=len(LOGITS)) / draws


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_codes_come_as_often_as_their_probability_says(temperature: float) -> None:
    wanted = (LOGITS / temperature).softmax(0)
    assert (frequencies(Sampling(temperature, 0, 0.0)) - wanted).abs().max() < 0.01


def test_top_k_keeps_the_k_likeliest() -> None:
    wanted = torch.cat([LOGITS[:3].softmax(0), torch.zeros(3)])
    assert (frequencies(Sampling(1.0, 3, 0.0)) - wanted).abs().max() < 0.01


def test_noise_of_zero_draws_no_code_that_top_k_has_ruled_out() -> None:
    noise = torch.tensor([1.0, 1.0, 1.0, 1.0, -0.0, 0.0])
    assert int(sample(LOGITS, Sampling(1.0, 3, 0.0), above_zero(noise.clone()))) == 0
    assert above_zero(noise.clone())[:4].tolist() == [1.0] * 4


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    shares = LOGITS.softmax(0).cumsum(0)
    top_p = float(shares[1] + shares[2]) / 2  # between two and three codes: the third is needed to reach it
    assert (frequencies(Sampling(1.0, 0, top_p)) > 0).tolist() == [True] * 3 + [False] * 3


@pytest.mark.parametrize("top_p", [1e-9, 0.1])
def test_top_p_keeps_at_least_one(top_p: float) -> None:
    assert frequencies(Sampling(1.0, 0, top_p))[0] == 1


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(top_k=1)])
def test_greedy_takes_the_likeliest_and_needs_no_noise(sampling: Sampling) -> None:
    assert sample(LOGITS, sampling, None) == 0


@given(st.integers(0, 2**31), st.integers(1, 5))
def test_noise_draws_what_multinomial_draws_from_the_same_seed(seed: int, steps: int) -> None:
    noise = Noise([seed], 2, len(LOGITS), CPU)
    torch.manual_seed(seed)
    shares = LOGITS.softmax(0).expand(2, -1)
    for _ in range(steps):
        theirs = torch.multinomial(shares, 1)[:, 0]
        assert torch.equal(sample(LOGITS.expand(1, 2, -1), Sampling(1.0, 0, 0.0), noise())[0], theirs)


def test_a_row_s_noise_depends_on_its_seed_alone() -> None:
    three, one = Noise([4, 5, 6], 2, 8, CPU), Noise([5], 2, 8, CPU)
    for _ in range(3):
        together, alone = three(), one()
        assert torch.equal(together[1], alone[0])
        assert not torch.equal(together[0], together[1])


def test_guidance_moves_away_from_the_null_rows() -> None:
    logits = torch.tensor([[[1.0, 2.0]], [[1.0, 1.0]]])  # conditioned, null
    assert guide(logits, 1, 3.0).tolist() == [[[1.0, 4.0]]]
    assert torch.equal(guide(logits, 2, 3.0), logits)
