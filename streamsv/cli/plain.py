"""What events say as lines for a log: each stands alone, in plain characters, in media time."""

from __future__ import annotations

from streamsv.cli import words
from streamsv.events import (
    AudioGap,
    DecisionMade,
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Event,
    QualityWarning,
    ScoreUpdated,
    SessionEnded,
    SessionStarted,
    SpeakerChanged,
)


class ScoreTicker:
    """Picks the scores worth a line: each second of speech, later each five, later each minute."""

    def __init__(self) -> None:
        self._next_s = 1.0

    def is_due(self, net_speech_s: float) -> bool:
        """Whether the score after ``net_speech_s`` is worth a line."""
        if net_speech_s < self._next_s:
            return False
        step_s = 1.0 if net_speech_s < 10 else 5.0 if net_speech_s < 60 else 60.0
        self._next_s = (net_speech_s // step_s + 1) * step_s
        return True


class PlainLines:
    """Turns the events of one session into lines."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._ticker = ScoreTicker()

    def of(self, event: Event) -> list[str]:
        """The lines of one event; most have none."""
        found = self._text(event)
        return [] if found is None else [f"{event.at_s:7.1f} s  {found}"]

    def _text(self, event: Event) -> str | None:
        match event:
            case SessionStarted():
                return f"{self._title}: {event.sample_rate} Hz, {event.channel}"
            case ScoreUpdated():
                if not self._ticker.is_due(event.net_speech_s):
                    return None
                scores = "; ".join(f"{s.speaker}: {words.of_score(s)}" for s in event.scores)
                return f"speech {event.net_speech_s:.1f} s  {scores}"
            case EnrollmentProgress():
                feedback = words.FEEDBACK[event.feedback]
                wanted = f", {event.remaining_s:.1f} s more wanted" if event.remaining_s else ""
                return f"speech {event.net_speech_s:.1f} s{wanted}: {feedback}"
            case EnrollmentRefused():
                return f"Refused: {event.detail}"
            case SessionEnded():
                return f"end, {event.net_speech_s:.1f} s of speech in all"
        return self._notice(event)

    def _notice(self, event: Event) -> str | None:
        match event:
            case DecisionMade():
                return words.of_decision(event)
            case EnrollmentCompleted():
                cohesion = f", cohesion {event.cohesion:.2f}" if event.cohesion is not None else ""
                return f"voiceprint ready from {event.net_speech_s:.1f} s of speech{cohesion}"
            case SpeakerChanged():
                return f"another voice than {event.speaker}'s since {event.changed_at_s:.1f} s"
            case QualityWarning():
                return f"warning: {event.detail}"
            case AudioGap():
                return f"warning: {event.gap_s:.2f} s of sound were lost on the way"
        return None
