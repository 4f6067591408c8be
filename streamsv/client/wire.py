"""Events out of the JSON that a server sends, as the dataclasses of :mod:`streamsv.events`.

A server may be newer than its client: fields that are not known are passed over, and an event
that is not known, or says something unknown, arrives as :class:`UnknownEvent` with its fields.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar

from streamsv import events
from streamsv.errors import ProtocolError
from streamsv.events import Event, SessionStarted


@dataclasses.dataclass(frozen=True, slots=True)
class UnknownEvent(Event):
    """An event of a newer server; ``fields`` is all of it, ``type`` included."""

    type: ClassVar[str] = "unknown"
    fields: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The fields as they came."""
        return dict(self.fields)


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """What a server grants with ``session_started``, beside the event itself.

    ``received_samples`` is the position up to which it has the sound, in samples of one channel
    at the source's rate, gaps included; ``resume_token`` (in no ``repr``) goes on after a
    dropped connection. ``decision`` has ``accept_llr`` and ``reject_llr``
    of the first look and ``min_net_speech_s``; ``steps`` are (net speech, accept LLR, reject LLR)
    from the first look on;
    ``enrollment`` has ``wanted_net_speech_s`` and ``min_net_speech_s``; each ``None`` where the
    server does not say.
    """

    event: SessionStarted
    session_id: str
    resume_token: str | None = dataclasses.field(repr=False)
    received_samples: int
    decision: Mapping[str, float] | None
    steps: tuple[tuple[float, float, float], ...]
    enrollment: Mapping[str, float] | None


def event_of(fields: Mapping[str, Any]) -> Event:
    """The event that ``fields`` describe. Raises ProtocolError if they describe none."""
    kind, at_s = fields.get("type"), fields.get("at_s")
    if not isinstance(kind, str) or not _is_number(at_s):
        raise ProtocolError(
            "The server sent something that is not an event. Check that the address is that of a "
            "streamsv server, and that both are of one version.",
            str(kind),
        )
    found = _classes().get(kind)
    if found is not None:
        try:
            return typing.cast(Event, _built(found, fields))
        except (KeyError, TypeError, ValueError):
            pass
    return UnknownEvent(float(typing.cast(float, at_s)), dict(fields))


def started_of(fields: Mapping[str, Any]) -> Started:
    """What a ``session_started`` grants. Raises ProtocolError if it lacks what a client needs."""
    event = event_of(fields)
    session_id, received = fields.get("session_id"), fields.get("received_samples", 0)
    is_whole = isinstance(session_id, str) and isinstance(received, int) and received >= 0
    if not isinstance(event, SessionStarted) or not is_whole:
        raise ProtocolError(
            "The server did not begin with session_started. Check that the address is that of a "
            "streamsv server, and that both are of one version.",
            str(fields.get("type")),
        )
    return Started(
        event,
        str(session_id),
        fields.get("resume_token"),
        int(received),
        _numbers(fields.get("decision")),
        _steps(fields.get("decision")),
        _numbers(fields.get("enrollment")),
    )


@functools.cache
def _classes() -> dict[str, type[Event]]:
    return {
        each.type: each
        for each in vars(events).values()
        if isinstance(each, type) and issubclass(each, Event) and each is not Event
    }


def _built(wanted: type, fields: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(wanted)
    names = [field.name for field in dataclasses.fields(wanted)]
    return wanted(**{name: _value(hints[name], fields[name]) for name in names})


def _value(wanted: Any, given: Any) -> Any:
    """``given`` as ``wanted``: raises TypeError or ValueError for what it cannot be."""
    if typing.get_origin(wanted) is types.UnionType:
        if given is None:
            return None
        (wanted,) = (each for each in typing.get_args(wanted) if each is not types.NoneType)
    if typing.get_origin(wanted) is tuple:
        return tuple(_value(typing.get_args(wanted)[0], each) for each in given)
    if dataclasses.is_dataclass(wanted):
        return _built(typing.cast(type, wanted), given)
    if issubclass(wanted, enum.Enum):
        return wanted(given)
    if wanted is float and _is_number(given):
        return float(given)
    if type(given) is not wanted:
        raise TypeError(f"{given!r} is not {wanted}")
    return given


def _numbers(given: Any) -> Mapping[str, float] | None:
    if not isinstance(given, Mapping):
        return None
    return {str(name): float(each) for name, each in given.items() if _is_number(each)}


def _steps(decision: Any) -> tuple[tuple[float, float, float], ...]:
    found = decision.get("steps") if isinstance(decision, Mapping) else None
    if not isinstance(found, list):
        return ()
    return tuple(
        (float(each[0]), float(each[1]), float(each[2]))
        for each in found
        if isinstance(each, list) and len(each) == 3 and all(map(_is_number, each))
    )


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)
