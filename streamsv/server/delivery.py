"""One POST to a URL: what a webhook needs of HTTP, and no more.

h11, which uvicorn parses with, does the protocol; asyncio does the rest. A client for general use
would bring what must not be here, redirects and proxies, and lacks what must: one deadline over all
of it, and the say over which address is connected to after the name was looked up.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

_READ_BYTES = 16_384
_LONGEST_PAUSE_S = 86_400.0


class DeliveryFailed(Exception):
    """There was no answer. The message says why, for the log; it never leaves the server."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, and after how many seconds the other side wants to be asked again, if it said."""

    status: int
    retry_after_s: float | None


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    timeout_s: float,
    allow_private: bool,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send ``body`` to ``url`` on a connection of its own.

    Unless ``allow_private``, every address that the name stands for must be a public one, and it is
    one of those that is connected to, so a name that changes its mind in between changes nothing.
    Redirects are answers like others. Raises DeliveryFailed.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(url, body, headers, allow_private, tls)
    except TimeoutError as error:
        raise DeliveryFailed(f"no answer in {timeout_s:g} s") from error
    except (OSError, h11.ProtocolError, UnicodeError) as error:
        raise DeliveryFailed(str(error) or type(error).__name__) from error


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast


async def _exchange(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allow_private: bool,
    tls: ssl.SSLContext | None,
) -> Answer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_secure = parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    addresses = await _looked_up(host, port)
    if not allow_private and not all(is_public(address) for address in addresses):
        raise DeliveryFailed("the name stands for a private address; see allow_private")
    context = (tls or ssl.create_default_context()) if is_secure else None
    reader, writer = await _connected(addresses, port, context, host)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        named = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close"}
        connection = h11.Connection(h11.CLIENT)
        request = h11.Request(
            method="POST", target=target, headers=[*(named | dict(headers)).items()]
        )
        for part in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        await writer.drain()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Response):
                return Answer(event.status_code, _retry_after(event))
            elif not isinstance(event, h11.InformationalResponse):
                raise DeliveryFailed("the connection ended without an answer")
    finally:
        writer.transport.abort()


async def _looked_up(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def _connected(
    addresses: list[str], port: int, context: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    failure: OSError = OSError("the name stands for no address")
    for address in addresses:
        try:
            return await asyncio.open_connection(
                address, port, ssl=context, server_hostname=host if context else None
            )
        except OSError as error:
            failure = error
    raise failure


def _retry_after(response: h11.Response) -> float | None:
    for name, value in response.headers:
        if name == b"retry-after":
            return seconds_of(value.decode("latin-1"), time.time())
    return None


def seconds_of(retry_after: str, now: float) -> float | None:
    """The seconds from ``now`` (unix) that a ``Retry-After`` asks for, at most a day; ``None`` if
    it is neither a number of seconds nor a date (RFC 9110, 10.2.3).
    """
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(retry_after)
        except (ValueError, TypeError, OverflowError):
            return None
        # A date without a zone, or with -0000, is in UTC here as in all of HTTP.
        aware = date if date.tzinfo is not None else date.replace(tzinfo=datetime.UTC)
        seconds = aware.timestamp() - now
    return min(max(0.0, seconds), _LONGEST_PAUSE_S) if seconds == seconds else None
