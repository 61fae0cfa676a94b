"""A small Hugging Face hub on a real socket: what its client asks for, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

LARGE = (".safetensors", ".bin", ".th", ".model")
"""What the hub keeps by its SHA-256; the rest is in git."""


@dataclass
class Repository:
    """A model's commits, each with its files."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    licence: str = "cc-by-nc-4.0"


def repository(files: dict[str, bytes], **changes: Any) -> Repository:
    """Return a repository of one commit."""
    sha = hashlib.sha1("".join(files).encode()).hexdigest()
    return Repository({sha: files}, {"main": sha}, **changes)


@dataclass
class Hub:
    """The server and its faults; each fault is by the name of a file."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    """After how many bytes the connection breaks, once."""
    altered: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    claimed: dict[str, int] = field(default_factory=dict)
    """Sizes that are told instead of the true ones."""
    gated: set[str] = field(default_factory=set)
    """Repositories."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, file, Range) of each request for a file."""

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reached(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Have the hub's client in this process find the hub here, as HF_ENDPOINT does for a new one."""
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", self.url)
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

    def fetched(self) -> list[str]:
        """Return the files whose content was asked for."""
        return [file for method, file, _ in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        repository = self.hub.repositories.get(name)
        if repository is None or name in self.hub.gated:
            self._send(
                403 if repository else 404, b"{}", {"X-Error-Code": "GatedRepo" if repository else "RepoNotFound"}
            )
            return
        rest = parts[4:] if api else parts[2:]
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif not api:
            self._file("/".join(rest[2:]), commit, repository.commits[commit], body)
        elif rest[:1] == ["tree"]:
            self._json([_entry(path, data) for path, data in repository.commits[commit].items()])
        else:
            self._json(self._info(name, commit, repository))

    def _info(self, name: str, commit: str, repository: Repository) -> dict[str, Any]:
        siblings = []
        for path, data in repository.commits[commit].items():
            entry = _entry(path, data)
            sibling = {"rfilename": path, "blobId": entry["oid"], "size": self.hub.claimed.get(path, len(data))}
            if "lfs" in entry:
                sibling["lfs"] = {"sha256": entry["lfs"]["oid"], "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        card = {"license": repository.licence} if repository.licence else {}
        return {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "cardData": card, "tags": []}

    def _file(self, path: str, commit: str, files: dict[str, bytes], body: bool) -> None:
        asked = self.headers.get("Range", "")
        self.hub.asked.append((self.command, path, asked))
        if body and path in self.hub.failing:
            self._send(403, b"", {})
            return
        data, entry = files[path], _entry(path, files[path])
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        headers["ETag"] = f'"{entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]}"'
        if path in self.hub.altered:
            data = bytes([data[0] ^ 1]) + data[1:]
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        stop = self.hub.cut.pop(path, None) if body else None
        self._send(206 if asked else 200, data[start:], headers, body, stop)

    def _json(self, values: object) -> None:
        self._send(200, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], body: bool = True, stop: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body and self.command == "GET":
            self.wfile.write(data[:stop])
        if stop is not None:
            self.close_connection = True


def _entry(path: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
