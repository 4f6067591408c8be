"""Who is near: a voice far below the loudest of the call is somebody in the background.

An agent who leaks into the caller's track comes 15 to 40 dB below the caller, as does a television
in the next room. So the levels of the hops that pass the gate are followed, and those too far below
the loudest are left out, before the network. When a voice comes that is as much louder than all
that was heard before, then all of that was background, and a :class:`Mark` says so.
"""

from __future__ import annotations

import collections

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import SAMPLE_RATE
from streamsv.audio.level import frame_energy

_STEADY_HOPS = 5
"""The loudest is a level held for 0.4 s: the median of so many hops. A click is none."""

_HOLD_SAMPLES = round(0.5 * SAMPLE_RATE)
"""Sound within half a second of somebody near is taken for theirs: syllables end softly."""

_SETTLED_HOPS = 6
"""A voice that rises to its level within half a second is one voice."""

_WORTH_FORGETTING_HOPS = 12
"""What is heard in the first second before a voice begins, a breath or a click, may stay."""

_FADE_DB_A_HOP = 0.02
"""The loudest fades by 0.25 dB a second of sound: who moves away is heard again in time."""


class Foreground:
    """Which hops of one stream are of somebody near.

    Parameters
    ----------
    below_loudest_db:
        How far below the loudest counts as background, in dB.
    """

    __slots__ = (
        "_before",
        "_fade",
        "_hops",
        "_loudest",
        "_near_until",
        "_recent",
        "_share",
        "is_new",
    )

    def __init__(self, below_loudest_db: float) -> None:
        self._share = 10 ** (-below_loudest_db / 10)
        self._fade = 10 ** (-_FADE_DB_A_HOP / 10)
        self._recent: collections.deque[float] = collections.deque(maxlen=_STEADY_HOPS)
        self._before: collections.deque[float] = collections.deque(maxlen=_SETTLED_HOPS + 1)
        self._hops = 0
        self._loudest = 0.0
        self._near_until = 0
        self.is_new = False

    def hear(self, pcm: NDArray[np.float32], end_position: int) -> bool:
        """Whether a hop, float32 (samples,), that ends at a position of the stream is of somebody
        near.

        :attr:`is_new` then tells whether everything before the last half second was background.
        """
        power = frame_energy(pcm) / len(pcm)
        self._recent.append(power)
        middle = sorted(self._recent)[(len(self._recent) - 1) // 2]
        self._loudest = max(self._loudest * self._fade, middle)
        self._before.append(self._loudest)
        self._hops += 1
        is_settled = self._hops > _WORTH_FORGETTING_HOPS + _SETTLED_HOPS
        self.is_new = is_settled and self._before[0] < self._share * self._loudest
        if self.is_new:
            self._hops = 0
        if power >= self._share * self._loudest:
            self._near_until = end_position + _HOLD_SAMPLES
        return end_position <= self._near_until
