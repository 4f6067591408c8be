"""What a client may say on the media socket, checked field by field."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from streamsv.audio import AudioFormat
from streamsv.errors import ConfigError, ProtocolError, UnsupportedAudio
from streamsv.server.config import MediaConfig
from streamsv.server.jsontext import parse_object
from streamsv.voiceprints import Consent, check_speaker

VERSION = 1
MODES = ("verify", "identify", "enroll")
PACINGS = ("patient", "real_time")
_DTMF = frozenset("0123456789*#ABCD")
_MAX_CALL_ID = 256
_LONGEST_GAP_MS = 86_400_000
_START_FIELDS = frozenset(
    (
        "type",
        "version",
        "mode",
        "speakers",
        "audio",
        "call_id",
        "resume",
        "consent",
        "metadata",
        "pacing",
        "replace",
    )
)


@dataclasses.dataclass(frozen=True, slots=True)
class Resume:
    """The wish to go on with a session: its ``token``, and the last event that has arrived."""

    token: str = dataclasses.field(repr=False)
    last_seq: int


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """The first message, checked. ``metadata`` is given back with the result, as it came."""

    mode: str
    speakers: tuple[str, ...]
    audio: AudioFormat
    is_real_time: bool
    call_id: str | None
    resume: Resume | None
    consent: Consent | None
    may_replace: bool
    metadata: Mapping[str, Any]

    @property
    def scope(self) -> str:
        """The scope that a key needs for it."""
        return "enroll" if self.mode == "enroll" else "verify"


@dataclasses.dataclass(frozen=True, slots=True)
class GapMessage:
    """The source lost ``ms`` of audio."""

    ms: float


@dataclasses.dataclass(frozen=True, slots=True)
class DtmfMessage:
    """A key of the telephone was pressed."""


@dataclasses.dataclass(frozen=True, slots=True)
class StopMessage:
    """The audio has ended."""


def parse_start(text: str, limits: MediaConfig) -> Start:
    """The first message of a socket. Raises ProtocolError naming the field."""
    fields = _parse(text, limits.max_json_bytes, limits)
    if fields.get("type") != "start":
        raise ProtocolError(
            "type: the first message must be of the type start.", _shown(fields.get("type"))
        )
    _refuse_unknown(fields, _START_FIELDS)
    version = fields.get("version", VERSION)
    if type(version) is not int or version != VERSION:
        raise ProtocolError(f"version: this server speaks version {VERSION}.", _shown(version))
    mode = _one_of(fields, "mode", MODES, "verify")
    resume = _resume(fields.get("resume"))
    speakers = _speakers(fields.get("speakers", []), limits.max_speakers)
    if resume is None and mode != "identify" and not speakers:
        raise ProtocolError("speakers: name at least one speaker.", None)
    if mode == "enroll" and len(speakers) > 1:
        raise ProtocolError("speakers: an enrollment has one speaker.", len(speakers))
    may_replace = fields.get("replace", False)
    if not isinstance(may_replace, bool):
        raise ProtocolError("replace: must be true or false.", _shown(may_replace))
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise ProtocolError("metadata: must be an object.", _shown(metadata))
    return Start(
        mode,
        speakers,
        _audio(fields.get("audio")),
        _one_of(fields, "pacing", PACINGS, "patient") == "real_time",
        _call_id(fields.get("call_id")),
        resume,
        _consent(fields.get("consent")),
        may_replace,
        metadata or {},
    )


def parse_message(text: str, limits: MediaConfig) -> GapMessage | DtmfMessage | StopMessage:
    """A text message after the first. Raises ProtocolError naming the field."""
    fields = _parse(text, min(limits.max_control_bytes, limits.max_json_bytes), limits)
    match fields.get("type"):
        case "gap":
            _refuse_unknown(fields, frozenset(("type", "ms")))
            return GapMessage(_gap_ms(fields.get("ms")))
        case "dtmf":
            _refuse_unknown(fields, frozenset(("type", "digit")))
            digit = fields.get("digit")
            if not isinstance(digit, str) or digit not in _DTMF:
                # The digit is not repeated: it may be part of a card number.
                raise ProtocolError("digit: must be one of 0 to 9, *, #, A to D.", None)
            return DtmfMessage()
        case "stop":
            _refuse_unknown(fields, frozenset(("type",)))
            return StopMessage()
        case "start":
            raise ProtocolError("type: start was sent already; open another connection.", "start")
        case other:
            raise ProtocolError("type: must be gap, dtmf or stop.", _shown(other))


def _parse(text: str, max_bytes: int, limits: MediaConfig) -> dict[str, Any]:
    return parse_object(text, max_bytes, "The message", limits.max_json_depth)


def _refuse_unknown(fields: Mapping[str, Any], known: frozenset[str]) -> None:
    for name in fields:
        if name not in known:
            allowed = ", ".join(sorted(known))
            raise ProtocolError(
                f"{_shown(name)}: is not a field; known here are {allowed}.", _shown(name)
            )


def _one_of(fields: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or value not in allowed:
        raise ProtocolError(f"{name}: must be one of {', '.join(allowed)}.", _shown(value))
    return value


def _speakers(value: Any, limit: int) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ProtocolError("speakers: must be a list of speaker ids.", _shown(value))
    if len(value) > limit:
        raise ProtocolError(f"speakers: at most {limit} can be claimed at once.", len(value))
    for speaker in value:
        try:
            check_speaker(speaker)
        except ConfigError as error:
            raise ProtocolError(f"speakers: {error.message}", _shown(speaker)) from error
    if len(set(value)) < len(value):
        raise ProtocolError("speakers: the same speaker is claimed twice.", None)
    return tuple(value)


def _audio(value: Any) -> AudioFormat:
    if not isinstance(value, dict):
        raise ProtocolError(
            "audio: must be an object with encoding, sample_rate and channels.", _shown(value)
        )
    for name in value:
        if name not in ("encoding", "sample_rate", "channels"):
            raise ProtocolError(f"audio.{_shown(name)}: is not a field.", _shown(name))
    for name in ("encoding", "sample_rate"):
        if name not in value:
            raise ProtocolError(f"audio.{name}: is missing.", None)
    if not isinstance(value["encoding"], str):
        raise ProtocolError("audio.encoding: must be text.", _shown(value["encoding"]))
    try:
        return AudioFormat(value["encoding"], value["sample_rate"], value.get("channels", 1))
    except UnsupportedAudio as error:
        raise ProtocolError(f"audio: {error.message}", _shown(error.value)) from error


def _call_id(value: Any) -> str | None:
    if value is None:
        return None
    is_text = isinstance(value, str) and 1 <= len(value) <= _MAX_CALL_ID and value.isprintable()
    if not is_text:
        raise ProtocolError(
            f"call_id: must be printable text of 1 to {_MAX_CALL_ID} characters.", None
        )
    return str(value)


def _resume(value: Any) -> Resume | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not set(value) <= {"token", "last_seq"}:
        raise ProtocolError("resume: must be an object with token and last_seq.", None)
    token, last_seq = value.get("token"), value.get("last_seq", 0)
    if not isinstance(token, str) or not 1 <= len(token) <= 128:
        raise ProtocolError("resume.token: must be the text that session_started gave.", None)
    if type(last_seq) is not int or not 0 <= last_seq < 2**53:
        raise ProtocolError("resume.last_seq: must be a whole number from 0.", _shown(last_seq))
    return Resume(token, last_seq)


def _consent(value: Any) -> Consent | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {"given_at", "by", "purpose"}:
        raise ProtocolError("consent: must be an object with given_at, by and purpose.", None)
    try:
        return Consent(value["given_at"], value["by"], value["purpose"])
    except ConfigError as error:
        raise ProtocolError(error.message, _shown(error.value)) from error


def _gap_ms(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 < value < _LONGEST_GAP_MS:
        raise ProtocolError(
            f"ms: must be a number above 0 and below {_LONGEST_GAP_MS}.", _shown(value)
        )
    return float(value)


def _shown(value: Any) -> Any:
    """A value as it may stand in an answer: short, and plain."""
    if value is None or isinstance(value, bool):
        return value
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
