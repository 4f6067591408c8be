"""Who is asking, and may they? Asked before any audio or body is read."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from streamsv.errors import AuthenticationError, ConfigError, NotAllowed
from streamsv.server.keys import SCOPES, KeyStore
from streamsv.server.limits import Limits, is_loopback
from streamsv.server.tickets import Ticket, Tickets

LOCAL_KEY_ID = "local"
"""Stands for everybody on this machine while no key was ever made."""

RECHECK_S = 15.0
"""How often it is looked whether the key of who holds a connection was revoked."""

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_SCHEMES = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: the id of the key, and what it is for."""

    key_id: str
    scopes: frozenset[str]

    def has(self, scope: str) -> bool:
        """Whether this key is for ``scope``; ``admin`` is for everything."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Raise NotAllowed (an AuthenticationError) unless this key is for ``scope``."""
        if not self.has(scope):
            raise NotAllowed(
                f"This needs a key with the scope {scope}. Make one with `streamsv keys create`.",
                scope,
            )


_EVERYBODY_HERE = Principal(LOCAL_KEY_ID, frozenset(SCOPES))


class Gatekeeper:
    """Tells who asks by key or ticket, and which pages may ask.

    While no key was ever made the gate is *open*: whoever is on this machine may do everything,
    and nobody else anything. The first key closes it, and revoking all keys does not open it
    again. The methods read the file of keys: call them in a thread, not on the event loop.

    Parameters
    ----------
    keys:
        The keys.
    tickets:
        The tickets that browsers show.
    limits:
        Counts failures.
    allowed_origins:
        Pages on other hosts that may call, such as ``https://desk.example.com``.

    Raises
    ------
    ConfigError
        If an origin is not one.
    """

    def __init__(
        self,
        keys: KeyStore,
        tickets: Tickets | None = None,
        limits: Limits | None = None,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._keys = keys
        self._tickets = tickets or Tickets()
        self._limits = limits or Limits()
        self._allowed_origins = frozenset(_checked_origin(each) for each in allowed_origins)
        self._lock = threading.Lock()
        self._is_open = keys.is_empty()  # whoever starts the server is told what is wrong

    @property
    def is_open(self) -> bool:
        """Whether no key was ever made, so that everybody on this machine may do everything."""
        with self._lock:
            self._is_open = self._is_open and self._keys.is_empty()
            return self._is_open

    def authenticate_header(self, authorization: str | None, peer: str) -> Principal:
        """Who sends ``Authorization: Bearer <key>`` from the address ``peer``.

        Raises AuthenticationError, or LimitReached after too many failures from there.
        """
        if self.is_open:
            return self._local(peer)
        if authorization is None:
            raise AuthenticationError(
                "This needs an API key. Send it as `Authorization: Bearer <key>`."
            )
        scheme, _, key = authorization.partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise AuthenticationError(
                    "The header Authorization must be `Bearer <key>`; no other scheme is known."
                )
            record = self._keys.check(key.strip())
        except AuthenticationError:
            self._limits.failed(peer)
            raise
        return Principal(record.id, frozenset(record.scopes))

    def issue_ticket(self, principal: Principal, scope: str) -> Ticket:
        """A ticket for one scope of ``principal``. Raises NotAllowed or LimitReached."""
        principal.require(scope)
        return self._tickets.issue(principal.key_id, scope)

    def redeem_ticket(self, ticket: str, peer: str) -> Principal:
        """Who was given ``ticket``, with its one scope; it is not good a second time.

        Raises AuthenticationError, or LimitReached after too many failures from ``peer``.
        """
        try:
            key_id, scope = self._tickets.redeem(ticket)
            principal = Principal(key_id, frozenset({scope}))
            if not self.still_valid(principal):
                raise AuthenticationError(
                    "The key that this ticket was issued to was revoked. Use another key."
                )
        except AuthenticationError:
            self._limits.failed(peer)
            raise
        return principal

    def still_valid(self, principal: Principal) -> bool:
        """Whether the key has not been revoked since; for whoever holds a connection for long."""
        if principal.key_id == LOCAL_KEY_ID:
            return self.is_open
        return self._keys.is_good(principal.key_id)

    def check_host(self, host: str | None) -> None:
        """Make sure that ``host``, the header of that name, may be asked for.

        While the gate is open it must be a name of this machine: else a page anywhere could point a
        name of its own at 127.0.0.1 and be "this host" (DNS rebinding).

        Raises NotAllowed.
        """
        if self.is_open and not is_local_name(host):
            raise NotAllowed(
                "While there is no API key, the server answers to localhost and 127.0.0.1 only. "
                "Use that name, or make a key with `streamsv keys create`.",
                host,
            )

    def check_origin(self, origin: str | None, host: str | None) -> None:
        """Make sure that a browser's request comes from a page that may ask.

        ``origin`` and ``host`` are the headers of those names. Without ``Origin`` it is no page.
        A page of this host may ask, and those that are configured. Who ``host`` may be, says
        :meth:`check_host`.

        Raises NotAllowed.
        """
        self.check_host(host)
        if origin is None or origin in self._allowed_origins:
            return
        asked_from = _authority(origin)
        # What is no authority is nobody's: `null`, the origin of a sandboxed frame, is not ours.
        if asked_from is None or asked_from != _authority(f"{_scheme(origin)}://{host}"):
            raise NotAllowed(
                "A page of this origin may not call this server. Add it to allowed_origins, or "
                "open the page from this server.",
                origin,
            )

    def _local(self, peer: str) -> Principal:
        if not is_loopback(peer):
            raise AuthenticationError(
                "While there is no API key, the server answers to this machine only. Make a key "
                "with `streamsv keys create`."
            )
        return _EVERYBODY_HERE


def is_local_name(host: str | None) -> bool:
    """Whether ``host``, the header of that name, is a name that only this machine has."""
    return _hostname(host) in _LOCAL_NAMES


def _scheme(origin: str) -> str:
    return origin.partition("://")[0]


def _authority(origin: str) -> tuple[str, int] | None:
    """Host and port of an origin, or ``None`` if it is none."""
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES or not parts.hostname or "@" in parts.netloc:
        return None
    return parts.hostname, port or _SCHEMES[parts.scheme]


def _hostname(host: str | None) -> str | None:
    found = None if host is None else _authority(f"http://{host}")
    return None if found is None else found[0]


def _checked_origin(origin: str) -> str:
    parts = origin.partition("://")
    if _authority(origin) is None or "/" in parts[2] or origin != origin.lower():
        raise ConfigError(
            f"allowed_origins holds {origin!r}; an origin is scheme://host or scheme://host:port "
            "in lower case, such as https://desk.example.com.",
            origin,
        )
    return origin
