"""The event loop rests during rounds of the engine, and only then."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from streamsv.audio import AudioFormat
from streamsv.server.config import WorkerConfig
from streamsv.server.inbox import Inbox
from streamsv.server.moderation import Moderator
from streamsv.server.streams import Stream
from streamsv.server.worker import Workers


class Rounds:
    """Engine threads that only say that they are busy."""

    def __init__(self, round_s: float, *, is_busy: bool) -> None:
        self.round_s = round_s
        self.is_busy = is_busy
        self.ended: Callable[[], None] = lambda: None

    def on_round(self, callback: Callable[[], None]) -> None:
        self.ended = callback


def stall_s(
    rounds: Rounds,
    before: Callable[[Moderator], None] = lambda _: None,
    **options: float,
) -> float:
    """How long 10 ms of sleep take on a loop that ``rounds`` moderate."""

    async def sleep() -> float:
        moderator = Moderator(asyncio.get_running_loop(), rounds, **options)
        began = time.monotonic()
        moderator.start()
        before(moderator)
        await asyncio.sleep(0.01)
        moderator.stop()
        return time.monotonic() - began

    return asyncio.run(sleep())


def test_the_loop_rests_during_a_round_but_no_longer_than_rounds_are_apart() -> None:
    assert 0.3 <= stall_s(Rounds(0.3, is_busy=True), longest_s=30) < 3


def test_however_far_apart_rounds_are_it_does_not_rest_for_long() -> None:
    assert 0.05 <= stall_s(Rounds(30.0, is_busy=True)) < 10


def test_the_end_of_a_round_wakes_the_loop() -> None:
    rounds = Rounds(30.0, is_busy=True)

    def end() -> None:
        rounds.is_busy = False
        rounds.ended()

    timer = threading.Timer(0.2, end)
    timer.start()
    assert 0.1 <= stall_s(rounds, longest_s=30) < 10


def test_the_end_of_a_round_before_does_not_cut_a_rest_short() -> None:
    rounds = Rounds(0.3, is_busy=False)

    def begin_the_next(_: Moderator) -> None:
        rounds.ended()
        rounds.is_busy = True

    assert 0.3 <= stall_s(rounds, begin_the_next, longest_s=30) < 3


@pytest.mark.parametrize(("round_s", "is_busy"), [(30.0, False), (0.0, True)])
def test_between_rounds_and_with_few_streams_it_does_not_rest(
    round_s: float, is_busy: bool
) -> None:
    assert stall_s(Rounds(round_s, is_busy=is_busy), longest_s=30) < 10


def test_it_rests_no_more_once_it_is_stopped() -> None:
    rounds = Rounds(30.0, is_busy=False)

    def stop(moderator: Moderator) -> None:
        moderator.stop()
        rounds.is_busy = True

    assert stall_s(rounds, stop, longest_s=30) < 10


class Meter:
    """Notes whether the threads say that they are busy while they count a gap."""

    def __init__(self) -> None:
        self.workers: Workers
        self.was_busy: list[bool] = []

    def batch(self, size: int, seconds: float) -> None:
        """Nothing is spoken."""

    def gap(self, seconds: float) -> None:
        self.was_busy.append(self.workers.is_busy)

    def shed(self, hops: int) -> None:
        """Nothing is shed."""


def test_threads_are_busy_in_a_round_and_ring_when_it_has_ended(engine: Any, alice: Any) -> None:
    async def go() -> tuple[list[bool], list[bool], float, float]:
        meter, rung, ended = Meter(), [], threading.Event()
        config = WorkerConfig(pause_from_sessions=2, pause_ms=320)
        loop = asyncio.get_running_loop()
        workers = Workers(engine.encoder, config, meter, lambda _: None, loop)
        meter.workers = workers

        def ring() -> None:
            rung.append(workers.is_busy)
            ended.set()

        workers.on_round(ring)
        streams = [Stream(engine.verify(alice), Inbox(AudioFormat(), 2.0, True)) for _ in range(2)]
        workers.idlest().add(streams[0])
        alone_s = workers.round_s
        workers.idlest().add(streams[1])
        together_s = workers.round_s
        streams[0].inbox.put_gap(1600)
        workers.start()
        assert await asyncio.to_thread(ended.wait, 20)
        await asyncio.to_thread(workers.stop)
        return meter.was_busy, rung, alone_s, together_s

    was_busy, rung, alone_s, together_s = asyncio.run(go())
    assert was_busy == [True]
    assert rung
    assert not any(rung)
    assert (alone_s, together_s) == (0.0, 0.02)


def test_the_server_moderates_its_loop_for_as_long_as_it_runs(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    for name in ("start", "stop"):
        real: Any = getattr(Moderator, name)

        def noted(self: Moderator, name: str = name, real: Any = real) -> None:
            said.append(name)
            real(self)

        monkeypatch.setattr(Moderator, name, noted)
    live = serve()
    assert said == ["start"]
    live.stop()
    assert said == ["start", "stop"]
