"""Sets one attention head of a fresh model so that it points at the present phase of the prompted tempo's bar.

A tempo is `PHASES` words. Word i of a bar of n frames is embedded as the coefficients with which MusicGen's own
sinusoids add up to cos(2 pi (p / n - i / PHASES)) over the audio's positions p; the head's queries read the sinusoids,
its keys the coefficients, so that its softmax over the words is a clock. All of it is trained on from there.
"""

from __future__ import annotations

import math

import torch

from training.model import PREFIX, Block, LanguageModel, positions
from training.prompts import PHASES, vocabulary
from training.scores import BAR_FRAMES

HORIZON = 1000
"""Frames over which the coefficients are fitted; the first 400 count twice."""
COEFFICIENTS = slice(0, 32)
FLAG = 32
PHASE = slice(40, 40 + PHASES)
"""Dimensions of a word's embedding: coefficients, what tells tempo words from all else, and the phase as one of 16."""
LOUDNESS = 40.0
SHARPNESS, PULL = 12.0, 20.0


def _bands(width: int) -> torch.Tensor:
    """The sixteen sinusoids whose periods, 64 to 205 frames, are a bar's: the cosines' dimensions, then the sines'."""
    half = width // 2
    periods = 2 * math.pi * torch.exp(torch.arange(half) * (math.log(10_000) / (half - 1)))
    first = int((periods > 63).nonzero()[0])
    cosines = torch.arange(first, first + 16)
    return torch.cat([cosines, cosines + half])


def _carriers(width: int) -> torch.Tensor:
    """The 32 dimensions whose sinusoids hardly move in 30 s: they carry the coefficients to the keys."""
    half = width // 2
    return torch.cat([torch.arange(half - 16, half), torch.arange(width - 16, width)])


def coefficients(width: int) -> torch.Tensor:
    """Return [bars, PHASES, 32]: for each bar length and phase, the weights of `_bands`."""
    basis = positions(PREFIX + HORIZON, width)[PREFIX:, _bands(width)].double()  # [T, 32]
    weights = torch.ones(HORIZON, 1, dtype=torch.float64)
    weights[:400] = 2
    bars = torch.tensor(BAR_FRAMES, dtype=torch.float64)[:, None]
    phases = torch.arange(PHASES) / PHASES
    times = torch.arange(HORIZON)[:, None, None]
    wanted = torch.cos(2 * math.pi * (times / bars - phases)).flatten(1)  # [T, bars * PHASES]
    gram = basis.T @ (weights * basis) + 1e-3 * HORIZON * torch.eye(32, dtype=torch.float64)
    solved = torch.linalg.solve(gram, basis.T @ (weights * wanted))
    return solved.T.reshape(len(BAR_FRAMES), PHASES, 32).float()


@torch.no_grad()
def install(model: LanguageModel) -> None:
    """Set the tempo words, the way of the coefficients into the decoder, and the first block's first head."""
    size = model.size
    shared = model.text_encoder.shared.weight
    shared[:, COEFFICIENTS] = shared[:, PHASE] = shared[:, FLAG] = 0
    first = vocabulary().index(f"bar{BAR_FRAMES[0]}p0")
    words = shared[first : first + len(BAR_FRAMES) * PHASES].view(len(BAR_FRAMES), PHASES, -1)
    words.zero_()
    words[..., COEFFICIENTS] = LOUDNESS * coefficients(size.width)
    words[..., FLAG] = LOUDNESS
    words[..., PHASE] = LOUDNESS / 2 * torch.eye(PHASES)
    for block in model.text_encoder.encoder.block:
        block.layer[0].SelfAttention.o.weight *= 0.3
        block.layer[1].DenseReluDense.wo.weight *= 0.3
    carriers, flag, phase = _carriers(size.width), size.width // 2 - 17, torch.arange(PHASES)
    gain = 5.0
    for targets, sources in ((carriers, COEFFICIENTS), (torch.tensor([flag]), slice(FLAG, FLAG + 1)), (phase, PHASE)):
        model.text.weight[targets] = 0
        model.text.weight[targets, torch.arange(sources.start, sources.stop)] = gain
    _set_head(model, carriers, flag)


def _set_head(model: LanguageModel, carriers: torch.Tensor, flag: int) -> None:
    """Queries read the bands, keys the carriers; a constant times the flag keeps the head on the tempo words."""
    width = model.size.width
    block = model.blocks[0]
    assert isinstance(block, Block)
    bands, constant = _bands(width), width // 2 - 18
    seen = model.positions[PREFIX : PREFIX + HORIZON]
    normal = (seen - seen.mean(1, keepdim=True)) / seen.std(1, keepdim=True)
    block.norm1.bias[bands] = -normal[:, bands].mean()  # what LayerNorm subtracts
    block.norm1.bias[carriers] = -normal[:, carriers].mean(0)
    block.norm1.bias[flag] = -normal[:, flag].mean()
    query, key = (
        block.qkv.weight[: width // model.size.heads],
        block.qkv.weight[width : width + width // model.size.heads],
    )
    rows = torch.arange(32)
    for matrix in (query, key):
        matrix[:33] = 0
    query[rows, bands] = key[rows, carriers] = math.sqrt(SHARPNESS)
    query[32, constant] = key[32, flag] = math.sqrt(PULL)
