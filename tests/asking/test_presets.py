"""The shipped presets and the user's own over them."""

import pytest

from musicgen_bridge.asking.build_request import make_request
from musicgen_bridge.asking.presets import Presets, read_preset, shipped
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import Session


def test_the_shipped_presets_cover_every_role():
    presets = Presets(shipped())
    assert presets.problems == []
    assert len(presets.all()) >= 24
    assert len(presets.all()) == len(list(shipped().glob("*.toml")))  # no two share a name or slot
    roles = {preset.role for preset in presets.all()}
    assert roles >= {"drum loop", "bass line", "pad", "lead", "texture", "fill", "riser"}
    assert len({preset.genre for preset in presets.all()}) >= 6
    assert all(preset.summary for preset in presets.all())


@pytest.mark.parametrize("preset", Presets(shipped()).all(), ids=lambda preset: preset.name)
def test_each_shipped_preset_makes_a_request(preset):
    request = make_request(preset.render, Session(project="/p"), {})
    assert request.mode == "text"
    assert request.loop == (preset.role not in ("fill", "riser"))


@pytest.fixture
def own(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path

    return write


def test_the_users_own_go_before_the_shipped(own):
    first = Presets(shipped()).all()[0]
    folder = own("a.toml", f'slot = {first.slot}\nname = "mine"\n[render]\nprompt = "x"\nbars = 2\n')
    presets = Presets(shipped(), folder)
    assert presets.find(first.slot).name == "mine"
    own("b.toml", 'slot = 900\nname = "mine"\n[render]\nprompt = "y"\n')
    again = Presets(shipped(), folder)
    assert again.find("MINE").slot == 900
    assert [preset.name for preset in again.all()].count("mine") == 1


def test_a_file_may_begin_with_the_mark_that_windows_editors_put_there(own):
    assert Presets(shipped(), own("a.toml", '\ufeffslot = 900\nname = "mine"\n')).find(900).name == "mine"


def test_a_slot_is_found_by_number_or_name():
    presets = Presets(shipped())
    some = presets.all()[3]
    assert presets.find(some.slot) is presets.find(str(some.slot)) is presets.find(some.name) is some
    with pytest.raises(ArgumentError, match=f'did you mean "{some.name}"'):
        presets.find(some.name + "x")
    with pytest.raises(ArgumentError, match="no preset has slot 9999"):
        presets.find(9999)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slot = ", "can't be read"),
        ('name = "x"', "slot and name are needed"),
        ('slot = 1\nname = "x"\n[render]\nbar = 4', '"bar" (did you mean "bars"?)'),
        ('slot = 1\nname = "x"\n[render]\nbars = "four"', "bars must be a number"),
        ('slot = 1\nname = "x"\nrender = 3', "[render] must be a table"),
        ('slot = 1\nnane = "x"', 'did you mean "name"'),
    ],
)
def test_a_broken_preset_is_named_and_left_out(own, text, said):
    folder = own("broken.toml", text)
    with pytest.raises(ArgumentError) as caught:
        read_preset(folder / "broken.toml")
    assert said in caught.value.text
    assert "broken.toml" in caught.value.text
    presets = Presets(shipped(), folder)
    assert len(presets.problems) == 1
    assert len(presets.all()) >= 1
