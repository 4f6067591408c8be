"""Is there room for one session more? Asked of what this machine was measured to do, just now."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Callable

from streamsv.errors import CapacityError
from streamsv.server.config import AdmissionConfig
from streamsv.server.worker import Load

_UNSEEN_S = 3.0
"""For so long after its start a session does not yet show in the averages of the load."""


class Admission:
    """Admits sessions while the engine's threads have time for them.

    The load that is measured knows nothing of sessions that have just begun. They are counted with
    what one session more costs in a batch, as it was measured when the server started, so that a
    thousand calls at once are not all let in before the first shows. That cost is a guess about
    the rest of the way (gate, scores, events), so what audio waits is looked at, too.

    Parameters
    ----------
    config:
        The bounds.
    load:
        What the engine's threads measure.
    session_cost:
        Seconds of work for one second of audio of one session more.
    threads:
        How many threads share the work.
    clock:
        Seconds that only go forward.
    """

    def __init__(
        self,
        config: AdmissionConfig,
        load: Callable[[], Load],
        session_cost: float = 0.0,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._load = load
        self._session_cost = session_cost
        self._threads = threads
        self._clock = clock
        self._recent: collections.deque[float] = collections.deque()
        self.loop_delay_s = 0.0

    def admit(self, live: int) -> float:
        """Let one session more in beside ``live`` others; when that was, for :meth:`take_back`.

        Raises CapacityError, whose value is the seconds to wait.
        """
        config, load, now = self._config, self._load(), self._clock()
        while self._recent and now - self._recent[0] > _UNSEEN_S:
            self._recent.popleft()
        if live >= config.max_sessions:
            raise self._refusal(f"{live} sessions are live, which is all that are allowed")
        delay_ms = 1000 * max(load.delay_s, self.loop_delay_s)
        if live and delay_ms > config.max_delay_ms:
            raise self._refusal(f"audio waits {delay_ms:.0f} ms for the engine")
        unseen = len(self._recent) + 1
        expected = load.utilization + unseen * self._session_cost / self._threads
        if live and expected > config.max_utilization:
            raise self._refusal(f"the engine would be busy for {expected:.0%} of the time")
        self._recent.append(now)
        return now

    def take_back(self, admitted: float) -> None:
        """No session came of it: what was let in costs nothing."""
        with contextlib.suppress(ValueError):  # it was so long ago that it no longer counts
            self._recent.remove(admitted)

    def _refusal(self, why: str) -> CapacityError:
        retry_s = self._config.retry_s
        return CapacityError(f"retry after {retry_s} s: {why}.", retry_s)
