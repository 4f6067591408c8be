"""Where the states of stepped streams live: rows of arrays that are allocated once.

An arena keeps one state of every stream that a batcher steps. The rows of those that are due are
gathered for the network, whose inputs are dense, and put back after it: copying a row costs less
than a second copy of every state would, which the cache then could not hold. Of a state that is a
line of frames only the new ones are put back, in the place of the oldest: it is kept as a ring of
pieces, and each row knows which is the oldest now.
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

_LEAST_ROWS = 16


class SlotState(Mapping[str, Floats]):
    """The state of one stream, in a row of an arena; always the newest one of that stream.

    A mapping from names to arrays (1, ...) as any other state, which are copies: ``dict(state)``
    is a checkpoint. The row is free again when nobody holds this object any more.
    """

    __slots__ = ("__weakref__", "arena", "row")

    def __init__(self, arena: Arena, row: int) -> None:
        self.arena = arena
        self.row = row

    def __getitem__(self, name: str) -> Floats:
        return self.arena.read(name, self.row)

    def __iter__(self) -> Iterator[str]:
        return iter(self.arena.states)

    def __len__(self) -> int:
        return len(self.arena.states)


class Arena:
    """One state for each stream, in as many rows as are needed.

    The lowest free row is taken first; the arrays are doubled when all are taken, and halved when
    none of the upper three quarters is, so that they stay within four times of what is needed.

    Attributes
    ----------
    states:
        The states by name, (rows, ...); a ring is (rows, pieces, frames, ...).
    """

    def __init__(self, encoder: Encoder) -> None:
        self.states = dict(encoder.initial_state(_LEAST_ROWS))
        self._pieces: dict[str, int] = {}
        for name, frames in encoder.rolling.items():
            rows, length, *rest = self.states[name].shape
            self._pieces[name] = length // frames
            self.states[name] = self.states[name].reshape(rows, length // frames, frames, *rest)
        self._oldest = np.zeros(_LEAST_ROWS, np.intp)
        self._free = list(range(_LEAST_ROWS))
        self._taken: set[int] = set()
        # Filled whenever a state is collected, on any thread; hence a deque and no heap.
        self._returned: collections.deque[int] = collections.deque()

    @property
    def rows(self) -> int:
        """How many streams there is room for."""
        return len(next(iter(self.states.values())))

    @property
    def taken(self) -> set[int]:
        """The rows that belong to a stream."""
        while self._returned:
            row = self._returned.popleft()
            self._taken.discard(row)
            heapq.heappush(self._free, row)
        return self._taken

    def take(self, state: Mapping[str, Floats]) -> SlotState:
        """A row that begins with ``state``, arrays (1, ...)."""
        if len(self.taken) == self.rows:
            self._resize(2 * self.rows)
        while self.rows > _LEAST_ROWS and max(self._taken, default=-1) < self.rows // 4:
            self._resize(self.rows // 2)
        row = heapq.heappop(self._free)
        self._taken.add(row)
        self._oldest[row] = 0
        for name, array in self.states.items():
            array[row] = state[name].reshape(array.shape[1:])
        slot = SlotState(self, row)
        weakref.finalize(slot, self._returned.append, row).atexit = False
        return slot

    def read(self, name: str, row: int) -> Floats:
        """A copy of one state of a row, (1, ...)."""
        state = self.states[name][row : row + 1]
        pieces = self._pieces.get(name)
        if pieces is None:
            return state.copy()
        in_order = (self._oldest[row] + np.arange(pieces)) % pieces
        return state[:, in_order].reshape(1, -1, *state.shape[3:])

    def gather(self, rows: Rows, target: State) -> None:
        """Copy ``rows`` to the first rows of ``target``."""
        count = len(rows)
        in_order: dict[int, Rows] = {}
        for name, array in self.states.items():
            wanted, source, place = rows, array, target[name][:count]
            pieces = self._pieces.get(name)
            if pieces is not None:
                if pieces not in in_order:
                    turned = (self._oldest[rows][:, None] + np.arange(pieces)) % pieces
                    in_order[pieces] = (rows[:, None] * pieces + turned).ravel()
                wanted, source = in_order[pieces], array.reshape(-1, *array.shape[2:])
                place = place.reshape(count * pieces, *array.shape[2:])
            # "clip" writes to the target at once, where "raise" goes by way of a copy.
            np.take(source, wanted, axis=0, out=place, mode="clip")

    def scatter(self, source: State, rows: Rows) -> None:
        """Copy the first rows of ``source``, what a step gave, to ``rows``."""
        count, oldest = len(rows), self._oldest[rows]
        for name, array in self.states.items():
            pieces = self._pieces.get(name)
            if pieces is None:
                array[rows] = source[name][:count]
            else:
                array[rows, oldest % pieces] = source[name][:count]
        self._oldest[rows] = oldest + 1

    def put_back(self, source: State, places: Sequence[int], rows: Sequence[int]) -> None:
        """Copy the rows ``places`` of ``source``, what a step took, to ``rows``, one by one."""
        for name, array in self.states.items():
            array[rows] = source[name][places].reshape(len(rows), *array.shape[1:])
        self._oldest[rows] = 0

    def _resize(self, rows: int) -> None:
        kept = min(rows, self.rows)
        for name, array in self.states.items():
            resized = np.empty((rows, *array.shape[1:]), np.float32)
            resized[:kept] = array[:kept]
            self.states[name] = resized
        oldest = np.zeros(rows, np.intp)
        oldest[:kept] = self._oldest[:kept]
        self._oldest = oldest
        self._free = [row for row in range(rows) if row not in self._taken]  # a heap: it rises


class Bench:
    """Dense arrays for one step of up to ``size`` streams.

    Attributes
    ----------
    pcm, embeddings:
        What the next step takes and what the last one gave: (size, hop_samples) and
        (size, dimension).
    before, after:
        The states by name, (size, ...): those that a step reads, and those that it writes, of some
        the new frames alone (:attr:`~streamsv.encoder.Encoder.rolling`).
    """

    def __init__(self, encoder: Encoder, size: int) -> None:
        self.pcm = np.zeros((size, encoder.hop_samples), np.float32)
        self.embeddings = np.zeros((size, encoder.dimension), np.float32)
        self.before = encoder.initial_state(size)
        self.after = {
            name: np.ascontiguousarray(state[:, -encoder.rolling.get(name, 0) :])
            for name, state in encoder.initial_state(size).items()
        }
        self._encoder = encoder
        self._steps: dict[int, Callable[[], None]] = {}

    def step(self, rows: int) -> None:
        """Advance the first ``rows`` streams by ``pcm``."""
        step = self._steps.get(rows)
        if step is None:
            step = self._steps[rows] = self._encoder.bound_step(
                self.pcm[:rows],
                {name: array[:rows] for name, array in self.before.items()},
                self.embeddings[:rows],
                {name: array[:rows] for name, array in self.after.items()},
            )
        step()
