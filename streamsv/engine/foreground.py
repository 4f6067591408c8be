"""Who is near: a voice far below the loudest of the call is somebody in the background.

An agent who leaks into the caller's track comes 15 to 40 dB below the caller, as does a television
in the next room. So the levels of what was heard to be speech are followed, and a hop too far below
the loudest does not count. When a voice comes that is as much louder than all that was heard
before, then all of that was background. And where all speech is faint, nobody near may have spoken
yet. Tones, music and machines are no voices, however loud: they raise nothing here.
"""

from __future__ import annotations

import collections
import math

from streamsv.audio import SAMPLE_RATE

_HOLD_S = 0.5
"""Sound within half a second of somebody near is taken for theirs: syllables end softly."""

_FADE_DB_A_S = 0.5
"""The loudest fades by so much in a second of sound: who moves away is heard again in time."""

_LEVEL_HOPS = 9
"""The loudest is a level that five hops of speech in nine reach. A click is none."""

_STEADY_RATIO = 1.12
"""A hop within half a decibel of the one before it raises nothing: a tone keeps its level, and
after speech it takes the guard's head half a second to hear what it is."""

_SETTLED_HOPS = 6
"""A voice that rises to its level within half a second is one voice."""

_WORTH_FORGETTING_HOPS = 12
"""What is heard in the first second before a voice begins, a breath or a click, may stay."""

_HOP_S = 0.08
_TIME_CONSTANT_S = 10.0

Levels = tuple[float, float, float]
"""The loudest power, and the decaying sums of powers and of hops that the mean level is made of."""


class Foreground:
    """Which hops of one stream are of somebody near.

    Parameters
    ----------
    below_loudest_db:
        How far below the loudest counts as background, in dB; ``None``: nothing does.
    min_speech_dbfs:
        Mean level of speech below which nobody near may have spoken.

    Attributes
    ----------
    is_new:
        Whether everything before the last half second was background, after the latest hop.
    """

    __slots__ = (
        *("_before", "_faint", "_fade", "_hops", "_keep", "_latest", "_loudest", "_near_until"),
        *("_recent", "_share", "_sum", "_weight", "is_new"),
    )

    def __init__(self, below_loudest_db: float | None, min_speech_dbfs: float) -> None:
        self._share = 0.0 if below_loudest_db is None else 10 ** (-below_loudest_db / 10)
        self._faint = 10 ** (min_speech_dbfs / 10)
        self._fade = 10 ** (-_FADE_DB_A_S * _HOP_S / 10)
        self._keep = math.exp(-_HOP_S / _TIME_CONSTANT_S)
        self._recent: collections.deque[float] = collections.deque(maxlen=_LEVEL_HOPS)
        self._before: collections.deque[float] = collections.deque(maxlen=_SETTLED_HOPS + 1)
        self._hops = 0
        self._near_until = 0
        self._latest = self._loudest = self._sum = self._weight = 0.0
        self.is_new = False

    @property
    def levels(self) -> Levels:
        """What :meth:`go_back` may go back to."""
        return self._loudest, self._sum, self._weight

    @property
    def is_faint(self) -> bool:
        """Whether there was speech, and all of it was fainter than somebody near."""
        return self._sum < self._faint * self._weight

    def counts(self, power: float, end_position: int) -> bool:
        """Whether a hop of ``power``, its mean square, that ends there is of somebody near."""
        return power >= self._share * self._loudest or end_position <= self._near_until

    def skip(self) -> None:
        """A hop did not count."""
        self._loudest *= self._fade

    def hear(self, power: float, end_position: int, is_speech: bool) -> None:
        """A hop counted, and was heard to be speech or something else."""
        if power >= self._share * self._loudest:
            self._near_until = end_position + round(_HOLD_S * SAMPLE_RATE)
        self._loudest *= self._fade
        self._hops += 1
        is_steady = self._latest < power * _STEADY_RATIO and power < self._latest * _STEADY_RATIO
        self._latest = power
        if is_speech and not is_steady:
            self._recent.append(power)
            middle = sorted(self._recent)[(len(self._recent) - 1) // 2]
            self._loudest = max(self._loudest, middle)
            self._sum = self._keep * self._sum + power
            self._weight = self._keep * self._weight + 1.0
        before = self._before
        before.append(self._loudest)
        is_settled = self._hops > _WORTH_FORGETTING_HOPS + _SETTLED_HOPS
        self.is_new = is_settled and before[0] < self._share * self._loudest

    def go_back(self, levels: Levels) -> None:
        """What was heard since the moment of ``levels`` was no speech."""
        self._loudest, self._sum, self._weight = levels
        self._recent.clear()
        self._before.clear()
        self._near_until = 0

    def start_over(self) -> None:
        """What was heard before the latest voice was background."""
        self._sum = self._weight = 0.0
        self._before.clear()
        self._hops = 0
        self.is_new = False
