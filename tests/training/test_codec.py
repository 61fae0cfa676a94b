"""The codec's training must move what it says and nothing else, and write what the checkpoint reads."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from transformers import EncodecModel

from training.checkpoint import codec_config, load_codec, save_codec
from training.codec import SEGMENT, Trainer, centred, draw


def moved(**options: object) -> set[str]:
    """Train a fresh codec for one step and return which of its parts changed."""
    torch.manual_seed(0)
    codec = EncodecModel(codec_config())
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    common = {"rows": 1, "rate": 1e-3, "warm": 0, "judge_from": 0.0, "resume": Path("earlier")}
    trainer = Trainer(codec, argparse.Namespace(**common, **options))
    figures = trainer.train(0.1 * torch.randn(1, 1, SEGMENT), progress=0.5)
    assert all(torch.isfinite(value).all() for value in figures.values())
    return {name.split(".")[0] for name, value in codec.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(("decoder_only", "parts"), [(True, {"decoder"}), (False, {"encoder", "quantizer", "decoder"})])
def test_codes_stay_valid_where_the_decoder_alone_is_trained(decoder_only, parts):
    assert moved(decoder_only=decoder_only) == parts


def test_segments_are_cut_from_the_clips_and_vary_in_level():
    torch.manual_seed(0)
    clips = torch.full((3, 2 * SEGMENT), 16_384, dtype=torch.int16)
    segments = draw(clips, 200)
    assert segments.shape == (200, 1, SEGMENT)
    levels = segments[:, 0, 0]
    assert bool((segments == levels[:, None, None]).all())
    assert 0.5 * 10**-0.4 <= levels.min() < 0.5 < levels.max() <= 0.5 * 10**0.1


def test_an_offset_is_taken_out_and_a_kick_is_left():
    time = torch.arange(SEGMENT) / SEGMENT
    kick = 0.3 * torch.sin(2 * torch.pi * 45 * time)[None, None]
    inner = slice(SEGMENT // 10, -SEGMENT // 10)
    torch.testing.assert_close(centred(kick + 0.1)[..., inner], kick[..., inner], atol=0.01, rtol=0)


def test_a_codec_file_is_read_back_and_nothing_unfinished_stays(tmp_path):
    codec = EncodecModel(codec_config())
    save_codec(codec, tmp_path / "codec.safetensors")
    back = load_codec(tmp_path / "codec.safetensors")
    for name, value in codec.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value.half().float())
    assert [file.name for file in tmp_path.iterdir()] == ["codec.safetensors"]
