"""SEANet, the convolutional encoder and decoder of EnCodec, non-causal and with weight norm already folded.

After Défossez et al. 2022, "High Fidelity Neural Audio Compression", and transformers' modeling_encodec, whose layer
numbers the modules keep. Each layer that looks sideways also says how far: `needs` maps a span of its output to the
span of its input that the output depends on, from which the streaming decoder derives its halo.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicgen_bridge.engine.codec_config import CodecConfig
from musicgen_bridge.engine.lstm import Cells, LstmState


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to TF32, for as long as it runs or as a decorator.

    TF32 has 10 bits of mantissa: the audio would be off by 3e-4 at a peak of 0.45, and at once not equal to streamed.
    It gains nothing here, for the layers are bound by memory and launches.
    """
    cudnn = torch.backends.cudnn
    before, cudnn.allow_tf32 = cudnn.allow_tf32, False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def pad_reflect(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """Return `x` [..., N] mirrored at both ends to [..., left + N + right].

    A mirror needs more samples than it gives; a shorter `x` is first continued by zeros, as EnCodec was trained.
    """
    left, right = sides
    if not left and not right:
        return x
    lacking = max(left, right) - x.shape[-1] + 1
    if lacking > 0:
        return F.pad(F.pad(x, (0, lacking)), (left, right), mode="reflect")[..., :-lacking]
    return F.pad(x, (left, right), mode="reflect")


class Conv(nn.Conv1d):
    """Convolution over the mirrored signal: [B, C_in, N] -> [B, C_out, ceil(N / stride)]; or over one with zeros."""

    def __init__(
        self, channels_in: int, channels_out: int, size: int, pad_mode: str, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(channels_in, channels_out, size, stride=stride, dilation=dilation)
        self._pad = F.pad if pad_mode == "constant" else pad_reflect

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` [B, C_in, N]."""
        stride = self.stride[0]
        total = self._reach - stride + 1
        short = -x.shape[-1] % stride
        return super().forward(self._pad(x, (total - total // 2, total // 2 + short)))

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of input that outputs [start, stop) depend on (stride 1).

        Output n reads [n - left, n - left + reach] with left = ceil(reach / 2); at a true end the mirror reads up to
        `left` samples back inside, so the wider side counts on both.
        """
        side = self._reach - self._reach // 2
        return start - side, stop + side

    @property
    def _reach(self) -> int:
        return (self.kernel_size[0] - 1) * self.dilation[0]


class Upsample(nn.ConvTranspose1d):
    """Transposed convolution of kernel 2 * stride, trimmed: [B, C_in, N] -> [B, C_out, N * stride]."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=2 * stride, stride=stride)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return `x` [B, C_in, N] at `stride` times the rate."""
        y = F.conv_transpose1d(x, self.weight, self.bias, self.stride)  # [B, C_out, (N + 1) * stride]
        return y[..., self._trim : self._trim + x.shape[-1] * self.stride[0]]

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of input that outputs [start, stop) depend on.

        Input i reaches untrimmed outputs [i * stride, (i + 2) * stride), and output n is untrimmed n + trim: it comes
        from the inputs floor((n + trim) / stride) - 1 and floor((n + trim) / stride).
        """
        stride = self.stride[0]
        return (start + self._trim) // stride - 1, (stop - 1 + self._trim) // stride + 1

    @property
    def _trim(self) -> int:
        return self.stride[0] - self.stride[0] // 2


class Elu(nn.ELU):
    """ELU; on the CPU by exp, which torch computes several times as fast as the expm1 of its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ELU of `x`: what is above 0 as it is, since exp(0) - 1 is 0."""
        return (x.clamp(max=0).exp() - 1).add_(x.relu()) if x.device.type == "cpu" else super().forward(x)


class Residual(nn.Module):
    """x + conv(elu(conv(elu(x)))): the first convolution dilated, the second of kernel 1."""

    def __init__(self, channels: int, dilation: int, config: CodecConfig) -> None:
        super().__init__()
        hidden = channels // config.compress
        wide = Conv(channels, hidden, config.residual_kernel_size, config.pad_mode, dilation=dilation)
        self.block = nn.Sequential(Elu(), wide, Elu(), Conv(hidden, channels, 1, config.pad_mode))

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual sum of `x` [B, C, N]."""
        return x + self.block(x)

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """Return the span of input that outputs [start, stop) depend on."""
        return input_span(self.block, start, stop)


class ResidualLstm(nn.Module):
    """x + lstm(x), in convolutional layout, with its state in the caller's hands."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers)
        self._cells: Cells | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual sum of `x` [B, C, T], from a silent state."""
        return self.advance(x, None)[0]

    def advance(self, x: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        """Return the residual sum of `x` [B, C, T] continued from `state`, and the state after it."""
        run: nn.LSTM | Cells = self.lstm
        if x.device.type == "cpu" and not self.lstm.weight_hh_l0.requires_grad:
            run = self._cells = self._cells or Cells(self.lstm)
        y, state = run(x.permute(2, 0, 1), state)  # [T, B, C]
        return x + y.permute(1, 2, 0), state


def input_span(layers: nn.Sequential, start: int, stop: int) -> tuple[int, int]:
    """Return the span of the input of `layers` that their outputs [start, stop) depend on, walking back."""
    for layer in reversed(layers):
        if isinstance(layer, Conv | Upsample | Residual):
            start, stop = layer.needs(start, stop)
    return start, stop


def build_encoder(config: CodecConfig) -> nn.Sequential:
    """Return the encoder: audio [B, C, N] -> latents [B, D, ceil(N / hop)]."""
    channels, mode = config.num_filters, config.pad_mode
    layers: list[nn.Module] = [Conv(config.audio_channels, channels, config.kernel_size, mode)]
    for ratio in reversed(config.upsampling_ratios):
        layers += _residuals(channels, config)
        layers += [Elu(), Conv(channels, 2 * channels, 2 * ratio, mode, stride=ratio)]
        channels *= 2
    layers += [ResidualLstm(channels, config.num_lstm_layers), Elu()]
    layers += [Conv(channels, config.hidden_size, config.last_kernel_size, mode)]
    return nn.Sequential(*layers)


def build_decoder(config: CodecConfig) -> nn.Sequential:
    """Return the decoder: a convolution, the LSTM, then the upsampler; latents [B, D, T] -> audio [B, C, T * hop]."""
    channels, mode = config.num_filters * 2 ** len(config.upsampling_ratios), config.pad_mode
    layers: list[nn.Module] = [Conv(config.hidden_size, channels, config.kernel_size, mode)]
    layers += [ResidualLstm(channels, config.num_lstm_layers)]
    for ratio in config.upsampling_ratios:
        layers += [Elu(), Upsample(channels, channels // 2, ratio)]
        channels //= 2
        layers += _residuals(channels, config)
    layers += [Elu(), Conv(channels, config.audio_channels, config.last_kernel_size, mode)]
    return nn.Sequential(*layers)


def _residuals(channels: int, config: CodecConfig) -> list[nn.Module]:
    growth = config.dilation_growth_rate
    return [Residual(channels, growth**depth, config) for depth in range(config.num_residual_layers)]
