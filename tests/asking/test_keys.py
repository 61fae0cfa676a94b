"""Values as keys' types, as every client may send them."""

import pytest

from musicgen_bridge.asking.keys import RENDER_KEYS, check, suggestion
from musicgen_bridge.errors import ArgumentError


def test_flags_are_taken_as_daws_send_them():
    loop = RENDER_KEYS["loop"]
    assert [check(loop, value) for value in (True, 1, 1.0, "true", "On", 0, "no", False)] == [True] * 5 + [False] * 3


def test_a_whole_float_stands_for_an_int():
    assert check(RENDER_KEYS["variations"], 4.0) == 4
    assert isinstance(check(RENDER_KEYS["variations"], 4.0), int)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("sample_rate", 44.1, "sample_rate must be from 8000 to 192000, not 44.1"),
        ("sample_rate", "96k", "sample_rate must be a number from 8000 to 192000, not '96k'"),
        ("seed", 2**31, "seed must be from 0 to 2147483647, not 2147483648"),
        ("variations", 1.5, "variations must be a whole number, not 1.5"),
        ("temperature", float("nan"), "temperature must be a finite number from 0 to 3"),
    ],
)
def test_a_wrong_number_is_told_with_what_is_taken(name, value, said):
    with pytest.raises(ArgumentError) as caught:
        check(RENDER_KEYS[name], value)
    assert caught.value.text == said


@pytest.mark.parametrize(
    ("word", "meant"),
    [("bmp", "bpm"), ("BPM", "bpm"), ("jungle", "Jungle break"), ("trap drum", "Trap drums"), ("zzz", ""), ("", "")],
)
def test_the_nearest_word_is_suggested_however_it_is_written(word, meant):
    assert suggestion(word, ["bpm", "Jungle break", "Trap drums"]) == (f' (did you mean "{meant}"?)' if meant else "")
