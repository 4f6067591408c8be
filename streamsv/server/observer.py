"""The result channel, ``/v1/sessions/{session_id}/events``: a session's events for who looks on.

A telephone platform's media socket carries nothing back; an agent's desktop opens this one. Its
events are those of the media socket, with the same ``seq``; after the last one it is closed 1000.
``?after=17`` begins after that event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from urllib.parse import parse_qs

from starlette.routing import WebSocketRoute

from streamsv.errors import (
    AuthenticationError,
    ProtocolError,
    StoreError,
    StreamsvError,
    UnknownSession,
)
from streamsv.server import access, closing
from streamsv.server.access import Principal
from streamsv.server.call import Call
from streamsv.server.closing import Closing
from streamsv.server.door import (
    Receive,
    Scope,
    Send,
    accept,
    peer_of,
    say_goodbye,
    turn_away,
    who_asks,
)
from streamsv.server.parts import Parts

log = logging.getLogger("streamsv.server")


class ObserverEndpoint:
    """The ASGI application of ``/v1/sessions/{session_id}/events``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        parts: Parts = scope["app"].state.parts
        await receive()  # websocket.connect
        try:
            principal = await who_asks(parts, scope)
            with parts.limits.connection(principal, peer_of(scope)):
                call = _call_of(parts, principal, str(scope["path_params"]["session_id"]))
                after = _after(scope)
                await accept(scope, send)
                await _serve(parts, principal, call, after, receive, send)
        except StreamsvError as error:
            await turn_away(scope, send, error)


def route() -> WebSocketRoute:
    """The route of the result channel."""
    return WebSocketRoute("/v1/sessions/{session_id}/events", ObserverEndpoint())


def _call_of(parts: Parts, principal: Principal, session_id: str) -> Call:
    call = parts.calls.get(session_id)
    # Another key's session is as unknown as one that never was.
    if call is None or (call.owner != principal.key_id and not principal.has("admin")):
        raise UnknownSession(
            "There is no such session, or it ended too long ago. Check its id.", session_id[:64]
        )
    return call


def _after(scope: Scope) -> int:
    given = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])[-1]
    if not (given.isascii() and given.isdigit() and len(given) <= 16):
        raise ProtocolError("after: must be a whole number from 0.", given[:40])
    return int(given)


async def _serve(
    parts: Parts, principal: Principal, call: Call, after: int, receive: Receive, send: Send
) -> None:
    telling = asyncio.create_task(_tell(call, after, send))
    listening = asyncio.create_task(_listen(receive))
    revoking = asyncio.create_task(_until_revoked(parts, principal))
    tasks = (telling, listening, revoking)
    done: set[asyncio.Task[None]] = set()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    with contextlib.suppress(OSError):  # the observer has gone: nobody is there to be told
        if telling in done:
            telling.result()
        elif revoking in done:
            error = AuthenticationError("The API key was revoked. Use another one.")
            await say_goodbye(send, closing.because_of(error))


async def _until_revoked(parts: Parts, principal: Principal) -> None:
    while True:
        await asyncio.sleep(access.RECHECK_S)
        try:
            if not await asyncio.to_thread(parts.gatekeeper.still_valid, principal):
                return
        except StoreError as error:  # somebody holds the file: the next look is soon
            log.error("An observer's key could not be looked up: %s", error.message)


async def _tell(call: Call, after: int, send: Send) -> None:
    async for text in call.subscribe_texts(after):
        await send({"type": "websocket.send", "text": text})
    await say_goodbye(send, Closing(closing.DONE))


async def _listen(receive: Receive) -> None:
    """Until the observer goes; what it says is not listened to."""
    while (await receive())["type"] != "websocket.disconnect":
        pass
