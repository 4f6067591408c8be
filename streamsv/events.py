"""Everything that a session can say, as frozen dataclasses.

Times are seconds of *media time* from the first sample (``at_s``), never wall clock.
``net_speech_s`` is the speech used so far: samples encoded / 16000, less what was heard to be no
speech and forgotten, so that it may fall. A number that is not known is ``None`` (``null`` in
JSON), never 0. ``speaker`` is the id of a speaker. JSON carries the same field names as Python,
with ``type`` first.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, ClassVar


class Verdict(enum.StrEnum):
    """What a decision says about one claimed voiceprint."""

    ACCEPT = "accept"
    REJECT = "reject"
    UNDECIDED = "undecided"


class Reason(enum.StrEnum):
    """Why a decision was made."""

    ABOVE_ACCEPT_THRESHOLD = "above_accept_threshold"
    BELOW_REJECT_THRESHOLD = "below_reject_threshold"
    EVIDENCE_INCONCLUSIVE = "evidence_inconclusive"
    NOT_ENOUGH_SPEECH = "not_enough_speech"
    NOT_SPEECH = "not_speech"
    TOO_QUIET = "too_quiet"


class Quality(enum.StrEnum):
    """What is wrong with the audio, in a ``quality_warning``."""

    CLIPPED = "clipped"
    NOISY = "noisy"
    TOO_QUIET = "too_quiet"
    NOT_SPEECH = "not_speech"


class Feedback(enum.StrEnum):
    """How a stretch of enrollment audio was."""

    OK = "ok"
    TOO_QUIET = "too_quiet"
    CLIPPED = "clipped"
    NO_VOICE = "no_voice"
    NOISY = "noisy"
    TOO_SHORT = "too_short"


class Refusal(enum.StrEnum):
    """Why an enrollment was refused."""

    NOT_ENOUGH_SPEECH = "not_enough_speech"
    INCONSISTENT = "inconsistent"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What every event has: ``at_s``, seconds of media time from the first sample."""

    type: ClassVar[str] = "event"
    at_s: float

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON-ready fields, ``type`` first."""
        return {"type": self.type, **dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStarted(Event):
    """The first event of every session: what was agreed.

    ``mode`` is ``verify``, ``identify`` or ``enroll``; ``speakers`` the claimed speakers;
    ``encoding``, ``sample_rate`` and ``channels`` the format of the audio; ``channel`` whether it
    counts as ``wideband`` or ``telephone``; ``hop_s`` the speech in one step of the network, and
    ``update_interval_s`` that between two ``score_updated``.
    """

    type: ClassVar[str] = "session_started"
    mode: str
    speakers: tuple[str, ...]
    encoding: str
    sample_rate: int
    channels: int
    channel: str
    hop_s: float
    update_interval_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechStarted(Event):
    """The gate opened: ``at_s`` is where admitted audio begins, pre-roll included."""

    type: ClassVar[str] = "speech_started"


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechEnded(Event):
    """The gate closed: ``at_s`` is where admitted audio ends, hangover included."""

    type: ClassVar[str] = "speech_ended"
    net_speech_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """The evidence for one claimed voiceprint.

    ``cosine`` in [-1, 1]; ``normalized`` in standard deviations of the cohort, or ``None``;
    ``llr`` the natural-log likelihood ratio, same speaker against another.
    """

    speaker: str
    cosine: float
    normalized: float | None
    llr: float


@dataclasses.dataclass(frozen=True, slots=True)
class ScoreUpdated(Event):
    """The running score after one more stretch of speech, or as it was before a stretch that was
    forgotten.

    ``scores`` has all claimed voiceprints in their order, or in ``identify`` mode the best
    candidates, best first; ``snr_db`` is speech against the rest; ``channel`` says for what audio
    the scores are calibrated, ``wideband`` or ``telephone``.
    """

    type: ClassVar[str] = "score_updated"
    net_speech_s: float
    scores: tuple[Score, ...]
    snr_db: float | None
    channel: str


@dataclasses.dataclass(frozen=True, slots=True)
class DecisionMade(Event):
    """A verdict. In ``verify`` mode there is one for each claimed speaker; in ``identify`` mode
    one in all, whose ``speaker`` is ``None`` when the voice is nobody's.

    ``verdict`` says what was decided, ``reason`` why, and ``score`` is the evidence at that
    moment, ``None`` if there was no speech, or all was forgotten. ``promised_error_rate`` is the
    false-accept rate that the rule promises, ``None`` where the rule promises none.
    """

    type: ClassVar[str] = "decision_made"
    speaker: str | None
    verdict: Verdict
    reason: Reason
    promised_error_rate: float | None
    net_speech_s: float
    score: Score | None


@dataclasses.dataclass(frozen=True, slots=True)
class SpeakerChanged(Event):
    """Another voice has taken over: ``changed_at_s`` is the estimated media time of the change."""

    type: ClassVar[str] = "speaker_changed"
    speaker: str
    changed_at_s: float
    net_speech_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class QualityWarning(Event):
    """The audio is poor in a way that the caller could mend: ``quality`` is what is wrong with it,
    ``detail`` a sentence that says what to do.
    """

    type: ClassVar[str] = "quality_warning"
    quality: Quality
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class AudioGap(Event):
    """The source lost ``gap_s`` seconds; ``at_s`` is where the audio goes on."""

    type: ClassVar[str] = "audio_gap"
    gap_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """The last event of every session. ``at_s`` is the length of the audio."""

    type: ClassVar[str] = "session_ended"
    net_speech_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class EnrollmentProgress(Event):
    """How the enrollment goes: ``feedback`` on the stretch that ends at ``at_s``.

    ``recording`` counts from 0; ``remaining_s`` is the net speech still wanted.
    """

    type: ClassVar[str] = "enrollment_progress"
    recording: int
    net_speech_s: float
    remaining_s: float
    feedback: Feedback


@dataclasses.dataclass(frozen=True, slots=True)
class EnrollmentCompleted(Event):
    """A voiceprint is ready, made of so many ``recordings``. ``cohesion`` is the lowest cosine
    between one recording and the rest, ``None`` for a single recording.
    """

    type: ClassVar[str] = "enrollment_completed"
    speaker: str
    net_speech_s: float
    recordings: int
    cohesion: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class EnrollmentRefused(Event):
    """No voiceprint was made, for the ``reason`` given; ``detail`` says what to do.

    ``net_speech_s`` is the speech that could be used, and ``cohesion`` as in
    ``enrollment_completed``.
    """

    type: ClassVar[str] = "enrollment_refused"
    speaker: str
    reason: Refusal
    detail: str
    net_speech_s: float
    cohesion: float | None
