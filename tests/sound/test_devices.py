"""Which device a name means, among those of a machine with several systems."""

import pytest

from musicgen_bridge.errors import AudioError
from musicgen_bridge.sound import devices
from musicgen_bridge.sound.devices import Device, find

NAMES = [
    ("Speakers (Realtek)", "MME"),
    ("Speakers (Realtek)", "Windows WASAPI"),
    ("Scarlett 2i2 USB", "MME"),
    ("Scarlett", "Windows WASAPI"),
]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    there = [Device(index, name, api, 8, 48_000, index == 1) for index, (name, api) in enumerate(NAMES)]
    monkeypatch.setattr(devices, "devices", lambda kind: there if kind == "output" else [])


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("default", 1),
        ("Speakers (Realtek)", 1),
        ("speakers, mme", 0),
        ("realtek wasapi", 1),
        ("scarlett", 3),
        ("2i2", 2),
    ],
)
def test_a_name_or_words_of_it_mean_one_device(name, index):
    assert find("output", name).index == index
    assert find("output", name).used_channels == 2


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("output", "tuba", 'no audio output "tuba"; there are Speakers (Realtek), Scarlett 2i2 USB, Scarlett'),
        ("output", "mme", '"mme" may mean each of Speakers (Realtek), Scarlett 2i2 USB; say more of the name'),
        ("input", "default", "this machine has no audio input; connect one and try again"),
    ],
)
def test_what_means_none_or_several_is_told(kind, name, says):
    with pytest.raises(AudioError) as told:
        find(kind, name)
    assert told.value.text == says
