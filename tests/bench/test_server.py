"""The load generator counts what a server of the protocol does: scores, ages, losses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from streamsv.audio import encode_mulaw
from streamsv.bench.calls import PACKET_BYTES, Talk, dial, frames_of
from streamsv.bench.server import ServerCost, Step, measure_server, ramp
from streamsv.engine import Engine
from streamsv.errors import CapacityError, ConfigError, ProtocolError

HOP_PACKETS = 4


class FakeServer:
    """A server of the native protocol that scores every fourth packet, ``delay_s`` late.

    It has ``room`` for so many calls, says of one packet in ``loses`` that it was lost, never tells
    of the last ``forgets``, counts ``sheds`` hops as shed with every score, and breaks a call off
    after ``breaks`` packets.
    """

    def __init__(self, **faults: Any) -> None:
        self.delay_s = faults.get("delay_s", 0.0)
        self.room = faults.get("room", math.inf)
        self.loses = faults.get("loses", 0)
        self.forgets = faults.get("forgets", 0)
        self.sheds = faults.get("sheds", 0)
        self.breaks = faults.get("breaks", math.inf)
        self.live = 0
        self.started: list[dict[str, Any]] = []
        self.packets: list[bytes] = []
        self.registry = CollectorRegistry()
        self.latency = Histogram(
            "streamsv_packet_to_score_seconds",
            "Latency.",
            buckets=(0.01, 0.1, 0.3, 1.0),
            registry=self.registry,
        )
        self.shed = Counter("streamsv_shed_hops", "Shed.", registry=self.registry)

    def metrics(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path != "/metrics":
            return None
        return connection.respond(200, generate_latest(self.registry).decode())

    async def call(self, socket: ServerConnection) -> None:
        if self.live >= self.room:
            await socket.close(1013, "retry after 5 s")
            return
        self.live += 1
        self.started.append(json.loads(await socket.recv()))
        await self.say(socket, type="session_started", at_s=0.0)
        taken = 0
        async for message in socket:
            if isinstance(message, str):
                break
            assert len(message) == PACKET_BYTES
            self.packets.append(message)
            taken += 1
            if taken >= self.breaks:
                await socket.close(1011, "internal: a fault of ours, id 0")
                return
            if self.loses and taken % self.loses == 0:
                await self.say(socket, type="audio_gap", at_s=taken * 0.02, gap_s=0.02)
            if taken % HOP_PACKETS == 0:
                self.latency.observe(self.delay_s)
                self.shed.inc(self.sheds)
                await self.say(socket, type="score_updated", at_s=taken * 0.02)
                samples = (taken - self.forgets) * PACKET_BYTES
                await self.say(socket, type="received", received_samples=samples)
        await self.say(socket, type="session_ended", at_s=(taken - self.forgets) * 0.02)

    @staticmethod
    async def say(socket: ServerConnection, **message: Any) -> None:
        await socket.send(json.dumps(message))


@contextlib.asynccontextmanager
async def listening(fake: FakeServer) -> AsyncIterator[int]:
    server: Server
    async with serve(
        fake.call, "127.0.0.1", 0, process_request=fake.metrics, subprotocols=None
    ) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


def ramped(engine: Engine, fake: FakeServer, max_calls: int = 4) -> ServerCost:
    async def run() -> ServerCost:
        async with listening(fake) as port:
            return await ramp("127.0.0.1", port, engine, 2, max_calls, hold_s=0.4)

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamsv.bench.server._SETTLE_S", 0.05)
    monkeypatch.setattr("streamsv.bench.server._RETRY_S", 0.01)


def test_a_good_server_carries_all_calls_and_loses_nothing(engine: Engine) -> None:
    fake = FakeServer()
    cost = ramped(engine, fake)
    assert [step.calls for step in cost.steps] == [2, 4]
    assert cost.ended_by == "max_calls"
    shown = json.loads(json.dumps(cost.to_dict(), allow_nan=False))
    assert {"calls", "packet_to_score_ms", "lost_packets"} < set(shown)
    assert (shown["calls"], shown["lost_packets"]) == (4, 0)
    for step in cost.steps:
        assert step.scores >= step.calls * 3
        assert 0 < step.packet_to_score_ms["p50"] <= step.packet_to_score_ms["p99"] <= 10
        assert step.score_age_ms["p50"] >= 0
        assert step.late_ms["p50"] >= 0
    first = fake.started[0]
    assert (first["type"], first["mode"], first["speakers"]) == ("start", "verify", ["bench"])
    assert first["audio"] == {"encoding": "mulaw", "sample_rate": 8000, "channels": 1}


def test_packets_arrive_as_they_were_written(engine: Engine) -> None:
    data = encode_mulaw(np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32))
    fake = FakeServer()

    async def run() -> None:
        async with listening(fake) as port:
            talk = Talk(frames_of(data))
            talk.calls.append(await dial("127.0.0.1", port, "bench"))
            talking = asyncio.create_task(talk.run())
            while talk.calls[0].sent_packets < 6:
                await asyncio.sleep(0.005)
            talk.stop()
            await talking
            await talk.calls[0].stop()

    asyncio.run(run())
    whole = [data[i : i + PACKET_BYTES] for i in range(0, 960, PACKET_BYTES)]
    assert fake.packets[:6] == whole


def test_no_more_calls_are_added_once_scores_are_late(engine: Engine) -> None:
    cost = ramped(engine, FakeServer(delay_s=0.5))
    assert (len(cost.steps), cost.ended_by, cost.best) == (1, "p99", None)
    assert cost.to_dict()["calls"] == 0


def test_audio_that_the_server_says_it_lost_is_counted(engine: Engine) -> None:
    cost = ramped(engine, FakeServer(loses=5))
    assert cost.ended_by == "lost_packets"
    assert cost.steps[0].lost_packets >= 4


def test_packets_that_were_never_acknowledged_are_lost(engine: Engine) -> None:
    cost = ramped(engine, FakeServer(forgets=3), max_calls=2)
    assert cost.ended_by == "lost_packets"
    assert cost.steps[-1].lost_packets >= 2 * 3


def test_hops_that_were_shed_are_lost_packets(engine: Engine) -> None:
    cost = ramped(engine, FakeServer(sheds=1), max_calls=2)
    assert cost.ended_by == "lost_packets"
    assert cost.steps[-1].lost_packets >= HOP_PACKETS


def test_a_full_server_ends_the_ramp_and_keeps_what_was_measured(engine: Engine) -> None:
    cost = ramped(engine, FakeServer(room=3))
    assert (len(cost.steps), cost.ended_by) == (1, "capacity")
    with pytest.raises(CapacityError):
        ramped(engine, FakeServer(room=0))


def test_a_call_that_is_broken_off_ends_the_ramp(engine: Engine) -> None:
    assert ramped(engine, FakeServer(breaks=10)).ended_by == "failed"


def test_what_does_not_answer_is_a_sentence() -> None:
    with pytest.raises(ProtocolError, match="cannot be reached"):
        asyncio.run(dial("127.0.0.1", 1, "bench"))


def test_a_server_that_does_not_start_says_why(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/echo")
    with pytest.raises(ConfigError, match=r"did not become ready.*serve"):
        measure_server(engine)
    with pytest.raises(ConfigError, match="at least one call"):
        measure_server(engine, step_calls=0)


def test_a_step_is_good_while_scores_come_in_time_and_nothing_is_lost() -> None:
    times = {"p50": 20.0, "p95": 100.0, "p99": 299.0}
    step = Step(10, 100, times, times, times, 0)
    assert step.is_good
    assert not Step(10, 100, {**times, "p99": 301.0}, times, times, 0).is_good
    assert not Step(10, 100, times, times, times, 1).is_good
