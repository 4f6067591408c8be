"""The order of calls, what happens when the network fails, and what a session holds."""

from __future__ import annotations

import gc
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.encoder import Encoder
from streamsv.engine import Engine, Session, VerificationSession
from streamsv.errors import ModelLoadError, ProtocolError, SessionClosed, UnsupportedAudio
from streamsv.events import Event, SessionEnded, SessionStarted


@pytest.fixture
def call(voice: Callable[..., Any]) -> bytes:
    return encode_s16le(voice("a", 2))


@pytest.fixture
def session(engine: Engine, voiceprints: Any) -> VerificationSession:
    return engine.verify(voiceprints["a"])


def answer(engine: Engine, session: Session, hop: Any) -> list[Event]:
    embedding, state = engine.encoder.step(hop.pcm, hop.state)
    return session.complete(hop, embedding[0], state)


def test_one_hop_is_in_flight_at_a_time(engine: Engine, session: Session, call: bytes) -> None:
    session.feed(call)
    hop = session.next_hop()
    assert hop is not None
    assert hop.number == 0
    assert hop.pcm.shape == (1, engine.encoder.hop_samples)
    assert session.next_hop() is None
    answer(engine, session, hop)
    following = session.next_hop()
    assert following is not None
    assert following.number == 1


def test_there_is_no_hop_before_there_is_speech(session: Session) -> None:
    assert session.next_hop() is None
    session.feed(bytes(32_000))
    assert session.next_hop() is None


def test_a_hop_completed_twice_is_a_protocol_error(
    engine: Engine, session: Session, call: bytes
) -> None:
    session.feed(call)
    hop = session.next_hop()
    answer(engine, session, hop)
    with pytest.raises(ProtocolError):
        answer(engine, session, hop)
    session.next_hop()
    with pytest.raises(ProtocolError):
        answer(engine, session, hop)


def test_a_hop_of_another_session_is_a_protocol_error(
    engine: Engine, voiceprints: Any, session: Session, call: bytes
) -> None:
    other = engine.verify(voiceprints["b"])
    session.feed(call)
    other.feed(call)
    mine, theirs = session.next_hop(), other.next_hop()
    with pytest.raises(ProtocolError):
        answer(engine, session, theirs)
    assert answer(engine, session, mine)
    assert answer(engine, other, theirs)


def test_an_answer_of_the_wrong_shape_is_refused_and_the_hop_stays_due(
    engine: Engine, session: Session, call: bytes
) -> None:
    session.feed(call)
    hop = session.next_hop()
    assert hop is not None
    embedding, state = engine.encoder.step(hop.pcm, hop.state)
    with pytest.raises(ProtocolError, match="row of a batch"):
        session.complete(hop, embedding, state)
    assert session.complete(hop, embedding[0], state)


def test_an_embedding_that_is_not_finite_is_refused_and_the_hop_stays_due(
    engine: Engine, session: Session, call: bytes
) -> None:
    session.feed(call)
    hop = session.next_hop()
    assert hop is not None
    embedding, state = engine.encoder.step(hop.pcm, hop.state)
    with pytest.raises(ModelLoadError, match="not finite"):
        session.complete(hop, embedding[0] * np.float32(np.nan), state)
    assert session.complete(hop, embedding[0], state)


def test_an_abandoned_hop_is_handed_out_again_and_nothing_is_lost(
    engine: Engine, voiceprints: Any, session: Session, call: bytes, heard: Callable[..., Any]
) -> None:
    said = session.feed(call) + session.close_input()
    tries = 0
    while (hop := session.next_hop()) is not None:
        tries += 1
        if tries % 3 == 0:
            session.abandon(hop)
        else:
            said += answer(engine, session, hop)
    assert said == heard(engine.verify(voiceprints["a"]), call)


def test_a_late_answer_to_an_abandoned_hop_is_refused(
    engine: Engine, session: Session, call: bytes
) -> None:
    session.feed(call)
    late = session.next_hop()
    session.abandon(late)
    with pytest.raises(ProtocolError):
        answer(engine, session, late)
    again = session.next_hop()
    with pytest.raises(ProtocolError):
        answer(engine, session, late)
    with pytest.raises(ProtocolError):
        session.abandon(late)
    assert answer(engine, session, again)


class OutOfMemoryError(Exception):
    """What a network might raise."""


