"""Many streams, one step of the network: whoever has a hop due is stepped together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from streamsv.encoder.encoder import Encoder, Floats, State
from streamsv.errors import StreamsvError


class HopSource(Protocol):
    """What a session offers to whoever runs its hops."""

    def next_hop(self) -> Any:
        """The hop that is due, with ``pcm`` (1, hop_samples) and ``state``, or ``None``."""

    def complete(self, hop: Any, embedding: Floats, state: State) -> list[Any]:
        """Take the network's answer to it; gives events."""

    def abandon(self, hop: Any) -> None:
        """The network failed on it: it stays due."""


S = TypeVar("S", bound=HopSource)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stepped(Generic[T]):
    """What one step gave a session: its events, or the error that it alone failed with."""

    session: T
    events: list[Any]
    error: StreamsvError | None = None


class Batcher:
    """Steps the due hops of many sessions together, at most ``max_batch`` in one call.

    One thread at a time. A session whose answer cannot be used fails alone; an error of the
    network itself hands every hop of that batch back and is raised.
    """

    def __init__(self, encoder: Encoder, max_batch: int = 32) -> None:
        self._encoder = encoder
        self._max_batch = max_batch

    def step(self, sessions: Iterable[S]) -> list[Stepped[S]]:
        """One hop of every session that has one due; sessions without are left out."""
        due = [(session, hop) for session in sessions if (hop := session.next_hop()) is not None]
        found: list[Stepped[S]] = []
        for start in range(0, len(due), self._max_batch):
            found += self._together(due[start : start + self._max_batch])
        return found

    def _together(self, due: list[tuple[S, Any]]) -> list[Stepped[S]]:
        pcm = np.concatenate([hop.pcm for _, hop in due])
        names = self._encoder.state_names
        state = {name: np.concatenate([hop.state[name] for _, hop in due]) for name in names}
        try:
            embeddings, following = self._encoder.step(pcm, state)
        except BaseException:
            for session, hop in due:
                session.abandon(hop)
            raise
        found: list[Stepped[S]] = []
        for row, (session, hop) in enumerate(due):
            own = {name: following[name][row : row + 1].copy() for name in names}
            try:
                found.append(Stepped(session, session.complete(hop, embeddings[row], own)))
            except StreamsvError as error:
                found.append(Stepped(session, [], error))
        return found
