"""The voiceprint: what an enrollment leaves behind of one speaker."""

from __future__ import annotations

import base64
import datetime
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.errors import ConfigError, ModelMismatch, StoreError
from streamsv.voiceprints import document

CHANNELS = ("wideband", "telephone")
MAX_SPEAKER_LENGTH = 128
MAX_DIMENSION = 8192
MAX_RECORDINGS = 1_000_000
MAX_NET_SPEECH_S = 1e9

# Rounding each number of a unit vector to float32 moves its norm by at most 2^-24 (half a unit in
# the last place, relative). Within four times that, a vector is taken to be normalized already and
# its bits are kept; otherwise every round trip through a file could move them again.
_UNIT_TOLERANCE = 2.0**-22


@dataclass(frozen=True, slots=True)
class Consent:
    """The speaker's agreement to be enrolled.

    ``given_at`` is a date or time in ISO 8601; ``by`` who gave it; ``purpose`` what the voiceprint
    may be used for.

    Raises
    ------
    ConfigError
        If a field is empty, too long, not printable, or not a date.
    """

    given_at: str
    by: str
    purpose: str

    def __post_init__(self) -> None:
        _parse_time("consent.given_at", self.given_at)
        _check_text("consent.by", self.by, 256)
        _check_text("consent.purpose", self.purpose, 1024)


@dataclass(frozen=True, slots=True)
class VoiceprintSummary:
    """What is known about a voiceprint, without its embedding. Fields as in :class:`Voiceprint`."""

    speaker: str
    fingerprint: str
    net_speech_s: float
    recordings: int
    channel: str
    created_at: str
    updated_at: str
    consent: Consent | None


@dataclass(frozen=True, slots=True, eq=False)
class Voiceprint:
    """One enrolled speaker. Two voiceprints are equal if all their values are.

    The embedding is biometric data: it is in no ``repr`` and in no error.

    Parameters
    ----------
    speaker:
        The id of the speaker: 1 to 128 printable characters, no space at either end, and neither
        ``.`` nor ``..``.
    embedding:
        Any numbers but all zeros, shape (dimension,). Kept as float32 of unit length, in a
        read-only copy.
    fingerprint:
        The fingerprint of the model that made the embedding.
    net_speech_s:
        Seconds of speech that the embedding rests on.
    recordings:
        How many recordings it rests on, at least 1.
    channel:
        What they were recorded over, ``wideband`` or ``telephone``.
    created_at, updated_at:
        When the speaker was first enrolled and when the embedding last changed: ISO 8601, UTC.
    consent:
        The speaker's agreement, if it was recorded.

    Raises
    ------
    ConfigError
        If a value is not as above.
    """

    speaker: str
    embedding: NDArray[np.float32] = field(repr=False)
    fingerprint: str
    net_speech_s: float
    recordings: int
    channel: str
    created_at: str
    updated_at: str
    consent: Consent | None = None

    def __post_init__(self) -> None:
        check_speaker(self.speaker)
        _check_text("fingerprint", self.fingerprint, 128)
        if type(self.recordings) is not int or not 1 <= self.recordings <= MAX_RECORDINGS:
            raise ConfigError(
                f"recordings must be a whole number from 1 to {MAX_RECORDINGS}.", self.recordings
            )
        if self.channel not in CHANNELS:
            raise ConfigError(f"channel must be {' or '.join(CHANNELS)}.", self.channel)
        if self.consent is not None and not isinstance(self.consent, Consent):
            raise ConfigError("consent must be a Consent, or None where none was recorded.")
        created_at = _parse_utc("created_at", self.created_at)
        if _parse_utc("updated_at", self.updated_at) < created_at:
            raise ConfigError(
                f"updated_at ({self.updated_at}) must not be earlier than created_at "
                f"({self.created_at}).",
                self.updated_at,
            )
        object.__setattr__(self, "net_speech_s", _seconds("net_speech_s", self.net_speech_s))
        object.__setattr__(self, "embedding", _unit(self.embedding))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Voiceprint):
            return NotImplemented
        return self.summary() == other.summary() and np.array_equal(self.embedding, other.embedding)

    def __hash__(self) -> int:
        return hash(self.summary())

    def __reduce__(self) -> tuple[type[Voiceprint], tuple[Any, ...]]:
        # Copies and pickles go through the constructor: the fields alone would bring back a
        # writable embedding.
        return Voiceprint, tuple(getattr(self, each.name) for each in fields(self))

    @property
    def dimension(self) -> int:
        """The length of the embedding."""
        return int(self.embedding.shape[0])

    def summary(self) -> VoiceprintSummary:
        """Everything but the embedding."""
        return VoiceprintSummary(
            **{each.name: getattr(self, each.name) for each in fields(VoiceprintSummary)}
        )

    def check_fingerprint(self, fingerprint: str) -> None:
        """Make sure that the loaded model is the one that made this voiceprint.

        Raises
        ------
        ModelMismatch
            If ``fingerprint``, the loaded model's, is another: embeddings of two models have no
            meaning to each other.
        """
        if fingerprint != self.fingerprint:
            raise ModelMismatch(
                f"The voiceprint of {self.speaker!r} was made by the model {self.fingerprint}, "
                f"and the loaded model is {fingerprint}. Enroll {self.speaker!r} again with the "
                f"loaded model, or load the model with the fingerprint {self.fingerprint}.",
                self.fingerprint,
            )

    def digest(self) -> str:
        """SHA-256 of all the values, 64 hex digits: the one that :meth:`to_bytes` writes."""
        return document.digest(self._content())

    def to_bytes(self) -> bytes:
        """The voiceprint as a file of its own (:mod:`streamsv.voiceprints.document`).

        The file holds the embedding in the clear: keep it as you keep the store.
        """
        return document.seal(self._content())

    @classmethod
    def from_bytes(cls, data: bytes) -> Voiceprint:
        """The voiceprint that :meth:`to_bytes` wrote, equal to it bit for bit.

        Raises
        ------
        StoreError
            If the file is something else, is damaged, or was written by a newer streamsv.
        """
        content = document.unseal(data)
        try:
            consent = content.pop("consent")
            embedding = base64.b64decode(content.pop("embedding"), validate=True)
            return cls(
                **content,
                embedding=np.frombuffer(embedding, dtype="<f4"),
                consent=None if consent is None else Consent(**consent),
            )
        except ConfigError as error:
            raise StoreError(
                f"The voiceprint file holds a value that is not allowed: {error.message} "
                "Export it again, or enroll again.",
                error.value,
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(
                "The voiceprint file does not have the fields of a voiceprint. Export it again, "
                "or enroll again."
            ) from error

    def _content(self) -> dict[str, Any]:
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        content["embedding"] = base64.b64encode(self.embedding.astype("<f4").tobytes()).decode()
        if self.consent is not None:
            content["consent"] = {
                each.name: getattr(self.consent, each.name) for each in fields(Consent)
            }
        return content


def check_speaker(speaker: str) -> None:
    """Make sure that ``speaker`` can be the id of a speaker.

    Raises
    ------
    ConfigError
        Unless it is 1 to 128 printable characters without a space at either end, and neither
        ``.`` nor ``..``, which no URL can name: they are taken out of its path.
    """
    _check_text("speaker", speaker, MAX_SPEAKER_LENGTH)
    if speaker in (".", ".."):
        raise ConfigError(
            "speaker must be neither . nor .., which a URL cannot name. Choose another id.", speaker
        )


def _check_text(name: str, text: Any, max_length: int) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= max_length:
        raise ConfigError(f"{name} must be text of 1 to {max_length} characters.", text)
    if not text.isprintable() or text != text.strip():
        raise ConfigError(
            f"{name} must be printable, without control characters, line breaks, or a space at "
            f"either end, and is {text!r}.",
            text,
        )


def _parse_time(name: str, text: Any) -> datetime.datetime:
    _check_text(name, text, 64)
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{name} must be a date or time in ISO 8601, such as 2025-01-31T09:30:00Z, and is "
            f"{text!r}.",
            text,
        ) from error


