"""The models that the tests of this room share, each loaded once."""

from __future__ import annotations

import pytest
from transformers import MusicgenMelodyConfig, MusicgenMelodyDecoderConfig
from twins import CODEC, DECODER, STARTER, TEXT, Twin, save, text_config, twin


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """A tiny MusicGen, which attends to its text."""
    return twin(save(tmp_path_factory.mktemp("text"), text_config()))


@pytest.fixture(scope="session")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """A tiny stereo MusicGen: eight codebooks, left and right in turn."""
    config = text_config(num_codebooks=8, audio_channels=2)
    return twin(save(tmp_path_factory.mktemp("stereo"), config))


@pytest.fixture(scope="session")
def melody(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """A tiny MusicGen-Melody, whose window of 12 frames of chroma lasts 76 frames of codes."""
    decoder = MusicgenMelodyDecoderConfig(**DECODER, num_codebooks=4)
    config = MusicgenMelodyConfig(
        text_encoder=TEXT, audio_encoder=CODEC, decoder=decoder, chroma_length=12, num_chroma=12
    )
    return twin(save(tmp_path_factory.mktemp("melody"), config))


@pytest.fixture(scope="session")
def starter() -> Twin:
    """The checkpoint that ships, with trained weights."""
    return twin(STARTER)


@pytest.fixture(params=["text", "melody"])
def either(request: pytest.FixtureRequest) -> Twin:
    """Each family in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["text", "stereo", "melody", "starter"])
def each(request: pytest.FixtureRequest) -> Twin:
    """Each checkpoint in turn."""
    return request.getfixturevalue(request.param)
