"""What a speaker is told during an enrollment: how the last stretch was, and what is wanted yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from streamsv.audio import encode_s16le
from streamsv.engine import Engine
from streamsv.events import (
    EnrollmentCompleted,
    EnrollmentProgress,
    EnrollmentRefused,
    Event,
    Feedback,
    Refusal,
    SessionEnded,
)

TIME_S = np.arange(6 * 16_000) / 16_000

Heard = Callable[..., list[Event]]
Voice = Callable[..., Any]


def progress(events: Sequence[Event]) -> list[EnrollmentProgress]:
    return [event for event in events if isinstance(event, EnrollmentProgress)]


def feedback(events: Sequence[Event]) -> list[Feedback]:
    return [event.feedback for event in progress(events)]


def outcome(events: Sequence[Event]) -> Event:
    """The event before ``session_ended``."""
    assert isinstance(events[-1], SessionEnded)
    return events[-2]


def in_noise(pcm: Any, snr_db: float) -> Any:
    hiss = np.random.default_rng(0).standard_normal(len(pcm))
    return (pcm + hiss * np.std(pcm) * 10 ** (-snr_db / 20)).astype(np.float32)


def test_progress_counts_down_from_the_speech_that_is_wanted(
    engine: Engine, voice: Voice, heard: Heard
) -> None:
    events = progress(heard(engine.enroll("alice"), encode_s16le(voice("a", 20))))
    wanted_s = engine.config.enrollment.wanted_net_speech_s
    assert [event.at_s for event in events] == [2.0 * (n + 1) for n in range(10)]
    for event in events:
        assert event.remaining_s == pytest.approx(max(0.0, wanted_s - event.net_speech_s))
    remaining = [event.remaining_s for event in events]
    assert remaining == sorted(remaining, reverse=True)
    assert remaining[-1] == 0.0
    assert {event.recording for event in events} == {0}


def test_good_speech_is_ok(engine: Engine, voice: Voice, heard: Heard) -> None:
    found = feedback(heard(engine.enroll("alice"), encode_s16le(voice("a", 8))))
    assert found == [Feedback.OK] * 4


@pytest.mark.parametrize("gain", [0.0, 0.001, 0.02])
def test_faint_audio_is_too_quiet(engine: Engine, voice: Voice, heard: Heard, gain: float) -> None:
    faint = encode_s16le(voice("a", 8) * np.float32(gain))
    assert feedback(heard(engine.enroll("alice"), faint))[:4] == [Feedback.TOO_QUIET] * 4


def test_clipped_speech_is_clipped(engine: Engine, voice: Voice, heard: Heard) -> None:
    loud = encode_s16le(20 * voice("a", 8))
    assert feedback(heard(engine.enroll("alice"), loud)) == [Feedback.CLIPPED] * 4


@pytest.mark.parametrize(
    "frequencies_hz",
    [(50, 100, 150, 200), (440,), (261.6, 329.6, 392.0), (770, 1_336)],
    ids=["hum", "tone", "chord", "telephone key"],
)
def test_hum_and_tones_have_no_voice_and_make_no_voiceprint(
    engine: Engine, heard: Heard, frequencies_hz: tuple[float, ...]
) -> None:
    waves = [np.sin(2 * np.pi * f * TIME_S) for f in frequencies_hz]
    sound = (0.3 * np.mean(waves, axis=0)).astype(np.float32)
    events = heard(engine.enroll("alice"), encode_s16le(sound))
    assert feedback(events) == [*[Feedback.NO_VOICE] * 3, Feedback.TOO_SHORT]
    refused = outcome(events)
    assert isinstance(refused, EnrollmentRefused)
    assert refused.reason is Refusal.NOT_ENOUGH_SPEECH


def test_hiss_has_no_voice_and_makes_no_voiceprint(engine: Engine, heard: Heard) -> None:
    hiss = np.random.default_rng(0).standard_normal(len(TIME_S)).astype(np.float32) * 0.1
    events = heard(engine.enroll("alice"), encode_s16le(hiss))
    assert set(feedback(events)) == {Feedback.NO_VOICE, Feedback.TOO_SHORT}
    assert isinstance(outcome(events), EnrollmentRefused)


def test_speech_after_hum_counts_from_where_it_begins(
    engine: Engine, voice: Voice, heard: Heard
) -> None:
    hum = (0.2 * np.sin(2 * np.pi * 440 * TIME_S[: 4 * 16_000])).astype(np.float32)
    sound = np.concatenate([hum, voice("a", 8)])
    events = heard(engine.enroll("alice"), encode_s16le(sound))
    found = progress(events)
    assert [event.feedback for event in found[:2]] == [Feedback.NO_VOICE] * 2
    assert Feedback.NO_VOICE not in feedback(events[2:])[2:]
    wanted_s = engine.config.enrollment.wanted_net_speech_s
    assert found[1].remaining_s == wanted_s
    assert found[-1].remaining_s > wanted_s - found[-1].net_speech_s + 3.0


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_speech_in_loud_noise_is_noisy(
    engine: Engine, voice: Voice, heard: Heard, name: str
) -> None:
    found = feedback(heard(engine.enroll("alice"), encode_s16le(in_noise(voice(name, 8), 3.0))))
    assert found[-1] is Feedback.NOISY
    assert Feedback.NO_VOICE not in found


def test_a_recording_without_enough_speech_is_too_short_and_left_out(
    engine: Engine, voice: Voice, heard: Heard
) -> None:
    session = engine.enroll("alice")
    events = session.push(encode_s16le(voice("a", 6)))
    before = progress(events)[-1]
    events += session.push_recording(encode_s16le(voice("a", 0.9, 7)))
    events += session.finish()
    last = progress(events)[-1]
    assert (last.feedback, last.recording) == (Feedback.TOO_SHORT, 1)
    assert last.remaining_s == pytest.approx(before.remaining_s, abs=0.1)
    completed = outcome(events)
    assert isinstance(completed, EnrollmentCompleted)
    assert (completed.recordings, completed.cohesion) == (1, None)


def test_each_recording_is_reported_on_by_itself(engine: Engine, voice: Voice) -> None:
    session = engine.enroll("alice")
    events = session.push(encode_s16le(voice("a", 3.4)))
    events += session.push_recording(encode_s16le(20 * voice("a", 3.4, 4)))
    events += session.finish()
    found = [(event.recording, event.feedback) for event in progress(events)]
    assert found == [(0, Feedback.OK)] * 2 + [(1, Feedback.CLIPPED)] * 2
    assert [event.at_s for event in progress(events)] == pytest.approx([2.0, 3.4, 5.4, 6.8])
