"""The codec on bytes that real programs sent, on bytes that nobody should send, and on whatever hypothesis invents."""

import math
import struct

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from musicgen_bridge.control.osc_codec import (
    MAX_PACKET,
    Bundle,
    Message,
    PacketError,
    Refused,
    decode,
    encode,
    messages,
    shortest,
)

CAPTURED = {
    "oscsend /musicgen/ping s a1": (
        "2f6d7573696367656e2f70696e6700002c73000061310000",
        Message("/musicgen/ping", ("a1",)),
    ),
    "oscsend /x ihfdsSTF 1 4294967296 120.1 0.1 hé sym T F": (
        "2f7800002c696866647353544600000000000001000000010000000042f033333fb999999999999a68c3a90073796d00",
        Message("/x", (1, 2**32, 120.1, 0.1, "hé", "sym", True, False)),
    ),
    "oscsend /x icmNI 1 c 90404000": (
        "2f7800002c69636d4e490000000000010000006390404000",
        Message("/x", (1, *(Refused(f'of type "{tag}", which is not taken') for tag in "cmNI"))),
    ),
    "oscsendfile of two messages without a time": (
        "2362756e646c650000000000000000010000002c2f6d7573696367656e2f68656c6c6f002c7373736900000061000000636c6965"
        "6e7400006c6f000000000005000000182f6d7573696367656e2f70696e6700002c69000000000003",
        Bundle(1, (Message("/musicgen/hello", ("a", "client", "lo", 5)), Message("/musicgen/ping", (3,)))),
    ),
    "Pure Data, oscformat musicgen session, message 7 bpm 126.5 signature 7/8 project /tmp/x": (
        "2f6d7573696367656e2f73657373696f6e0000002c667366737373730000000040e0000062706d0042fd00007369676e61747572"
        "65000000372f380070726f6a656374002f746d702f780000",
        Message("/musicgen/session", (7.0, "bpm", 126.5, "signature", "7/8", "project", "/tmp/x")),
    ),
}


@pytest.mark.parametrize(("data", "meant"), CAPTURED.values(), ids=CAPTURED)
def test_what_real_programs_send_is_read(data, meant):
    assert decode(bytes.fromhex(data)) == meant


def packed(address, tags, body=b""):
    def text(value):
        return value + b"\0" * (4 - len(value) % 4)

    return text(address) + text(b"," + tags) + body


def bundle(*elements, timetag=1):
    return b"#bundle\0" + struct.pack(">Q", timetag) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


PING = packed(b"/p", b"i", b"\0\0\0\1")


def nested(depth):
    return bundle(nested(depth - 1)) if depth else PING


