"""The desk: what each request of the table does and answers, and who hears of a job's events."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count

from musicgen_bridge import __version__
from musicgen_bridge.asking.build_request import over, update_session
from musicgen_bridge.asking.keys import Value
from musicgen_bridge.control import replies
from musicgen_bridge.control.clients import Clients, at_port, return_address, split_return
from musicgen_bridge.control.commands import COMMANDS, LEASE_S, PROTO, read_id
from musicgen_bridge.control.house import House, Offer
from musicgen_bridge.control.intake import Call, Intake
from musicgen_bridge.control.listings import Item, job_items, listing, past_events, preset_items
from musicgen_bridge.control.osc import Packet, Server
from musicgen_bridge.control.osc_codec import MAX_PACKET, Message, messages
from musicgen_bridge.control.renders import (
    check_model,
    check_texts,
    complete,
    complete_recording,
    complete_recut,
    digest,
    project_folder,
    settled,
)
from musicgen_bridge.control.replies import MAX_EVENTS, NO_ID, Id, Reply
from musicgen_bridge.errors import ArgumentError, AuthError, BridgeError, ProtocolError
from musicgen_bridge.jobs import Event, Job, Jobs, Queued
from musicgen_bridge.jobs import Request as JobRequest
from musicgen_bridge.request import Progress, Session, Transport

log = logging.getLogger(__name__)

PROGRESS_S = 0.1
"""The shortest time between two /musicgen/progress of a job."""
BURST = 32
"""How many messages go out before the loop, and the client, get to breathe."""


class Desk:
    """Takes the server's packets and the jobs' events, and answers.

    Requests are handled one after the other in the order they came; those that ask the disk do so in a thread,
    meanwhile ping, status, events and the heartbeat go on.
    """

    def __init__(self, server: Server, jobs: Jobs, session: Session, offer: Offer, house: House) -> None:
        self.session = session
        self.transport = _advanced(Transport(), session, {})
        """Where the session is and when; moved on by whatever tells of it."""
        self.on_transport: Callable[[Transport], None] = lambda transport: None
        self.told_at = -math.inf
        """When the client that last told the tempo was last heard, by the loop's clock."""
        self._teller = ""
        self._server, self._jobs = server, jobs
        self._offer, self._house = offer, house
        self._defaults = dict(offer.defaults)
        self._clients = Clients()
        self._farewell: set[str] = set()
        self._told: dict[int, float] = {}  # job number -> when its progress last went out, if lately
        self._intake = Intake(self._handle, self._fail)
        self._tasks: list[asyncio.Task[None]] = []
        self._handlers: dict[str, Callable[[Call], Awaitable[None] | None]] = {
            address: getattr(self, f"_{command.name}") for address, command in COMMANDS.items()
        }

    def open(self) -> None:
        """Begin to take packets and events; needs the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._intake.serve()), loop.create_task(self._beat())]
        self._server.on_packet, self._server.on_closed = self._take, self._clients.gone
        self._jobs.on_event = self._tell

    def follow(self, values: Mapping[str, Value]) -> None:
        """Change the session as a source of tempo tells it, in (checked) values of `SESSION_KEYS`."""
        self.session = update_session(self.session, values)
        self._move(values)

    def _move(self, values: Mapping[str, Value]) -> None:
        if values.keys() & {"bpm", "signature", "playing", "beat"}:
            self.transport = _advanced(self.transport, self.session, values)
            self.on_transport(self.transport)

    async def close(self) -> None:
        """Say goodbye to every client with a lease, and end."""
        self._server.on_packet = lambda packet, sender: None
        self._jobs.on_event = lambda number, job, event: None
        self._intake.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for where in self._farewell.union(self._clients.leased(_now())):
            self._server.send(where, replies.build(replies.BYE, self._house.instance))

    def _take(self, packet: Packet, sender: str) -> None:
        if any(message.address in replies.OURS for _, message in messages(packet)):
            self._server.refuse(sender, "what only the daemon says")
        else:
            self._clients.heard(sender, _now())
            if sender == self._teller:
                self.told_at = _now()
            self._intake.take(packet, sender)

    def _handle(self, call: Call) -> Awaitable[None] | None:
        self._authorise(call)
        return self._handlers[call.request.command.address](call)

    def _fail(self, asked: Call | Message, sender: str, error: BridgeError) -> None:
        if isinstance(asked, Call):
            where, request_id, address = self._where(asked), asked.request.id, asked.request.command.address
        else:
            where, request_id, address = self._clients.reply_to(sender), NO_ID, asked.address
            with contextlib.suppress(ArgumentError):
                request_id = read_id(asked)
        self._server.send(where, replies.failure(request_id, address, error))

    def _authorise(self, call: Call) -> None:
        given = call.values.get("token")
        if given is None and not call.request.command.secured:
            return
        if not hmac.compare_digest(str(given or "").encode(), self._house.token.encode()):
            raise AuthError("the token is missing or wrong; `musicgen-bridge stop` finds it in the daemon's folder")

    def _where(self, call: Call) -> str:
        """Return where the replies to a call go; those of hello already go where it says."""
        if call.request.command.name != "hello":
            return self._clients.reply_to(call.sender)
        port = int(call.values.get("reply_port", 0))
        usable = call.sender.startswith("udp:") and port != self._server.port
        return at_port(call.sender, port) if usable else call.sender

    def _reply(self, call: Call, reply: Reply, *values: object, pairs: Mapping[str, object] | None = None) -> None:
        self._server.send(self._where(call), replies.build(reply, call.request.id, *values, pairs=pairs))

    async def _send_all(self, call: Call, outgoing: Sequence[Message]) -> None:
        for number, message in enumerate(outgoing, start=1):
            self._server.send(self._where(call), message)
            if number % BURST == 0:
                await asyncio.sleep(0.005)

    # Handlers, one for each command of the table

    def _hello(self, call: Call) -> None:
        if (proto := call.values.get("proto", PROTO)) != PROTO:
            raise ProtocolError(f"protocol {proto} is not spoken here, only {PROTO}; update the older of the two")
        port = call.values.get("reply_port", 0)
        if port and call.sender.startswith("tcp:"):
            raise ArgumentError("reply_port is for UDP; over TCP replies come back on the connection, so leave it out")
        if port == self._server.port:
            raise ArgumentError("reply_port is the daemon's own port; choose another and listen there")
        name = str(call.values.get("client", ""))
        if name.startswith(("udp:", "tcp:")) or name == "midi":
            raise ArgumentError("client can't be midi nor begin with udp: or tcp:; choose another name")
        self._clients.hello(call.sender, name, self._where(call), _now())
        pairs = {"proto": PROTO, "version": __version__, "instance": self._house.instance}
        self._reply(call, replies.HELLO_REPLY, pairs=pairs | {"lease_s": LEASE_S, "max_bytes": MAX_PACKET})

    def _ping(self, call: Call) -> None:
        self._reply(call, replies.PONG, self._house.instance, self._house.state()["state"])

    def _status(self, call: Call) -> None:
        ours = {"bad_packets": self._server.bad_packets, "receive_buffer": self._server.receive_buffer}
        self._reply(call, replies.STATUS_REPLY, pairs={**self._house.state(), **ours, "bpm": self.session.bpm})

    async def _session(self, call: Call) -> None:
        values = dict(call.values)
        if project := values.get("project"):
            values["project"] = await asyncio.to_thread(project_folder, str(project), self._offer.roots)
        self.session = update_session(self.session, values)
        if "bpm" in values:
            self._teller, self.told_at = call.sender, _now()
        self._move(values)
        pairs = dataclasses.asdict(self.session) | {"signature": str(self.session.signature)}
        self._reply(call, replies.SESSION_REPLY, pairs=pairs)

    async def _set(self, call: Call) -> None:
        values = dict(call.values)
        below = self._offer.defaults if values.pop("reset", False) else self._defaults
        merged = over(values, below)
        check_texts(values)
        self._defaults = merged | await asyncio.to_thread(settled, values, self._offer.roots, self._offer.models)
        self._reply(call, replies.SET_REPLY, pairs=self._defaults)

    async def _render(self, call: Call) -> None:
        await self._submit_render(call, call.values)

    async def _record(self, call: Call) -> None:
        session, offer = self.session, self._offer
        await self._submit(call, lambda: complete_recording(call.values, session, offer.recorded, offer.roots))

    async def _trigger(self, call: Call) -> None:
        preset = self._offer.presets.find(call.ident("slot"))
        values = {name: value for name, value in call.values.items() if name != "slot"}
        await self._submit_render(call, over(values, preset.render))

    async def _fit(self, call: Call) -> None:
        await self._submit_render(call, call.values)

    async def _recut(self, call: Call) -> None:
        named = "target" in call.values
        job = self._jobs.find(self._clients.owner(call.sender), call.ident("target")) if named else None
        await self._submit(call, lambda: complete_recut(call.values, job, self._offer.roots))

    async def _submit_render(self, call: Call, values: Mapping[str, Value]) -> None:
        defaults = {name: value for name, value in self._defaults.items() if name in call.request.command.keys}
        session, offer = self.session, self._offer
        await self._submit(call, lambda: complete(values, session, defaults, offer.roots, offer.models))

    async def _submit(self, call: Call, completed: Callable[[], JobRequest]) -> None:
        """Have the request completed off the loop, then accept it, or say again how it stands if it is known."""
        making = asyncio.create_task(asyncio.to_thread(completed))
        await asyncio.wait({making})
        making.exception()  # seen; what it is matters only if the job is new
        asked: list[JobRequest] = []

        def make() -> JobRequest:
            asked.append(making.result())
            return asked[0]

        owner, request_id = self._clients.owner(call.sender), call.request.id
        reply_to = return_address(self._where(call), request_id)
        job = self._jobs.submit(owner, request_id.value, digest(call.request), make, reply_to)
        if not asked:
            await self._send_all(call, self._present(job, request_id))

    def _present(self, job: Job, request_id: Id) -> list[Message]:
        """Return the latest that is to be said of a job."""
        events = job.events or [Queued(self._jobs.position(job))]
        return [replies.job_event(request_id, job, event) for event in events]

    def _cancel(self, call: Call) -> None:
        if len(call.values) != 1:
            raise ArgumentError("/musicgen/cancel needs target, the id of a request, or job, the number of a job")
        if "job" in call.values:
            job = self._jobs.cancel_number(int(call.values["job"]))
        else:
            job = self._jobs.cancel(self._clients.owner(call.sender), call.ident("target"))
        self._reply(call, replies.CANCEL_DONE, job.number)

    async def _query(self, call: Call) -> None:
        target = call.ident("target")
        job = self._jobs.find(self._clients.owner(call.sender), target)
        if job is None:
            raise ArgumentError(f"no job of this client has the id {target!r}; send the request again")
        _, request_id = split_return(job.reply_to, job.rid)
        self._jobs.move(job, return_address(self._where(call), request_id))
        await self._send_all(call, self._present(job, request_id))

    async def _list(self, call: Call) -> None:
        items: Sequence[Item]
        match what := str(call.values["what"]):
            case "presets":
                items = preset_items(self._offer.presets)
            case "models":
                items = [{"name": alias, "summary": line} for alias, line in self._offer.models.items()]
            case "jobs":
                items = job_items(self._jobs)
            case "midi":
                items = [{"name": name} for name in await asyncio.to_thread(self._house.midi)]
            case _:
                items = await asyncio.to_thread(self._house.devices, what.removesuffix("s"))
        await self._send_all(call, listing(call.request.id, items))

    async def _events(self, call: Call) -> None:
        since = int(call.values.get("since", 0))
        await self._send_all(call, past_events(call.request.id, since, self._jobs.events_since(since, MAX_EVENTS)))

    def _subscribe(self, call: Call) -> None:
        lease_s = int(call.values.get("lease_s", LEASE_S))
        self._clients.subscribe(call.sender, _now() + lease_s)
        self._reply(call, replies.SUBSCRIBE_REPLY, pairs={"lease_s": lease_s})

    def _unload(self, call: Call) -> None:
        named = str(call.values["model"]) if call.values.get("model") else None
        if named is not None:
            check_model(named, self._offer.models)
        self._house.unload(named)
        self._reply(call, replies.PLAIN_DONE)

    def _sync(self, call: Call) -> None:
        self._reply(call, replies.SYNCED)

    def _drain(self, call: Call) -> None:
        self._leave(call, drain=True)

    def _quit(self, call: Call) -> None:
        self._leave(call, drain=False)

    def _leave(self, call: Call, *, drain: bool) -> None:
        self._farewell.add(self._where(call))
        self._reply(call, replies.PLAIN_DONE)
        self._house.stop(drain)

    # What happens without being asked

    def _tell(self, number: int, job: Job, event: Event) -> None:
        """Tell a job's event to who asked for it and to every subscriber."""
        if isinstance(event, Progress) and not self._progress_is_due(job):
            return
        where, request_id = split_return(job.reply_to, job.rid)
        try:
            message = replies.job_event(request_id, job, event)
            for target in dict.fromkeys((where, *self._clients.subscribed(_now()))):
                self._server.send(target, message)
        except Exception:
            log.exception("event %d of job %d can't be told: %s", number, job.number, event)

    def _progress_is_due(self, job: Job) -> bool:
        now = _now()
        self._told = {other: at for other, at in self._told.items() if now - at < PROGRESS_S}
        due = job.number not in self._told
        if due:
            self._told[job.number] = now
        return due

    async def _beat(self) -> None:
        for seq in count():
            try:
                for where in self._clients.leased(_now()):
                    message = replies.build(replies.HEARTBEAT, self._house.instance, seq, self._house.state()["state"])
                    self._server.send(where, message)
            except Exception:
                log.exception("the heartbeat failed")
            await asyncio.sleep(1)


def _advanced(transport: Transport, session: Session, values: Mapping[str, Value]) -> Transport:
    """Return the transport as it is at this moment, which `values` have just told something of."""
    now = time.perf_counter()
    return Transport(
        bpm=session.bpm,
        signature=session.signature,
        playing=session.playing,
        beat=session.beat if "beat" in values else transport.beat_at(now),
        at=now,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
