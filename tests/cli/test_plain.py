"""Every event that people should hear of has a line, and an hour has not too many."""

from __future__ import annotations

import pytest

from streamsv.cli.plain import PlainLines, ScoreTicker
from streamsv.events import (
    AudioGap,
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Feedback,
    Quality,
    QualityWarning,
    Refusal,
    Score,
    ScoreUpdated,
    SpeakerChanged,
    SpeechEnded,
    SpeechStarted,
)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (AudioGap(2.0, 0.5), "0.50 s of sound were lost"),
        (QualityWarning(2.0, Quality.NOISY, "It is noisy."), "warning: It is noisy."),
        (SpeakerChanged(9.0, "alice", 7.0, 8.0), "another voice than alice's since 7.0 s"),
        (
            EnrollmentProgress(2.0, 0, 1.5, 10.5, Feedback.CLIPPED),
            "1.5 s, 10.5 s more wanted: too loud and clipped, lower the input level",
        ),
        (EnrollmentCompleted(9.0, "alice", 8.0, 2, 0.75), "from 8.0 s of speech, cohesion 0.75"),
        (
            EnrollmentRefused(9.0, "a", Refusal.INCONSISTENT, "Leave it out.", 8.0, 0.1),
            "Refused: Leave it out.",
        ),
        (ScoreUpdated(2.0, 1.5, (Score("a", 0.5, None, 1.0),), None, "wideband"), "a: LLR +1.00"),
    ],
    ids=lambda value: getattr(value, "type", None),
)
def test_an_event_that_matters_is_a_line(event, words):
    (line,) = PlainLines("title").of(event)
    assert words in line
    assert line.startswith(f"{event.at_s:7.1f} s  ")


@pytest.mark.parametrize("event", [SpeechStarted(1.0), SpeechEnded(2.0, 1.0)])
def test_the_comings_and_goings_of_speech_are_no_lines(event):
    assert PlainLines("title").of(event) == []


def test_an_hour_of_speech_is_some_dozens_of_lines():
    ticker = ScoreTicker()
    due = [hop * 0.08 for hop in range(1, 45_000) if ticker.is_due(hop * 0.08)]
    assert [round(second) for second in due[:4]] == [1, 2, 3, 4]
    assert len(due) < 90
