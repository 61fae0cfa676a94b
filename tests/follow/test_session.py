"""Who sets the tempo: priority and age, on a clock that the test turns."""

import math

import pytest

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.follow.session import FRESH_S, TOLD_S, Follow
from musicgen_bridge.follow.sources import SOURCES
from musicgen_bridge.settings import TEMPO_SOURCES, load


class Stand:
    """A session that is followed, and its clock."""

    def __init__(self, *order):
        self.now, self.told_at, self.session = 1000.0, -math.inf, {"bpm": 120.0}
        self.follow = Follow(order, lambda: self.told_at, self.session.update, lambda: self.now)

    def tell(self, source, **values):
        self.follow.tell(source, values)

    @property
    def stands(self):
        return self.follow.source, self.session["bpm"]


@pytest.fixture
def stand():
    return Stand("midi", "link")


def test_the_first_that_is_alive_sets_the_tempo(stand):
    assert stand.stands == ("osc", 120.0)
    stand.tell("link", bpm=100.0)
    assert stand.stands == ("link", 100.0)
    stand.tell("midi", bpm=133.25)
    stand.tell("link", bpm=101.0)
    assert stand.stands == ("midi", 133.25)


def test_one_that_falls_silent_gives_way(stand):
    stand.tell("midi", bpm=133.25)
    stand.now += FRESH_S - 0.1
    stand.tell("link", bpm=101.0)
    assert stand.stands == ("midi", 133.25)
    stand.now += 0.2
    assert stand.stands == ("midi", 133.25)  # nobody else has said anything since
    stand.tell("link", bpm=102.0)
    assert stand.stands == ("link", 102.0)


def test_what_a_client_says_goes_before_all_while_it_is_there(stand):
    stand.tell("midi", bpm=133.25)
    stand.told_at, stand.session["bpm"] = stand.now, 97.5
    stand.tell("midi", bpm=133.25)
    assert stand.stands == ("osc", 97.5)
    stand.now += TOLD_S
    assert stand.stands == ("osc", 97.5)
    stand.tell("midi", bpm=133.25)
    assert stand.stands == ("midi", 133.25)


def test_a_transport_without_a_tempo_takes_no_lead(stand):
    stand.tell("midi", playing=True)
    stand.tell("link", bpm=101.0, playing=False)
    assert stand.stands == ("link", 101.0)
    assert stand.session["playing"] is False


@pytest.mark.parametrize(
    "values",
    [
        {"bpm": 3159345.0},
        {"bpm": 19.99},
        {"bpm": 400.1},
        {"bpm": 0.0},
        {"bpm": -120.0},
        {"bpm": math.nan},
        {"bpm": math.inf},
        {"bpm": "fast"},
        {"bpm": 130.0, "signature": "7/0"},
        {"bpm": 130.0, "beat": math.nan},
    ],
    ids=str,
)
def test_nonsense_is_refused_whole(stand, values):
    stand.tell("midi", bpm=133.25)
    stand.tell("midi", **values)
    assert stand.session == {"bpm": 133.25}
    stand.now += FRESH_S
    stand.tell("midi", **values)  # and it keeps nobody alive
    stand.tell("link", bpm=101.0)
    assert stand.stands == ("link", 101.0)


def test_who_is_not_in_the_list_is_not_heard():
    stand = Stand("link")
    stand.tell("midi", bpm=133.25)
    assert stand.stands == ("osc", 120.0)


def test_the_setting_names_every_source():
    assert {*SOURCES, "midi"} == set(TEMPO_SOURCES)


@pytest.mark.parametrize(
    ("given", "order"), [("link, midi", ("link", "midi")), (["jack"], ("jack",)), ("none", ()), ([], ())]
)
def test_the_setting_is_a_list_in_order(given, order):
    assert load({"follow": given}, environment={}).follow == order


def test_a_source_that_there_is_not_is_told_with_the_nearest():
    with pytest.raises(ArgumentError, match='did you mean "ableton"'):
        load({"follow": "midi, abelton"}, environment={})
