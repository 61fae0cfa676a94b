"""The step as one kernel of our own, which is not slower than memory is; `Step` is its oracle and its off switch."""

from __future__ import annotations

import ctypes
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from musicgen_bridge.engine import kernels
from musicgen_bridge.engine.absorbed import HEAD, WARPS, absorb, texts, tokens_of
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.config import DecoderConfig
from musicgen_bridge.engine.linear import Linear, Packed
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Sampling, guide, sample
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition, Transformer

MOST_ROWS = 8
"""The columns of a tensor core's operand that hold rows; more of them take the plain step."""

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
        batch, _, span = sequence.shape
        rows, before, _ = condition.prefix.shape
        c, device = model.config, model.device
        absorbed, heard, tokens = absorb(model, condition)
        places = torch.arange(rows, device=device) if places is None else places
        self._kernel = _kernel(c, batch, rows, tokens, model.dtype, _int8(model), device)
        self._tensors = _passed(c, rows, tokens, device) | {
            "rows": torch.cat([heard, places[:, None].int()], dim=1),
            "start": condition.start,
            "cache": cache.data,
            "sequence": sequence,
        }
        self._tensors |= absorbed | _fixed(model)
        self.logits = self._tensors["logits"]
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
            and c.head_size == HEAD
            and rows <= MOST_ROWS
            and _room(c, rows, model.device)
            and (condition.cross is None or tokens_of(condition) <= texts(c)[-1])
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


def _passed(c: DecoderConfig, rows: int, tokens: int, device: torch.device) -> dict[str, Tensor]:
    """Return what passes from block to block, of 32-bit words, all zero; a row's heads have so many `splits` each."""
    splits = min(max(1, _blocks(device) // (rows * c.heads)), 8)
    shapes: dict[str, tuple[int, ...]] = {
        "x": (rows, c.hidden),
        "halves": (rows, c.hidden // 2),
        "fresh": (rows, 3, c.hidden),
        "mixed": (rows, c.heads, splits, HEAD // 2 + 4),
        "scores": (rows, c.heads * max(tokens, 1)),
        "inner": (rows, c.ffn // 2),
        "logits": (rows, c.codebooks, c.vocab),
        "count": (1,),
    }
    return {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}


def _nucleus(sampling: Sampling) -> bool:
    return 0 < sampling.top_p < 1 and not sampling.greedy


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
    return kernels.Kernel(binary, "step", device, blocks, 32 * WARPS + constants["OTHERS"], memory)


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
