"""The table itself, and how messages are read against it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS
from musicgen_bridge.control.commands import COMMANDS, COMMON_CODES, read, read_id
from musicgen_bridge.control.osc_codec import Message, Refused
from musicgen_bridge.control.renders import digest
from musicgen_bridge.control.replies import OURS, REPLIES
from musicgen_bridge.errors import BY_CODE, ArgumentError, BridgeError, ProtocolError

REQUESTS = (
    "hello ping status session set render trigger fit recut record cancel query list events "
    "subscribe unload sync drain quit"
)


def test_the_table_has_the_protocols_requests():
    assert [command.name for command in COMMANDS.values()] == REQUESTS.split()
    assert all(address == f"/musicgen/{command.name}" for address, command in COMMANDS.items())


@pytest.mark.parametrize("command", COMMANDS.values(), ids=REQUESTS.split())
def test_every_row_is_complete(command):
    assert command.summary
    assert command.replies
    assert set(command.required) <= set(command.keys)
    assert set(command.codes) <= set(BY_CODE) - set(COMMON_CODES)
    assert command.secured <= ("token" in command.keys)
    assert all(key.name == name and key.doc for name, key in command.keys.items())
    assert all(reply in REPLIES for reply in command.replies)


def test_render_and_session_take_the_shared_keys():
    assert COMMANDS["/musicgen/render"].keys is RENDER_KEYS
    assert COMMANDS["/musicgen/session"].keys is SESSION_KEYS
    for address in ("/musicgen/set", "/musicgen/trigger"):
        assert COMMANDS[address].keys.items() >= RENDER_KEYS.items()


def test_every_code_stands_in_the_table_but_those_that_no_request_needs():
    told = {code for command in COMMANDS.values() for code in command.codes} | set(COMMON_CODES)
    assert set(BY_CODE) - told == {"E_EXISTS", "E_LOADING"}  # a name in use gets a number, and jobs wait for a model


def test_what_the_daemon_says_is_no_request():
    assert not OURS & set(COMMANDS)


def test_values_take_their_keys_types():
    arguments = ("r", "bars", 4, "loop", 1.0, "stream", True, "seed", 7.0, "loudness", "off", "prompt", "dub")
    request = read(Message("/musicgen/render", arguments))
    assert request.values == {"bars": 4.0, "loop": True, "stream": True, "seed": 7, "loudness": "off", "prompt": "dub"}
    assert isinstance(request.values["bars"], float)
    assert isinstance(request.values["seed"], int)


@pytest.mark.parametrize(("sent", "taken"), [(3, 3), (3.0, 3), ("3", "3"), ("pad", "pad")])
def test_a_target_is_a_text_or_a_number_and_the_two_stay_apart(sent, taken):
    values = read(Message("/musicgen/query", ("q", "target", sent))).values
    assert (type(values["target"]), values["target"]) == (type(taken), taken)


@pytest.mark.parametrize("sent", [1.5, True, "x" * 65])
def test_anything_else_is_no_target(sent):
    with pytest.raises(ArgumentError, match="target must be a whole number or a text of at most 64 bytes"):
        read(Message("/musicgen/query", ("q", "target", sent)))


arguments = st.lists(
    st.one_of(
        st.sampled_from([*RENDER_KEYS, "slot", "target", "what", "token"]),
        st.text(max_size=80),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.just(Refused("of no use")),
    ),
    max_size=9,
).map(tuple)


@given(st.one_of(st.sampled_from(list(COMMANDS)), st.from_regex(r"/[ -~]{0,20}", fullmatch=True)), arguments)
def test_any_message_is_read_or_refused_in_words(address, arguments):
    message = Message(address, arguments)
    try:
        request = read(message)
    except BridgeError as error:
        assert isinstance(error, ArgumentError | ProtocolError)
        assert 10 < len(error.text) < 6000
    else:
        assert request.id == read_id(message)
        assert set(request.values) <= set(request.command.keys)


def test_a_digest_is_of_the_content_in_whatever_order_and_type_it_came():
    def of(address, *arguments):
        return digest(read(Message(address, arguments)))

    same = of("/musicgen/render", "a", "bars", 2, "prompt", "dub", "loop", True)
    assert of("/musicgen/render", "b", "loop", 1.0, "prompt", "dub", "bars", 2.0) == same
    assert of("/musicgen/render", "a", "bars", 2, "prompt", "dub", "loop", False) != same
    assert of("/musicgen/render", "a", "bars", 2, "prompt", "dub") != same
    assert of("/musicgen/trigger", "a", "slot", 1) != of("/musicgen/trigger", "a", "slot", 2)
    assert of("/musicgen/set", "a", "bars", 2) != of("/musicgen/render", "a", "bars", 2)
