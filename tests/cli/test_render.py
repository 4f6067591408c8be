"""A picture fits the terminal it is drawn in, whatever the events were."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from streamsv.cli.render import EnrollmentPicture, VerificationPicture
from streamsv.events import (
    AudioGap,
    DecisionMade,
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Feedback,
    Quality,
    QualityWarning,
    Reason,
    Refusal,
    Score,
    ScoreUpdated,
    SpeakerChanged,
    SpeechEnded,
    SpeechStarted,
    Verdict,
)
from streamsv.scoring.policy import DecisionConfig, ThresholdPolicy

TIMES = st.floats(0, 100)
NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=128)
SCORES = st.builds(Score, NAMES, st.floats(-1, 1), st.none(), st.floats(-99, 99))
EVENTS = st.one_of(
    st.builds(SpeechStarted, TIMES),
    st.builds(SpeechEnded, TIMES, TIMES),
    st.builds(
        ScoreUpdated,
        TIMES,
        TIMES,
        st.lists(SCORES, min_size=1, max_size=5).map(tuple),
        st.none() | st.floats(-10, 60),
        st.just("wideband"),
    ),
    st.builds(
        QualityWarning,
        TIMES,
        st.sampled_from(Quality),
        st.just("Speech is only 2 dB above the noise; move closer to the microphone."),
    ),
    st.builds(AudioGap, TIMES, TIMES),
    st.builds(
        DecisionMade,
        TIMES,
        st.none() | NAMES,
        st.sampled_from(Verdict),
        st.sampled_from(Reason),
        st.none(),
        TIMES,
        st.none() | SCORES,
    ),
)


RULE = ThresholdPolicy(2.0, -2.5, DecisionConfig(min_net_speech_s=3.0))


def drawn(picture, width=80, height=24):
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    console.print(picture)
    return console.file.getvalue().rstrip("\n").split("\n")


def test_a_verdict_is_shown_with_the_speech_it_took():
    picture = VerificationPicture("call", RULE, 10.0)
    score = Score("alice", 0.7, None, 4.2)
    picture.take(SpeechStarted(0.2))
    picture.take(ScoreUpdated(2.4, 2.0, (score,), 20.0, "wideband"))
    assert any("LISTENING" in line and "3.0 s of speech" in line for line in drawn(picture))
    picture.take(ScoreUpdated(3.4, 3.04, (score,), 20.0, "wideband"))
    assert any("between the thresholds" in line for line in drawn(picture))
    decision = DecisionMade(
        3.4, "alice", Verdict.ACCEPT, Reason.ABOVE_ACCEPT_THRESHOLD, None, 3.04, score
    )
    picture.take(decision)
    lines = drawn(picture)
    assert any("ACCEPT" in line and "as alice, after 3.0 s of speech" in line for line in lines)
    assert any("speech" in line and "3.4 of 10.0 s" in line for line in lines)
    assert any("LLR  +4.20" in line and "cosine +0.700" in line for line in lines)
    assert any("▲ accept" in line for line in lines)


@settings(max_examples=30, deadline=None)
@given(
    events=st.lists(EVENTS, max_size=6),
    width=st.integers(60, 120),
    height=st.integers(20, 50),
    duration_s=st.none() | TIMES,
)
def test_a_picture_of_any_events_is_not_wider_than_the_terminal(events, width, height, duration_s):
    picture = VerificationPicture("a [title]", RULE, duration_s)
    for event in events:
        picture.take(event)
    assert all(cell_len(line) <= width for line in drawn(picture, width, height))


@pytest.mark.parametrize("candidates", [1, 5])
@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (200, 60)])
def test_the_verdict_is_never_cut_off_below(width, height, candidates):
    picture = VerificationPicture("call", RULE)
    scores = tuple(Score(f"speaker {n}", 0.1, None, n) for n in range(candidates))
    picture.take(ScoreUpdated(3.4, 3.04, scores, 20.0, "wideband"))
    picture.take(QualityWarning(3.4, Quality.NOISY, "Speech is only 5 dB above the noise; " * 2))
    picture.take(
        DecisionMade(3.4, None, Verdict.REJECT, Reason.BELOW_REJECT_THRESHOLD, None, 3.04, None)
    )
    lines = drawn(picture, width, height)
    assert len(lines) <= height - 1
    assert any("REJECT" in line for line in lines)


def test_a_change_of_speaker_and_a_gap_are_shown():
    picture = VerificationPicture("call", RULE, 20.0)
    picture.take(AudioGap(5.0, 0.25))
    picture.take(SpeakerChanged(9.0, "alice", 7.0, 8.0))
    lines = drawn(picture)
    assert any("▲ another voice" in line for line in lines)
    assert any("0.25 s of sound were lost" in line for line in lines)


def test_a_warning_goes_away_after_a_while():
    picture = VerificationPicture("call", RULE, 20.0)
    picture.take(QualityWarning(1.0, Quality.CLIPPED, "It clips."))
    assert any("! It clips." in line for line in drawn(picture))
    picture.pass_time(12.0)
    assert not any("It clips." in line for line in drawn(picture))


def test_an_enrollment_fills_up_and_says_how_it_is_heard():
    picture = EnrollmentPicture("Enrolling alice", 12.0)
    assert any("say anything" in line for line in drawn(picture))
    picture.take(EnrollmentProgress(2.0, 0, 6.0, 6.0, Feedback.TOO_QUIET))
    lines = drawn(picture, 60)
    assert any("too quiet, come closer" in line for line in lines)
    bar = next(line for line in lines if "━" in line)
    assert bar.count("━") == bar.count("─")
    picture.take(EnrollmentCompleted(4.0, "alice", 12.5, 1, None))
    assert any("DONE" in line and "12.5 s" in line for line in drawn(picture, 60))
    assert any("12.5 s of speech (12 s are enough)" in line for line in drawn(picture, 60))


def test_only_a_microphone_is_told_to_say_anything():
    picture = EnrollmentPicture("Enrolling alice", 12.0, duration_s=20.0)
    assert not any("say anything" in line for line in drawn(picture))


def test_a_refused_enrollment_says_what_could_be_used():
    picture = EnrollmentPicture("Enrolling alice", 12.0)
    detail = "Only 1.0 s of speech could be used."
    picture.take(EnrollmentRefused(4.0, "alice", Refusal.NOT_ENOUGH_SPEECH, detail, 1.0, None))
    assert any(
        "REFUSED" in line and "1.0 s of speech could be used" in line for line in drawn(picture)
    )
