"""Every error as one JSON shape: ``{"error": {"code", "message", "value"}}``."""

from __future__ import annotations

import json
import logging
import math
import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from streamsv import errors

log = logging.getLogger("streamsv.server")

STATUS_OF: Mapping[type[errors.StreamsvError], int] = {
    errors.UnsupportedAudio: 422,
    errors.NotEnoughSpeech: 422,
    errors.InconsistentEnrollment: 422,
    errors.ConfigError: 422,
    errors.UnknownSpeaker: 404,
    errors.UnknownSession: 404,
    errors.VoiceprintExists: 409,
    errors.ModelMismatch: 409,
    errors.ProtocolError: 400,
    errors.SessionClosed: 409,
    errors.NotAllowed: 403,
    errors.AuthenticationError: 401,
    errors.LimitReached: 429,
    errors.CapacityError: 503,
    errors.StoreError: 503,
}
"""The status of each error, or of its nearest parent here. What is not here is our fault: 500."""

_CODE_OF_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
}
_RETRY_S = 5
_NOT_ERASED = (
    "The voiceprint is deleted, and nobody can be verified by it. Bytes of it may remain in the "
    "files of this server until another program lets go of them; the next deletion erases them."
)
_STORE_FAILED = "The files of this server cannot be used just now. Its log says why; try again."


class ProblemDetail(BaseModel):
    """What was wrong: a stable code, a sentence that says what to do, and the value."""

    code: str = Field(examples=["unknown_speaker"])
    message: str
    value: str | int | float | bool | None = None


class Problem(BaseModel):
    """The answer to every request that fails."""

    error: ProblemDetail


class Json(Response):
    """JSON in ASCII, so that whatever a stranger sent can be shown to them again."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """One line of JSON."""
        return json.dumps(content, ensure_ascii=True, allow_nan=False).encode("ascii")


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer these statuses, for OpenAPI."""
    return {status: {"model": Problem} for status in statuses}


def problem(
    status: int,
    code: str,
    message: str,
    value: Any = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Json:
    """An error as a response; ``more`` are further fields of it."""
    fields = {"code": code, "message": message, "value": value, **more}
    if status == 503:
        headers = {"Retry-After": str(_RETRY_S), **(headers or {})}
    return Json({"error": fields}, status_code=status, headers=headers)


def problem_of(error: errors.StreamsvError, **more: Any) -> Json:
    """One of our errors as a response."""
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)
    fields = error.to_dict()
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        wait_s = error.value if isinstance(error.value, int | float) else _RETRY_S
        headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    if status >= 500:
        log.error("%s: %s", error.code, error.message)
    if isinstance(error, errors.StoreError):  # it may name a file of this machine: for the log only
        is_gone = isinstance(error, errors.NotErased)
        fields |= {"message": _NOT_ERASED if is_gone else _STORE_FAILED, "value": None}
    return problem(status, fields["code"], fields["message"], fields["value"], headers, **more)


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` in the one shape."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.StreamsvError)
        if isinstance(error, errors.AuthenticationError | errors.CapacityError):
            request.app.state.parts.metrics.refused(error.code)
        return problem_of(error)

    async def of_http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODE_OF_STATUS.get(error.status_code, "http")
        return problem(error.status_code, code, str(error.detail), headers=error.headers)

    async def invalid(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        given = first.get("input")
        shown = given if isinstance(given, str | int | bool) or given is None else str(given)
        return problem(422, "invalid", f"{where}: {first['msg']}.", shown)

    async def gone(_request: Request, _error: Exception) -> Response:
        return problem(400, "bad_request", "The connection ended before the request did.")

    async def unforeseen(_request: Request, error: Exception) -> Response:
        incident = secrets.token_hex(6)
        log.error("Incident %s: %s", incident, type(error).__name__, exc_info=error)
        return problem(
            500, "internal", f"The server failed; its log says more under {incident}.", incident
        )

    app.add_exception_handler(errors.StreamsvError, ours)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, unforeseen)
