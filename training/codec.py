"""Trains the codec on rendered clips: relative MSE first, then mel, then a discriminator; or its decoder alone."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import EncodecModel
from transformers.models.encodec import modeling_encodec

from training.checkpoint import codec_config, load_codec, save_codec
from training.quantizer import ResidualQuantizer

SAMPLE_RATE = 32_000
SEGMENT = SAMPLE_RATE
MEL_BANDS = {2048: 160, 1024: 120, 512: 80, 256: 40, 128: 20, 64: 10}


def _convolve(self: modeling_encodec.EncodecConv1d, x: torch.Tensor) -> torch.Tensor:
    """EncodecConv1d.forward with its padding as Python numbers: the stock one synchronizes with CUDA at every layer."""
    kernel = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0] + 1
    stride, length = self.conv.stride[0], x.shape[-1]
    total = kernel - stride
    extra = (math.ceil((length - kernel + total) / stride + 1) - 1) * stride + kernel - total - length
    right = total // 2
    return self.conv(self._pad1d(x, (total - right, right + extra), mode=self.pad_mode))


modeling_encodec.EncodecConv1d.forward = _convolve


class MelLoss(nn.Module):
    """Mean absolute difference of log mel spectrograms at six resolutions (Kumar et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        for n, bands in MEL_BANDS.items():
            filters = mel_filter_bank(
                n // 2 + 1, bands, 0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
            )
            self.register_buffer(f"filters{n}", torch.tensor(filters, dtype=torch.float32).t().contiguous())
            self.register_buffer(f"window{n}", torch.hann_window(n))

    def _logs(self, x: torch.Tensor, n: int) -> torch.Tensor:
        window = getattr(self, f"window{n}")
        spectrum = torch.stft(x.squeeze(1), n, n // 4, window=window, return_complex=True).abs()
        return (getattr(self, f"filters{n}") @ spectrum).clamp(min=1e-5).log10()

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Compare [B, 1, N] with [B, 1, N]."""
        return torch.stack([(self._logs(x, n) - self._logs(y, n)).abs().mean() for n in MEL_BANDS]).mean()


class Discriminator(nn.Module):
    """EnCodec's multi-scale STFT discriminator (Défossez et al. 2022), thin."""

    def __init__(self, sizes: tuple[int, ...] = (2048, 1024, 512), width: int = 16) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.weight_norm
        self.sizes = sizes

        def scale() -> nn.ModuleList:
            dilated = [nn.Conv2d(width, width, (9, 3), (2, 1), padding=(4, d), dilation=(1, d)) for d in (1, 2, 4)]
            last = [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)]
            return nn.ModuleList(normed(c) for c in [nn.Conv2d(2, width, (9, 3), padding=(4, 1)), *dilated, *last])

        self.scales = nn.ModuleList(scale() for _ in sizes)
        for n in sizes:
            self.register_buffer(f"window{n}", torch.hann_window(n))

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return each scale's scores and all inner features of [B, 1, N]."""
        scores, features = [], []
        for n, convolutions in zip(self.sizes, self.scales, strict=True):
            assert isinstance(convolutions, nn.ModuleList)
            window = getattr(self, f"window{n}")
            spectrum = torch.stft(x.squeeze(1), n, n // 4, window=window, normalized=True, return_complex=True)
            h = torch.stack([spectrum.real, spectrum.imag], 1)
            for convolution in convolutions[:-1]:
                h = functional.leaky_relu(convolution(h), 0.2)
                features.append(h)
            scores.append(convolutions[-1](h))
        return scores, features


@torch.no_grad()
def initialize(codec: EncodecModel, x: torch.Tensor) -> None:
    """Scale every convolution to unit output on real audio; as initialized, the latents hardly vary in time."""

    def rescale(module: Any, _: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        deviation = out.std().clamp(min=1e-6) / targets[module]
        module.parametrizations.weight.original0.div_(deviation)
        shift = (out - module.bias[:, None]).mean((0, 2)) / deviation
        before = module.bias.clone()
        module.bias.copy_(-shift)
        return (out - before[:, None]) / deviation - shift[:, None]

    targets: dict[nn.Module, float] = {}
    for half in (codec.encoder, codec.decoder):
        targets |= {m: 1.0 for m in half.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)}
        for block in half.modules():
            if isinstance(block, modeling_encodec.EncodecResnetBlock):
                targets[[m for m in block.modules() if isinstance(m, nn.Conv1d)][-1]] = 0.5
    targets[list(targets)[-1]] = float(x.std())
    hooks = [module.register_forward_hook(rescale) for module in targets]
    codec.decoder(codec.encoder(x))
    for hook in hooks:
        hook.remove()


def adversarial(judge: Discriminator, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return the codec's share of the game: hinge score plus twice the relative feature distance."""
    scores, features = judge(fake)
    with torch.no_grad():
        _, wanted = judge(real)
    score = torch.stack([-s.mean() for s in scores]).mean()
    distances = [(f - w).abs().mean() / w.abs().mean().clamp(min=1e-4) for f, w in zip(features, wanted, strict=True)]
    return score + 2 * torch.stack(distances).mean()


def judge_loss(judge: Discriminator, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return the discriminator's hinge loss."""
    pairs = zip(judge(real)[0], judge(fake)[0], strict=True)
    return torch.stack([functional.relu(1 - r).mean() + functional.relu(1 + f).mean() for r, f in pairs]).mean()


def mel_weight(progress: float, decoder_only: bool) -> float:
    """Relative MSE leads for the first half, since mel alone ends as a noise vocoder without pitch; then mel does.

    Where the codes are given, so is what pitch they hold, and mel may weigh most.
    """
    if decoder_only:
        return 30.0
    return 15.0 if progress > 0.45 else 2.0


def load_audio(folder: Path, shards: int) -> torch.Tensor:
    """Return the first `shards` shards' clips, int16 [N, samples], waiting for those still being rendered."""
    while len(paths := sorted(folder.glob("*.npz"))) < shards:
        time.sleep(0.5)
    return torch.from_numpy(np.concatenate([np.load(path)["audio"] for path in paths[:shards]]))


def draw(clips: torch.Tensor, rows: int) -> torch.Tensor:
    """Return segments [B, 1, SEGMENT] of int16 clips [N, samples], 8 dB quieter to 2 dB louder."""
    device = clips.device
    chosen = torch.randint(len(clips), (rows, 1), device=device)
    starts = torch.randint(clips.shape[1] - SEGMENT, (rows, 1), device=device)
    gain = 10 ** (torch.rand(rows, 1, 1, device=device) * 0.5 - 0.4)
    return clips[chosen, starts + torch.arange(SEGMENT, device=device)].float()[:, None] / 32768 * gain


def centred(x: torch.Tensor) -> torch.Tensor:
    """Return segments [B, 1, N] without what lies below some 8 Hz: the soundfont's synthesizers leave an offset."""
    slow = functional.avg_pool1d(x, 160)  # 5 ms each
    for _ in range(2):  # as a triangle of 110 ms
        slow = functional.avg_pool1d(slow, 11, 1, 5, count_include_pad=False)
    return x - functional.interpolate(slow, x.shape[-1], mode="linear")


class Trainer:
    """The codec, its books and its discriminator with their optimizers."""

    def __init__(self, codec: EncodecModel, o: argparse.Namespace) -> None:
        self.codec, self.o = codec.train(), o
        device = next(codec.parameters()).device
        self.judge, self.mel = Discriminator().to(device), MelLoss().to(device)
        self.quantizer = ResidualQuantizer(codec.quantizer)
        codec.encoder.requires_grad_(not o.decoder_only)
        self.parts = [p for p in codec.parameters() if p.requires_grad]
        self.ours = torch.optim.AdamW(self.parts, o.rate, betas=(0.8, 0.99), weight_decay=1e-3)
        self.theirs = torch.optim.AdamW(self.judge.parameters(), o.rate, betas=(0.8, 0.99), weight_decay=1e-3)
        self.frames = o.rows * SEGMENT // 640
        self.quantized, self.latents = bool(o.resume), list[torch.Tensor]()
        if self.quantized and not o.decoder_only:
            self.quantizer.resume(self.frames)
        self.step = 0

    def _schedule(self, progress: float) -> None:
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for optimizer in (self.ours, self.theirs):
            for group in optimizer.param_groups:
                group["lr"] = self.o.rate * min(1, (self.step + 1) / 100) * cosine

    def _quantize(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what the decoder hears, the commitment loss and perplexities; the books start after `warm` steps."""
        if self.quantized:
            return self.quantizer(z, train=not self.o.decoder_only)
        self.latents = [*self.latents[-20:], z.detach()]
        if self.step == self.o.warm:
            self.quantizer.start(torch.cat(self.latents), self.frames)
            self.quantized, self.latents = True, []
        return z, z.new_zeros(()), z.new_zeros(4)

    def _game(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Train the discriminator, then return the codec's share."""
        game = judge_loss(self.judge, x, y.detach())
        self.theirs.zero_grad(set_to_none=True)
        game.backward()
        self.theirs.step()
        return adversarial(self.judge, x, y)

    def train(self, x: torch.Tensor, progress: float) -> dict[str, torch.Tensor]:
        """Take one step on segments [B, 1, N] and return the figures to print."""
        self._schedule(progress)
        z, commitment, perplexity = self._quantize(self.codec.encoder(x))
        x = centred(x)  # no code makes an offset, not even those that heard one
        y = self.codec.decoder(z)
        spectral = self.mel(y, x)
        error = ((x - y).pow(2).mean(-1) / (x.pow(2).mean(-1) + 1e-4)).mean()
        loss = mel_weight(progress, self.o.decoder_only) * spectral + 5 * error + 0.25 * commitment
        if progress > self.o.judge_from:
            loss = loss + self._game(x, y)
        self.ours.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parts, 5.0, foreach=True)
        self.ours.step()
        self.step += 1
        return {"mel": spectral.detach(), "error": error.detach(), "perplexity": perplexity}


def train(o: argparse.Namespace) -> None:
    """Train for the given minutes; the codec is written at the end, and every now and then before.

    In TF32: bfloat16 adds noise worth 1.2 dB of mel distance, which the decoder would learn to live with.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(o.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    clips = load_audio(o.shards, o.count).to(device)
    trainer = Trainer((load_codec(o.resume) if o.resume else EncodecModel(codec_config())).to(device), o)
    if not o.resume:
        initialize(trainer.codec, draw(clips, o.rows))
    o.out.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    while (elapsed := time.time() - started) < o.minutes * 60:
        figures = trainer.train(draw(clips, o.rows), elapsed / (o.minutes * 60))
        if trainer.step % o.log == 0:
            rounded = {name: np.round(value.tolist(), 3).tolist() for name, value in figures.items()}
            print(json.dumps({"codec": trainer.step, "t": round(elapsed), **rounded}), flush=True)
        if trainer.step % (10 * o.log) == 0:
            save_codec(trainer.codec, o.out)
    save_codec(trainer.codec, o.out)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path, help="folder that training.render filled")
    parser.add_argument("out", type=Path, help="the codec's safetensors")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--count", type=int, default=20, help="shards to train on, held in the GPU's memory")
    parser.add_argument("--rows", type=int, default=96, help="segments of one second a step")
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--warm", type=int, default=300, help="steps before the books are set by k-means")
    parser.add_argument(
        "--judge-from", type=float, default=0.7, help="share of the time before the discriminator joins"
    )
    parser.add_argument("--resume", type=Path, help="checkpoint folder or codec safetensors to go on from")
    parser.add_argument("--decoder-only", action="store_true", help="freeze encoder and books: codes stay valid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=int, default=100)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
