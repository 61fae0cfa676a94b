"""Every failure that a client can see, one class for each wire code of the protocol.

    BridgeError
    ├── ArgumentError      E_ARGS       a key, value or file of settings is wrong
    ├── PathError          E_PATH       a path is missing, outside the allowed roots, or not a plain file
    ├── ExistsError        E_EXISTS     a file stands where a new one should be written
    ├── BusyError          E_BUSY       the queue is full; carries retry_ms
    ├── LoadingError       E_LOADING    the model is not ready yet; carries retry_ms
    ├── OutOfMemoryError   E_OOM        the device has too little memory for the take
    ├── DiskError          E_DISK       a write failed
    ├── AudioError         E_AUDIO      a recording or an audio device cannot be used
    ├── ModelError         E_MODEL      a model is unknown, incomplete or unable to do what was asked
    ├── CancelledError     E_CANCELLED  somebody asked for the end
    ├── TimeError          E_TIME       a timetag lies too far ahead
    ├── RequestIdError     E_RID        a request id was used again for other content
    ├── AuthError          E_AUTH       the token is missing or wrong
    ├── ProtocolError      E_PROTO      no such address, or another protocol version
    └── InternalError      E_INTERNAL   a mistake of ours

The text of each says what to do about it, in one sentence that a musician understands.
"""

from __future__ import annotations

from typing import ClassVar


class BridgeError(Exception):
    """A failure with a wire code, a text that says what to do, and perhaps a time after which to try again."""

    code: ClassVar[str] = "E_INTERNAL"

    def __init__(self, text: str, *, retry_ms: int | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.retry_ms = retry_ms


class ArgumentError(BridgeError):
    """A key, a value or a setting is wrong; the text names it."""

    code = "E_ARGS"


class PathError(BridgeError):
    """A path is missing, leads out of the allowed roots, or names no plain file or folder."""

    code = "E_PATH"


class ExistsError(BridgeError):
    """A file stands where a new one should be written; a stem gets a number instead."""

    code = "E_EXISTS"


class BusyError(BridgeError):
    """The queue is full; `retry_ms` says when a place is likely to be free."""

    code = "E_BUSY"


class LoadingError(BridgeError):
    """The model is still loading; `retry_ms` says when to ask again. Here jobs wait for it instead."""

    code = "E_LOADING"


class OutOfMemoryError(BridgeError):
    """The device has too little memory for this take."""

    code = "E_OOM"


class DiskError(BridgeError):
    """A write failed: no space, no permission, no disk."""

    code = "E_DISK"


class AudioError(BridgeError):
    """A recording cannot be used (not audio, empty, silent, too long, not finite), or an audio device can't."""

    code = "E_AUDIO"


class ModelError(BridgeError):
    """A model is unknown, incomplete, or cannot do what was asked of it."""

    code = "E_MODEL"


class CancelledError(BridgeError):
    """Somebody asked for the end of this job."""

    code = "E_CANCELLED"


class TimeError(BridgeError):
    """A timetag lies further ahead than the daemon keeps messages."""

    code = "E_TIME"


class RequestIdError(BridgeError):
    """A request id was used again for other content."""

    code = "E_RID"


class AuthError(BridgeError):
    """The token is missing or wrong."""

    code = "E_AUTH"


class ProtocolError(BridgeError):
    """No such address, or a protocol version that is not spoken here."""

    code = "E_PROTO"


class InternalError(BridgeError):
    """A mistake of ours; the log has the trace."""

    code = "E_INTERNAL"


BY_CODE: dict[str, type[BridgeError]] = {cls.code: cls for cls in BridgeError.__subclasses__()}


def from_code(code: str, text: str, retry_ms: int | None = None) -> BridgeError:
    """Return the error that a wire code stands for; an unknown code is an `InternalError`."""
    return BY_CODE.get(code, InternalError)(text, retry_ms=retry_ms)
