"""The codec against transformers' EncodecModel, and its streaming twin against itself at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import EncodecConfig, EncodecModel

import musicgen_bridge
from musicgen_bridge.engine.codec import Codec
from musicgen_bridge.errors import AudioError, InternalError, ModelError

CPU = torch.device("cpu")
STOCK = {
    "model_type": "encodec",
    "sampling_rate": 32_000,
    "audio_channels": 1,
    "target_bandwidths": [2.2],
    "normalize": False,
    "chunk_length_s": None,
    "overlap": None,
    "hidden_size": 128,
    "num_filters": 64,
    "num_residual_layers": 1,
    "upsampling_ratios": [8, 5, 4, 4],
    "norm_type": "weight_norm",
    "kernel_size": 7,
    "last_kernel_size": 7,
    "residual_kernel_size": 3,
    "dilation_growth_rate": 2,
    "use_causal_conv": False,
    "pad_mode": "reflect",
    "compress": 2,
    "num_lstm_layers": 2,
    "trim_right_ratio": 1.0,
    "codebook_size": 2048,
    "codebook_dim": 128,
    "use_conv_shortcut": False,
}
SMALL = STOCK | {
    "num_filters": 4,
    "hidden_size": 16,
    "codebook_dim": 16,
    "codebook_size": 64,
    "target_bandwidths": [1.2],
}
UNUSUAL = {
    "small": SMALL,
    "stereo": SMALL | {"audio_channels": 2},
    "odd ratios": SMALL | {"upsampling_ratios": [3, 5, 2], "sampling_rate": 1500},
    "wide dilations": SMALL | {"num_residual_layers": 3, "upsampling_ratios": [2, 2], "sampling_rate": 200},
    "long kernels": SMALL | {"kernel_size": 11, "last_kernel_size": 4, "residual_kernel_size": 5},
    "short kernels": SMALL | {"kernel_size": 1, "last_kernel_size": 3, "compress": 1},
}


@torch.no_grad()
def reference(config: dict) -> EncodecModel:
    """Return transformers' codec with random weights, and codebooks made of its own latents."""
    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(**config)).eval()
    for name, parameter in model.named_parameters():
        if "lstm.weight_hh" in name:
            parameter.mul_(2)  # a longer memory: a state that is not carried shows
    rest = model.encoder(torch.randn(1, config["audio_channels"], 32_000))[0].T  # [T, D]
    for layer in model.quantizer.layers:
        entries = rest[torch.randint(len(rest), (config["codebook_size"],))]
        layer.codebook.embed.copy_(entries + 0.1 * rest.std() * torch.randn_like(entries))
        rest = rest - layer.decode(layer.encode(rest.T[None]))[0].T
    return model


def ours(model: EncodecModel, config: dict) -> Codec:
    return Codec.load(model.state_dict(), config, CPU)


@torch.no_grad()
def reference_decode(model: EncodecModel, codes: torch.Tensor) -> torch.Tensor:
    return model.decode(codes[None], [None]).audio_values


def random_codes(codec: Codec, frames: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(codec.codebook_size, (batch, codec.codebooks, frames), generator=generator)


def random_audio(codec: Codec, samples: int, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(samples)
    return torch.randn(batch, codec.channels, samples, generator=generator)


@pytest.fixture(scope="module", params=list(UNUSUAL))
def pair(request: pytest.FixtureRequest) -> tuple[EncodecModel, Codec]:
    model = reference(UNUSUAL[request.param])
    return model, ours(model, UNUSUAL[request.param])


@pytest.fixture(scope="module")
def small() -> Codec:
    return ours(reference(SMALL), SMALL)


@pytest.fixture(scope="module")
def starter() -> tuple[EncodecModel, Codec]:
    folder = Path(musicgen_bridge.__file__).parent / "starter"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["audio_encoder"]
    prefix = "audio_encoder."
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    model = EncodecModel(EncodecConfig(**config)).eval()
    model.load_state_dict(tensors)
    return model, Codec.load(tensors, config, CPU)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 60])
