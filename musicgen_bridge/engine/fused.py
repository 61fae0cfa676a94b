"""The step as one kernel of our own, which is not slower than memory is; `Step` is its oracle and its off switch."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from musicgen_bridge.engine import kernels
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.config import DecoderConfig
from musicgen_bridge.engine.linear import Linear, Packed
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Sampling, guide, sample
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition, Transformer

MOST_ROWS = 8
"""The columns of a tensor core's operand that hold rows; more of them take the plain step."""
TEXTS = (32, 64, 128)
"""Tokens to which all of a batch's texts are padded; more of them take the plain step."""
_HEAD = 64
_WARPS = 8

_Pointer = ctypes.c_void_p


class _Parameters(ctypes.Structure):
    """`struct Step` of kernels/shape.cuh."""

    _fields_ = [
        *((name, _Pointer) for name in ("weights", "heads", "queries", "values")),
        *((name, _Pointer) for name in ("qkv_fold", "queries_fold", "up_fold", "heads_fold")),
        *((name, _Pointer) for name in ("rows", "embedding", "positions", "start", "cache", "sequence", "noise")),
        *((name, _Pointer) for name in ("x", "halves", "fresh", "mixed", "scores", "inner", "logits", "count")),
        *((name, ctypes.c_int) for name in ("launches", "cached", "length", "span", "position", "before")),
        *((name, ctypes.c_int) for name in ("top_k", "draws")),
        *((name, ctypes.c_float) for name in ("temperature", "guidance")),
    ]


