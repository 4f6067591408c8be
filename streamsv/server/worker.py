"""The engine's threads: audio is decoded, gated, stepped in batches and scored here, never on the
event loop.

The event loop puts bytes into a stream's :class:`~streamsv.server.inbox.Inbox` and wakes the
stream's worker. The worker works in rounds. In each, every stream that was woken or has a hop left
gives at most one hop, whose audio is fed just then; the hops are stepped together; and all that
was said goes back to the loop in one call. So a lone stream waits for nobody, a busy worker finds
more hops in each round and steps them more cheaply, and a source that sends an hour at once takes
no more of a round than a telephone call.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from streamsv.encoder import Encoder
from streamsv.encoder.batching import Batcher
from streamsv.server.config import WorkerConfig
from streamsv.server.streams import Said, Stream

log = logging.getLogger("streamsv.server")

_HOP_S = 0.08
_LONGEST_FROM = 16
_LONGEST_ROUND_S = 10.0


class WorkMeter(Protocol):
    """Where a worker counts what it does; called on the worker's thread."""

    def batch(self, size: int, seconds: float) -> None:
        """So many hops were stepped together in ``seconds``."""

    def gap(self, seconds: float) -> None:
        """A gap in the audio of one stream."""

    def shed(self, hops: int) -> None:
        """Audio of so many hops was dropped, because the engine was too slow for its source."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a round did for one stream. ``is_over``: this is the last one, and the worker has let
    go of the stream; ``failure`` says why, if it did not end well.
    """

    stream: Stream
    said: list[Said]
    is_over: bool
    failure: Exception | None


@dataclasses.dataclass(slots=True)
class Load:
    """What a worker's time goes into, averaged over the last seconds.

    ``utilization`` is the share of time that it is busy; ``delay_s`` how long audio waited;
    ``cost`` seconds of work for one second of audio.
    """

    utilization: float = 0.0
    delay_s: float = 0.0
    cost: float = 0.0


class Worker:
    """One thread, its streams and its batches.

    Parameters
    ----------
    encoder:
        The network.
    config:
        Batch size and pauses.
    meter:
        Counts batches, gaps and losses.
    deliver:
        Called on ``loop`` with the reports of each round.
    loop:
        The event loop.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: WorkerConfig,
        meter: WorkMeter,
        deliver: Callable[[list[Report]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._batcher = Batcher(encoder, config.max_batch)
        self._config = config
        self._meter = meter
        self._deliver = deliver
        self._loop = loop
        self._awake = threading.Event()
        self._woken: collections.deque[Stream] = collections.deque()
        self._ready: dict[Stream, None] = {}
        self._on_round: Callable[[], None] | None = None
        self._is_stopping = False
        self._tally = _Tally()
        self.load = Load()
        self.is_busy = False
        self._round_began = 0.0
        self.streams = 0
        self._thread = threading.Thread(target=self._run, name="streamsv-engine", daemon=True)

    def on_round(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, on the thread, when a round has ended and was reported."""
        self._on_round = callback

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its round."""
        self._is_stopping = True
        self._awake.set()
        self._thread.join()

    def add(self, stream: Stream) -> None:
        """From now on the stream is this worker's. On the loop."""
        self.streams += 1
        self.wake(stream)

    def discard(self) -> None:
        """One of its streams is over. On the loop."""
        self.streams -= 1

    def wake(self, stream: Stream) -> None:
        """There is something in the stream's inbox. On the loop."""
        if not stream.is_woken:
            stream.is_woken = True
            self._woken.append(stream)
            if not self._awake.is_set():
                self._awake.set()

    @property
    def is_well(self) -> bool:
        """Whether the thread lives and no round takes longer than any could."""
        began = self._round_began
        is_stuck = self.is_busy and time.perf_counter() - began > _LONGEST_ROUND_S
        return self._thread.is_alive() and not is_stuck

    def _run(self) -> None:
        try:
            self._work()
        except Exception:
            log.exception("An engine thread has ended; the server is not ready any more.")

    def _work(self) -> None:
        began = 0.0
        while not self._is_stopping:
            if not self._ready and not self._woken:
                self._tally.settle(self.load)
                self._awake.wait(timeout=1.0)
            self._awake.clear()
            pause_s = began + self.round_s - time.perf_counter()
            if pause_s > 0:
                time.sleep(pause_s)
            began = time.perf_counter()
            self._gather()
            if self._ready:
                self._round_began = began
                self.is_busy = True
                self._round(began)
                self.is_busy = False
                if self._on_round is not None:
                    self._on_round()

    @property
    def round_s(self) -> float:
        """How far apart rounds begin now, in seconds: 0 with few streams."""
        few = self._config.pause_from_sessions
        if self.streams < few:
            return 0.0
        return min(1.0, self.streams / (_LONGEST_FROM * few)) * self._config.pause_ms / 1000

    def _gather(self) -> None:
        while self._woken:
            stream = self._woken.popleft()
            # Before its inbox is looked at: what comes after that wakes it again.
            stream.is_woken = False
            self._ready[stream] = None

    def _round(self, began: float) -> None:
        streams = list(self._ready)
        self._step(streams)
        reports: list[Report] = []
        now = time.monotonic()
        for stream in streams:
            self._count(stream, now)
            if not stream.was_due or stream.is_over:
                del self._ready[stream]
            found = stream.take_said()
            is_over = stream.is_over
            if found or is_over or stream.inbox.is_awaited:
                reports.append(Report(stream, found, is_over, stream.failure))
        self._tally.busy_s += time.perf_counter() - began
        self._tally.settle(self.load)
        if reports and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, reports)

    def _step(self, streams: list[Stream]) -> None:
        began = time.perf_counter()
        try:
            self._batcher.step(streams)
        except Exception:
            log.exception("A batch failed; its streams are tried one by one.")
            for stream in streams:
                self._step_alone(stream)
        due = sum(stream.was_due for stream in streams)
        if due:
            self._meter.batch(due, time.perf_counter() - began)

    def _step_alone(self, stream: Stream) -> None:
        if stream.was_due and stream.failure is None:
            try:
                self._batcher.step([stream])
            except Exception as error:  # noqa: BLE001 - it fails alone, and is reported so
                stream.failure = error

    def _count(self, stream: Stream, now: float) -> None:
        self._tally.audio_s += stream.audio_s
        stream.audio_s = 0.0
        if stream.oldest_read_at is not None:
            self._tally.delays.append(now - stream.oldest_read_at)
            stream.oldest_read_at = None
        if stream.gap_s:
            self._meter.gap(stream.gap_s)
            stream.gap_s = 0.0
        if stream.shed_s:
            self._meter.shed(math.ceil(stream.shed_s / _HOP_S))
            stream.shed_s = 0.0


