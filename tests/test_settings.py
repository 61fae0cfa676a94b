"""Settings from file, environment and flags, and that every mistake is told at once."""

import os
from pathlib import Path

import pytest

from musicgen_bridge import settings
from musicgen_bridge.errors import ArgumentError, ModelError
from musicgen_bridge.hub import DEMUCS
from musicgen_bridge.settings import Settings, demucs_folder, load, model_folder


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "config.toml"
        path.write_text(text, "utf-8")
        return path

    return write


def test_flags_go_before_the_environment_and_that_before_the_file(file):
    path = file('port = 1001\nqueue = 11\ndevice = "cpu"\n')
    made = load({"port": 1003, "queue": None}, file=path, environment={"MUSICGEN_BRIDGE_QUEUE": "12", "PATH": "x"})
    assert (made.port, made.queue, made.device, made.dtype) == (1003, 12, "cpu", "auto")


def test_every_mistake_is_told_at_once(file):
    path = file('prot = 5\ndevice = "cuba"\nport = 70000\nroots = []\n')
    with pytest.raises(ArgumentError) as caught:
        load({"model": "startr"}, file=path, environment={"MUSICGEN_BRIDGE_QUEU": "3", "MUSICGEN_BRIDGE_QUEUE": "no"})
    lines = caught.value.text.splitlines()
    assert len(lines) == 7
    for said in (
        f'unknown setting "prot" in {path} (did you mean "port"?)',
        "not 'cuba' (did you mean \"cuda\"?)",
        "port in",
        "roots in",
        'unknown setting "queu" in the environment (did you mean "queue"?)',
        "queue in the environment must be a whole number",
        'model "startr" is not configured (did you mean "starter"?)',
    ):
        assert any(said in line for line in lines), said


def test_a_file_that_cannot_be_read_is_a_mistake(file, tmp_path):
    with pytest.raises(ArgumentError, match=r"can't be read .* name a file of settings that is there"):
        load(file=tmp_path / "nowhere.toml", environment={})
    with pytest.raises(ArgumentError, match=r"can't be read: .*line 1.*; correct it, and save it in UTF-8"):
        load(file=file("port = = 1"), environment={})


def test_a_file_may_begin_with_the_mark_that_windows_editors_put_there(file):
    assert load(file=file("\ufeffport = 1001\n"), environment={}).port == 1001


def test_the_default_file_may_be_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "config_file", lambda: tmp_path / "none.toml")
    assert load(environment={}) == Settings()


def test_folders_are_absolute_and_home_is_known(file, tmp_path):
    two = os.pathsep.join([str(tmp_path), "~/Music"])
    made = load({"project": "here"}, file=file(""), environment={"MUSICGEN_BRIDGE_ROOTS": two})
    assert made.roots == (tmp_path, Path.home() / "Music")
    assert made.project == Path.cwd() / "here"


def test_settings_reach_the_worker_whole(file, tmp_path):
    path = file(f'roots = ["{tmp_path.as_posix()}"]\n[models]\nmine = "/models/mine"\n')
    made = load({"project": tmp_path, "model": "mine"}, file=path, environment={})
    assert Settings.from_json(made.to_json()) == made


def test_a_model_is_found_by_alias_only(tmp_path):
    made = Settings(models={"mine": str(tmp_path), "gone": str(tmp_path / "gone")})
    assert model_folder("mine", made) == tmp_path
    assert (model_folder("starter", made) / "config.json").is_file()
    with pytest.raises(ModelError, match='did you mean "mine"'):
        model_folder("mien", made)
    with pytest.raises(ModelError, match="is not there; put it back"):
        model_folder("gone", made)
    with pytest.raises(ModelError, match="no model"):
        model_folder(str(tmp_path), made)


def test_a_model_never_downloaded_says_how(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="models pull facebook/musicgen-large"):
        model_folder("large", Settings())


def test_demucs_is_a_folder_or_what_the_hub_s_cache_holds(monkeypatch, tmp_path):
    def found(value):
        return demucs_folder(load({"demucs": value}, environment={}))

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"models pull demucs.*set demucs"):
        demucs_folder(Settings())
    with pytest.raises(ModelError, match=f"models pull {DEMUCS}$"):
        found(DEMUCS)
    with pytest.raises(ModelError, match=r"the folder of Demucs, /.*, is not there; put it back"):
        found(tmp_path / "weights")

    snapshot = tmp_path / "hub" / f"models--{DEMUCS.replace('/', '--')}" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    assert found(DEMUCS) == snapshot
    (tmp_path / "weights").mkdir()
    assert found(tmp_path / "weights") == tmp_path / "weights"
    monkeypatch.chdir(tmp_path)
    assert found("./weights") == tmp_path / "weights"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("dtype", "cuda:1"), ("kernels", "cuda:0"), ("device", "cuda:one"), ("volume", "loud"), ("models", "mine=/x")],
)
def test_a_value_that_can_t_be_is_refused(name, wrong):
    with pytest.raises(ArgumentError, match=f"^{name} in the flags must be"):
        load({name: wrong}, environment={})


def test_a_gpu_may_be_chosen_by_its_number():
    assert load({"device": "cuda:1"}, environment={}).device == "cuda:1"


@pytest.mark.parametrize(("said", "meant"), [("1", True), ("on", True), ("off", False), ("False", False)])
def test_a_switch_is_on_or_off(file, said, meant):
    assert load(file=file("panel = true\n"), environment={"MUSICGEN_BRIDGE_PANEL": said}).panel is meant
    with pytest.raises(ArgumentError, match="panel in the environment must be true or false"):
        load(environment={"MUSICGEN_BRIDGE_PANEL": "perhaps"})
