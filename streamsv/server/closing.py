"""How a socket is closed: the code, and a reason that fits."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from streamsv.errors import (
    AuthenticationError,
    CapacityError,
    ConfigError,
    ModelMismatch,
    ProtocolError,
    ResumeWindowOver,
    ServerError,
    SessionClosed,
    StreamsvError,
    UnknownSession,
    UnknownSpeaker,
    UnsupportedAudio,
    VoiceprintExists,
)

log = logging.getLogger("streamsv.server")

DONE = 1000
BINARY_BEFORE_START = 1003
BAD_MESSAGE = 1007
NOT_ALLOWED = 1008
OUR_FAULT = 1011
RESTARTING = 1012
NO_CAPACITY = 1013
START_TOO_LATE = 4408
IDLE = 4409
TOO_LONG = 4410
RESUME_OVER = 4412

_MAX_REASON_BYTES = 123  # RFC 6455, 5.5: a control frame carries 125, of which the code takes 2

_CODES: tuple[tuple[type[StreamsvError], int], ...] = (
    (AuthenticationError, NOT_ALLOWED),
    (UnknownSpeaker, NOT_ALLOWED),
    (VoiceprintExists, NOT_ALLOWED),
    (ModelMismatch, NOT_ALLOWED),
    (UnknownSession, NOT_ALLOWED),
    (ResumeWindowOver, RESUME_OVER),
    (CapacityError, NO_CAPACITY),
    (ProtocolError, BAD_MESSAGE),
    (UnsupportedAudio, BAD_MESSAGE),
    (ConfigError, BAD_MESSAGE),
    (SessionClosed, BAD_MESSAGE),
)


@dataclass(frozen=True, slots=True)
class Closing:
    """Why a socket is closed: ``error`` is told in full before the close, if there is one."""

    code: int
    reason: str = ""
    error: StreamsvError | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", _shortened(self.reason))

    def to_keep(self) -> Closing:
        """The same to be kept for long: its error has no traceback, which would keep the frames
        that it came through, and the sockets in them.
        """
        error = self.error
        kept = None if error is None else type(error)(error.message, error.value)
        return Closing(self.code, self.reason, kept)


def because_of(error: Exception, session_id: str | None = None) -> Closing:
    """How to close after ``error``. What is nobody's fault but ours is logged under an id."""
    if isinstance(error, StreamsvError):
        for kind, code in _CODES:
            if isinstance(error, kind):
                told = _with_retry(error) if isinstance(error, CapacityError) else error
                return Closing(code, f"{told.code}: {told.message}", told)
    failure_id = secrets.token_hex(4)
    log.error("Session %s failed, id %s.", session_id or "(none yet)", failure_id, exc_info=error)
    told = ServerError(
        f"The server failed, id {failure_id}. Its log says why; try again.", failure_id
    )
    return Closing(OUR_FAULT, f"{told.code}: {told.message}", told)


def closed(code: int, name: str, sentence: str) -> Closing:
    """A close that is no error of a message, such as an idle connection."""
    return Closing(code, f"{name}: {sentence}")


def _with_retry(error: CapacityError) -> CapacityError:
    if "retry after" in error.message or not isinstance(error.value, int | float):
        return error
    return type(error)(f"retry after {error.value:g} s. {error.message}", error.value)


def _shortened(reason: str) -> str:
    data = reason.encode()
    if len(data) <= _MAX_REASON_BYTES:
        return reason
    return data[: _MAX_REASON_BYTES - 3].decode(errors="ignore") + "…"
