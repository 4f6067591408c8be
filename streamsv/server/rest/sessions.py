"""``/v1/sessions`` and ``/v1/tickets``: what became of a call, and how a browser may open one."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from streamsv.errors import ConfigError, UnknownSession
from streamsv.server.call import Call
from streamsv.server.jsontext import parse_object
from streamsv.server.keys import SCOPES
from streamsv.server.parts import Parts
from streamsv.server.rest.asking import Asker, PartsHere, asker
from streamsv.server.rest.problems import Json, described
from streamsv.server.rest.uploads import read_body

router = APIRouter()

Anybody = Annotated[Asker, Depends(asker())]


class TicketRequest(BaseModel):
    """What a ticket is for."""

    scope: Literal["enroll", "verify", "admin"]


class TicketFields(BaseModel):
    """A ticket, good once; send it as the subprotocol ``streamsv.ticket.<ticket>``."""

    ticket: str
    scope: str
    expires_in_s: float


@router.get(
    "/v1/sessions/{session_id}",
    summary="The result of a session",
    tags=["sessions"],
    response_model=dict[str, Any],
    responses=described(401, 403, 404, 422, 429, 503),
)
async def show_session(parts: PartsHere, by: Anybody, session_id: str) -> Response:
    """What has become of it so far; for the key that opened it, or an admin."""
    return Json(_owned(parts, by, session_id).result())


@router.delete(
    "/v1/sessions/{session_id}",
    summary="End and forget a session",
    tags=["sessions"],
    status_code=204,
    response_class=Response,
    responses=described(401, 403, 404, 422, 429, 503),
)
async def delete_session(parts: PartsHere, by: Anybody, session_id: str) -> Response:
    """End it if it is live, and forget its result and its events."""
    await parts.calls.remove(_owned(parts, by, session_id).session_id)
    return Response(status_code=204)


@router.post(
    "/v1/tickets",
    summary="A ticket for a browser's WebSocket",
    tags=["sessions"],
    status_code=201,
    response_model=TicketFields,
    responses=described(400, 401, 403, 408, 413, 415, 422, 429, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": TicketRequest.model_json_schema()}},
        }
    },
)
async def issue_ticket(request: Request, parts: PartsHere, by: Anybody) -> Response:
    """Good once, for half a minute and one scope of the key that asks."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "Send JSON, with Content-Type application/json.")
    most = parts.config.rest.max_json_bytes
    body = await read_body(request, most, parts.config.media.handshake_s)
    fields = parse_object(body, most, "The body")
    scope = fields.get("scope")
    if set(fields) != {"scope"} or not isinstance(scope, str) or scope not in SCOPES:
        raise ConfigError(f'Send {{"scope": …}} with one of: {", ".join(SCOPES)}.', None)
    ticket = await asyncio.to_thread(parts.gatekeeper.issue_ticket, by.principal, scope)
    return Json(
        {"ticket": ticket.ticket, "scope": ticket.scope, "expires_in_s": ticket.expires_in_s},
        status_code=201,
        headers={"Cache-Control": "no-store"},
    )


def _owned(parts: Parts, by: Asker, session_id: str) -> Call:
    """The session, if ``by`` may know of it: another key's is as unknown as one that never was."""
    call = parts.calls.get(session_id)
    if call is None or (call.owner != by.key_id and not by.principal.has("admin")):
        raise UnknownSession(
            "There is no such session, or it ended too long ago. Check its id.", session_id[:64]
        )
    return call
