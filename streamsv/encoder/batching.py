"""Many streams, one step of the network: whoever has a hop due is stepped together.

The batcher keeps the states of the streams that it steps in an arena (`streamsv.encoder.slots`).
Sessions hold them as they hold any state, without looking inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from streamsv.encoder.encoder import Encoder, Floats
from streamsv.encoder.slots import Arena, Bench, SlotState
from streamsv.errors import StreamsvError


class HopSource(Protocol):
    """What a session offers to whoever runs its hops."""

    def next_hop(self) -> Any:
        """The hop that is due, with ``pcm`` (1, hop_samples) and ``state``, or ``None``."""

    def complete(self, hop: Any, embedding: Floats, state: Any) -> list[Any]:
        """Take the network's answer to it; gives events."""

    def abandon(self, hop: Any) -> None:
        """The network failed on it: it stays due."""


S = TypeVar("S", bound=HopSource)
T = TypeVar("T")


@dataclass(slots=True)
class Stepped(Generic[T]):
    """What one step gave a session: its events, or the error that it alone failed with."""

    session: T
    events: list[Any]
    error: StreamsvError | None = None


class Batcher:
    """Steps the due hops of many sessions together, at most ``max_batch`` in one call.

    One thread at a time. A session whose answer cannot be used fails alone; an error of the
    network itself hands back the hops that are not answered yet and is raised. The state that
    ``complete`` gets is a :class:`~streamsv.encoder.slots.SlotState`: it may be stepped by any
    encoder or batcher of the same model, and its memory is free again once the session is.
    """

    def __init__(self, encoder: Encoder, max_batch: int = 64) -> None:
        self._max_batch = max_batch
        self._arena = Arena(encoder)
        self._bench = Bench(encoder, max_batch)

    def step(self, sessions: Iterable[S]) -> list[Stepped[S]]:
        """One hop of every session that has one due; sessions without are left out."""
        handed = [(session, hop) for session in sessions if (hop := session.next_hop()) is not None]
        found: list[Stepped[S]] = []
        try:
            for start in range(0, len(handed), self._max_batch):
                self._step(handed[start : start + self._max_batch], found)
        except BaseException:
            for session, hop in handed[len(found) :]:
                session.abandon(hop)
            raise
        return found

    def _step(self, group: list[tuple[S, Any]], found: list[Stepped[S]]) -> None:
        """Step a group that fits on the bench, and add what comes of it to ``found``."""
        arena, bench, count = self._arena, self._bench, len(group)
        slots = [self._slot(hop.state) for _, hop in group]
        rows = np.array([slot.row for slot in slots], np.intp)
        arena.gather(rows, bench.before)
        np.concatenate([hop.pcm for _, hop in group], out=bench.pcm[:count])
        bench.step(count)
        arena.scatter(bench.after, rows)
        embeddings = list(bench.embeddings[:count].copy())
        answered = 0
        try:
            for (session, hop), embedding, slot in zip(group, embeddings, slots, strict=True):
                try:
                    found.append(Stepped(session, session.complete(hop, embedding, slot)))
                except StreamsvError as error:
                    found.append(Stepped(session, [], error))
                    arena.put_back(bench.before, [answered], [slot.row])
                answered += 1
        except BaseException:
            arena.put_back(bench.before, range(answered, count), rows[answered:].tolist())
            raise

    def _slot(self, state: Any) -> SlotState:
        if type(state) is SlotState and state.arena is self._arena:
            return state
        return self._arena.take(state)
