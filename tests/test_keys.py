"""Values as keys' types, as every client may send them."""

from musicgen_bridge.keys import RENDER_KEYS, check


def test_flags_are_taken_as_daws_send_them():
    loop = RENDER_KEYS["loop"]
    assert [check(loop, value) for value in (True, 1, 1.0, "true", "On", 0, "no", False)] == [True] * 5 + [False] * 3


def test_a_whole_float_stands_for_an_int():
    assert check(RENDER_KEYS["variations"], 4.0) == 4
    assert isinstance(check(RENDER_KEYS["variations"], 4.0), int)
