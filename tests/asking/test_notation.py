"""Texts that stand for more, read into one spelling."""

import pytest

from musicgen_bridge.asking.notation import parse_key, parse_parts, parse_signature
from musicgen_bridge.request import Part, Signature


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("f# minor", "F# minor"),
        ("Bb", "Bb major"),
        ("B", "B major"),
        ("Bm", "B minor"),
        ("BM", "B major"),
        ("bb min", "Bb minor"),
        ("E♭ Major", "Eb major"),
        ("", None),
    ],
)
def test_keys_have_one_spelling(text, key):
    assert parse_key(text) == key


def test_signature_and_parts_are_read():
    assert parse_signature(" 7 / 8 ") == Signature(7, 8)
    assert parse_parts("drums: tight break; bass") == (Part("drums", "tight break"), Part("bass", "bass"))
