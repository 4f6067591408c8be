"""Sessions on real speech, batched and alone: the same events."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamsv.audio import SAMPLE_RATE, encode_s16le
from streamsv.encoder import Batcher
from streamsv.engine import Engine, VerificationSession
from streamsv.events import Event, ScoreUpdated, SpeakerChanged
from streamsv.voiceprints import Voiceprint

SECONDS = 6
CHUNKS = (640, 3210, 8000)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


@pytest.fixture(scope="module")
def voiceprint(engine: Engine, clips: Any) -> Voiceprint:
    session = engine.enroll("a", force=True)
    session.push(encode_s16le(clips.pcm("voice_a_enroll")))
    session.finish()
    return session.voiceprint("2025-01-31T09:30:00Z")


@pytest.fixture(scope="module")
def calls(clips: Any) -> list[bytes]:
    """Three voices, one of them over noise, and one with a tone in between, which is forgotten."""
    spoken = [clips.pcm(f"voice_{voice}_call")[: SECONDS * SAMPLE_RATE] for voice in "abc"]
    noise = np.random.default_rng(0).normal(0, 0.02, len(spoken[0])).astype(np.float32)
    tone = (0.2 * np.sin(np.arange(3 * SAMPLE_RATE) * 0.17)).astype(np.float32)
    begun = 2 * SAMPLE_RATE
    around = np.concatenate([spoken[1][:begun], tone, spoken[1][begun : 2 * begun]])
    return [encode_s16le(pcm) for pcm in (*spoken, spoken[0] + noise, around)]


@pytest.fixture(scope="module")
def alone(engine: Engine, voiceprint: Voiceprint, calls: list[bytes]) -> list[list[Event]]:
    found = []
    for data in calls:
        session = engine.verify(voiceprint)
        found.append([*session.push(data), *session.finish()])
    return found


def flat(value: Any) -> Any:
    """Events as plain values, so that numbers can be compared one by one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: flat(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [type(value).__name__, fields]
    return [flat(item) for item in value] if isinstance(value, (tuple, list)) else value


def assert_same(given_: Any, expected: Any, path: str = "") -> None:
    assert type(given_) is type(expected), path
    if isinstance(expected, dict):
        assert given_.keys() == expected.keys()
        for name in expected:
            assert_same(given_[name], expected[name], f"{path}.{name}")
    elif isinstance(expected, list):
        assert len(given_) == len(expected), path
        for place, (a, b) in enumerate(zip(given_, expected, strict=True)):
            assert_same(a, b, f"{path}[{place}]")
    elif isinstance(expected, float) and not path.endswith(("_s", "_db")):
        assert given_ == pytest.approx(expected, abs=1e-3), path
    else:
        assert given_ == expected, path


def drained(batcher: Batcher, sessions: list[VerificationSession]) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {id(session): [] for session in sessions}
    while stepped := batcher.step(sessions):
        for answer in stepped:
            assert answer.error is None
            found[id(answer.session)] += answer.events
    return found


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_interleaved_sessions_say_what_they_say_alone(
    engine: Engine,
    voiceprint: Voiceprint,
    calls: list[bytes],
    alone: list[list[Event]],
    data: st.DataObject,
) -> None:
    """Any number of calls, in packets of different sizes, each of which begins when it likes."""
    which = data.draw(st.lists(st.sampled_from(range(len(calls))), min_size=1, max_size=9))
    starts = [data.draw(st.integers(0, 4), label="start") for _ in which]
    packets = [data.draw(st.sampled_from(CHUNKS), label="packet") for _ in which]
    batcher = Batcher(engine.encoder, data.draw(st.sampled_from([1, 4, 64]), label="max_batch"))
    sessions = [engine.verify(voiceprint) for _ in which]
    events: dict[int, list[Event]] = {id(session): [] for session in sessions}
    sent, tick = [0] * len(which), 0
    while not all(session.is_ended for session in sessions):
        for place, session in enumerate(sessions):
            if tick < starts[place] or session.is_ended:
                continue
            call = calls[which[place]]
            if sent[place] < len(call):
                chunk = call[sent[place] : sent[place] + packets[place]]
                events[id(session)] += session.feed(chunk)
                sent[place] += packets[place]
                if sent[place] >= len(call):
                    events[id(session)] += session.close_input()
        for identity, more in drained(batcher, sessions).items():
            events[identity] += more
        tick += 1
    for place, session in zip(which, sessions, strict=True):
        assert any(isinstance(event, ScoreUpdated) for event in alone[place])
        assert_same(flat(events[id(session)]), flat(alone[place]))


def test_a_session_goes_on_alone_after_the_batcher(
    engine: Engine, voiceprint: Voiceprint, calls: list[bytes], alone: list[list[Event]]
) -> None:
    batcher, session = Batcher(engine.encoder), engine.verify(voiceprint)
    half = len(calls[0]) // 2
    events = session.feed(calls[0][:half])
    events += drained(batcher, [session])[id(session)]
    events += [*session.push(calls[0][half:]), *session.finish()]
    assert_same(flat(events), flat(alone[0]))


def test_a_takeover_is_noticed_in_a_batch_as_alone(
    engine: Engine, voiceprint: Voiceprint, clips: Any
) -> None:
    spoken = [clips.pcm("voice_a_call"), clips.pcm("voice_b_call")]
    data = encode_s16le(np.concatenate(spoken))
    session = engine.verify(voiceprint)
    expected = [*session.push(data), *session.finish()]
    assert any(isinstance(event, SpeakerChanged) for event in expected)
    batcher, sessions = Batcher(engine.encoder), [engine.verify(voiceprint) for _ in range(3)]
    events: dict[int, list[Event]] = {id(session): [] for session in sessions}
    for start in range(0, len(data), 64_000):
        for place, each in enumerate(sessions):
            if start // 64_000 == place:  # each begins a little later: rows come to be gathered
                events[id(each)] += each.feed(data)
                events[id(each)] += each.close_input()
        for answer in batcher.step(sessions):
            events[id(answer.session)] += answer.events
    for identity, more in drained(batcher, sessions).items():
        events[identity] += more
    for each in sessions:
        assert_same(flat(events[id(each)]), flat(expected))
