"""The recipe is no part of the installed package: its tests find it beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Tokenizer:
    """The tokenizer as the engine loads it: from its file alone."""
    from training.prompts import build_tokenizer

    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    build_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))
