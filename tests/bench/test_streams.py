"""Sessions together: the crowd hears everything, and says what each would say alone."""

from __future__ import annotations

from typing import Any

import pytest

from streamsv.audio import encode_s16le
from streamsv.bench import sound
from streamsv.bench.streams import (
    encoder_alone,
    measure_loaded_hops,
    measure_streams,
    packets,
    percentiles_ms,
)
from streamsv.engine import Engine
from streamsv.events import ScoreUpdated


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


@pytest.fixture(scope="module")
def voiceprint(engine: Engine) -> Any:
    session = engine.enroll("bench", force=True)
    session.push(encode_s16le(sound.clips()[0][:64_000]))
    session.finish()
    return session.voiceprint("1970-01-01T00:00:00Z")


@pytest.fixture(scope="module")
def call(engine: Engine) -> bytes:
    return encode_s16le(sound.call_audio(4.0, engine.config.gate))


def test_every_hop_of_every_session_is_stepped_and_scored(
    engine: Engine, voiceprint: Any, call: bytes
) -> None:
    done: list[float] = []
    cost = measure_streams(engine, voiceprint, call, 3, done.append)
    hops = 0
    for number in range(3):
        session = engine.verify(voiceprint)
        heard = list(packets(call))
        start = number * len(heard) // 3
        for packet in [*heard[start:], *heard[:start]]:
            hops += sum(isinstance(event, ScoreUpdated) for event in session.push(packet))
        hops += sum(isinstance(event, ScoreUpdated) for event in session.finish())
    assert cost.speech_share == pytest.approx(hops * 0.08 / (3 * 4.0))
    assert 0.9 < cost.updates_per_hop <= 1
    assert 1 <= cost.batch <= 3
    assert cost.streams_per_core > 0
    assert sum(done) >= 4.0


def test_packets_are_all_of_the_audio(call: bytes) -> None:
    found = list(packets(call))
    assert b"".join(found) == call
    assert {len(packet) for packet in found} == {640}


def test_a_loaded_core_has_a_latency_for_every_hop(
    engine: Engine, voiceprint: Any, call: bytes
) -> None:
    loaded = measure_loaded_hops(engine, voiceprint, call, 5, 0.7)
    assert loaded.sessions == 5
    assert 0 < loaded.hop_ms["p50"] <= loaded.hop_ms["p95"] <= loaded.hop_ms["p99"]


def test_the_network_alone_costs_less_than_all_of_it(engine: Engine) -> None:
    assert 0 < encoder_alone(engine.encoder, batch=4).hop_s < 1


def test_percentiles_of_nothing_are_zeros() -> None:
    assert percentiles_ms([]) == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    assert percentiles_ms([0.001, 0.003])["p50"] == pytest.approx(2.0)
