"""Who is at the door of a WebSocket: the same questions for media and for observers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from streamsv.errors import CapacityError
from streamsv.server.access import Principal
from streamsv.server.closing import Closing, because_of
from streamsv.server.parts import Parts
from streamsv.server.tickets import ticket_in

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

SUBPROTOCOL = "streamsv.v1"


def peer_of(scope: Scope) -> str:
    """The address at the other end."""
    client = scope.get("client")
    return str(client[0]) if client else ""


async def who_asks(parts: Parts, scope: Scope) -> Principal:
    """Whose key or ticket the request shows, from a page that may ask.

    Raises AuthenticationError or LimitReached.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    ticket = ticket_in(scope.get("subprotocols", ()))
    peer = peer_of(scope)

    def ask() -> Principal:
        parts.gatekeeper.check_origin(headers.get("origin"), headers.get("host"))
        if ticket is not None:
            return parts.gatekeeper.redeem_ticket(ticket, peer)
        return parts.gatekeeper.authenticate_header(headers.get("authorization"), peer)

    return await asyncio.to_thread(ask)


async def accept(scope: Scope, send: Send) -> None:
    """Open the socket, in our subprotocol if the client offers it."""
    offered = SUBPROTOCOL in scope.get("subprotocols", ())
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None})


async def turn_away(scope: Scope, send: Send, error: Exception) -> None:
    """Refuse before the socket is open: 503 where there is no room, else by a close code, which a
    browser can read, other than a status.
    """
    if isinstance(error, CapacityError) and "websocket.http.response" in scope["extensions"]:
        retry = f"{error.value:g}" if isinstance(error.value, int | float) else "5"
        body = error.message.encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"retry-after", retry.encode()),
        ]
        await send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
        return
    await accept(scope, send)
    await say_goodbye(send, because_of(error))


async def say_goodbye(send: Send, why: Closing) -> None:
    """The error in full, if there is one, and the close."""
    if why.error is not None:
        await send({"type": "websocket.send", "text": json_of(why.error.to_dict())})
    await send({"type": "websocket.close", "code": why.code, "reason": why.reason})


def json_of(fields: dict[str, Any]) -> str:
    """Fields as one line of JSON, as short as it gets."""
    return json.dumps(fields, separators=(",", ":"))