def test_decode_equals_the_reference(pair: tuple[EncodecModel, Codec], frames: int) -> None:
    model, codec = pair
    codes = random_codes(codec, frames)
    audio = codec.decode(codes)
    assert audio.shape == (2, codec.channels, frames * codec.hop)
    torch.testing.assert_close(audio, reference_decode(model, codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [1, 5, 639, 640, 641, 1281, 20_003])
def test_encode_equals_the_reference_at_any_length(pair: tuple[EncodecModel, Codec], samples: int) -> None:
    model, codec = pair
    audio = random_audio(codec, samples)
    codes = codec.encode(audio)
    assert codes.shape == (2, codec.codebooks, -(-samples // codec.hop))
    assert codes.dtype == torch.int64
    assert torch.equal(codes, model.encode(audio).audio_codes[0])


def test_the_random_reference_uses_many_codes(small: Codec) -> None:
    assert small.encode(random_audio(small, 64_000)).unique().numel() > 32


def test_stock_sizes() -> None:
    model = reference(STOCK)
    codec = ours(model, STOCK)
    assert (codec.sample_rate, codec.frame_rate, codec.hop) == (32_000, 50, 640)
    assert (codec.channels, codec.codebooks, codec.codebook_size) == (1, 4, 2048)
    codes = random_codes(codec, 30, batch=1)
    torch.testing.assert_close(codec.decode(codes), reference_decode(model, codes), atol=1e-5, rtol=0)
    audio = random_audio(codec, 16_001, batch=1)
    assert torch.equal(codec.encode(audio), model.encode(audio).audio_codes[0])


def test_the_starter_codec_with_its_own_weights(starter: tuple[EncodecModel, Codec]) -> None:
    model, codec = starter
    time = torch.arange(48_000) / codec.sample_rate
    chord = sum(0.2 * torch.sin(2 * torch.pi * hz * time) for hz in (220.0, 277.18, 329.63))[None, None]
    codes = codec.encode(chord)
    assert torch.equal(codes, model.encode(chord).audio_codes[0])
    audio = codec.decode(codes)
    torch.testing.assert_close(audio, reference_decode(model, codes), atol=1e-5, rtol=0)
    loudest = torch.fft.rfft(audio[0, 0]).abs().argmax() * codec.sample_rate / audio.shape[-1]
    assert min(abs(float(loudest) - hz) for hz in (220.0, 277.18, 329.63)) < 3


def test_names_of_the_old_weight_norm_load_too(small: Codec) -> None:
    tensors = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in reference(SMALL).state_dict().items()
    }
    assert any(name.endswith("weight_g") for name in tensors)
    codes = random_codes(small, 9)
    assert torch.equal(Codec.load(tensors, SMALL, CPU).decode(codes), small.decode(codes))


def test_half_precision_stays_near(small: Codec) -> None:
    half = Codec.load(reference(SMALL).state_dict(), SMALL, CPU, torch.bfloat16)
    codes = random_codes(small, 20)
    audio = half.decode(codes)
    assert audio.dtype == torch.bfloat16
    torch.testing.assert_close(
        audio.float(), small.decode(codes), atol=0.05 * float(small.decode(codes).abs().max()), rtol=0
    )


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.integers(0, 12), min_size=1, max_size=12), flush=st.booleans())
def test_stream_equals_decode_however_it_is_cut(
    pair: tuple[EncodecModel, Codec], pieces: list[int], flush: bool
) -> None:
    _, codec = pair
    pieces = [*pieces, 1]  # at least one frame
    codes = random_codes(codec, sum(pieces))
    cut = list(codes.split(pieces, dim=-1)) + ([codes[..., :0]] if flush else [])
    stream = codec.stream(2)
    audio = [stream.push(piece, last=index == len(cut) - 1) for index, piece in enumerate(cut)]
    torch.testing.assert_close(torch.cat(audio, -1), codec.decode(codes), atol=1e-6, rtol=0)


@pytest.mark.parametrize("chunk", [1, 2, 5, 25])
def test_stream_of_the_starter_equals_decode(starter: tuple[EncodecModel, Codec], chunk: int) -> None:
    _, codec = starter
    codes = random_codes(codec, 60)
    stream = codec.stream(2)
    audio = [stream.push(codes[..., at : at + chunk], last=at + chunk >= 60) for at in range(0, 60, chunk)]
    torch.testing.assert_close(torch.cat(audio, -1), codec.decode(codes), atol=1e-6, rtol=0)


