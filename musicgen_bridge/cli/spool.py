"""A render for a program without sockets: it leaves the request in a file, reads how it goes, and may cancel."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.patience import patiently
from musicgen_bridge.request import Progress


@dataclass(frozen=True, slots=True)
class Spool:
    """The three files of a render: the request FILE, `FILE.report`, and `FILE.cancel`."""

    file: Path

    def request(self) -> dict[str, Any]:
        """Return the render keys that the request holds, unchecked. Raises ArgumentError."""
        try:
            values = json.loads(self.file.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ArgumentError(f"{self.file} can't be read as JSON ({error}); write the render keys to it") from error
        if not isinstance(values, dict):
            raise ArgumentError(f"{self.file} holds no JSON object; write the render keys to it as one")
        return values

    def progress(self, now: Progress) -> None:
        """Report progress. Raises KeyboardInterrupt when there is a cancel file."""
        if self._beside(".cancel").exists():
            raise KeyboardInterrupt
        with contextlib.suppress(OSError):  # the next one tells more
            self._write({"progress": {name: value for name, value in asdict(now).items() if value is not None}})

    def end(self, answer: Mapping[str, Any]) -> None:
        """Report the end: what `--json` prints. Raises OSError when it can't be written."""
        patiently(self._write, answer)

    def _write(self, answer: Mapping[str, Any]) -> None:
        new = self._beside(".report.new")
        new.write_text(json.dumps(answer) + "\n", "utf-8")
        new.replace(self._beside(".report"))

    def _beside(self, ending: str) -> Path:
        return self.file.with_name(self.file.name + ending)
