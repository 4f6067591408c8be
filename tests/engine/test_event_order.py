"""In which order a session speaks, and on which clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.engine import Engine
from streamsv.engine.config import GuardConfig
from streamsv.events import (
    AudioGap,
    DecisionMade,
    Event,
    ScoreUpdated,
    SessionEnded,
    SessionStarted,
    SpeechEnded,
    SpeechStarted,
)

HOP_S = 0.08


def check_order(events: Sequence[Event]) -> None:
    """What holds for every verification session, whatever it hears."""
    assert isinstance(events[0], SessionStarted)
    assert isinstance(events[-1], SessionEnded)
    assert sum(isinstance(event, SessionStarted | SessionEnded) for event in events) == 2
    times = [event.at_s for event in events]
    assert times == sorted(times)
    turns = [event for event in events if isinstance(event, SpeechStarted | SpeechEnded)]
    kinds = [SpeechStarted, SpeechEnded] * (len(turns) // 2)
    assert [type(event) for event in turns] == kinds
    opened_at_s: float | None = None
    net_speech_s = 0.0
    for event in events:
        if isinstance(event, SpeechStarted):
            opened_at_s = event.at_s
        elif isinstance(event, SpeechEnded):
            opened_at_s = None
        elif isinstance(event, ScoreUpdated):
            assert opened_at_s is not None
            assert opened_at_s < event.at_s
            assert event.net_speech_s == pytest.approx(net_speech_s + HOP_S)
            assert event.net_speech_s <= event.at_s
            net_speech_s = event.net_speech_s
        elif isinstance(event, AudioGap):
            assert opened_at_s is None
        if isinstance(event, SpeechEnded | DecisionMade | SessionEnded):
            assert event.net_speech_s == pytest.approx(net_speech_s)


@pytest.fixture(scope="module")
def halting_call(voice: Callable[..., Any]) -> Any:
    """Speech with real pauses: three phrases, a second of digital silence after each."""
    silence = np.zeros(16_000, np.float32)
    phrases = [voice("a", 1.5, start_s) for start_s in (0.5, 3.0, 6.0)]
    return np.concatenate([part for phrase in phrases for part in (phrase, silence)])


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_events_come_in_order_at_every_rate(
    engine: Engine,
    voiceprints: Any,
    halting_call: Any,
    in_format: Callable[..., bytes],
    heard: Callable[..., list[Event]],
    rate: int,
) -> None:
    audio = AudioFormat("s16le", rate)
    data = in_format(halting_call, audio)
    events = heard(engine.verify(list(voiceprints.values()), audio), data)
    check_order(events)
    assert sum(isinstance(event, SpeechStarted) for event in events) >= 3
    assert events[-1].at_s == pytest.approx(len(data) / 2 / rate, abs=1e-4)


def test_pauses_are_found_where_they_are(
    engine: Engine, voiceprints: Any, halting_call: Any, heard: Callable[..., list[Event]]
) -> None:
    events = heard(engine.verify(voiceprints["a"]), encode_s16le(halting_call))
    ended_at_s = [event.at_s for event in events if isinstance(event, SpeechEnded)]
    for phrase_end_s in (1.5, 4.0, 6.5):
        assert any(phrase_end_s - 0.5 < at_s < phrase_end_s + 0.2 for at_s in ended_at_s)


def test_scores_of_a_phrase_come_before_its_end(
    engine: Engine, voiceprints: Any, halting_call: Any, heard: Callable[..., list[Event]]
) -> None:
    events = heard(engine.verify(voiceprints["a"]), encode_s16le(halting_call))
    ends = [number for number, event in enumerate(events) if isinstance(event, SpeechEnded)]
    starts = [number for number, event in enumerate(events) if isinstance(event, SpeechStarted)]
    for end, start in zip(ends, starts[1:], strict=False):
        assert not any(isinstance(event, ScoreUpdated) for event in events[end:start])


def test_nothing_is_scored_where_nobody_speaks(
    engine: Engine, voiceprints: Any, heard: Callable[..., list[Event]]
) -> None:
    events = heard(engine.verify(voiceprints["a"]), bytes(64_000))
    assert [type(event) for event in events] == [SessionStarted, DecisionMade, SessionEnded]


@pytest.fixture(scope="module")
def unguarded(engine_with: Callable[..., Engine]) -> Engine:
    """Speech cut to pieces may be heard to be none, and what is forgotten is subtracted."""
    return engine_with(guard=GuardConfig(is_on=False))


@settings(max_examples=15, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(0, 9_000), st.floats(1e-5, 100.0)), min_size=1, max_size=4),
    rate=st.sampled_from([8_000, 16_000, 22_050, 44_100]),
)
def test_events_stay_in_order_over_gaps(
    unguarded: Engine,
    voiceprints: Any,
    halting_call: Any,
    in_format: Callable[..., bytes],
    gaps: list[tuple[int, float]],
    rate: int,
) -> None:
    audio = AudioFormat("s16le", rate)
    data = in_format(halting_call[: 16_000 * 4], audio)
    session = unguarded.verify(voiceprints["a"], audio)
    places = sorted(round(share / 9_000 * len(data)) for share, _ in gaps)
    events: list[Event] = []
    lost_s, samples = 0.0, 0
    for (start, end), (_, gap_s) in zip(itertools.pairwise([0, *places]), gaps, strict=True):
        events += session.push(data[start:end]) + session.gap(gap_s)
        lost_s += gap_s
        samples += (end - start) // 2
    events += session.push(data[places[-1] :]) + session.finish()
    check_order(events)
    assert [event.gap_s for event in events if isinstance(event, AudioGap)] == [g for _, g in gaps]
    samples += (len(data) - places[-1]) // 2
    assert events[-1].at_s == pytest.approx(samples / rate + lost_s, abs=1e-3)


def test_a_gap_advances_time_ends_the_segment_and_keeps_the_evidence(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any]
) -> None:
    session = engine.verify(voiceprints["a"])
    pcm = voice("a", 4, 0.5, clip="enroll")
    before = session.push(encode_s16le(pcm[:33_000]))
    gap = session.gap(7.0)
    after = session.push(encode_s16le(pcm[33_000:])) + session.finish()
    assert [type(event) for event in gap] == [SpeechEnded, AudioGap]
    assert gap[1] == AudioGap(pytest.approx(33_000 / 16_000 + 7.0), 7.0)
    assert isinstance(next(e for e in after if not isinstance(e, AudioGap)), SpeechStarted)
    last = [event for event in before if isinstance(event, ScoreUpdated)][-1]
    first = next(event for event in after if isinstance(event, ScoreUpdated))
    assert first.net_speech_s == pytest.approx(last.net_speech_s + HOP_S)
    assert first.at_s > last.at_s + 7.0
    assert abs(first.scores[0].cosine - last.scores[0].cosine) < 0.1
    assert after[-1].at_s == pytest.approx(4.0 + 7.0)


def test_half_a_sample_before_a_gap_is_forgotten(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any]
) -> None:
    data = encode_s16le(voice("a", 2))

    def with_tail(tail: bytes) -> list[Event]:
        session = engine.verify(voiceprints["a"])
        events = session.push(data[:32_000] + tail) + session.gap(0.5)
        return events + session.push(data[32_000:]) + session.finish()

    assert with_tail(b"\x55") == with_tail(b"")


def test_a_gap_before_any_audio_moves_the_clock(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any]
) -> None:
    session = engine.verify(voiceprints["a"])
    started, gap = session.gap(3.0)
    assert isinstance(started, SessionStarted)
    assert gap == AudioGap(3.0, 3.0)
    events = session.push(encode_s16le(voice("a", 1, 0.5))) + session.finish()
    assert next(e for e in events if isinstance(e, SpeechStarted)).at_s >= 3.0
