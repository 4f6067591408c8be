"""Tickets: what a browser shows instead of a key, because it cannot set headers on a WebSocket.

A ticket is good once, for half a minute and for one scope. It lives in memory only, and nowhere
but in the header ``Sec-WebSocket-Protocol``; never in a URL, which ends up in logs.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streamsv.errors import AuthenticationError, LimitReached

LIFETIME_S = 30.0
SUBPROTOCOL_PREFIX = "streamsv.ticket."

_MOST_PER_KEY = 1_000
_REFUSED = "The ticket is not known, was used, or is older than {:g} s. Ask for another one."


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket that was just issued: good for ``scope``, ``expires_in_s`` seconds long."""

    ticket: str = field(repr=False)
    scope: str
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class _Issued:
    key_id: str
    scope: str
    until: float


class Tickets:
    """Issues tickets and takes them back, each once. Threads may share it.

    Parameters
    ----------
    clock:
        Seconds that only go forward.
    lifetime_s:
        How long a ticket is good.
    most_per_key:
        Tickets of one key that may wait to be used.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        lifetime_s: float = LIFETIME_S,
        most_per_key: int = _MOST_PER_KEY,
    ) -> None:
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._most_per_key = most_per_key
        self._lock = threading.Lock()
        self._waiting: dict[bytes, _Issued] = {}  # oldest first, as all live equally long
        self._counts: Counter[str] = Counter()

    def issue(self, key_id: str, scope: str) -> Ticket:
        """A ticket of the key ``key_id``. Raises LimitReached if it has too many unused ones."""
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            self._forget_old(now)
            if self._counts[key_id] >= self._most_per_key:
                raise LimitReached(
                    f"This key has {self._most_per_key} unused tickets. Use them, or try again in "
                    f"{self._lifetime_s:g} s.",
                    self._lifetime_s,
                )
            self._waiting[_digest(ticket)] = _Issued(key_id, scope, now + self._lifetime_s)
            self._counts[key_id] += 1
        return Ticket(ticket, scope, self._lifetime_s)

    def redeem(self, ticket: str) -> tuple[str, str]:
        """The key id and the scope that the ticket stands for. Raises AuthenticationError.

        What is looked up is a hash, so the time that it takes tells nothing about other tickets.
        """
        with self._lock:
            self._forget_old(self._clock())
            issued = self._waiting.pop(_digest(ticket), None)
            if issued is not None:
                self._counts[issued.key_id] -= 1
        if issued is None:
            raise AuthenticationError(_REFUSED.format(self._lifetime_s))
        return issued.key_id, issued.scope

    def _forget_old(self, now: float) -> None:
        while self._waiting:
            oldest = next(iter(self._waiting))
            issued = self._waiting[oldest]
            if issued.until > now:
                return
            del self._waiting[oldest]
            self._counts[issued.key_id] -= 1
            if not self._counts[issued.key_id]:
                del self._counts[issued.key_id]


def ticket_in(subprotocols: Sequence[str]) -> str | None:
    """The ticket among the subprotocols that a client offers, or ``None``."""
    for offered in subprotocols:
        if offered.startswith(SUBPROTOCOL_PREFIX):
            return offered.removeprefix(SUBPROTOCOL_PREFIX)
    return None


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
