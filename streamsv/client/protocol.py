"""One stream of the native media protocol from the caller's side, without a socket.

For each connection: send :meth:`StreamProtocol.start_message`; then send what
:meth:`~StreamProtocol.next_message` gives until it gives ``None``, and pass what comes to
:meth:`~StreamProtocol.receive`, which gives events. After a dropped connection do the same on the
next: the protocol asks to resume, sends again what the server lacks, and no event comes twice.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from streamsv.audio import AudioFormat
from streamsv.client.closing import error_of_message
from streamsv.client.outbox import Gap, Outbox
from streamsv.client.wire import Started, event_of, started_of
from streamsv.errors import ProtocolError, SessionClosed, StreamsvError
from streamsv.events import Event, SessionEnded

VERSION = 1
MOST_MESSAGE_BYTES = 16_384


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What a stream is to be: the fields of its start message.

    ``mode`` is ``verify``, ``identify`` or ``enroll``; ``more`` are further fields, such as
    ``consent``, ``call_id`` or ``metadata``.
    """

    mode: str
    speakers: tuple[str, ...]
    audio: AudioFormat
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class StreamProtocol:
    """Bytes and JSON of one stream over as many connections as it takes.

    Parameters
    ----------
    wish:
        What is asked of the server.
    kept_s:
        Seconds of sound that are kept to be sent again after a dropped connection.
    is_live:
        Whether the source cannot wait, so that older sound is lost, also if it was never sent.

    Attributes
    ----------
    started:
        What the server granted, ``None`` before it did.
    error:
        What the server reported before it closed.
    resumptions:
        How often a further connection has gone on where the one before broke.
    """

    def __init__(self, wish: Wish, kept_s: float, is_live: bool = False) -> None:
        self.started: Started | None = None
        self.error: StreamsvError | None = None
        self.resumptions = 0
        self._wish = wish
        self._outbox = Outbox(wish.audio, kept_s, is_live)
        self._last_seq = 0
        self._is_open = False
        self._is_stopped = False
        self._is_stop_sent = False
        self._is_ended = False

    @property
    def is_open(self) -> bool:
        """Whether the server has said ``session_started`` on the present connection."""
        return self._is_open

    @property
    def is_stopped(self) -> bool:
        """Whether the caller has said that no more sound comes."""
        return self._is_stopped

    @property
    def is_ended(self) -> bool:
        """Whether ``session_ended`` has come: nothing is missing."""
        return self._is_ended

    @property
    def sent_samples(self) -> int:
        """Position of what was handed out to be sent."""
        return self._outbox.sent

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that the server is not known to have."""
        return self._outbox.waiting / self._wish.audio.sample_rate

    def send(self, chunk: bytes) -> None:
        """Add sound. Raises SessionClosed after :meth:`stop`."""
        self._check_open()
        self._outbox.put(chunk)

    def gap(self, ms: float) -> None:
        """The source lost ``ms`` milliseconds. Raises SessionClosed after :meth:`stop`."""
        self._check_open()
        if not 0 <= ms < float("inf"):
            raise ProtocolError("The length of a gap is 0 milliseconds or more.", ms)
        self._outbox.put_gap(ms)

    def stop(self) -> None:
        """No more sound comes; saying so twice is fine."""
        self._is_stopped = True

    def start_message(self) -> str:
        """The first message of a connection. What was open before is taken to be lost."""
        self._is_open = False
        self._is_stop_sent = False
        audio = self._wish.audio
        token = self.started.resume_token if self.started is not None else None
        resume = None if token is None else {"token": token, "last_seq": self._last_seq}
        fields = {
            "type": "start",
            "version": VERSION,
            "mode": self._wish.mode,
            "speakers": list(self._wish.speakers),
            "audio": {
                "encoding": str(audio.encoding),
                "sample_rate": audio.sample_rate,
                "channels": audio.channels,
            },
            **self._wish.more,
        }
        return json.dumps(fields | ({"resume": resume} if resume else {}))

    def next_message(self, most_bytes: int = MOST_MESSAGE_BYTES) -> str | bytes | None:
        """What to send next, ``None`` if there is nothing now."""
        if not self._is_open or self._is_stop_sent:
            return None
        content = self._outbox.take(most_bytes)
        if isinstance(content, Gap):
            return json.dumps({"type": "gap", "ms": content.ms})
        if content is None and self._is_stopped:
            self._is_stop_sent = True
            return json.dumps({"type": "stop"})
        return content

    def acknowledge(self, position: int) -> None:
        """The server has the sound up to ``position``, a former :attr:`sent_samples`."""
        self._outbox.acknowledge(position)

    def receive(self, message: str | bytes) -> list[Event]:
        """The events in ``message`` that are new. Raises ProtocolError for what is no message."""
        fields = _fields_of(message)
        kind = fields.get("type")
        if kind == "error":
            self.error = error_of_message(fields)
            return []
        if not self._is_open:
            return self._begin(fields)
        if kind == "received":
            position = fields.get("received_samples")
            if isinstance(position, int):
                self._outbox.acknowledge(position)
            return []
        if "at_s" not in fields:
            return []
        seq = fields.get("seq")
        if not isinstance(seq, int):
            raise ProtocolError("The server sent an event without its seq.", str(kind))
        if seq <= self._last_seq:
            return []
        self._last_seq = seq
        event = event_of(fields)
        self._is_ended = self._is_ended or isinstance(event, SessionEnded)
        return [event]

    def _begin(self, fields: Mapping[str, Any]) -> list[Event]:
        is_first = self.started is None
        started = started_of(fields)
        self._outbox.resume(started.received_samples)
        self.started = started
        self._is_open = True
        if not is_first:
            self.resumptions += 1
            return []
        seq = fields.get("seq")
        self._last_seq = seq if isinstance(seq, int) else 0
        return [started.event]

    def _check_open(self) -> None:
        if self._is_stopped:
            raise SessionClosed("This stream has been stopped. Open another for more sound.")


def _fields_of(message: str | bytes) -> dict[str, Any]:
    try:
        fields = json.loads(message)
    except ValueError:
        fields = None
    if isinstance(message, bytes) or not isinstance(fields, dict):
        raise ProtocolError(
            "The server sent something that is not a JSON object. Check that the address is that "
            "of a streamsv server."
        )
    return fields
