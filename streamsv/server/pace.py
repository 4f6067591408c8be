"""How often somebody may do something: so many times at once, and so many a second after that."""

from __future__ import annotations


class Pace:
    """A bucket that fills again steadily.

    Parameters
    ----------
    per_s:
        Times a second, in the long run.
    at_once:
        Times without any pause, when there were none for long.
    """

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s = per_s
        self._at_once = at_once
        self._left = at_once
        self._since = 0.0

    def take(self, now: float) -> None:
        """Once more, at ``now`` (monotonic seconds)."""
        self._left = self._left_at(now) - 1
        self._since = now

    def wait_s(self, now: float) -> float:
        """Seconds to wait at ``now`` before the next time, or 0."""
        return max(0.0, (1 - self._left_at(now)) / self._per_s)

    def _left_at(self, now: float) -> float:
        return min(self._at_once, self._left + (now - self._since) * self._per_s)