class _Tally:
    """Sums since the last settling, which is done about twice a second."""

    def __init__(self) -> None:
        self.busy_s = 0.0
        self.audio_s = 0.0
        self.delays: list[float] = []
        self._since = time.perf_counter()

    def settle(self, load: Load, every_s: float = 0.5) -> None:
        """Move the averages of ``load`` towards what was counted, with about 2 s of memory."""
        now = time.perf_counter()
        elapsed_s = now - self._since
        if elapsed_s < every_s:
            return
        weight = min(1.0, elapsed_s / 2.0)
        delay_s = sum(self.delays) / len(self.delays) if self.delays else 0.0
        load.utilization += weight * (self.busy_s / elapsed_s - load.utilization)
        load.delay_s += weight * (delay_s - load.delay_s)
        if self.audio_s >= _HOP_S:
            load.cost += (weight if load.cost else 1.0) * (self.busy_s / self.audio_s - load.cost)
        self.busy_s, self.audio_s = 0.0, 0.0
        self.delays.clear()
        self._since = now


class Workers:
    """All the engine's threads; a stream goes to the one with the fewest.

    Parameters are those of :class:`Worker`; ``config`` says how many threads.
    """

    def __init__(
        self,
        encoder: Encoder,
        config: WorkerConfig,
        meter: WorkMeter,
        deliver: Callable[[list[Report]], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._workers = [
            Worker(encoder, config, meter, deliver, loop) for _ in range(config.threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """End the threads."""
        for worker in self._workers:
            worker.stop()

    @property
    def are_well(self) -> bool:
        """Whether every thread lives and comes round."""
        return all(worker.is_well for worker in self._workers)

    def idlest(self) -> Worker:
        """The worker with the fewest streams."""
        return min(self._workers, key=lambda worker: worker.streams)

    def on_round(self, callback: Callable[[], None]) -> None:
        """Call ``callback``, on a thread, when one of them has ended a round."""
        for worker in self._workers:
            worker.on_round(callback)

    @property
    def is_busy(self) -> bool:
        """Whether one of them is in a round."""
        return any(worker.is_busy for worker in self._workers)

    @property
    def round_s(self) -> float:
        """How far apart rounds begin now, in seconds, where that is longest."""
        return max(worker.round_s for worker in self._workers)

    @property
    def load(self) -> Load:
        """The mean utilization and cost, and the longest delay, of all of them."""
        loads = [worker.load for worker in self._workers]
        return Load(
            sum(load.utilization for load in loads) / len(loads),
            max(load.delay_s for load in loads),
            sum(load.cost for load in loads) / len(loads),
        )
