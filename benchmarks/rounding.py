"""How far rounded weights and arithmetic take the starter from float32: python benchmarks/rounding.py

The starter is stored in float16, so its weights are first put between two numbers of that kind, as those of a
checkpoint in float32 are. Takes are drawn in float32; then every form hears their codes and says what would come next.
Printed are the divergence KL(float32 ‖ form) of the guided softmax in nats, its 99th percentile, how often the
likeliest code is the same, and the total variation. `half at all` has x and the products in float16 too, as on a GPU,
where that has the weights of `int8 on CUDA` with `dtype = "int8"`.
The criterion for a default: no further from float32 than `half at all`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn import functional as F

import musicgen_bridge
from musicgen_bridge.engine import Engine, Row, Sampling, kernels, weights
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.linear import Linear, linear
from musicgen_bridge.engine.pattern import delay
from musicgen_bridge.engine.sampler import guide

STARTER = Path(musicgen_bridge.__file__).parent / "starter"
PROMPTS = (
    "lofi hip hop, 85 bpm, piano and drums",
    "techno, 130 bpm, bass and drums",
    "ambient pad, slow, 70 bpm",
    "funk guitar and drums, 105 bpm",
)
GUIDANCE = 3.0


def unrounded(weight: Tensor) -> Tensor:
    """Return a weight stored in float16 as one in float32 that float16 can't hold, the same one each time."""
    random = torch.Generator().manual_seed(weight.numel())
    return weight.float() * (1 + 2**-11 * (torch.rand(weight.shape, generator=random) - 0.5))


def throughout(dtype: torch.dtype) -> Callable[[Tensor], Linear]:
    """Return what makes maps whose input, weight and product are rounded to `dtype`."""

    def made(weight: Tensor) -> Linear:
        rounded = weight.to(dtype).float()
        return lambda x: F.linear(x.to(dtype).float(), rounded).to(dtype).float()

    return made


def in_bricks(weight: Tensor) -> Tensor:
    """Return a weight as our kernels round it to int8."""
    packed = kernels.packable(*weight.shape)
    return kernels.unpack_int8(kernels.pack_int8(weight)).float() if packed else weight


FORMS: dict[str, Callable[[Tensor], Linear]] = {
    "float16": lambda weight: linear(weight, torch.float32, rounding="float16"),
    "half at all": throughout(torch.float16),
    "bfloat16 at all": throughout(torch.bfloat16),
    "int8": lambda weight: linear(weight, torch.float32, rounding="int8"),
    "int8 on CUDA": lambda weight: throughout(torch.float16)(in_bricks(weight)),
}


@contextmanager
def made_by(form: Callable[[Tensor], Linear]) -> Iterator[Engine]:
    """Yield the starter with its maps in a form."""
    before = weights.linear
    weights.linear = lambda weight, *rest: form(unrounded(weight))
    try:
        yield Engine.load(STARTER, "cpu", "float32")
    finally:
        weights.linear = before


@torch.inference_mode()
def said(engine: Engine, takes: list[Tensor]) -> Tensor:
    """Return the guided log-probabilities [N, K, V] after every code of `takes` [1, K, T]."""
    model, c, heard = engine._model, engine._config, []
    for prompt, codes in zip(PROMPTS, takes, strict=True):
        chroma = [null_chroma(c.chroma_length, c.chroma)]
        hears = condition(model, [engine._text(prompt)], chroma, guided=True)
        sequence = delay(codes, c.decoder.channels, c.decoder.pad)[:, :, :-1]
        x = torch.cat([hears.prefix, model.embed(sequence).repeat(2, 1, 1)], dim=1)
        position = torch.arange(x.shape[1])
        cache = Cache.allocate(c.decoder, 2, len(position), model.device, model.dtype)
        mask = model.mask(position, len(position), hears.start)
        states = model.forward(x, position, len(position), mask, cache, hears)[:, -sequence.shape[2] :]
        logits = model.logits(states.flatten(0, 1)).unflatten(0, states.shape[:2])  # [2, T, K, V]
        heard.append(guide(logits, 1, GUIDANCE)[0, c.decoder.lag + 1 :])
    return torch.cat(heard).double().log_softmax(-1)


@click.command()
@click.option("--seconds", default=2.0, show_default=True, help="Of each of the takes.")
def main(seconds: float) -> None:
    """Print how far each form is from float32."""
    with made_by(lambda weight: linear(weight, torch.float32)) as engine:
        sampling = Sampling(guidance=GUIDANCE)
        rows = [Row(prompt, seed) for seed, prompt in enumerate(PROMPTS)]
        takes = [torch.from_numpy(engine.generate([row], seconds, sampling=sampling).codes) for row in rows]
        exact = said(engine, takes)
    click.echo(f"{exact[..., 0].numel()} codes of {len(takes)} takes, guidance {GUIDANCE}")
    click.echo(f"{'':16}  {'KL mean':>8}  {'99 %':>8}  {'same likeliest':>14}  {'total variation':>15}")
    for name, form in FORMS.items():
        with made_by(form) as engine:
            close = said(engine, takes)
        divergence = (exact.exp() * (exact - close)).sum(-1).flatten()
        same = (exact.argmax(-1) == close.argmax(-1)).double().mean()
        apart = (exact.exp() - close.exp()).abs().sum(-1).mean() / 2
        worst = divergence.quantile(0.99)
        click.echo(f"{name:16}  {divergence.mean():8.1e}  {worst:8.1e}  {same:14.1%}  {apart:15.4f}")


if __name__ == "__main__":
    main()
