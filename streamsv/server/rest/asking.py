"""Who sends a request, asked before its body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from streamsv.errors import NotAllowed
from streamsv.server.access import Principal
from streamsv.server.door import peer_of
from streamsv.server.parts import Parts, parts_of

_BEARER = HTTPBearer(auto_error=False, description="An API key: `streamsv keys create`.")


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sends a request, from which address."""

    principal: Principal
    peer: str

    @property
    def key_id(self) -> str:
        """The id of the key."""
        return self.principal.key_id


def _parts(request: Request) -> Parts:
    return parts_of(request)


PartsHere = Annotated[Parts, Depends(_parts)]
"""The parts of the application, for a handler."""


async def who_asks(request: Request, parts: Parts) -> Asker:
    """Who sends ``request``. Raises AuthenticationError, NotAllowed or LimitReached."""
    peer = peer_of(request.scope)
    headers = request.headers

    def ask() -> Principal:
        parts.gatekeeper.check_origin(headers.get("origin"), headers.get("host"))
        return parts.gatekeeper.authenticate_header(headers.get("authorization"), peer)

    return Asker(await asyncio.to_thread(ask), peer)


def asker(*scopes: str) -> Callable[..., Awaitable[Asker]]:
    """A dependency: who asks, if their key is for one of ``scopes``; for any, if there is none."""

    async def dependency(
        request: Request,
        parts: PartsHere,
        _shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None,
    ) -> Asker:
        found = await who_asks(request, parts)
        if scopes and not any(found.principal.has(scope) for scope in scopes):
            raise NotAllowed(
                f"This needs a key with the scope {' or '.join(scopes)}. Make one with "
                "`streamsv keys create`.",
                scopes[0],
            )
        return found

    return dependency
