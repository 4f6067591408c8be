"""Why a server refused or closed, as an error that says what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from streamsv import errors
from streamsv.errors import (
    AuthenticationError,
    CapacityError,
    ProtocolError,
    ServerError,
    SessionClosed,
    StreamsvError,
)

RESTARTING = 1012
_DONE = 1000
_NO_CAPACITY = 1013
_TAKEN_OVER = "taken_over"
_RESUMABLE = frozenset({1001, 1006, RESTARTING})
"""Gone away, broken, restarting: the session may be found again."""

_MEANING: Mapping[int, tuple[type[StreamsvError], str]] = {
    _DONE: (
        SessionClosed,
        "The server ended the session and did not say what became of it. Start a new one.",
    ),
    1002: (ProtocolError, "The server could not follow the WebSocket protocol."),
    1003: (ProtocolError, "The server got audio before the start message."),
    1007: (ProtocolError, "The server did not understand a message."),
    1008: (AuthenticationError, "The server does not allow this. Check the key and its scope."),
    1009: (ProtocolError, "A message was too large for the server. Send smaller pieces."),
    1011: (ServerError, "The server failed. Its log has more about it; try again."),
    _NO_CAPACITY: (CapacityError, "The server has no room for another session. Try again later."),
    4408: (ProtocolError, "The start message came too late for the server."),
    4409: (SessionClosed, "The server ended the session because it got no audio for too long."),
    4410: (SessionClosed, "The server ended the session because it has lasted too long."),
    4412: (SessionClosed, "The session cannot be resumed any more. Start a new one."),
}

_HTTP_MEANING: Mapping[int, tuple[type[StreamsvError], str]] = {
    401: (AuthenticationError, "The server wants an API key, or does not know the one it got."),
    403: (AuthenticationError, "The server does not allow this with this key or from here."),
    404: (ProtocolError, "The server does not know this address. Check that it is streamsv's."),
    429: (CapacityError, "The server got too many requests. Try again later."),
    503: (CapacityError, "The server has no room now. Try again later."),
}

_BY_CODE = {
    each.code: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, StreamsvError)
}
_RETRY_AFTER = re.compile(r"retry after (\d+(?:\.\d+)?) s", re.IGNORECASE)


def can_resume(code: int | None) -> bool:
    """Whether a connection that closed with ``code`` (``None``: it broke) may be resumed."""
    return code is None or code in _RESUMABLE


def error_of_close(code: int | None, reason: str) -> StreamsvError:
    """The error that a close ``code`` with its ``reason`` stands for.

    A reason that begins with the code of an error and a colon names that error. The ``value`` of
    a CapacityError is the number of seconds after which to try again, ``None`` if not said; that
    of any other is the close code.
    """
    kind, sentence = _MEANING.get(
        code or 0, (ServerError, f"The server closed the connection with code {code}.")
    )
    name, colon, rest = reason.partition(": ")
    if colon and name == _TAKEN_OVER:
        kind, sentence = SessionClosed, "Another connection has resumed this session."
    elif colon and name in _BY_CODE:
        kind, sentence = _BY_CODE[name], rest
    elif reason:
        sentence = f"{sentence} It says: {reason}"
    return kind(sentence, _retry_after(reason) if issubclass(kind, CapacityError) else code)


def error_of_response(status: int, headers: Mapping[str, str], body: bytes) -> StreamsvError:
    """The error that an HTTP response stands for; values as in :func:`error_of_close`."""
    said = _error_in(body)
    kind, sentence = _HTTP_MEANING.get(
        status, (ServerError if status >= 500 else ProtocolError, f"The server answered {status}.")
    )
    kind = _BY_CODE.get(str(said.get("code")), kind)
    message = said.get("message")
    value: Any = said.get("value")
    if issubclass(kind, CapacityError):
        value = _retry_after(f"retry after {headers.get('Retry-After', '')} s")
    return kind(message if isinstance(message, str) else sentence, value)


def error_of_message(fields: Mapping[str, Any]) -> StreamsvError:
    """The error that a server describes in JSON: ``code``, ``message``, ``value``."""
    kind = _BY_CODE.get(str(fields.get("code")), ServerError)
    return kind(str(fields.get("message", "The server reported an error.")), fields.get("value"))


def _retry_after(text: str) -> float | None:
    found = _RETRY_AFTER.search(text)
    return float(found.group(1)) if found else None


def _error_in(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    error = said.get("error", said) if isinstance(said, dict) else None
    return error if isinstance(error, dict) else {}
