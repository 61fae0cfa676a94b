"""The delay pattern: codebook k lags k steps, so that each step predicts one code of every book (Copet et al. 2023).

A sequence [B, K, S] has the code of frame t and book k at position 1 + t + delay(k), and the pad code elsewhere:

    position   0  1  2  3  4  5  6  7
    book 0     P  a  a  a  a  P  P  P        four frames of four books: S = 4 + 4
    book 1     P  P  b  b  b  b  P  P
    book 2     P  P  P  c  c  c  c  P
    book 3     P  P  P  P  d  d  d  d

In a stereo model the books are interleaved left, right, and a pair has one delay.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNKNOWN = -1
"""Stands for a code that is yet to be sampled."""


def delays(codebooks: int, channels: int) -> list[int]:
    """Return how many steps each book lags."""
    return [book // channels for book in range(codebooks)]


def delay(codes: Tensor, channels: int, pad: int) -> Tensor:
    """Return the sequence [B, K, T + K / channels] of `codes` [B, K, T], some of which may be `UNKNOWN`."""
    batch, books, frames = codes.shape
    sequence = codes.new_full((batch, books, frames + books // channels), pad)
    for book, lag in enumerate(delays(books, channels)):
        sequence[:, book, 1 + lag : 1 + lag + frames] = codes[:, book]
    return sequence


def undelay(sequence: Tensor, channels: int) -> Tensor:
    """Return the codes [B, K, T] of a `sequence` [B, K, T + K / channels]."""
    books = sequence.shape[1]
    frames = sequence.shape[2] - books // channels
    lags = delays(books, channels)
    return torch.stack([sequence[:, book, 1 + lag : 1 + lag + frames] for book, lag in enumerate(lags)], dim=1)


def first_unknown(sequence: Tensor) -> int:
    """Return the first position of `sequence` [B, K, S] at which a code is yet to be sampled, or S."""
    unknown = (sequence == UNKNOWN).any(dim=1).any(dim=0)  # [S]
    return int(unknown.int().argmax()) if bool(unknown.any()) else len(unknown)
