"""What was no speech is forgotten: the stream goes on from before it, as if it had not been heard.

The network pools everything that passes the gate, music too, and nothing leaves what it has pooled.
So a session keeps what was pooled up to some moments ago. When the guard hears that the last second
was no speech, the session goes back to what it kept, and the rest of the network begins anew, as at
the start of a call. What comes then is *on trial*: nothing is said about it, and unless a second of
it is heard to be speech, it is forgotten in its turn. So music of any length leaves nothing behind,
and speech after it is heard by a network that has not grown used to the music.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from streamsv.encoder import Encoder, State
from streamsv.engine.foreground import Levels
from streamsv.engine.guard import HEARD, RECENT_HOPS
from streamsv.events import Score

POOLED = "pool."
"""What the names of the pooled moments in the network's state begin with."""

FORGET_BELOW = -1.5
"""Mean log odds of the last second below which it is forgotten. Lower than what a decision needs:
what is neither speech nor clearly something else is held back, and not forgotten."""

TRUST_FROM = 1.0
"""The same, from which a second on trial counts as speech, and a moment is one to go back to."""

KEEP_HOPS = 12
"""Speech between two moments that are kept. One goes back to the last but one: when music is
noticed, the last may have heard the beginning of it."""

HEARD_BEFORE = (-32.0, 32.0)
"""The guard's sums after something was forgotten, of log odds and of hops: for a while it takes
more to count as speech than at the start of a call."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A moment to go back to: what was pooled up to there, after so many ``hops`` of speech, and
    the ``scores`` and the ``levels`` then.
    """

    pooled: State
    hops: int
    scores: tuple[Score, ...]
    levels: Levels = (0.0, 0.0, 0.0)


class Forgetting:
    """What one stream goes back to, and when.

    Parameters
    ----------
    encoder:
        The network, which begins anew after what is forgotten.
    initial:
        Its state before the first hop.

    Attributes
    ----------
    is_on_trial:
        Whether what is heard now follows something forgotten and does not count yet.
    """

    __slots__ = (
        *("_encoder", "_first", "_heard_before", "_keep_from", "_kept", "_latest"),
        *("_pooled", "_unbroken_hops", "is_on_trial"),
    )

    def __init__(self, encoder: Encoder, initial: State) -> None:
        self._encoder = encoder
        self._pooled = [name for name in initial if name.startswith(POOLED)]
        self._heard_before = np.array([[HEARD_BEFORE]], np.float32)
        self._first = Kept({name: initial[name] for name in self._pooled}, 0, ())
        self._kept = self._latest = self._first
        self._keep_from = KEEP_HOPS
        self._unbroken_hops = 0
        self.is_on_trial = False

    def start_over(self) -> State:
        """Forget everything; the network's state to begin anew from."""
        self._kept = self._latest = self._first
        self._keep_from = KEEP_HOPS
        self._unbroken_hops = 0
        self.is_on_trial = False
        return self._encoder.initial_state()

    @property
    def kept(self) -> Kept:
        """The moment that the stream would go back to now."""
        return self._kept

    def hear(
        self,
        recent: float,
        state: State,
        hops: int,
        scores: tuple[Score, ...],
        levels: Levels,
    ) -> bool:
        """Whether to go back to :attr:`kept` now; asked after every hop.

        ``recent`` is the guard's mean log odds of the last second, ``state`` the network's after
        ``hops`` of speech with ``scores`` and ``levels``.
        """
        self._unbroken_hops += 1
        if self._unbroken_hops < RECENT_HOPS:
            return False
        if self.is_on_trial:
            self.is_on_trial = recent < TRUST_FROM
            return self.is_on_trial
        if recent < FORGET_BELOW:
            self.is_on_trial = True
            return True
        if hops >= self._keep_from and recent >= TRUST_FROM:
            self._keep_from = hops + KEEP_HOPS
            pooled = {name: np.array(state[name]) for name in self._pooled}
            self._kept, self._latest = self._latest, Kept(pooled, hops, scores, levels)
        return False

    def go_back(self) -> State:
        """The network's state to go on from."""
        self._latest = self._kept
        self._keep_from = self._kept.hops + KEEP_HOPS
        self._unbroken_hops = 0
        return {**self._encoder.initial_state(), **self._kept.pooled, HEARD: self._heard_before}
