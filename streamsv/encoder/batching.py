"""Many streams, one step of the network: whoever has a hop due is stepped together.

The batcher keeps the states of the streams that it steps in blocks (`streamsv.encoder.slots`).
Sessions hold them as they hold any state, without looking inside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from streamsv.encoder.encoder import Encoder, Floats
from streamsv.encoder.slots import Block, SlotState, copy_rows, gather_rows
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

MOSTLY_DUE = 0.875
"""Above this share of due rows a block is stepped where it is, and the other rows are put back:
from there on the steps in vain cost less than copying the due rows out and in."""


@dataclass(frozen=True, slots=True)
class Stepped(Generic[T]):
    """What one step gave a session: its events, or the error that it alone failed with."""

    session: T
    events: list[Any]
    error: StreamsvError | None = None


@dataclass(frozen=True, slots=True)
class _Due(Generic[T]):
    """A session whose hop is due, and the slot of its state."""

    session: T
    hop: Any
    slot: SlotState


class Batcher:
    """Steps the due hops of many sessions together, at most ``max_batch`` in one call.

    One thread at a time. A session whose answer cannot be used fails alone; an error of the
    network itself hands back the hops that are not answered yet and is raised. The state that
    ``complete`` gets is a :class:`~streamsv.encoder.slots.SlotState`: it may be stepped by any
    encoder or batcher of the same model, and its memory is free again once the session is.
    """

    def __init__(self, encoder: Encoder, max_batch: int = 64) -> None:
        self._encoder = encoder
        self._max_batch = max_batch
        self._blocks: list[Block] = []
        self._bench: Block | None = None

    def step(self, sessions: Iterable[S]) -> list[Stepped[S]]:
        """One hop of every session that has one due; sessions without are left out."""
        handed = [(session, hop) for session in sessions if (hop := session.next_hop()) is not None]
        found: list[Stepped[S]] = []
        try:
            scattered: list[_Due[S]] = []
            for block, group in self._by_block(handed).items():
                if len(group) >= MOSTLY_DUE * (1 + max(block.taken)):
                    self._in_place(block, group, found)
                else:
                    scattered += group
            for start in range(0, len(scattered), self._max_batch):
                self._gathered(scattered[start : start + self._max_batch], found)
        except BaseException:
            answered = {id(stepped.session) for stepped in found}
            for session, hop in handed:
                if id(session) not in answered:
                    session.abandon(hop)
            raise
        return found

    def _by_block(self, handed: list[tuple[S, Any]]) -> dict[Block, list[_Due[S]]]:
        groups: dict[Block, list[_Due[S]]] = {}
        for session, hop in handed:
            slot = self._slot(hop.state)
            groups.setdefault(slot.block, []).append(_Due(session, hop, slot))
        empty = [block for block in self._blocks if not block.taken]
        for block in empty[1:]:  # one is kept for the calls to come
            self._blocks.remove(block)
        return groups

    def _slot(self, state: Mapping[str, Floats]) -> SlotState:
        if isinstance(state, SlotState) and state.block in self._blocks:
            return state
        for block in self._blocks:
            if (slot := block.take(state)) is not None:
                return slot
        self._blocks.append(Block(self._encoder, self._max_batch))
        return self._slot(state)

    def _in_place(self, block: Block, group: list[_Due[S]], found: list[Stepped[S]]) -> None:
        """Step a block of which nearly every stream is due."""
        rows = [due.slot.row for due in group]
        for due in group:
            block.pcm[due.slot.row] = due.hop.pcm[0]
        block.step(1 + max(block.taken))
        block.undo(list(block.taken.difference(rows)))
        embeddings = block.embeddings[rows]
        for place, due in enumerate(group):
            if not _completed(due, embeddings[place], found):
                block.undo([due.slot.row])

    def _gathered(self, group: list[_Due[S]], found: list[Stepped[S]]) -> None:
        """Step some streams of some blocks, copied to the bench and back."""
        if self._bench is None:
            self._bench = Block(self._encoder, self._max_batch)
        bench = self._bench
        for place, due in enumerate(group):
            bench.pcm[place] = due.hop.pcm[0]
        stretches, start = [], 0
        for block, members in itertools.groupby(group, key=lambda due: due.slot.block):
            rows = np.array([due.slot.row for due in members], np.intp)
            stretches.append((block, rows, slice(start, start + len(rows))))
            start += len(rows)
        for block, rows, places in stretches:
            gather_rows(block.front, rows, bench.front, places.start)
        bench.step(len(group))
        for block, rows, places in stretches:
            copy_rows(bench.front, places, block.front, rows)
        embeddings = bench.embeddings[: len(group)].copy()
        for place, due in enumerate(group):
            if not _completed(due, embeddings[place], found):
                copy_rows(bench.back, [place], due.slot.block.front, [due.slot.row])


def _completed(due: _Due[S], embedding: Floats, found: list[Stepped[S]]) -> bool:
    """Give a session its answer, and note what came of it; whether it took it."""
    try:
        events = due.session.complete(due.hop, embedding, due.slot)
    except StreamsvError as error:
        found.append(Stepped(due.session, [], error))
        return False
    found.append(Stepped(due.session, events))
    return True
