"""Everything that can go wrong, as one tree: a class for each cause that a caller can act on.

Each error carries a stable ``code`` for programs, a sentence for people that says what was wrong
and what to do about it, and the offending ``value`` where there is one.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar


class StreamsvError(Exception):
    """The root of every error that streamsv raises on purpose.

    Parameters
    ----------
    message:
        One or two sentences: what was wrong, and what to do.
    value:
        The value that caused it, if there is one that may be shown.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, value: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.value = value

    def to_dict(self) -> dict[str, Any]:
        """The error as JSON-ready fields: ``{"type": "error", "code", "message", "value"}``."""
        shown = self.value
        is_plain = isinstance(shown, str | int | float | bool | None)
        if not is_plain or (isinstance(shown, float) and not math.isfinite(shown)):
            shown = str(shown)
        return {"type": "error", "code": self.code, "message": self.message, "value": shown}


class UnsupportedAudio(StreamsvError):
    """The bytes are not audio that can be decoded as declared."""

    code = "unsupported_audio"


class AudioDeviceError(StreamsvError):
    """A microphone or sound card cannot be opened or has gone away."""

    code = "audio_device"


class NotEnoughSpeech(StreamsvError):
    """There is less speech than the operation needs."""

    code = "not_enough_speech"


class InconsistentEnrollment(StreamsvError):
    """The recordings of one enrollment do not sound like one voice."""

    code = "inconsistent_enrollment"


class UnknownSpeaker(StreamsvError):
    """No voiceprint of that name is in the store."""

    code = "unknown_speaker"


class VoiceprintExists(StreamsvError):
    """A voiceprint of that name is already in the store."""

    code = "voiceprint_exists"


class UnknownSession(StreamsvError):
    """The server has no such session, or not for this caller."""

    code = "unknown_session"


class ResumeWindowOver(StreamsvError):
    """The session cannot be resumed: it ended too long ago, or what was missed is gone."""

    code = "resume_window_over"


class ModelMismatch(StreamsvError):
    """A voiceprint or a calibration was made by another model."""

    code = "model_mismatch"


class ModelLoadError(StreamsvError):
    """A model file is missing, damaged, or not a streamsv model."""

    code = "model_load"


class ConfigError(StreamsvError):
    """A configuration has an unknown key or a value that is not allowed."""

    code = "config"


class EvaluationSetError(StreamsvError):
    """An evaluation set is incomplete or its tables do not agree with each other."""

    code = "evaluation_set"


class StoreError(StreamsvError):
    """The voiceprint store cannot be read or written."""

    code = "store"


class NotErased(StoreError):
    """A voiceprint is deleted, and bytes of it may remain in the files of the store for now."""

    code = "not_erased"


class ProtocolError(StreamsvError):
    """A caller broke the order of calls or messages."""

    code = "protocol"


class AuthenticationError(StreamsvError):
    """A key is missing, wrong, or lacks the scope."""

    code = "authentication"


class NotAllowed(AuthenticationError):
    """The caller is known, and may not do this: the scope is missing or the origin is refused."""

    code = "not_allowed"


class CapacityError(StreamsvError):
    """There is no room for another session now; ``value`` is the seconds to wait before a retry."""

    code = "capacity"


class LimitReached(CapacityError):
    """The key or the address has all that it may have at a time."""

    code = "limit_reached"


class SessionClosed(StreamsvError):
    """The session has ended and takes no more audio."""

    code = "session_closed"


class ConnectionLost(StreamsvError):
    """The server cannot be reached, or the connection broke and could not be made again."""

    code = "connection_lost"


class ServerError(StreamsvError):
    """The server failed at something that is not the caller's fault."""

    code = "server"
