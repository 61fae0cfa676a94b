"""Trains the language model on tokenized clips while they are still being rendered, for a given time on one GPU."""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from training import codec as _codec  # noqa: F401  (its convolution patch keeps the encoder from synchronizing)
from training import metronome
from training.checkpoint import load_codec, read_weights
from training.model import BOOKS, CODES, LanguageModel, Size, delay, stock_views
from training.optimizer import Optimizer, trapezoid
from training.pool import Batch, Pool

BOOK_WEIGHTS = (1.4, 1.1, 0.8, 0.7)
"""The first books carry pulse and pitch."""
SHORT, LONG = 400, 1248
"""Crops of 8 s teach tempo fastest; crops of 25 s, the model's window, teach it to hold."""
CONTEXT = 300
"""Frames that rows without a downbeat are given, as when a recording or an earlier window is continued."""
EMA = 0.9985
STATE = "state.safetensors"
"""The optimizer's moments, beside the weights that they belong to."""


def corrupt(codes: torch.Tensor, spared: torch.Tensor, progress: float) -> torch.Tensor:
    """Spoil what each row of delayed codes [B, K, T] hears of its past, but for the rows `spared` [B].

    Some rows hear nothing at all and some little: what they play must come from tempo, key and melody, not from
    copying. The others have up to 12 % of their frames replaced by random codes, as the model's own slips will be.
    """
    batch, _, frames = codes.shape
    deaf, hard = (0.35, 0.65) if progress < 0.5 else (0.12, 0.35)
    kind = torch.rand(batch, 1, 1, device=codes.device)
    amount = torch.rand(batch, 1, 1, device=codes.device)
    missing = torch.where(kind < deaf, 1.0, torch.where(kind < hard, 0.3 + 0.65 * amount, 0.0))
    missing = torch.where(spared[:, None, None], 0.0, missing)
    codes = torch.where(torch.rand(batch, 1, frames, device=codes.device) < missing, CODES, codes)
    slips = torch.rand(batch, 1, frames, device=codes.device) < 0.12 * amount * ~spared[:, None, None]
    return torch.where(slips & (codes != CODES), torch.randint_like(codes, CODES), codes)


def book_losses(model: LanguageModel, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of each book, [K], for hidden states [B, T, d] and labels [B, K, T]."""
    logits = model.logits(hidden).float()  # [B, T, K, V]
    losses = functional.cross_entropy(logits.flatten(0, 2), labels.transpose(1, 2).flatten(), reduction="none")
    return losses.view(-1, BOOKS).sum(0) / (labels >= 0).sum((0, 2))


def losses_of(
    model: LanguageModel, batch: Batch, inputs: torch.Tensor, labels: torch.Tensor, losses: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Return the four books' losses for delayed inputs and labels [B, K, T]."""
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=inputs.is_cuda):
        text = model.describe(batch.words, batch.present, batch.text)
        return losses(model, model(inputs, text, batch.chroma, batch.dropped), labels)


def crop_frames(step: int, progress: float) -> int:
    """Short crops alone at first; then every third, and at last every second step a long one."""
    if progress < 0.2:
        return SHORT
    return LONG if step % (2 if progress > 0.75 else 3) == 0 else SHORT


@torch.no_grad()
def validate(model: LanguageModel, pool: Pool) -> dict[str, list[float]]:
    """Return the held-out losses of each book for short and long crops."""
    figures = {}
    for frames in (SHORT, LONG):
        batch = pool.draw(16, frames, held_out=True)
        losses = losses_of(model, batch, *delay(batch.codes), book_losses)
        figures[str(frames)] = [round(loss, 3) for loss in losses.tolist()]
    return figures