def test_a_network_failure_inside_push_leaves_the_hop_due(
    engine: Engine, session: Session, call: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Encoder.step
    steps = 0

    def fails_at_the_fifth(self: Encoder, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise OutOfMemoryError
        return real(self, *arguments)

    monkeypatch.setattr(type(engine.encoder), "step", fails_at_the_fifth)
    with pytest.raises(OutOfMemoryError):
        session.push(call)
    numbers = [e.net_speech_s for e in session.finish() if e.type == "score_updated"]
    hop_s = engine.encoder.hop_samples / 16_000
    assert numbers[0] == pytest.approx(5 * hop_s)
    assert session.is_ended


def test_push_and_finish_while_a_hop_is_handed_out_are_protocol_errors(
    engine: Engine, session: Session, call: bytes
) -> None:
    session.feed(call)
    hop = session.next_hop()
    with pytest.raises(ProtocolError):
        session.push(call)
    with pytest.raises(ProtocolError):
        session.finish()
    session.abandon(hop)
    assert isinstance(session.finish()[-1], SessionEnded)


def test_feed_between_a_hop_and_its_answer_is_fine(
    engine: Engine, voiceprints: Any, session: Session, call: bytes, heard: Callable[..., Any]
) -> None:
    half = len(call) // 2
    said = session.feed(call[:half])
    hop = session.next_hop()
    said += session.feed(call[half:])
    said += answer(engine, session, hop)
    said += session.finish()
    assert said == heard(engine.verify(voiceprints["a"]), call)


@pytest.mark.parametrize(
    "again",
    [
        lambda session: session.feed(b"\0\0"),
        lambda session: session.push(b""),
        lambda session: session.gap(1.0),
        lambda session: session.close_input(),
        lambda session: session.finish(),
    ],
)
def test_a_finished_session_takes_nothing_more(session: Session, again: Any) -> None:
    session.finish()
    assert session.is_ended
    with pytest.raises(SessionClosed):
        again(session)


def test_the_session_ends_with_the_last_hop_not_with_the_input(
    engine: Engine, session: Session, call: bytes
) -> None:
    session.feed(call)
    said = session.close_input()
    assert not session.is_ended
    with pytest.raises(SessionClosed):
        session.feed(call)
    while (hop := session.next_hop()) is not None:
        said += answer(engine, session, hop)
    assert session.is_ended
    assert isinstance(said[-1], SessionEnded)


def test_the_first_event_comes_with_the_first_call_even_if_it_is_empty(session: Session) -> None:
    (started,) = session.push(b"")
    assert isinstance(started, SessionStarted)
    assert session.push(b"") == []


def test_session_started_says_what_was_agreed(engine: Engine, voiceprints: Any) -> None:
    claimed = [voiceprints["a"], voiceprints["c"]]
    session = engine.identify(claimed, AudioFormat("mulaw", 8_000, 2))
    (event,) = session.feed(b"")
    assert event == SessionStarted(
        0.0, "identify", ("a", "c"), "mulaw", 8_000, 2, "telephone", 0.08, 0.08
    )


@pytest.mark.parametrize(
    "bad",
    [np.nan, np.inf, -np.inf, 30_000.0],
    ids=["nan", "inf", "minus inf", "16-bit scale"],
)
def test_a_bad_chunk_leaves_the_session_as_if_it_had_never_come(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], bad: float
) -> None:
    audio = AudioFormat("f32le", 16_000)
    data = voice("a", 2).astype("<f4").tobytes()
    chunk = np.full(500, 0.1, "<f4")
    chunk[250] = bad
    one, other = (engine.verify(voiceprints["a"], audio) for _ in range(2))
    cut = 16_000 * 4 + 2
    said = one.push(data[:cut])
    with pytest.raises(UnsupportedAudio):
        one.push(data[cut : cut + 2] + chunk.tobytes())
    said += one.push(data[cut:]) + one.finish()
    assert said == other.push(data) + other.finish()


@pytest.mark.parametrize("take", ["push", "feed"])
def test_an_array_is_refused_and_leaves_the_session_as_if_it_had_never_come(
    engine: Engine, voiceprints: Any, call: bytes, voice: Callable[..., Any], take: str
) -> None:
    session = engine.verify(voiceprints["a"])
    half = len(call) // 2 + 1
    said = session.push(call[:half])
    with pytest.raises(UnsupportedAudio, match="was given an array of float32"):
        getattr(session, take)(voice("a", 2))
    said += session.push(bytearray(call[half:])) + session.finish()
    other = engine.verify(voiceprints["a"])
    assert said == other.push(memoryview(call)) + other.finish()


@pytest.mark.parametrize("gap_s", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_gap_is_an_error_and_changes_nothing(
    engine: Engine, voiceprints: Any, call: bytes, heard: Callable[..., Any], gap_s: float
) -> None:
    session = engine.verify(voiceprints["a"])
    half = len(call) // 2
    said = session.push(call[:half])
    with pytest.raises(UnsupportedAudio):
        session.gap(gap_s)
    said += session.push(call[half:]) + session.finish()
    assert said == heard(engine.verify(voiceprints["a"]), call)


def held_bytes(session: Session, *shared: object) -> int:
    """Bytes of everything that can be reached from a session and is its own."""
    seen = {id(each) for each in shared}
    waiting: list[Any] = [session]
    total = 0
    while waiting:
        each = waiting.pop()
        is_code = isinstance(each, type | types.ModuleType | types.FunctionType | types.MethodType)
        if id(each) in seen or is_code:
            continue
        seen.add(id(each))
        total += each.__sizeof__()
        waiting += gc.get_referents(each)
        if isinstance(each, np.ndarray) and each.base is not None:
            waiting.append(each.base)
    return total


@pytest.mark.parametrize("mode", ["verify", "enroll"])
def test_a_session_holds_no_more_after_ten_minutes_than_after_one(
    engine: Engine, voiceprints: Any, voice: Callable[..., Any], mode: str
) -> None:
    audio = AudioFormat("s16le", 8_000)
    session = engine.enroll("a", audio) if mode == "enroll" else None
    session = session or engine.verify(list(voiceprints.values()), audio)
    minute = encode_s16le(np.tile(voice("a", 20)[::2], 3))
    embedding = voiceprints["a"].embedding
    sizes = []
    for _ in range(10):
        for start in range(0, len(minute), 16_000):
            session.feed(minute[start : start + 16_000])
            while (hop := session.next_hop()) is not None:
                session.complete(hop, embedding, hop.state)
        sizes.append(held_bytes(session, engine.encoder, engine.calibration, engine.config))
    assert sizes[0] > engine.encoder.state_bytes
    # What waits for the next look or window comes and goes; it must not add up.
    assert max(sizes[5:]) < max(sizes[:5]) + 5_000
