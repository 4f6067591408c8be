"""Nothing depends on where a caller cut the stream, nor on who runs the network."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.engine import Engine, Session
from streamsv.events import Event, ScoreUpdated

ENCODINGS = ("s16le", "f32le", "mulaw", "alaw")
RATES = (8_000, 16_000, 22_050, 44_100, 48_000)
FORMATS = [AudioFormat(*each) for each in itertools.product(ENCODINGS, RATES)]

CUTS = st.lists(st.floats(0, 1), max_size=12)
"""Where a stream is cut, as shares of its length."""


def cut(data: bytes, shares: Sequence[float]) -> list[bytes]:
    places = sorted(round(share * len(data)) for share in shares)
    return [data[a:b] for a, b in itertools.pairwise([0, *places, len(data)])]


def as_json(events: Sequence[Event]) -> Any:
    return json.loads(json.dumps([event.to_dict() for event in events]))


def nearly(value: Any) -> Any:
    """``value`` with its numbers to 0.001: two batches differ in the last bits of a float."""
    if isinstance(value, dict):
        return {key: nearly(item) for key, item in value.items()}
    if isinstance(value, list):
        return [nearly(item) for item in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


@pytest.fixture(scope="module", params=FORMATS, ids=lambda f: f"{f.encoding}-{f.sample_rate}")
def stream(
    request: Any,
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    in_format: Callable[..., bytes],
    heard: Callable[..., list[Event]],
) -> tuple[AudioFormat, bytes, list[Event]]:
    """A format, some speech in it, a few bytes of a last sample, and what is said to it whole."""
    audio: AudioFormat = request.param
    data = in_format(voice("a", 2.8), audio) + b"\x01" * (audio.bytes_per_frame // 2)
    events = heard(engine.verify(voiceprints["a"], audio), data)
    assert sum(isinstance(event, ScoreUpdated) for event in events) > 10
    return audio, data, events


@settings(max_examples=15, deadline=None)
@given(shares=CUTS)
def test_packet_splits_never_change_events(
    engine: Engine,
    voiceprints: Any,
    stream: tuple[AudioFormat, bytes, list[Event]],
    heard: Callable[..., list[Event]],
    shares: list[float],
) -> None:
    audio, data, whole = stream
    assert heard(engine.verify(voiceprints["a"], audio), cut(data, shares)) == whole


@pytest.mark.parametrize("audio", [AudioFormat("mulaw", 8_000), AudioFormat("f32le", 22_050)])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_packets_of_a_few_bytes_never_change_events(
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    in_format: Callable[..., bytes],
    heard: Callable[..., list[Event]],
    audio: AudioFormat,
    size: int,
) -> None:
    data = in_format(voice("a", 0.6, 0.5), audio)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    whole = heard(engine.verify(voiceprints["a"], audio), data)
    assert heard(engine.verify(voiceprints["a"], audio), pieces) == whole


@settings(max_examples=15, deadline=None)
@given(shares=CUTS)
def test_packet_splits_never_change_an_enrollment(
    engine: Engine, voice: Callable[..., Any], in_format: Callable[..., bytes], shares: list[float]
) -> None:
    audio = AudioFormat("s16le", 44_100)
    recordings = [in_format(voice("a", 5), audio), in_format(voice("a", 3, 6), audio)]

    def enrolled(shares: Sequence[float]) -> tuple[list[Event], Any]:
        session = engine.enroll("a", audio)
        events: list[Event] = []
        for number, data in enumerate(recordings):
            events += session.next_recording() if number else []
            for chunk in cut(data, shares):
                events += session.push(chunk)
        events += session.finish()
        return events, session.voiceprint("2025-01-31T09:30:00Z")

    assert enrolled(shares) == enrolled([])


@settings(max_examples=20, deadline=None)
@given(shares_a=CUTS, shares_b=CUTS, order=st.randoms(use_true_random=False))
def test_two_interleaved_sessions_equal_two_alone(
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    heard: Callable[..., list[Event]],
    shares_a: list[float],
    shares_b: list[float],
    order: random.Random,
) -> None:
    calls = [encode_s16le(voice("a", 3)), encode_s16le(voice("b", 3))]

    def session() -> Session:
        return engine.verify(list(voiceprints.values()))

    alone = [heard(session(), call) for call in calls]
    sessions = [session(), session()]
    chunks = [cut(calls[0], shares_a), cut(calls[1], shares_b)]
    said: list[list[Event]] = [[], []]
    while any(chunks):
        turn = order.choice([index for index in (0, 1) if chunks[index]])
        said[turn] += sessions[turn].push(chunks[turn].pop(0))
    for turn in order.sample((0, 1), 2):
        said[turn] += sessions[turn].finish()
    assert said == alone


@settings(max_examples=20, deadline=None)
@given(shares=CUTS)
def test_push_equals_its_three_calls_in_a_loop(
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    heard: Callable[..., list[Event]],
    shares: list[float],
) -> None:
    chunks = cut(encode_s16le(voice("a", 3)), shares)
    session, said = engine.verify(voiceprints["a"]), []

    def run() -> None:
        while (hop := session.next_hop()) is not None:
            embedding, state = engine.encoder.step(hop.pcm, hop.state)
            said.extend(session.complete(hop, embedding[0], state))

    for chunk in chunks:
        said += session.feed(chunk)
        run()
    said += session.close_input()
    run()
    assert said == heard(engine.verify(voiceprints["a"]), chunks)


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data(), order=st.randoms(use_true_random=False))
def test_hops_run_in_batches_in_any_order_equal_sessions_alone(
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    heard: Callable[..., list[Event]],
    run_in_batches: Callable[..., list[list[Event]]],
    data: st.DataObject,
    order: random.Random,
) -> None:
    calls = [encode_s16le(voice(name, 3.5)) for name in "abc"]

    def sessions() -> list[Session]:
        return [
            engine.verify(list(voiceprints.values())),
            engine.identify(list(voiceprints.values())),
            engine.enroll("c"),
        ]

    alone = [heard(session, call) for session, call in zip(sessions(), calls, strict=True)]
    batched = sessions()
    said: list[list[Event]] = [[], [], []]
    chunks = [cut(call, data.draw(CUTS)) for call in calls]
    while any(chunks):
        turn = order.choice([index for index in range(3) if chunks[index]])
        said[turn] += batched[turn].feed(chunks[turn].pop(0))
        if order.random() < 0.3:
            said = _joined(said, run_in_batches(engine.encoder, batched, order))
    said = _joined(said, [session.close_input() for session in batched])
    said = _joined(said, run_in_batches(engine.encoder, batched, order))
    for one, other in zip(said, alone, strict=True):
        assert as_json(one) == nearly(as_json(other))


def _joined(said: list[list[Event]], more: list[list[Event]]) -> list[list[Event]]:
    return [[*one, *other] for one, other in zip(said, more, strict=True)]


def test_sessions_in_different_formats_share_an_engine(
    engine: Engine,
    voiceprints: Any,
    voice: Callable[..., Any],
    in_format: Callable[..., bytes],
    heard: Callable[..., list[Event]],
    run_in_batches: Callable[..., list[list[Event]]],
) -> None:
    formats = [AudioFormat("mulaw", 8_000), AudioFormat("f32le", 48_000, channels=2)]
    calls = [in_format(voice("a", 3), audio) for audio in formats]
    sessions = [engine.verify(voiceprints["a"], audio) for audio in formats]
    said = [session.feed(call) for session, call in zip(sessions, calls, strict=True)]
    said = _joined(said, [session.close_input() for session in sessions])
    said = _joined(said, run_in_batches(engine.encoder, sessions, random.Random(0)))
    for audio, call, events in zip(formats, calls, said, strict=True):
        alone = heard(engine.verify(voiceprints["a"], audio), call)
        assert as_json(events) == nearly(as_json(alone))
