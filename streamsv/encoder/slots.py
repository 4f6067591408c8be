"""Where the states of stepped streams live: rows of arrays that are allocated once.

A block has room for as many streams as one step takes. Its arrays exist twice, and a step reads
the front ones and writes the back ones, which then change places: while all streams of a block
advance together, no state is copied.
"""

from __future__ import annotations

import collections
import heapq
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamsv.encoder.encoder import Encoder, Floats, State

Rows = NDArray[np.intp]


class SlotState(Mapping[str, Floats]):
    """The state of one stream, in a row of a block; always the newest one of that stream.

    A mapping from names to arrays (1, ...) as any other state, which are copies: ``dict(state)``
    is a checkpoint. The row is free again when nobody holds this object any more.
    """

    def __init__(self, block: Block, row: int) -> None:
        self.block = block
        self.row = row

    def __getitem__(self, name: str) -> Floats:
        return self.block.front[name][self.row : self.row + 1].copy()

    def __iter__(self) -> Iterator[str]:
        return iter(self.block.front)

    def __len__(self) -> int:
        return len(self.block.front)


class Block:
    """Arrays for ``size`` streams, and the step over the first of them.

    Attributes
    ----------
    pcm, embeddings:
        What the next step takes and what the last one gave: (size, hop_samples) and
        (size, dimension).
    front, back:
        The states by name, (size, ...): the newest, and those before the last step, which the
        next one overwrites.
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        self.size = size
        self.pcm = np.zeros((size, encoder.hop_samples), np.float32)
        self.embeddings = np.zeros((size, encoder.dimension), np.float32)
        self.front = encoder.initial_state(size)
        self.back = encoder.initial_state(size)
        self._encoder = encoder
        self._steps: tuple[dict[int, Callable[[], None]], dict[int, Callable[[], None]]] = ({}, {})
        self._turn = 0
        self._free = list(range(size))
        self._taken: set[int] = set()
        # Filled whenever a state is collected, on any thread; hence a deque and no heap.
        self._returned: collections.deque[int] = collections.deque()

    @property
    def taken(self) -> set[int]:
        """The rows that belong to a stream."""
        while self._returned:
            row = self._returned.popleft()
            self._taken.discard(row)
            heapq.heappush(self._free, row)
        return self._taken

    def take(self, state: Mapping[str, Floats]) -> SlotState | None:
        """A row that begins with ``state``, arrays (1, ...); ``None`` if every row is taken."""
        if len(self.taken) == self.size:
            return None
        row = heapq.heappop(self._free)
        self._taken.add(row)
        for name, array in self.front.items():
            array[row] = state[name][0]
        slot = SlotState(self, row)
        weakref.finalize(slot, self._returned.append, row).atexit = False
        return slot

    def step(self, rows: int) -> None:
        """Advance the first ``rows`` streams by ``pcm``: new embeddings, new front."""
        steps = self._steps[self._turn]
        if rows not in steps:
            steps[rows] = self._encoder.bound_step(
                self.pcm[:rows],
                {name: array[:rows] for name, array in self.front.items()},
                self.embeddings[:rows],
                {name: array[:rows] for name, array in self.back.items()},
            )
        steps[rows]()
        self.front, self.back = self.back, self.front
        self._turn = 1 - self._turn

    def undo(self, rows: Sequence[int] | Rows) -> None:
        """Give ``rows`` the states that they had before the last step."""
        copy_rows(self.back, rows, self.front, rows)


def copy_rows(
    source: State,
    from_rows: Sequence[int] | Rows | slice,
    target: State,
    to_rows: Sequence[int] | Rows | slice,
) -> None:
    """Copy the states of some streams from one set of arrays to another."""
    for name, array in source.items():
        target[name][to_rows] = array[from_rows]


def gather_rows(source: State, rows: Rows, target: State, start: int) -> None:
    """Copy ``rows`` of ``source`` to the rows of ``target`` from ``start`` on."""
    for name, array in source.items():
        # "clip" writes to the target at once, where "raise" goes by way of a copy.
        np.take(array, rows, axis=0, out=target[name][start : start + len(rows)], mode="clip")
