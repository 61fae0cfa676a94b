"""The resident process: what starts in which order and stops in reverse, signals, exit codes; never torch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil

from musicgen_bridge import __version__, ports
from musicgen_bridge.asking.presets import Presets, shipped
from musicgen_bridge.control.controllers import Maps
from musicgen_bridge.control.desk import Desk
from musicgen_bridge.control.house import House, Offer
from musicgen_bridge.control.midi import CLIENT, Midi
from musicgen_bridge.control.osc import Server, serve
from musicgen_bridge.errors import BridgeError, DiskError
from musicgen_bridge.follow.midi_clock import MidiClock
from musicgen_bridge.follow.session import Follow
from musicgen_bridge.follow.sources import SOURCES
from musicgen_bridge.hub import STOCK_LICENCE, STOCK_MODELS
from musicgen_bridge.jobs import Job, Jobs
from musicgen_bridge.journal import Journal, lock_folder
from musicgen_bridge.recorders import Recorder
from musicgen_bridge.request import Session, Transport
from musicgen_bridge.settings import Settings
from musicgen_bridge.workers import Worker

log = logging.getLogger(__name__)

ENDED, CRASHED, UNUSABLE = 0, 1, 2
"""Exit codes: ended as asked; something broke or the model can't be loaded; the port or a setting can't be used."""


def run(settings: Settings) -> int:
    """Run the daemon until it is told to end; return its exit code."""
    try:
        return asyncio.run(_Daemon(settings).run())
    except BridgeError as error:
        _complain(error)
        return UNUSABLE if isinstance(error, DiskError) else CRASHED


class _Daemon:
    """The parts, while they run. SIGTERM and Ctrl-C finish what was accepted; a second one ends at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ending = asyncio.Event()
        self._draining = False
        self._jobs: Jobs
        self._worker: Worker
        self._recorder: Recorder
        self._follow: Follow
        self._midi: Midi
        self._loop: asyncio.AbstractEventLoop

    async def run(self) -> int:
        """Start in order, wait, stop in reverse."""
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stopping:
            try:
                server = await serve(settings.host, settings.port)
            except OSError as error:
                return _unusable_port(error, settings.host, settings.port, "--port")
            stopping.push_async_callback(server.close)
            token = read_token(settings.home)
            stopping.callback(lock_folder(settings.home).close)
            _write_logs(settings.home)
            for folder in missing_folders(settings):
                _warn(f"{folder} does not exist yet; make it, or check --project and --root")
            journal = Journal(settings.home / "journal.sqlite3")
            stopping.callback(journal.close)
            self._jobs = Jobs(journal, limit=settings.queue)
            desk = self._desk(server, token)
            self._worker = Worker(settings, self._jobs, desk.transport, on_state=self._look)
            self._recorder = Recorder(settings, self._jobs, desk.transport)
            self._follow = Follow(settings.follow, lambda: desk.told_at, desk.follow, self._loop.time)
            self._midi = self._controllers(server, desk)
            if settings.panel:
                try:
                    stopping.push_async_callback(await self._open_panel(server, desk, token))
                except OSError as error:
                    return _unusable_port(error, "127.0.0.1", settings.panel_port, "--panel-port")
            desk.open()
            stopping.push_async_callback(desk.close)
            desk.on_transport = self._follow_transport
            self._jobs.on_change, self._jobs.on_cancel = self._feed, self._cancel
            self._worker.start()
            stopping.push_async_callback(self._worker.stop)
            stopping.push_async_callback(self._recorder.stop)
            self._follow.open(SOURCES)
            stopping.push_async_callback(self._follow.close)
            await self._midi.open()
            stopping.push_async_callback(self._midi.close)
            self._listen_to_signals()
            return await self._until_ended()

    def _desk(self, server: Server, token: str) -> Desk:
        settings = self._settings
        presets = Presets(shipped(), settings.presets)
        for problem in presets.problems:
            log.warning("%s", problem)
        offer = Offer(
            presets=presets,
            models={alias: _summary(target) for alias, target in settings.known_models.items()},
            roots=settings.allowed_roots,
            defaults={"model": settings.model},
            recorded=settings.input,
        )
        house = House(
            instance=secrets.token_hex(4),
            token=token,
            state=self._state,
            stop=self.stop,
            unload=lambda model: self._worker.unload(model),
            midi=ports.midi_ports,
            devices=ports.audio_devices,
        )
        session = Session(project=str(settings.project) if settings.project else None)
        return Desk(server, self._jobs, session, offer, house)

    def _feed(self) -> None:
        self._worker.feed()
        self._recorder.feed()

    def _cancel(self, job: Job) -> None:
        self._worker.cancel(job)
        self._recorder.cancel(job)

    def _follow_transport(self, transport: Transport) -> None:
        self._worker.follow(transport)
        self._recorder.follow(transport)

    def _controllers(self, server: Server, desk: Desk) -> Midi:
        """Return MIDI as a client of the desk inside this process."""
        maps = Maps(self._settings.presets / "controllers", shipped() / "controllers")
        for problem in maps.problems:
            log.warning("%s", problem)
        clock = MidiClock(lambda values: self._follow.tell("midi", values), lambda: desk.session.signature.quarters)
        midi = Midi(
            self._settings.midi,
            maps,
            send=lambda message: server.on_packet(message, CLIENT),
            known=lambda request_id: self._jobs.find(CLIENT, request_id) is not None,
            clock=clock.take,
        )
        server.local[CLIENT] = midi.hear
        return midi

    async def _open_panel(self, server: Server, desk: Desk, token: str) -> Callable[[], Awaitable[None]]:
        """Serve the page as a client of the desk inside this process; return what closes it. Raises OSError."""
        from musicgen_bridge.panel.serve import Panel

        panel = Panel(
            server,
            session=lambda: desk.session,
            roots=self._settings.allowed_roots,
            token=token,
            port=self._settings.panel_port,
        )
        await panel.open()
        return panel.close

    def _state(self) -> dict[str, str | int | float]:
        """Return what /musicgen/status tells of the daemon."""
        return {
            "state": "draining" if self._draining else self._worker.health,
            "version": __version__,
            "model": next(iter(self._worker.models), self._settings.model),
            "loaded": ", ".join(self._worker.models),
            "device": self._worker.device,
            "memory": self._worker.memory[0] >> 20,
            "memory_total": self._worker.memory[1] >> 20,
            "queued": self._jobs.queued,
            "running": len(self._jobs.running),
            "midi": self._midi.status,
            "tempo_source": self._follow.source,
        }

    def stop(self, drain: bool) -> None:
        """End the daemon: when what was accepted is done, or now; what is open then stays in the journal."""
        self._draining, self._jobs.accepting = True, False
        if not drain or not self._jobs.open:
            self._ending.set()

    def _look(self) -> None:
        """The worker's or a job's state has changed."""
        if self._worker.fatal is not None or (self._draining and not self._jobs.open):
            self._ending.set()

    def _listen_to_signals(self) -> None:
        # signal.signal and not loop.add_signal_handler: that one is missing on Windows.
        def asked(*_: Any) -> None:
            self._loop.call_soon_threadsafe(self.stop, not self._draining)

        # SIGBREAK is Ctrl+Break, and all by which one program of Windows can ask another to end.
        for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGBREAK", signal.SIGTERM)}:
            signal.signal(number, asked)

    async def _until_ended(self) -> int:
        ready = asyncio.create_task(self._tell_ready())
        ended = asyncio.create_task(self._ending.wait())
        await asyncio.wait({ended, self._worker.task}, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, ended):
            task.cancel()
        if self._worker.fatal is not None:
            _complain(self._worker.fatal)
            return CRASHED
        if self._worker.task.done():
            log.critical("the worker's supervisor broke", exc_info=self._worker.task.exception())
            return CRASHED
        return ENDED

    async def _tell_ready(self) -> None:
        while self._worker.health not in ("ready", "busy"):
            await asyncio.sleep(0.02)
        settings = self._settings
        print(
            f"musicgen-bridge {__version__} is ready: {self._state()['model']} on {self._worker.device}, OSC on"
            f" {settings.host}:{settings.port} (UDP and TCP), project {settings.project or 'as the session says'}"
            + (f", page http://127.0.0.1:{settings.panel_port}" if settings.panel else ""),
            flush=True,
        )


