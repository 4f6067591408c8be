"""How much one key and one address may have at a time, and how often one may fail to log in.

An address is one IPv4 address or one IPv6 /64, which is what one subscriber is given.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import ipaddress
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from streamsv.errors import ConfigError, LimitReached

_RETRY_S = 5.0
_MOST_ADDRESSES_REMEMBERED = 10_000


class Keyed(Protocol):
    """Who asks: something with the id of a key."""

    @property
    def key_id(self) -> str:
        """The id of the key."""


@dataclasses.dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What one key and one address may have.

    Parameters
    ----------
    connections_per_key, connections_per_address:
        Open WebSockets at a time.
    sessions_per_key, sessions_per_address:
        Live sessions at a time.
    failures_per_address:
        Failed authentications in ``failure_window_s`` after which an address is told to wait.
    failure_window_s:
        Seconds in which one failure is forgiven, times ``failures_per_address``.
    """

    connections_per_key: int = 2000
    connections_per_address: int = 1000
    sessions_per_key: int = 1000
    sessions_per_address: int = 1000
    failures_per_address: int = 10
    failure_window_s: float = 60.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"limits.{field.name} must be above 0.", value)


class Limits:
    """Counts what is in use and refuses what is too much. Threads may share it.

    Parameters
    ----------
    config:
        The limits.
    clock:
        Seconds that only go forward.
    """

    def __init__(
        self, config: LimitsConfig | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config or LimitsConfig()
        self._clock = clock
        self._lock = threading.Lock()
        self._in_use: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self._debts: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    @contextlib.contextmanager
    def connection(self, principal: Keyed | None, peer: str) -> Iterator[None]:
        """One connection for as long as the block lasts. Raises LimitReached.

        ``principal`` is ``None`` while it is not known who asks.
        """
        config = self.config
        with self._counted(
            "connections",
            principal,
            peer,
            config.connections_per_key,
            config.connections_per_address,
        ):
            yield

    @contextlib.contextmanager
    def session(self, principal: Keyed, peer: str) -> Iterator[None]:
        """One session for as long as the block lasts. Raises LimitReached."""
        config = self.config
        with self._counted(
            "sessions", principal, peer, config.sessions_per_key, config.sessions_per_address
        ):
            yield

    def failed(self, peer: str) -> None:
        """An authentication from ``peer`` failed.

        A failure is a debt of one, which is forgiven at ``failures_per_address`` a window. Raises
        LimitReached while the debt is too high. Only wrong keys are refused so: a right key still
        passes, because others may sit behind the same address, and keys of 256 bits are not found
        by guessing however often somebody tries.
        """
        address, now, config = address_of(peer), self._clock(), self.config
        per_s = config.failures_per_address / config.failure_window_s
        with self._lock:
            debt, since = self._debts.pop(address, (0.0, now))
            debt = max(0.0, debt - (now - since) * per_s)
            is_over = debt + 1 > config.failures_per_address
            self._debts[address] = (debt if is_over else debt + 1, now)
            while len(self._debts) > _MOST_ADDRESSES_REMEMBERED:
                self._debts.popitem(last=False)
        if is_over:
            wait_s = math.ceil((debt + 1 - config.failures_per_address) / per_s)
            raise LimitReached(
                f"Too many failed authentications from this address. Wait {wait_s} s, and check "
                "the key.",
                wait_s,
            )

    def in_use(self, what: str) -> int:
        """``connections`` or ``sessions`` in use by all addresses together."""
        with self._lock:
            return sum(n for (kind, by, _), n in self._in_use.items() if (kind, by) == (what, "a"))

    @contextlib.contextmanager
    def _counted(
        self, what: str, principal: Keyed | None, peer: str, per_key: int, per_address: int
    ) -> Iterator[None]:
        wanted = [((what, "a", address_of(peer)), per_address, "address")]
        if principal is not None:
            wanted.append(((what, "k", principal.key_id), per_key, "key"))
        with self._lock:
            for counter, most, whose in wanted:
                if self._in_use[counter] >= most:
                    raise LimitReached(
                        f"This {whose} has {most} {what} already, which is all it may have. End "
                        f"one, or try again in {_RETRY_S:g} s.",
                        _RETRY_S,
                    )
            for counter, _, _ in wanted:
                self._in_use[counter] += 1
        try:
            yield
        finally:
            with self._lock:
                for counter, _, _ in wanted:
                    self._in_use[counter] -= 1
                    if not self._in_use[counter]:
                        del self._in_use[counter]


def address_of(peer: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def is_loopback(peer: str) -> bool:
    """Whether ``peer`` is this machine."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
