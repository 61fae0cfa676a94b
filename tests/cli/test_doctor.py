"""What doctor finds on this machine, and how it tells of what is missing, wrong or taken."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from musicgen_bridge.cli import doctor, main
from musicgen_bridge.cli.doctor import Finding
from musicgen_bridge.cli.install import install
from musicgen_bridge.settings import Settings
from tests.conftest import free_port


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state", presets=tmp_path / "presets", roots=(tmp_path,))


def one(findings: object, word: str) -> Finding:
    (found,) = (finding for finding in findings if finding.text.startswith(word))  # type: ignore[attr-defined]
    return found


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--config", os.devnull, *map(str, arguments)])
    return int(str(ended.value.code))


def test_every_area_is_looked_at_and_a_problem_decides_the_exit_code(tmp_path: Path, capfd) -> None:
    code = exit_code("--json", "--state", tmp_path, "--root", tmp_path, "--port", free_port())
    found = json.loads(capfd.readouterr().out)["findings"]
    areas = {"device", "packages", "port", "folders", "models", "presets", "programs", "MIDI", "audio", "files"}
    assert {finding["area"] for finding in found} == areas
    assert code == any(finding["state"] == "problem" for finding in found)
    assert exit_code("--root", tmp_path / "nowhere", "--port", free_port()) == 1
    text = capfd.readouterr().out
    assert "problem" in text and "nowhere" in text


def test_whatever_is_not_ok_says_what_to_do(settings: Settings) -> None:
    assert [finding for finding in doctor.examine(settings) if finding.state != "ok" and not finding.advice] == []


def test_a_device_that_is_not_there_is_a_problem(settings: Settings) -> None:
    import torch

    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    (found,) = doctor.device(replace(settings, device=missing))
    assert found.state == "problem" and "auto" in found.advice


def test_packages_are_held_against_what_is_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["click>=8.1", "rich>=999", "no-such-package>=1", 'another-one>=1; extra == "ray"']
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: wanted)
    found = list(doctor.packages(settings))
    assert [finding.state for finding in found] == ["problem", "problem", "ok"]
    assert [finding.text.split()[0] for finding in found] == ["missing:", "of", "click"]
    assert "no-such-package" in found[0].text and "rich" in found[1].text
    assert "another-one" not in str(found)


def test_a_taken_port_names_who_has_it(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (found,) = doctor.port(replace(settings, port=port))
    assert found.state == "problem"
    assert f"{port}" in found.text and "TCP" in found.text and "UDP" not in found.text
    assert str(os.getpid()) in found.text or "another" in found.text
    (free,) = doctor.port(replace(settings, port=port))
    assert free.state == "ok"


def test_a_running_daemon_is_recognised(daemon, settings: Settings) -> None:
    (found,) = doctor.port(replace(settings, port=daemon.port))
    assert found.state == "ok" and "running" in found.text


def test_folders_that_cannot_serve_are_problems(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = replace(settings, state=tmp_path / "file", project=tmp_path / "gone", roots=(tmp_path / "away",))
    found = list(doctor.folders(wrong))
    assert [one(found, name).state for name in ("state", "presets", "root", "project")] == [
        "problem", "ok", "problem", "problem"
    ]  # fmt: skip
    assert {finding.state for finding in doctor.folders(settings)} == {"ok"}


def test_models_tell_family_and_size_or_what_is_wrong(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "musicgen"}')
    mine = {"gone": str(tmp_path / "gone"), "empty": str(tmp_path / "empty"), "bare": str(tmp_path / "bare")}
    found = list(doctor.models(replace(settings, models=mine)))
    starter = one(found, "starter")
    assert starter.state == "ok" and "musicgen_melody" in starter.text and "MiB" in starter.text
    assert [one(found, name).state for name in ("gone is", "empty can't", "bare, ")] == ["problem"] * 3


def test_every_layout_is_told_by_its_kind(settings: Settings, tmp_path: Path) -> None:
    for name in ("tune", "lora"):
        (tmp_path / name).mkdir()
    (tmp_path / "tune" / "state_dict.bin").write_bytes(b"x" * 2**20)
    (tmp_path / "lora" / "adapter_config.json").write_text('{"base_model_name_or_path": "facebook/musicgen-small"}')
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"x" * 2**20)
    mine = {name: str(tmp_path / name) for name in ("tune", "lora")}
    found = list(doctor.models(replace(settings, models=mine)))
    assert "in Audiocraft's layout, 1 MiB" in one(found, "tune").text
    assert "adapter to facebook/musicgen-small, 1 MiB" in one(found, "lora").text


def test_demucs_is_told_with_how_to_get_it(settings: Settings, tmp_path: Path) -> None:
    without = one(list(doctor.models(settings)), "Demucs")
    assert without.state == "warning" and "models pull demucs" in without.advice
    assert one(list(doctor.models(replace(settings, demucs=str(tmp_path)))), "Demucs").state == "ok"
    assert one(list(doctor.models(replace(settings, demucs=str(tmp_path / "no")))), "Demucs").state == "problem"


def test_a_broken_preset_is_told_with_its_file(settings: Settings) -> None:
    settings.presets.mkdir()
    (settings.presets / "mine.toml").write_text("slot = ")
    found = list(doctor.presets(settings))
    assert found[0].state == "ok"
    assert "mine.toml" in found[1].text and found[1].state == "problem"


def test_the_written_formats_can_be_written(settings: Settings) -> None:
    (found,) = doctor.files(settings)
    assert found.state == "ok" and "FLAC" in found.text


def test_a_broken_installation_is_found(settings: Settings, tmp_path: Path) -> None:
    assert one(doctor.programs(settings), "nothing is installed").state == "ok"
    folder = install("live", settings.state, tmp_path / "library")
    assert one(doctor.programs(settings), "live").state == "ok"
    (folder / "musicgen-bridge.amxd").unlink()
    found = one(doctor.programs(settings), "live")
    assert (found.state, "install live" in found.advice) == ("problem", True)
