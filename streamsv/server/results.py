"""What has become of a session, in the words that integrators know from voice services."""

from __future__ import annotations

import dataclasses
from typing import Any

from streamsv.events import (
    DecisionMade,
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Event,
    Reason,
    Score,
    ScoreUpdated,
    SessionEnded,
    Verdict,
)

ONGOING = "ongoing"
ENDED = "ended"
CANCELLED = "CANCELLED"
"""The outcome of an enrollment that ended before it was completed or refused."""

_DECISIONS = {
    Verdict.ACCEPT: "ACCEPT",
    Verdict.REJECT: "REJECT",
    Verdict.UNDECIDED: "UNDECIDED",
}


class Result:
    """The state of one session, kept up to date event by event; bounded, whatever comes.

    Parameters
    ----------
    mode, speakers:
        As in the session's ``start``.
    min_net_speech_s:
        Speech below which nothing can be decided.
    """

    def __init__(self, mode: str, speakers: tuple[str, ...], min_net_speech_s: float) -> None:
        self._mode = mode
        self._speakers = speakers
        self._min_net_speech_s = min_net_speech_s
        self._at_s = 0.0
        self._net_speech_s = 0.0
        self._scores: tuple[Score, ...] = ()
        self._decisions: list[DecisionMade] = []
        self._progress: EnrollmentProgress | None = None
        self._enrollment: EnrollmentCompleted | EnrollmentRefused | None = None
        self._is_ended = False

    def take(self, event: Event) -> None:
        """One more event of the session, in order."""
        self._at_s = max(self._at_s, event.at_s)
        if isinstance(event, ScoreUpdated):
            self._scores = event.scores
            self._net_speech_s = event.net_speech_s
        elif isinstance(event, DecisionMade):
            self._decisions.append(event)
        elif isinstance(event, EnrollmentProgress):
            self._progress = event
            self._net_speech_s = event.net_speech_s
        elif isinstance(event, EnrollmentCompleted | EnrollmentRefused):
            self._enrollment = event
        elif isinstance(event, SessionEnded):
            self._net_speech_s = event.net_speech_s

    def end(self) -> None:
        """No more events come."""
        self._is_ended = True

    def to_dict(self) -> dict[str, Any]:
        """``at_s``, ``net_speech_s``, and ``decisions`` or ``enrollment``."""
        found: dict[str, Any] = {"at_s": self._at_s, "net_speech_s": self._net_speech_s}
        if self._mode == "enroll":
            found["enrollment"] = self._enrollment_fields()
        else:
            found["decisions"] = self._decision_fields()
        return found

    def _decision_fields(self) -> list[dict[str, Any]]:
        latest = {score.speaker: score for score in self._scores}
        if self._mode == "identify":
            if self._decisions:
                return [_decided(self._decisions[0])]
            best = self._scores[0] if self._scores else None
            return [self._waiting(None, best)]
        decided = {decision.speaker: decision for decision in self._decisions}
        return [
            _decided(decided[speaker])
            if speaker in decided
            else self._waiting(speaker, latest.get(speaker))
            for speaker in self._speakers
        ]

    def _waiting(self, speaker: str | None, score: Score | None) -> dict[str, Any]:
        is_short = self._net_speech_s < self._min_net_speech_s
        return {
            "speaker": speaker,
            "decision": "NOT_ENOUGH_SPEECH" if is_short else "UNDECIDED",
            "verdict": None,
            "reason": None,
            "decided_at_s": None,
            "score": None if score is None else dataclasses.asdict(score),
        }

    def _enrollment_fields(self) -> dict[str, Any]:
        outcome = self._enrollment
        if outcome is None and self._is_ended:
            return {"outcome": CANCELLED}
        if outcome is None:
            remaining_s = None if self._progress is None else self._progress.remaining_s
            return {"outcome": "ENROLLING", "remaining_s": remaining_s}
        fields = outcome.to_dict()
        is_completed = fields.pop("type") == EnrollmentCompleted.type
        if is_completed:
            return {"outcome": "ENROLLED", **fields}
        return {"outcome": str(fields["reason"]).upper(), **fields}


def _decided(decision: DecisionMade) -> dict[str, Any]:
    is_short = decision.reason is Reason.NOT_ENOUGH_SPEECH
    return {
        "speaker": decision.speaker,
        "decision": "NOT_ENOUGH_SPEECH" if is_short else _DECISIONS[decision.verdict],
        "verdict": str(decision.verdict),
        "reason": str(decision.reason),
        "decided_at_s": decision.at_s,
        "score": None if decision.score is None else dataclasses.asdict(decision.score),
    }