def _parse_utc(name: str, text: Any) -> datetime.datetime:
    time = _parse_time(name, text)
    if time.utcoffset() != datetime.timedelta(0):
        raise ConfigError(
            f"{name} must be a time in UTC, such as 2025-01-31T09:30:00Z, and is {text!r}.", text
        )
    return time


def _seconds(name: str, seconds: Any) -> float:
    is_number = isinstance(seconds, int | float | np.floating) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= MAX_NET_SPEECH_S:
        raise ConfigError(
            f"{name} must be a number of seconds from 0 to {MAX_NET_SPEECH_S:.0f}.", seconds
        )
    return float(seconds) + 0.0  # -0.0 becomes 0.0, which has one spelling everywhere


def _unit(embedding: Any) -> NDArray[np.float32]:
    """Scale to unit length; the result cannot be made writable again.

    Dividing by the largest magnitude first keeps the squares inside the range of float64.
    """
    try:
        given = np.asarray(embedding)
    except ValueError as error:
        raise ConfigError("The embedding must be one row of numbers.") from error
    if given.ndim != 1 or not 1 <= given.size <= MAX_DIMENSION:
        raise ConfigError(
            f"The embedding must have the shape (dimension,), 1 to {MAX_DIMENSION} numbers, and "
            f"has {given.shape}.",
            str(given.shape),
        )
    if given.dtype.kind not in "fiu":
        raise ConfigError(
            f"The embedding must hold real numbers, and holds {given.dtype}.", str(given.dtype)
        )
    exact = given.astype(np.float64)
    if not np.isfinite(exact).all():
        raise ConfigError(
            "The embedding holds a number that is not finite. Enroll again; if it happens again, "
            "the model is broken."
        )
    largest = float(np.abs(exact).max())
    if largest == 0:
        raise ConfigError("The embedding is all zeros, which has no direction. Enroll again.")
    scaled = exact / largest
    norm = float(np.linalg.norm(scaled))
    if abs(norm * largest - 1.0) > _UNIT_TOLERANCE:
        exact = scaled / norm
    return np.frombuffer(exact.astype(np.float32).tobytes(), dtype=np.float32)