class FusedStep:
    """Steps as `Step` does, each one launch of `kernels/step.cu`; the prefill is its own."""

    def __init__(
        self,
        model: Transformer,
        condition: Condition,
        sequence: Tensor,
        sampling: Sampling,
        cache: Cache,
        places: Tensor | None = None,
    ) -> None:
        """`fits` says what it takes; `places` [R] are the condition's rows of the cache, if it holds others too.

        Raises InternalError where the kernel does not compile.
        """
        self._step = Step(model, condition, sequence, sampling, cache)
        self._sampling = sampling
        self._sequence = sequence
        batch, books, span = sequence.shape
        rows, before, _ = condition.prefix.shape
        c, device = model.config, model.device
        absorbed, heard, tokens = _absorb(model, condition)
        places = torch.arange(rows, device=device) if places is None else places
        self._kernel = _kernel(c, batch, rows, tokens, model.dtype, _int8(model), device)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)  # of 32-bit words, whatever they hold

        splits = min(max(1, _blocks(device) // (rows * c.heads)), 8)
        self.logits = zeros(rows, books, c.vocab)
        self._tensors = {
            "rows": torch.cat([heard, places[:, None].int()], dim=1),
            "start": condition.start,
            "cache": cache.data,
            "sequence": sequence,
            "x": zeros(rows, c.hidden),
            "halves": zeros(rows, c.hidden // 2),
            "fresh": zeros(rows, 3, c.hidden),
            "mixed": zeros(rows, c.heads, splits, _HEAD // 2 + 4),
            "scores": zeros(rows, c.heads * max(tokens, 1)),
            "inner": zeros(rows, c.ffn // 2),
            "logits": self.logits,
            "count": zeros(1),
        }
        self._tensors |= absorbed | _fixed(model)
        self._parameters = _Parameters(
            **{name: tensor.data_ptr() for name, tensor in self._tensors.items()},
            cached=cache.data.shape[2],
            length=cache.data.shape[4],
            span=span,
            before=before,
            top_k=sampling.top_k,
            draws=not _nucleus(sampling),
            temperature=sampling.temperature,
            guidance=sampling.guidance,
        )

    @staticmethod
    def fits(model: Transformer, condition: Condition) -> bool:
        """Whether the kernel takes this model's weights, and this many rows and words."""
        c = model.config
        first, rows = model.weights.layers[0], len(condition.prefix)
        return (
            all(isinstance(each, Packed) for each in (model.weights.heads, first.qkv, first.up, first.down))
            and c.head_size == _HEAD
            and rows <= MOST_ROWS
            and _room(c, rows, model.device)
            and (condition.cross is None or _tokens(condition) <= _texts(c)[-1])
        )

    def prefill(self, known: int) -> None:
        """Take in the prefix and the first `known` positions of the sequence."""
        self._step.prefill(known)
        self._parameters.position = known

    def reach(self, position: int) -> int:
        """Return `position`: the kernel reads no more of the cache than it must."""
        return position

    def __call__(self, length: int, noise: Tensor | None) -> None:
        """Advance by one position, `length` - 1."""
        self._parameters.position = length - 1
        self._parameters.noise = noise.data_ptr() if noise is not None else None
        self._kernel(self._parameters)
        self._parameters.launches += 1
        if not self._parameters.draws:
            logits = guide(self.logits, len(self._sequence), self._sampling.guidance)
            drawn = sample(logits, self._sampling, noise)  # [B, K]
            known = self._sequence[:, :, length]
            self._sequence[:, :, length] = torch.where(known == UNKNOWN, drawn, known)


def _nucleus(sampling: Sampling) -> bool:
    return 0 < sampling.top_p < 1 and not sampling.greedy


def _heard(condition: Condition) -> list[int]:
    """Return how many tokens each of the B takes hears of its text; the variations of one prompt share a text."""
    assert condition.cross is not None
    batch, length = condition.cross.shape[2], condition.cross.shape[4]
    mask = condition.cross_mask
    heard: list[int] = [length] * batch if mask is None else (mask[:, 0, 0] == 0).sum(1).tolist()
    return heard


def _one_text(condition: Condition) -> bool:
    cross = condition.cross
    assert cross is not None
    return bool((cross == cross[:, :, :1]).all())


def _tokens(condition: Condition) -> int:
    """Return how many tokens the texts of a batch have together."""
    heard = _heard(condition)
    return max(heard) if _one_text(condition) else sum(heard)


def _texts(c: DecoderConfig) -> list[int]:
    """Return those of `TEXTS` of which all heads together have whole tiles, and whole chunks where a head has two."""
    whole = [size for size in TEXTS if kernels.packable(c.hidden, c.heads * size)]
    return [size for size in whole if size <= _HEAD or c.heads % _WARPS == 0]


def _padded(c: DecoderConfig, tokens: int) -> int:
    """Return the size that `tokens` are padded to."""
    return next(size for size in _texts(c) if size >= tokens)


def _by_warps(maps: Tensor, tokens: int) -> Tensor:
    """Return maps [H * T, d] in the order in which each warp's parts of the chunks are one head's."""
    if tokens <= _HEAD:
        return maps
    parts = maps.view(-1, _WARPS, tokens // _HEAD, _HEAD, maps.shape[1])
    return parts.transpose(1, 2).reshape(maps.shape)


def _absorb(model: Transformer, condition: Condition) -> tuple[dict[str, Tensor], Tensor, int]:
    """Return cross-attention as two packed maps, the tokens [R, 2] that each row hears, and how many T there are.

    The maps are [L, H * T, d] and [L, d, H * T]: scores = h (Wqᵀ K / √D), to the base 2, and output = p (V Woᵀ).
    """
    c, device = model.config, model.device
    rows = len(condition.prefix)
    texts = torch.zeros(rows, 2, dtype=torch.int32, device=device)
    crosses = [layer.cross for layer in model.weights.layers if layer.cross is not None]
    names = ("queries", "values", "queries_fold")
    if not crosses:
        return dict.fromkeys(names, torch.empty(0, device=device)), texts, 0
    if condition.cross is None:
        tokens = _padded(c, 0)
        nothing = torch.zeros(c.layers * c.heads * tokens * c.hidden, dtype=model.dtype, device=device)
        return dict.fromkeys(names, nothing), texts, tokens
    heard = _heard(condition)
    lengths = torch.tensor(heard, dtype=torch.int32, device=device)
    if _one_text(condition):
        cross = condition.cross[:, :, 0, :, : max(heard)]  # [L, 2, H, T, D]
    else:  # one behind the other
        texts[: len(heard), 0] = lengths.cumsum(0) - lengths
        cross = torch.cat([condition.cross[:, :, take, :, :length] for take, length in enumerate(heard)], dim=3)
    texts[: len(heard), 1] = texts[: len(heard), 0] + lengths
    tokens = _padded(c, cross.shape[3])
    cross = torch.nn.functional.pad(cross, (0, 0, 0, tokens - cross.shape[3]))
    keys, vals = cross[:, 0] * (_HEAD**-0.5 * math.log2(math.e)), cross[:, 1]  # [L, H, T, D]
    query = (layer.query.weight.view(c.heads, _HEAD, c.hidden) for layer in crosses)  # type: ignore[attr-defined]
    out = (layer.out.weight.view(c.hidden, c.heads, _HEAD) for layer in crosses)  # type: ignore[attr-defined]

    def absorbed(of: Tensor, weight: Tensor) -> Tensor:
        return _by_warps(torch.bmm(of, weight).flatten(0, 1), tokens)  # [H * T, d]

    queries = torch.stack([absorbed(k, w) for k, w in zip(keys, query, strict=True)])
    values = torch.stack([absorbed(v, w.permute(1, 2, 0)).t() for v, w in zip(vals, out, strict=True)])
    # As `weights.folded` does, but for all layers at once: a take waits for this.
    scale, shift = (torch.stack(each) for each in zip(*(layer.norm for layer in crosses), strict=True))  # [L, d]
    behind = torch.bmm(queries, shift[..., None], out_dtype=torch.float32)  # [L, H * T, 1]
    queries.mul_(scale[:, None])
    fold = torch.cat([queries.sum(2, keepdim=True, dtype=torch.float32), behind], dim=2)
    return dict(zip(names, (kernels.pack(queries), kernels.pack(values), fold), strict=True)), texts, tokens


def _fixed(model: Transformer) -> dict[str, Tensor]:
    """Return what the kernel reads of the model, gathered once."""
    if (known := _of_models.get(model)) is not None:
        return known
    w = model.weights
    maps = [(layer.qkv, layer.out, layer.up, layer.down) for layer in w.layers]
    pointers = [[each.packed.data_ptr() for each in of if isinstance(each, Packed)] for of in maps]
    assert isinstance(w.heads, Packed)
    _of_models[model] = {
        "weights": torch.tensor(pointers, dtype=torch.int64, device=model.device),
        "heads": w.heads.packed,
        "qkv_fold": torch.stack([_fold(layer.qkv) for layer in w.layers]),
        "up_fold": torch.stack([_fold(layer.up) for layer in w.layers]),
        "heads_fold": _fold(w.heads),
        "embedding": w.embedding,
        "positions": model.positions,
    }
    return _of_models[model]


def _int8(model: Transformer) -> bool:
    heads = model.weights.heads
    return isinstance(heads, Packed) and heads.int8


def _fold(behind: Linear) -> Tensor:
    """Return W 1 and b [out, 2], float32, of a map behind a norm; see `Normed` in kernels/product.cuh."""
    assert isinstance(behind, Packed) and behind.bias is not None
    return torch.stack([behind.weight.sum(1, dtype=torch.float32), behind.bias], dim=1)


_of_models: WeakKeyDictionary[Transformer, dict[str, Tensor]] = WeakKeyDictionary()


@cache
def _kernel(
    c: DecoderConfig, batch: int, rows: int, tokens: int, dtype: torch.dtype, int8: bool, device: torch.device
) -> kernels.Kernel:
    """Return the step's kernel for batches of one shape."""
    architecture, blocks, memory = kernels.architecture(device), _blocks(device), _memory(device)
    constants = kernel_constants(c, batch, rows, tokens, dtype, int8) | device_constants(architecture, blocks, memory)
    binary = kernels.compiled("step.cu", constants, architecture)
    return kernels.Kernel(binary, "step", device, blocks, 32 * _WARPS + constants["OTHERS"], memory)


def kernel_constants(
    c: DecoderConfig, batch: int, rows: int, tokens: int, dtype: torch.dtype, int8: bool
) -> dict[str, int]:
    """Return the kernel's constants but those of the device; `tokens` is 0 or one of `TEXTS`, `int8` the weights."""
    return {
        "HIDDEN": c.hidden,
        "FFN": c.ffn,
        "HEADS": c.heads,
        "LAYERS": c.layers,
        "BOOKS": c.codebooks,
        "VOCAB": c.vocab,
        "BATCH": batch,
        "ROWS": rows,
        "TEXT": tokens,
        "BF16": int(dtype == torch.bfloat16),
        "INT8": int(int8),
    }


def device_constants(architecture: str, blocks: int, memory: int) -> dict[str, int]:
    """Return the kernel's constants of a device with so many multiprocessors and bytes of shared memory a block."""
    # Four warps beside those that compute, where these can be given their registers.
    return {"BLOCKS": blocks, "MEMORY": memory, "OTHERS": 128 if architecture.endswith("a") else 32}


def _blocks(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def _memory(device: torch.device) -> int:
    """Return the bytes of shared memory that a block may have."""
    most: int = torch.cuda.get_device_properties(device).shared_memory_per_block_optin  # type: ignore[attr-defined]
    return most


def _room(c: DecoderConfig, rows: int, device: torch.device) -> bool:
    """Whether a block's shared memory holds the sums and a ring of four slots."""
    return rows * 2200 + c.layers * 32 + 8192 + 4 * 17_000 <= _memory(device)
