"""The step as one kernel of our own against the plain step: the kernel itself where there is a GPU that takes it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from musicgen_bridge.engine import Sampling, fused, kernels
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.config import DecoderConfig
from musicgen_bridge.engine.decode import decode
from musicgen_bridge.engine.fused import FusedStep, device_constants, kernel_constants
from musicgen_bridge.engine.groups import _part, takes_at_once
from musicgen_bridge.engine.linear import Dense, Packed, Rounding, linear
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Noise, guide, sample
from musicgen_bridge.engine.transformer import Condition, Transformer
from musicgen_bridge.engine.weights import Affine, CrossAttention, DecoderWeights, Layer, folded
from musicgen_bridge.errors import InternalError

CUDA = torch.device("cuda:0")
on_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or not kernels.available(CUDA), reason="needs CUDA, Ampere or later"
    ),
]
SMALL = DecoderConfig(hidden=256, layers=3, heads=4, ffn=1024, vocab=512, codebooks=4, channels=1)
STEREO = DecoderConfig(hidden=256, layers=2, heads=4, ffn=1024, vocab=2048, codebooks=8, channels=2)
MANY_HEADS = DecoderConfig(hidden=512, layers=2, heads=8, ffn=1024, vocab=512, codebooks=4, channels=1)
UNEVEN = DecoderConfig(hidden=320, layers=2, heads=5, ffn=1216, vocab=264, codebooks=4, channels=1)
SIZES = {
    "small": DecoderConfig(hidden=1024, layers=24, heads=16, ffn=4096, vocab=2048, codebooks=4, channels=1),
    "large": DecoderConfig(hidden=2048, layers=48, heads=32, ffn=8192, vocab=2048, codebooks=4, channels=1),
}


def test_packing_is_undone() -> None:
    weight = torch.randn(16, 128)
    assert torch.equal(kernels.unpack(kernels.pack(weight)), weight)
    assert not torch.equal(kernels.pack(weight).flatten(), weight.flatten())


@pytest.mark.parametrize("size", [1.0, 1e-4, 1000.0, 0.0])
def test_packing_in_int8_costs_half_a_scale(size: float) -> None:
    weight = torch.randn(24, 320) * size
    weight[5, :64] = 0
    packed = kernels.pack_int8(weight)
    assert packed.shape == (3, 5, 16 + 512)
    largest = weight.view(24, 5, 64).abs().amax(-1, keepdim=True)
    rounded = kernels.unpack_int8(packed)
    error = (rounded.float() - weight).view(24, 5, 64).abs()
    assert (error <= largest * (1 / 250 + 2**-11) + 2**-25).all()
    scale = packed[..., :16].contiguous().view(torch.float16).float()
    assert torch.equal((1152 * scale).half().float(), 1152 * scale)  # which the kernel relies on


def test_a_lane_finds_its_weights_in_a_brick() -> None:
    packed = kernels.pack_int8(torch.randn(16, 128))
    halves = kernels.pack(kernels.unpack_int8(packed)).view(2, 2, 2, 32, 8)  # of each lane eight, and eight 32 behind
    for unit, brick, lane in [(0, 0, 0), (1, 0, 13), (0, 1, 31)]:
        scale = packed[unit, brick, :16].view(torch.float16)[lane // 4]
        mine = (packed[unit, brick, 16 + 16 * lane :][:16].float() - 128) * scale
        assert torch.equal(mine.half().view(2, 8), halves[unit, brick, :, lane])


def test_a_packed_map_is_the_plain_map() -> None:
    weight, x = torch.randn(24, 64), torch.randn(3, 64)
    packed = linear(weight, torch.float32, packed=True)
    assert isinstance(packed, Packed)
    assert torch.equal(packed(x), x @ weight.T)
    assert not isinstance(linear(torch.randn(24, 60), torch.float32, packed=True), Packed)  # no whole tiles


@pytest.mark.parametrize(
    ("architecture", "blocks", "memory", "name", "rows", "tokens"),
    [
        ("sm_80", 108, 166_912, "small", 2, 32),
        ("sm_89", 128, 101_376, "large", 8, 64),
        ("sm_90a", 132, 232_448, "small", 2, 32),
        ("sm_90a", 132, 232_448, "large", 8, 128),
        ("sm_100a", 148, 232_448, "large", 2, 32),
        ("sm_120", 170, 101_376, "small", 2, 32),
    ],
)
@pytest.mark.parametrize("int8", [False, True])
def test_the_kernel_compiles_without_a_gpu(
    architecture: str, blocks: int, memory: int, name: str, rows: int, tokens: int, int8: bool
) -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    dtype = torch.float16 if int8 else torch.bfloat16
    constants = kernel_constants(SIZES[name], rows // 2, rows, tokens, dtype, int8)
    constants |= device_constants(architecture, blocks, memory)
    assert len(kernels.compiled("step.cu", constants, architecture)) > 10_000


def test_what_the_compiler_says_reaches_the_user() -> None:
    pytest.importorskip("cuda.bindings.nvrtc")
    with pytest.raises(InternalError, match=r"(?s)kernels to off.*BLOCKS"):
        kernels.compiled("step.cu", {}, "sm_90a")


def transformer(
    c: DecoderConfig, dtype: torch.dtype, *, crosses: bool, packed: bool, rounding: Rounding = "none"
) -> Transformer:
    """Return a model with random weights, the same whatever the type and order."""
    draw = torch.Generator(CUDA).manual_seed(1)

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        return (torch.randn(shape, generator=draw, device=CUDA) * scale).half()

    def map_of(out: int, into: int, scale: float = 1.0) -> object:
        return linear(random(out, into, scale=scale * into**-0.5), dtype, packed, rounding)

    def norm() -> Affine:
        return Affine((1 + random(c.hidden, scale=0.1)).to(dtype), random(c.hidden, scale=0.1).to(dtype))

    def normed(out: int, scale: float = 1.0) -> tuple[Affine, object]:
        of, weight = norm(), random(out, c.hidden, scale=scale * c.hidden**-0.5)
        return folded(of, weight, dtype, rounding) if packed else (of, linear(weight, dtype))

    def layer() -> Layer:
        d = c.hidden
        cross = CrossAttention(norm(), map_of(d, d, 1.5), map_of(2 * d, d), map_of(d, d, 0.5)) if crosses else None
        before, up = normed(c.ffn)
        return Layer(*normed(3 * d, 1.5), map_of(d, d, 0.5), cross, before, up, map_of(d, c.ffn, 0.5))

    layers = tuple(layer() for _ in range(c.layers))
    last, heads = normed(c.codebooks * c.vocab)
    weights = DecoderWeights(
        embedding=random(c.codebooks * (c.vocab + 1), c.hidden, scale=0.5).to(dtype),
        layers=layers,
        norm=last,
        heads=heads,
        text=None,
        chroma=None,
    )
    return Transformer(weights, c, 512)


def in_float32(of: Any) -> Any:
    """Return weights, or a part of them, in float32, with our kernels' ones in plain order."""
    if isinstance(of, Tensor):
        return of.float()
    if isinstance(of, Packed):
        return Dense(of.weight.float(), of.bias)
    if dataclasses.is_dataclass(of) and not isinstance(of, type):
        return type(of)(*(in_float32(getattr(of, field.name)) for field in dataclasses.fields(of)))
    if isinstance(of, Affine):
        return Affine(*map(in_float32, of))
    return tuple(map(in_float32, of)) if isinstance(of, tuple) else of


