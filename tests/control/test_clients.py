"""Names, leases and return addresses, on a clock of the test's own."""

import pytest

from musicgen_bridge.control.clients import MAX_CLIENTS, Clients, at_port, return_address, split_return
from musicgen_bridge.control.commands import LEASE_S
from musicgen_bridge.control.replies import Id

LIVE, MAX = "udp:127.0.0.1:5001", "udp:127.0.0.1:5002"


def test_a_lease_runs_out_unless_something_is_heard():
    clients = Clients()
    clients.hello(LIVE, "live", LIVE, now=100.0)
    assert clients.leased(100.0 + LEASE_S - 1) == [LIVE]
    assert clients.leased(100.0 + LEASE_S) == []
    clients.heard(LIVE, 120.0)
    assert clients.leased(120.0 + LEASE_S - 1) == [LIVE]
    assert clients.owner(LIVE) == "live"


def test_a_name_outlives_its_lease_but_not_its_connection():
    clients = Clients()
    clients.hello(LIVE, "live", LIVE, now=0.0)
    assert clients.leased(1e6) == []
    assert clients.owner(LIVE) == "live"
    clients.gone(LIVE)
    assert clients.owner(LIVE) == LIVE


def test_only_a_subscriber_hears_of_everything_and_only_for_its_lease():
    clients = Clients()
    clients.hello(LIVE, "live", LIVE, now=0.0)
    clients.subscribe(MAX, until=5.0)
    clients.heard(MAX, 4.0)
    assert clients.subscribed(4.9) == [MAX]
    assert clients.leased(4.9) == [LIVE, MAX]
    assert clients.subscribed(5.0) == []
    assert clients.leased(5.0) == [LIVE]


def test_two_senders_with_one_ear_are_told_once():
    clients = Clients()
    for sender in (LIVE, MAX):
        clients.hello(sender, "max", "udp:127.0.0.1:9003", now=0.0)
    assert clients.leased(1.0) == ["udp:127.0.0.1:9003"]


def test_the_client_silent_longest_makes_room():
    clients = Clients()
    senders = [f"udp:127.0.0.1:{port}" for port in range(10_000, 10_000 + MAX_CLIENTS)]
    for sender in senders:
        clients.hello(sender, "c" + sender, sender, now=0.0)
    clients.heard(senders[0], 1.0)
    clients.hello(LIVE, "live", LIVE, now=2.0)
    assert clients.owner(senders[0]) == "c" + senders[0]
    assert clients.owner(senders[1]) == senders[1]
    assert len(clients.leased(2.0)) == MAX_CLIENTS


@pytest.mark.parametrize("request_id", [Id("a"), Id(7), Id(7, floating=True)])
def test_a_return_address_keeps_the_ids_type(request_id):
    kept = return_address(LIVE, request_id)
    where, back = split_return(kept, request_id.value)
    assert (where, back) == (LIVE, request_id)
    assert type(back.wire) is type(request_id.wire)


def test_a_reply_port_stays_at_the_same_address():
    assert at_port("udp:::1:5001", 9001) == "udp:::1:9001"
    assert at_port(LIVE, 0) == LIVE