def _summary(target: str) -> str:
    licence = f", {STOCK_LICENCE}: not for commercial use" if target in STOCK_MODELS.values() else ""
    return f"folder {target}" if Path(target).is_absolute() else f"{target} from the Hugging Face hub{licence}"


def missing_folders(settings: Settings) -> list[Path]:
    """Return the folders that the settings name for stems and recordings, and that are not there at this moment."""
    return [folder for folder in settings.allowed_roots if not folder.is_dir()]


def _warn(text: str) -> None:
    log.warning("%s", text)
    print(text, file=sys.stderr, flush=True)


def _complain(error: BridgeError) -> None:
    print(f"{error.code} {error.text}", file=sys.stderr, flush=True)


def _unusable_port(error: OSError, host: str, port: int, flag: str) -> int:
    owner = port_owner(port)
    if owner:
        text = f"port {port} is taken by {owner}; end it, or start with another {flag}"
    else:
        text = f"port {port} on {host} can't be used: {error.strerror or error}"
    print(text, file=sys.stderr, flush=True)
    return UNUSABLE


def port_owner(port: int) -> str:
    """Return who has a TCP or UDP port of this machine, as "name (process 123)", as far as may be known; else ""."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("inet"):
            if connection.laddr and connection.laddr.port == port and not connection.raddr:
                if not connection.pid:
                    return "another user's program"
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def read_token(home: Path) -> str:
    """Return the token in the daemon's folder, made at first use and readable by its owner only.

    Raises:
        DiskError: it can be neither read nor written.
    """
    path = home / "token"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)  # the journal and the logs hold prompts
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(16))
        return path.read_text().strip()
    except OSError as error:
        raise DiskError(f"the token {path} can't be read or written ({error}); choose another --state") from error


def _write_logs(home: Path) -> None:
    """Send the log to a file in the daemon's folder, of at most 4 MB in two."""
    handler = logging.handlers.RotatingFileHandler(
        home / "daemon.log", maxBytes=2_000_000, backupCount=1, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