def heard(c: DecoderConfig, batch: int, *, guided: bool, crosses: bool, texts: int, tokens: int = 12) -> Condition:
    """Return a random condition: cross-attention to one text or one a row, or prefixes, one shorter than the others."""
    draw = torch.Generator(CUDA).manual_seed(2)
    rows = batch * (2 if guided else 1)
    start = torch.zeros(rows, dtype=torch.long, device=CUDA)
    if not crosses:
        start[0] = 3
        return Condition(torch.randn(rows, 40, c.hidden, generator=draw, device=CUDA), start, True, None, None)
    shape = (c.layers, 2, texts, c.heads, tokens, c.head_size)
    cross = torch.randn(shape, generator=draw, device=CUDA).repeat(1, 1, batch // texts, 1, 1, 1)
    mask = torch.zeros(batch, 1, 1, tokens, device=CUDA)
    mask[-1, ..., tokens - 5 :] = -torch.inf
    return Condition(torch.zeros(rows, 0, c.hidden, device=CUDA), start, False, cross, mask)


def of_type(condition: Condition, dtype: torch.dtype) -> Condition:
    cast = {name: getattr(condition, name) for name in ("prefix", "cross", "cross_mask")}
    return dataclasses.replace(condition, **{k: v.to(dtype) for k, v in cast.items() if v is not None})


def at_once(model: Transformer, condition: Condition, sequence: Tensor) -> Tensor:
    """Return the logits [R, S - 1, K, V] of a known sequence, by the portable path in one go."""
    condition = of_type(condition, model.dtype)
    rows, known = len(condition.prefix), sequence[:, :, :-1]
    x = torch.cat([condition.prefix, model.embed(known).repeat(rows // len(known), 1, 1)], dim=1)
    position = torch.arange(x.shape[1], device=CUDA)
    cache = Cache.allocate(model.config, rows, x.shape[1], CUDA, model.dtype)
    mask = model.mask(position, len(position), condition.start)
    states = model.forward(x, position, len(position), mask, cache, condition)[:, condition.prefix.shape[1] :]
    return model.logits(states.flatten(0, 1)).view(rows, -1, *sequence.shape[1:2], model.config.vocab)


class TestKernel:
    pytestmark = on_gpu

    @pytest.mark.parametrize("c", [SMALL, UNEVEN], ids=["even", "uneven"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize(
        ("batch", "guided", "crosses", "texts"),
        [(1, True, True, 1), (2, True, True, 2), (4, True, True, 1), (3, False, True, 1), (1, True, False, 1),
         (4, True, False, 1), (1, False, False, 1)],
    )  # fmt: skip
    @torch.inference_mode()
    def test_logits_are_no_further_from_float32_than_the_plain_step_is(
        self, c: DecoderConfig, dtype: torch.dtype, batch: int, guided: bool, crosses: bool, texts: int
    ) -> None:
        self.check_logits(c, dtype, batch, guided=guided, crosses=crosses, texts=texts)

    @pytest.mark.parametrize("batch", [1, 4])
    @torch.inference_mode()
    def test_so_are_those_of_a_stereo_model(self, batch: int) -> None:
        self.check_logits(STEREO, torch.float16, batch, guided=True, crosses=True, texts=1)

    @pytest.mark.parametrize(("batch", "texts", "tokens"), [(1, 1, 110), (4, 4, 30), (2, 1, 65)])
    @torch.inference_mode()
    def test_so_are_those_of_long_texts(self, batch: int, texts: int, tokens: int) -> None:
        self.check_logits(MANY_HEADS, torch.float16, batch, guided=True, crosses=True, texts=texts, tokens=tokens)

    @pytest.mark.parametrize(
        ("c", "batch", "guided", "crosses"),
        [(SMALL, 1, True, True), (SMALL, 4, True, False), (UNEVEN, 3, False, True), (MANY_HEADS, 4, True, True),
         (STEREO, 1, True, True)],
    )  # fmt: skip
    @pytest.mark.parametrize("older", [False, True])
    @torch.inference_mode()
    def test_so_are_those_of_weights_in_int8(
        self, monkeypatch: pytest.MonkeyPatch, c: DecoderConfig, batch: int, guided: bool, crosses: bool, older: bool
    ) -> None:
        if older:
            self.on(monkeypatch, 28, 101_376)
        try:
            self.check_logits(c, torch.float16, batch, guided=guided, crosses=crosses, texts=1, rounding="int8")
        finally:
            fused._kernel.cache_clear()

    @pytest.mark.parametrize(("blocks", "memory"), [(28, 101_376), (108, 166_912)], ids=["RTX 3060", "A100"])
    @pytest.mark.parametrize(
        ("c", "batch", "guided", "crosses"),
        [(SMALL, 1, True, True), (SMALL, 4, True, False), (UNEVEN, 3, False, True), (MANY_HEADS, 4, True, True)],
    )
    @torch.inference_mode()
    def test_so_are_those_of_the_kernel_for_older_devices(
        self, monkeypatch: pytest.MonkeyPatch, c: DecoderConfig, batch: int, guided: bool, crosses: bool,
        blocks: int, memory: int,
    ) -> None:  # fmt: skip
        self.on(monkeypatch, blocks, memory)
        try:
            self.check_logits(c, torch.float16, batch, guided=guided, crosses=crosses, texts=1)
        finally:
            fused._kernel.cache_clear()

    @staticmethod
    def on(monkeypatch: pytest.MonkeyPatch, blocks: int, memory: int) -> None:
        """Have kernels made for a device of Ampere's generation."""
        monkeypatch.setattr(kernels, "architecture", lambda device: "compute_80")
        monkeypatch.setattr(fused, "_blocks", lambda device: blocks)
        monkeypatch.setattr(fused, "_memory", lambda device: memory)
        fused._kernel.cache_clear()

    @staticmethod
    def check_logits(
        c: DecoderConfig,
        dtype: torch.dtype,
        batch: int,
        *,
        guided: bool,
        crosses: bool,
        texts: int,
        tokens: int = 12,
        rounding: Rounding = "none",
    ) -> None:
        condition = heard(c, batch, guided=guided, crosses=crosses, texts=texts, tokens=tokens)
        draw = torch.Generator(CUDA).manual_seed(3)
        sequence = torch.randint(0, c.vocab, (batch, c.codebooks, 201), generator=draw, device=CUDA)
        if rounding == "none":
            exact_model = transformer(c, torch.float32, crosses=crosses, packed=False)
            plain_model = transformer(c, dtype, crosses=crosses, packed=False)
            model = transformer(c, dtype, crosses=crosses, packed=True)
        else:  # what the rounding itself costs is not the kernel's
            model = transformer(c, dtype, crosses=crosses, packed=True, rounding=rounding)
            exact_model = Transformer(in_float32(model.weights), c, 512)
            plain_model = model.unpacked()
        exact, plain = (at_once(each, condition, sequence)[:, 1:] for each in (exact_model, plain_model))
        condition = of_type(condition, dtype)
        cache = Cache.allocate(c, len(condition.prefix), 256, CUDA, dtype)
        cache.data.fill_(torch.nan)  # nothing is read that was not written
        assert FusedStep.fits(model, condition)
        step = FusedStep(model, condition, sequence, Sampling(), cache)
        step.prefill(1)
        noise = torch.ones(batch, c.codebooks, c.vocab, device=CUDA)
        logits = []
        for position in range(2, 201):
            step(step.reach(position), noise)
            logits.append(step.logits.clone())
        far = (torch.stack(logits, dim=1) - exact).norm(dim=-1)
        assert far.norm() < 1.1 * (plain - exact).norm()
        assert (far / exact.norm(dim=-1)).max() < (0.02 if dtype == torch.float16 else 0.1)

    @pytest.mark.parametrize(
        "sampling",
        [Sampling(), Sampling(top_k=0), Sampling(temperature=0), Sampling(guidance=1.0, temperature=0.8, top_k=50),
         Sampling(top_p=0.9), Sampling(top_k=1)],
        ids=str,
    )  # fmt: skip
    @torch.inference_mode()
    def test_codes_are_what_the_sampler_draws_from_its_logits(self, sampling: Sampling) -> None:
        c, batch, length = SMALL, 2, 60
        model = transformer(c, torch.float16, crosses=True, packed=True)
        condition = of_type(heard(c, batch, guided=sampling.guidance != 1, crosses=True, texts=1), torch.float16)
        sequence = torch.full((batch, c.codebooks, length), UNKNOWN, device=CUDA)
        sequence[:, :, 0] = c.pad
        sequence[:, 2, 5] = 7  # a code that is known stays
        cache = Cache.allocate(c, len(condition.prefix), length, CUDA, torch.float16)
        step = FusedStep(model, condition, sequence, sampling, cache)
        step.prefill(0)
        draw = Noise([1, 2], c.codebooks, c.vocab, CUDA)
        for position in range(1, length):
            noise = draw()
            step(step.reach(position), noise)
            wanted = sample(guide(step.logits, batch, sampling.guidance), sampling, noise)
            if position == 5:
                wanted[:, 2] = 7
            assert torch.equal(sequence[:, :, position], wanted)

    def test_what_it_does_not_take_is_left_to_the_plain_step(self) -> None:
        model = transformer(SMALL, torch.float16, crosses=True, packed=True)
        wide = of_type(heard(SMALL, 5, guided=True, crosses=True, texts=1), torch.float16)
        assert not FusedStep.fits(model, wide)  # ten rows
        assert not FusedStep.fits(transformer(SMALL, torch.float16, crosses=True, packed=False), wide)
        four = of_type(heard(SMALL, 4, guided=True, crosses=True, texts=4), torch.float16)
        assert FusedStep.fits(model, four)  # 43 tokens
        apart = dataclasses.replace(
            four,
            cross=torch.nn.functional.pad(four.cross, (0, 0, 0, 9)),  # type: ignore[arg-type]
            cross_mask=torch.nn.functional.pad(four.cross_mask, (0, 9), value=-torch.inf),  # type: ignore[arg-type]
        )
        assert FusedStep.fits(model, apart)  # of 21 places each, most of which nobody hears
        long = dataclasses.replace(four, cross=four.cross.repeat(1, 1, 1, 1, 2, 1), cross_mask=None)  # type: ignore[union-attr]
        assert not FusedStep.fits(model, long)
        assert takes_at_once(model, wide, 5) == 4
        assert takes_at_once(model, long, 4) == 2  # of 24 tokens each
        longest = dataclasses.replace(long, cross=four.cross.repeat(1, 1, 1, 1, 6, 1))  # type: ignore[union-attr]
        assert takes_at_once(model, longest, 4) == 0
        heads = transformer(MANY_HEADS, torch.float16, crosses=True, packed=True)
        assert takes_at_once(heads, heard(MANY_HEADS, 4, guided=True, crosses=True, texts=4, tokens=33), 4) == 4
        assert takes_at_once(heads, heard(MANY_HEADS, 4, guided=True, crosses=True, texts=4, tokens=34), 4) == 3

    @pytest.mark.parametrize(("batch", "texts", "size"), [(6, 1, 4), (8, 8, 4), (9, 0, 4), (10, 0, 8)])
    @torch.inference_mode()
    def test_a_batch_of_groups_is_drawn_as_the_groups_are(self, batch: int, texts: int, size: int) -> None:
        model = transformer(SMALL, torch.float16, crosses=texts > 0, packed=True)
        guided = size == 4
        condition = of_type(heard(SMALL, batch, guided=guided, crosses=texts > 0, texts=texts or 1), torch.float16)
        assert takes_at_once(model, condition, batch) == size
        unknown = torch.full((batch, SMALL.codebooks, 40), UNKNOWN, device=CUDA)
        sampling = Sampling() if guided else Sampling(guidance=1.0)

        def drawn(takes: slice) -> Tensor:
            noise = Noise(range(batch), SMALL.codebooks, SMALL.vocab, CUDA)
            rows = torch.arange(batch, device=CUDA)[takes]
            part = _part(condition, torch.cat([rows, rows + batch]) if guided else rows)
            cache = Cache.allocate(SMALL, len(part.prefix), 128, CUDA, torch.float16)
            return decode(
                model, part, unknown[takes], sampling, lambda: noise()[takes].contiguous(), cache, lambda: None
            )

        together = drawn(slice(None))
        groups = [drawn(slice(first, first + size)) for first in range(0, batch, size)]
        assert torch.equal(together, torch.cat(groups))
