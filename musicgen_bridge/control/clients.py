"""Who the clients are: by what name their ids are known, where their replies go, and whose lease still runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from musicgen_bridge.control.commands import LEASE_S
from musicgen_bridge.control.replies import Id

MAX_CLIENTS = 256
"""With one more, the client that has been silent longest is forgotten."""


@dataclass(slots=True)
class Client:
    """What is known of one sender; the times are the loop's, in seconds."""

    reply_to: str
    name: str = ""
    lease_s: float = 0.0
    """How long the heartbeat goes on after each message; 0 without hello."""
    leased_until: float = 0.0
    subscribed_until: float = 0.0


class Clients:
    """The senders that said hello or subscribed, the one silent longest first."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def hello(self, sender: str, name: str, reply_to: str, now: float) -> None:
        """Note a client's name, where its replies go, and that its lease begins."""
        client = self._known(sender)
        client.name, client.reply_to, client.lease_s = name, reply_to, LEASE_S
        self.heard(sender, now)

    def subscribe(self, sender: str, until: float) -> None:
        """Note until when a client wants the events of every job."""
        self._known(sender).subscribed_until = until

    def heard(self, sender: str, now: float) -> None:
        """Renew the lease of a client that has sent something."""
        if client := self._clients.pop(sender, None):
            client.leased_until = now + client.lease_s
            self._clients[sender] = client

    def gone(self, sender: str) -> None:
        """Forget a client whose connection has ended."""
        self._clients.pop(sender, None)

    def owner(self, sender: str) -> str:
        """Return whose ids a sender's are: its name, or else its address."""
        client = self._clients.get(sender)
        return client.name if client and client.name else sender

    def reply_to(self, sender: str) -> str:
        """Return where a sender's replies go."""
        client = self._clients.get(sender)
        return client.reply_to if client else sender

    def leased(self, now: float) -> list[str]:
        """Return where the heartbeat goes."""
        return self._where(lambda client: max(client.leased_until, client.subscribed_until) > now)

    def subscribed(self, now: float) -> list[str]:
        """Return where the events of every job go."""
        return self._where(lambda client: client.subscribed_until > now)

    def _where(self, chosen: Callable[[Client], bool]) -> list[str]:
        return list(dict.fromkeys(client.reply_to for client in self._clients.values() if chosen(client)))

    def _known(self, sender: str) -> Client:
        if sender not in self._clients and len(self._clients) >= MAX_CLIENTS:
            del self._clients[next(iter(self._clients))]
        return self._clients.setdefault(sender, Client(reply_to=sender))


def at_port(sender: str, port: int) -> str:
    """Return the peer at another port of the sender's own address; 0 is its own port."""
    return f"{sender.rpartition(':')[0]}:{port}" if port else sender


def return_address(where: str, request_id: Id) -> str:
    """Return what is kept of where a job's answers go, and in which type their id goes back: "udp:127.0.0.1:9001"."""
    return f"{where}{_FLOATING}" if request_id.floating else where


def split_return(reply_to: str, rid: str | int) -> tuple[str, Id]:
    """Return the peer and the id as it goes back, for a job kept under `reply_to` and `rid`."""
    where = reply_to.removesuffix(_FLOATING)
    return where, Id(rid, floating=where != reply_to)


_FLOATING = "?id=f"
