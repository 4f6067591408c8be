"""JSON from strangers: one object, with bounds on its size, its depth and its numbers."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from streamsv.errors import ProtocolError

MAX_DEPTH = 8
_MOST_DIGITS = 64


def parse_object(
    text: str | bytes, max_bytes: int, what: str, max_depth: int = MAX_DEPTH
) -> dict[str, Any]:
    """The one JSON object that ``text`` is (RFC 8259, UTF-8).

    Refused are also NaN and Infinity, which are not JSON; a key that stands twice in one object,
    where one reader would take the first and another the last; numbers of more than 64 characters
    or beyond the range of a float; and text that is not Unicode (half a surrogate pair).

    Raises ProtocolError, whose sentence begins with ``what``, such as "The start message".
    """
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise ProtocolError(f"{what} may have {max_bytes} bytes, and has {size}.", size)
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{what} is not UTF-8 text.") from error
    # Looking at each character takes long: only where there are brackets enough for it.
    if decoded.count("{") + decoded.count("[") > max_depth and _depth(decoded) > max_depth:
        raise ProtocolError(f"{what} is nested deeper than {max_depth}.", max_depth)
    try:
        found = json.loads(
            decoded,
            object_pairs_hook=_without_twins,
            parse_constant=_refuse,
            parse_int=_whole,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ProtocolError(f"{what} is not JSON as it should be: {reason}.") from error
    if not isinstance(found, dict):
        raise ProtocolError(f"{what} must be one JSON object, {{...}}.", type(found).__name__)
    if "\\u" in decoded and _holds_surrogate(found):
        raise ProtocolError(f"{what} holds half a surrogate pair, which is no character.")
    return found


def _depth(text: str) -> int:
    """How deeply brackets are nested outside strings, without parsing."""
    deepest = depth = 0
    is_string = is_escaped = False
    for character in text:
        if is_escaped:
            is_escaped = False
        elif is_string:
            is_escaped = character == "\\"
            is_string = character != '"'
        elif character == '"':
            is_string = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _holds_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return any(_holds_surrogate(key) or _holds_surrogate(item) for key, item in value.items())
    if isinstance(value, list):
        return any(_holds_surrogate(item) for item in value)
    return False