def test_stream_waits_for_2402_samples_and_no_longer(small: Codec) -> None:
    """A change of frame 20 is heard from 2402 samples before it, and the first audio comes that soon."""
    codes = random_codes(small, 40, batch=1)
    other = codes.clone()
    other[..., 20] = (other[..., 20] + 1) % small.codebook_size
    fine = Codec.load(reference(SMALL).state_dict(), SMALL, CPU, torch.float64)  # the first traces are 1e-9
    heard = (fine.decode(codes) != fine.decode(other))[0, 0].nonzero()[0].item()
    assert 20 * small.hop - heard == 2402
    stream = small.stream(1)
    lengths = [stream.push(codes[..., at : at + 1]).shape[-1] for at in range(7)]
    assert lengths == [0, 0, 0, 0, 640, 640, 640]


def test_streams_do_not_share_state(small: Codec) -> None:
    first, second = random_codes(small, 12, batch=1), random_codes(small, 12, batch=1).flip(-1)
    streams = small.stream(1), small.stream(1)
    audio: tuple[list, list] = ([], [])
    for at in range(0, 12, 4):
        for stream, codes, out in zip(streams, (first, second), audio, strict=True):
            out.append(stream.push(codes[..., at : at + 4], last=at == 8))
    torch.testing.assert_close(torch.cat(audio[0], -1), small.decode(first), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat(audio[1], -1), small.decode(second), atol=1e-6, rtol=0)


def test_a_stream_ends_once_and_keeps_its_batch(small: Codec) -> None:
    codes = random_codes(small, 3)
    stream = small.stream(2)
    with pytest.raises(ValueError, match="own batch"):
        stream.push(codes[:1])
    stream.push(codes, last=True)
    with pytest.raises(ValueError, match="after the last"):
        stream.push(codes)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("config", [SMALL, STOCK], ids=["small", "stock"])
def test_cuda_equals_the_cpu_and_streamed_equals_at_once(config: dict) -> None:
    tensors = reference(config).state_dict()
    codec, cuda = Codec.load(tensors, config, CPU), Codec.load(tensors, config, torch.device("cuda"))
    codes = random_codes(codec, 60)
    whole = cuda.decode(codes)
    torch.testing.assert_close(whole.cpu(), codec.decode(codes), atol=1e-5, rtol=0)
    for alike in (False, True):  # the latter a graph
        stream = cuda.stream(2, alike=alike)
        audio = [stream.push(piece, last=at == 11) for at, piece in enumerate(codes.split(5, dim=-1))]
        torch.testing.assert_close(torch.cat(audio, -1), whole, atol=1e-6, rtol=0)
    recording = random_audio(codec, 32_000)
    assert torch.equal(cuda.encode(recording).cpu(), codec.encode(recording))


@pytest.mark.parametrize("allowed", [True, False])
def test_the_precision_of_others_is_left_as_it_was(small: Codec, allowed: bool) -> None:
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = allowed
        small.decode(random_codes(small, 2))
        with pytest.raises(InternalError):
            small.decode(random_codes(small, 2) - small.codebook_size)
        assert torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_causal_conv", True),
        ("norm_type", "time_group_norm"),
        ("normalize", True),
        ("pad_mode", "replicate"),
        ("chunk_length_s", 1.0),
        ("use_conv_shortcut", True),
        ("model_type", "dac"),
        ("codebook_dim", 8),
    ],
)
def test_another_kind_of_codec_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ModelError, match=key):
        Codec.load({}, SMALL | {key: value}, CPU)


def test_a_damaged_checkpoint_is_refused() -> None:
    tensors = reference(SMALL).state_dict()
    lacking = {name: value for name, value in tensors.items() if name != "decoder.layers.0.conv.bias"}
    with pytest.raises(ModelError, match=r"decoder\.0\.bias"):
        Codec.load(lacking, SMALL, CPU)
    with pytest.raises(ModelError, match="codebook"):
        Codec.load({name: value for name, value in tensors.items() if "layers.1.codebook" not in name}, SMALL, CPU)
    with pytest.raises(ModelError, match="do not fit"):
        Codec.load(tensors, SMALL | {"num_filters": 8}, CPU)


def test_codes_and_recordings_that_cannot_be_are_refused(small: Codec) -> None:
    codes = random_codes(small, 4)
    codes[0, 0, 2] = small.codebook_size  # the language model's padding
    with pytest.raises(InternalError):
        small.decode(codes)
    with pytest.raises(AudioError, match="1 channels"):
        small.encode(torch.zeros(1, 2, 640))
    with pytest.raises(AudioError):
        small.encode(torch.zeros(1, 1, 0))