MALFORMED = {
    "nothing": b"",
    "three bytes": b"/a\0",
    "no address": b"abc\0,\0\0\0",
    "an address without an end": b"/abc",
    "an address with a blank": packed(b"/a b", b""),
    "an address with a control character": packed(b"/a\x07", b""),
    "an address beyond ASCII": packed("/é".encode(), b""),
    "dirty padding": b"/a\0x,\0\0\0",
    "no type tags": b"/abc\0\0\0\0",
    "type tags without a comma": b"/a\0\0i\0\0\0\0\0\0\1",
    "an unknown type": packed(b"/a", b"q", b"\0\0\0\1"),
    "an argument cut short": packed(b"/a", b"h", b"\0\0\0\1"),
    "a string without an end": packed(b"/a", b"s", b"abcd"),
    "a string with dirty padding": packed(b"/a", b"s", b"a\0\0b"),
    "bytes behind the end": packed(b"/a", b"i", b"\0\0\0\1\0\0\0\2"),
    "a blob longer than its message": packed(b"/a", b"b", b"\0\0\0\x08abcd"),
    "a blob of negative size": packed(b"/a", b"b", b"\xff\xff\xff\xfcabcd"),
    "a blob with dirty padding": packed(b"/a", b"b", b"\0\0\0\1abcd"),
    "a size that is no multiple of four": PING + b"\0",
    "a bundle without a time": b"#bundle\0\0\0\0\1",
    "a bundle with another name": b"#bundel\0" + b"\0" * 8,
    "an element of negative size": b"#bundle\0" + b"\0" * 8 + b"\xff\xff\xff\xfc",
    "an element of size zero": b"#bundle\0" + b"\0" * 8 + b"\0\0\0\0",
    "an element larger than its bundle": b"#bundle\0" + b"\0" * 8 + b"\0\0\0\x40" + PING,
    "an element of odd size": b"#bundle\0" + b"\0" * 8 + b"\0\0\0\2/a\0\0",
    "half a size": bundle(PING) + b"\0\0",
    "a good message before a bad one": bundle(PING, b"abcd"),
    "five bundles deep": nested(5),
    "sixty-five messages": bundle(*[PING] * 65),
    "sixty-five messages in two bundles": bundle(bundle(*[PING] * 33), bundle(*[PING] * 32)),
    "more than a packet holds": packed(b"/a", b"s", b"a" * MAX_PACKET + b"\0\0\0\0"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_refused(data):
    with pytest.raises(PacketError):
        decode(data)


def test_the_limits_themselves_are_taken():
    assert [message for _, message in messages(decode(nested(4)))] == [Message("/p", (1,))]
    assert len(list(messages(decode(bundle(*[PING] * 64))))) == 64
    longest = packed(b"/a", b"s", b"a" * (MAX_PACKET - 12) + b"\0\0\0\0")
    assert len(longest) == MAX_PACKET
    assert isinstance(decode(longest), Message)


def test_an_address_of_stars_is_only_read_never_matched():
    assert decode(packed(b"/" + b"*" * 67, b"")) == Message("/" + "*" * 67)


@pytest.mark.parametrize(
    ("tags", "body", "why"),
    [
        (b"f", struct.pack(">f", math.nan), "finite"),
        (b"d", struct.pack(">d", -math.inf), "finite"),
        (b"s", b"\xff\xfe\0\0", "UTF-8"),
        (b"b", b"\0\0\0\1a\0\0\0", "blob"),
        (b"t", b"\0" * 8, '"t"'),
        (b"r", b"\0" * 4, '"r"'),
        (b"[]", b"", '"["'),
    ],
    ids=str,
)
def test_what_is_sound_but_not_taken_leaves_the_rest_readable(tags, body, why):
    first, refused, *_, last = decode(packed(b"/a", b"i" + tags + b"i", b"\0\0\0\7" + body + b"\0\0\0\5")).arguments
    assert (first, last) == (7, 5)
    assert isinstance(refused, Refused)
    assert why in refused.why


def test_each_message_carries_the_time_of_its_own_bundle():
    packet = decode(bundle(PING, bundle(PING, timetag=9), timetag=5))
    assert [timetag for timetag, _ in messages(packet)] == [5, 9]


@pytest.mark.parametrize("tempo", [120.1, 126.5, 97.3, 133.333, 0.1, 1e-7, 16_777_216.0, -60.2])
def test_a_short_float_means_the_decimal_that_was_typed(tempo):
    (value,) = decode(packed(b"/a", b"f", struct.pack(">f", tempo))).arguments
    assert value == tempo


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(3.4028234663852886e38)
@example(1e-45)
def test_the_shortest_decimal_is_the_same_float(value):
    near = shortest(value)
    assert struct.pack(">f", near) == struct.pack(">f", value)
    assert len(repr(near).replace(".", "").lstrip("-0").split("e")[0].rstrip("0")) <= 9


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
int32 = st.integers(-(2**31), 2**31 - 1)
float32 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(shortest)
addresses = st.from_regex(r"(/[a-z.0-9]+){1,4}", fullmatch=True)
outgoing = st.builds(Message, addresses, st.lists(st.one_of(texts, int32, float32), max_size=12).map(tuple))


@given(outgoing)
def test_what_goes_out_comes_back_the_same(message):
    assert decode(encode(message)) == message


@given(outgoing)
def test_what_goes_out_is_what_python_osc_reads(message):
    heard = OscMessage(encode(message))
    assert heard.address == message.address
    assert [shortest(it) if isinstance(it, float) else it for it in heard.params] == list(message.arguments)


@given(addresses, st.lists(st.one_of(texts, int32, float32, st.booleans()), max_size=12))
def test_what_python_osc_sends_is_read(address, arguments):
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    assert decode(builder.build().dgram) == Message(address, tuple(arguments))


@given(st.lists(outgoing, max_size=8), st.integers(2, 2**63))
def test_bundles_of_python_osc_are_read(parts, timetag):
    builder = OscBundleBuilder(0)
    for part in parts:
        builder.add_content(OscMessage(encode(part)))
    data = builder.build().dgram
    packet = decode(data[:8] + struct.pack(">Q", timetag) + data[16:])
    assert packet == Bundle(timetag, tuple(parts))


def read_or_refused(data):
    try:
        for _, message in messages(decode(data)):
            assert message.address.startswith("/")
    except PacketError:
        pass


@given(st.binary(max_size=200))
def test_noise_ends_in_one_error(data):
    read_or_refused(data)


@given(st.sampled_from([bytes.fromhex(data) for data, _ in CAPTURED.values()]), st.data())
def test_damaged_packets_end_in_one_error(data, draw):
    at = draw.draw(st.integers(0, len(data) - 1))
    damage = draw.draw(st.binary(max_size=8))
    read_or_refused(data[:at] + damage + data[at + draw.draw(st.integers(0, 8)) :])


@given(st.text("ifhdsSTFbcrmtNI[]", max_size=30), st.binary(max_size=120))
def test_any_types_over_any_bytes_end_in_one_error(tags, body):
    read_or_refused(packed(b"/a", tags.encode(), body))


@pytest.mark.parametrize(
    "argument",
    [2**31, -(2**31) - 1, math.nan, math.inf, 1e39, 2.0**128 - 2.0**103, "a\0b", "\ud800"],
    ids=repr,
)
def test_what_does_not_fit_cannot_go_out(argument):
    with pytest.raises(ValueError):
        encode(Message("/a", (argument,)))


@pytest.mark.parametrize("argument", [True, Refused("anything")])
def test_only_three_types_go_out(argument):
    with pytest.raises(TypeError):
        encode(Message("/a", (argument,)))


@given(st.binary(min_size=4, max_size=64))
def test_a_whole_packet_is_never_silently_shortened(tail):
    assume(len(tail) % 4 == 0)
    with pytest.raises(PacketError):
        decode(PING + tail)