def save(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file that appears complete."""
    unfinished = path.with_suffix(".part")
    save_file({name: weight.cpu().contiguous() for name, weight in weights.items()}, unfinished)
    unfinished.replace(path)


class Trainer:
    """The model, its average and its optimizer; on CUDA the loss is compiled, and one block for all of them."""

    def __init__(self, model: LanguageModel, o: argparse.Namespace) -> None:
        self.model, self.rows = model, {SHORT: o.rows, LONG: max(1, o.rows * 3 // 8)}
        self.optimizer = Optimizer(model, model.blocks, o.muon_rate, o.adam_rate)
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.weights = torch.tensor(BOOK_WEIGHTS, device=model.embed.device) / sum(BOOK_WEIGHTS)
        self.losses: Callable[..., torch.Tensor] = book_losses
        self.step = 0

    def compile(self, pool: Pool) -> None:
        """Compile for both lengths of crops."""
        torch._dynamo.config.recompile_limit = 64
        self.losses = torch.compile(book_losses, dynamic=False)
        for block in self.model.blocks:
            block.compile(dynamic=False)
        for frames, count in self.rows.items():
            self.losses_of(pool.blank(count, frames), 0.0).sum().backward()
        self.model.zero_grad(set_to_none=True)

    def losses_of(self, batch: Batch, progress: float) -> torch.Tensor:
        """Return the four books' losses of a batch whose inputs are partly corrupted."""
        inputs, labels = delay(batch.codes)
        context = batch.adrift[:, None, None] & (torch.arange(labels.shape[2], device=labels.device) < CONTEXT)
        labels = labels.masked_fill(context, -100)
        return losses_of(self.model, batch, corrupt(inputs, batch.adrift, progress), labels, self.losses)

    def train(self, pool: Pool, progress: float) -> torch.Tensor:
        """Take one step and return the four books' losses."""
        frames = crop_frames(self.step, progress)
        batch = pool.draw(self.rows[frames], frames, adrift=0.2 if frames == LONG else 0.0)
        losses = self.losses_of(batch, progress)
        (losses * self.weights).sum().backward()
        self.optimizer.step(trapezoid(self.step, progress))
        if self.step % 4 == 0:
            decay = min(EMA**4, (1 + self.step) / (40 + self.step))
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)
        self.step += 1
        return losses.detach()

    def save(self, folder: Path) -> None:
        """Write the averaged weights under stock names, in half precision, and the optimizer's moments beside them."""
        save({k: v.half() for k, v in stock_views(self.averaged).items()}, folder / "decoder.safetensors")
        save(self.optimizer.state(), folder / STATE)


def train(o: argparse.Namespace) -> None:
    """Compile, wait for the first clips, then train until the time is up; a resumed run skips the schedule's start."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(o.seed)
    torch.set_float32_matmul_precision("high")
    started = time.time()
    model = LanguageModel(Size())
    metronome.install(model)
    if o.resume:
        read_weights(model, o.resume)
    trainer = Trainer(model.to(device), o)
    if o.resume and (state := o.resume.with_name(STATE)).exists():
        trainer.optimizer.load(load_file(state))
    pool = Pool(load_codec(o.codec), o.shards, o.capacity, device, o.keep)
    if device.type == "cuda":
        trainer.compile(pool)
    while pool.size < o.start:
        pool.fill(wait=True)
    perplexity = [round(p) for p in pool.perplexity()]
    print(json.dumps({"t": round(time.time() - started), "clips": pool.size, "perplexity": perplexity}), flush=True)
    seen, begin = torch.zeros(BOOKS, device=device), 0.4 if o.resume else 0.0
    while (elapsed := time.time() - started) < o.minutes * 60:
        seen += trainer.train(pool, begin + (1 - begin) * elapsed / (o.minutes * 60))
        if trainer.step % o.fill == 0:
            pool.fill()
        if trainer.step % o.log == 0:
            books = [round(v, 3) for v in (seen / o.log).tolist()]
            line = {"step": trainer.step, "t": round(elapsed), "clips": pool.size, "train": books}
            if trainer.step % (5 * o.log) == 0:
                line["held_out"] = validate(trainer.averaged, pool)
                trainer.save(o.out)
            print(json.dumps(line), flush=True)
            seen.zero_()
    trainer.save(o.out)
    print(json.dumps({"done": trainer.step, "t": round(time.time() - started)}), flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path, help="folder that training.render fills")
    parser.add_argument("codec", type=Path, help="checkpoint folder or codec safetensors")
    parser.add_argument("out", type=Path, help="folder for decoder.safetensors")
    parser.add_argument(
        "--resume", type=Path, help="an earlier run's decoder.safetensors, or a checkpoint's model.safetensors"
    )
    parser.add_argument("--minutes", type=float, default=13)
    parser.add_argument("--rows", type=int, default=96, help="short crops a step; 3/8 as many long ones")
    parser.add_argument("--start", type=int, default=1500, help="clips to wait for")
    parser.add_argument("--capacity", type=int, default=90_000, help="clips at most")
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fill", type=int, default=12, help="steps between shards")
    parser.add_argument("--log", type=int, default=100, help="steps between lines")
    parser.add_argument("--keep", action="store_true", help="leave the shards on disk")
    o = parser.parse_args()
    o.out.mkdir(parents=True, exist_ok=True)
    train(o)


if __name__ == "__main__":
    main()
