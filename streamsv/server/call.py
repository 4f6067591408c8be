"""One call: its session, what it has said so far, and the connection that it has just now.

Everything here runs on the event loop. What a call has said is kept in a bounded ring, so that a
connection that comes back gets what it missed, and an observer may come late.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from streamsv.errors import ProtocolError, ResumeWindowOver
from streamsv.server import closing
from streamsv.server.access import Principal
from streamsv.server.closing import Closing
from streamsv.server.config import ServeConfig
from streamsv.server.inbox import Inbox
from streamsv.server.messages import Start
from streamsv.server.opening import Opened
from streamsv.server.results import ENDED, ONGOING, Result
from streamsv.server.streams import Said, Stream, said
from streamsv.server.worker import Worker

STOPPED = "stopped"
"""The ``end_reason`` of a session whose client said ``stop``."""


class Connection(Protocol):
    """The socket that a call's events go to."""

    def tell(self, said: list[Said]) -> None:
        """Write these events."""

    def close(self, why: Closing) -> None:
        """Write what is still to be written, and close."""

    def go_on(self) -> None:
        """Read again: there is room."""


class Call:
    """One session and its connection, if it has one just now.

    Parameters
    ----------
    start:
        What was asked for.
    principal, peer:
        Who asked, from which address.
    opened:
        The session.
    worker:
        Whose thread runs it.
    config:
        Bounds.
    """

    def __init__(
        self,
        start: Start,
        principal: Principal,
        peer: str,
        opened: Opened,
        worker: Worker,
        config: ServeConfig,
    ) -> None:
        self.session_id = secrets.token_urlsafe(16)
        self.start = start
        self.principal = principal
        self.peer = peer
        self.terms = opened.terms
        self.opened_at = time.monotonic()
        self.started_at = _now()
        self.ended_at: str | None = None
        self.ended_mono: float | None = None
        self.end_reason: str | None = None
        self.received_frames = 0
        self.connection: Connection | None = None
        self.dropped_at: float | None = None
        self.tokens: list[str] = []
        self.releases = contextlib.ExitStack()
        self.closing: Closing | None = None
        self.went_to_store = False
        self.audited: dict[str | None, str] = {}
        self.worker = worker
        self._rate = start.audio.sample_rate
        self._inbox = Inbox(start.audio, config.media.inbox_s, start.is_real_time)
        self._error: dict[str, Any] | None = None
        self._ring: collections.deque[tuple[int, str]] = collections.deque(
            maxlen=config.media.replay_events
        )
        self._observers: set[asyncio.Event] = set()
        first = [said(n, event) for n, event in enumerate(opened.session.feed(b""), 1)]
        self._first_fields = first[0].fields
        self._seq = 0
        self._result = Result(
            start.mode,
            tuple(self._first_fields["speakers"]),
            opened.terms.get("decision", {}).get("min_net_speech_s", 0.0),
        )
        self.stream: Stream | None = Stream(opened.session, self._inbox, len(first))
        self._remember(first)

    @property
    def owner(self) -> str:
        """The id of the key that opened it."""
        return self.principal.key_id

    @property
    def mode(self) -> str:
        """``verify``, ``identify`` or ``enroll``."""
        return self.start.mode

    @property
    def call_id(self) -> str | None:
        """The caller's own name for it."""
        return self.start.call_id

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.ended_mono is None

    def put_audio(self, data: bytes, frames: int, read_at: float) -> bool:
        """Take whole frames; whether there is room for more. After the end they are left out."""
        if self.end_reason is not None:
            return True
        self.received_frames += frames
        has_room = self._inbox.put_audio(data, read_at)
        self._wake()
        return has_room

    def put_gap(self, ms: float) -> bool:
        """The source lost so much; whether there is room for more."""
        if self.end_reason is not None:
            return True
        frames = max(1, round(ms * self._rate / 1000))
        self.received_frames += frames
        has_room = self._inbox.put_gap(frames)
        self._wake()
        return has_room

    def finish(self, reason: str, why: Closing | None = None) -> None:
        """No more audio comes: what is left is said, then the socket is closed as ``why`` says."""
        if self.stream is not None and self.end_reason is None:
            self.end_reason = reason
            self.closing = why or Closing(closing.DONE)
            self._inbox.put_end()
            self._wake()

    def attach(self, connection: Connection, last_seq: int, shown: str | None = None) -> list[str]:
        """From now on events go to ``connection``: the texts to begin with, ``session_started``
        and all after ``last_seq``. A connection that the call had before is closed.

        ``shown`` is the token that ``connection`` came with. It stays good beside the new one until
        :meth:`confirm`: if the answer does not arrive, it is the only one that the client has.

        Raises ResumeWindowOver if events after ``last_seq`` are no longer kept.
        """
        oldest = self._ring[0][0] if self._ring else self._seq + 1
        if last_seq > self._seq:
            raise ProtocolError(
                f"resume.last_seq: this session has given {self._seq} events so far.", last_seq
            )
        if max(last_seq, 1) + 1 < oldest:
            raise ResumeWindowOver(
                f"Events after {last_seq} are no longer kept. Start another session.", last_seq
            )
        if self.connection is not None:
            self.connection.close(
                closing.closed(
                    closing.NOT_ALLOWED, "taken_over", "another connection resumed this session."
                )
            )
        self.connection = connection
        self.dropped_at = None
        new = secrets.token_urlsafe(32)
        self.tokens = [new] if shown is None else [shown, new]
        started = {
            **self._first_fields,
            "session_id": self.session_id,
            "resume_token": new,
            "received_samples": self.received_frames,
            **self.terms,
        }
        texts = [json.dumps(started, separators=(",", ":"))]
        return texts + [text for _, text in self._after(max(last_seq, 1))]

    def confirm(self) -> None:
        """The client has got its token and speaks: the one before is used up."""
        del self.tokens[:-1]

    def detach(self, connection: Connection) -> None:
        """The connection is gone; the call waits for another."""
        if self.connection is connection:
            self.connection = None
            self.dropped_at = time.monotonic()

    def go_on(self) -> None:
        """Let the connection read again if there is room."""
        if self.connection is not None and self._inbox.resume():
            self.connection.go_on()

    def result(self) -> dict[str, Any]:
        """What has become of it so far, as JSON-ready fields."""
        audio = self.start.audio
        return {
            "session_id": self.session_id,
            "call_id": self.call_id,
            "mode": self.mode,
            "status": ONGOING if self.is_live else ENDED,
            "end_reason": None if self.is_live else self.end_reason,
            "is_connected": self.connection is not None,
            "speakers": list(self._first_fields["speakers"]),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "audio": {
                "encoding": str(audio.encoding),
                "sample_rate": audio.sample_rate,
                "channels": audio.channels,
            },
            "received_samples": self.received_frames,
            **self._result.to_dict(),
            "error": self._error,
            "metadata": dict(self.start.metadata),
        }

    def events_after(self, seq: int) -> list[dict[str, Any]]:
        """The events after number ``seq`` that are still kept."""
        return [json.loads(text) for _, text in self._after(seq)]

    async def subscribe(self, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The events after number ``after``, as they come, until the session has ended.

        Who is too slow for the ring misses the oldest, and sees it by ``seq``. The last one is an
        ``error`` if the session failed.
        """
        async for text in self.subscribe_texts(after):
            yield json.loads(text)

    async def subscribe_texts(self, after: int = 0) -> AsyncIterator[str]:
        """:meth:`subscribe` without parsing."""
        news = asyncio.Event()
        self._observers.add(news)
        try:
            while True:
                news.clear()
                found = list(self._after(after))
                for seq, text in found:
                    yield text
                    after = seq
                if not found:
                    if not self.is_live:
                        break
                    await news.wait()
            if self._error is not None:
                yield json.dumps(self._error, separators=(",", ":"))
        finally:
            self._observers.discard(news)

    def take(self, found: list[Said]) -> None:
        """What the worker's round gave: kept, and told to whoever listens."""
        self._remember(found)
        if self.connection is not None:
            self.connection.tell(found)
        self._notify()

    def end(self, why: Closing) -> None:
        """It has ended, and how: nothing more is said. A second call does nothing."""
        if self.ended_mono is not None:
            return
        self.ended_mono = time.monotonic()
        self.ended_at = _now()
        self.end_reason = self.end_reason or "failed"
        self.closing = why.to_keep()
        self.stream = None
        self._inbox.discard()  # of a stream that failed, what was not heard is still there
        self._result.end()
        if why.error is not None:
            self.end_reason = "failed"
            self._error = why.error.to_dict()
        self.releases.close()
        if self.connection is not None:
            self.connection.close(why)
        self._notify()

    def forget_events(self) -> None:
        """Let go of the events; the result stays."""
        self._ring.clear()
        self.tokens.clear()

    def _remember(self, found: list[Said]) -> None:
        for each in found:
            self._seq = each.seq
            self._ring.append((each.seq, each.text))
            self._result.take(each.event)

    def _after(self, seq: int) -> Iterator[tuple[int, str]]:
        if not self._ring:
            return iter(())
        skipped = max(0, seq + 1 - self._ring[0][0])
        return iter(list(itertools.islice(self._ring, skipped, None)))

    def _notify(self) -> None:
        for observer in self._observers:
            observer.set()

    def _wake(self) -> None:
        if self.stream is not None:
            self.worker.wake(self.stream)


def _now() -> str:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    return now.replace("+00:00", "Z")
