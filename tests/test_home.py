"""The daemon's own folder: a token that stays, and nobody else may look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from musicgen_bridge.daemon import read_token
from musicgen_bridge.errors import DiskError


def test_the_token_stays_and_is_another_for_each_daemon(tmp_path: Path) -> None:
    first = read_token(tmp_path / "1")
    assert len(first) == 32
    assert read_token(tmp_path / "1") == first
    assert read_token(tmp_path / "2") != first


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
def test_only_its_owner_may_look(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        read_token(tmp_path / "1")
    finally:
        os.umask(before)
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "1" / "token").stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_folder_s_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    with pytest.raises(DiskError, match="choose another --state"):
        read_token(tmp_path / "1")
