"""The media socket, ``/v1/stream``: audio in, events out (docs/protocol.md).

A plain ASGI application. Where the server is ours, audio takes the short way of
:mod:`streamsv.server.wire`; what is said and done is the same either way.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import time

from starlette.routing import WebSocketRoute

from streamsv.errors import ProtocolError, StreamsvError
from streamsv.server import background, closing, wire
from streamsv.server.access import Principal
from streamsv.server.call import STOPPED
from streamsv.server.calls import Call
from streamsv.server.closing import Closing
from streamsv.server.door import (
    Message,
    Receive,
    Scope,
    Send,
    accept,
    peer_of,
    say_goodbye,
    turn_away,
    who_asks,
)
from streamsv.server.messages import DtmfMessage, GapMessage, parse_message, parse_start
from streamsv.server.pace import Pace
from streamsv.server.parts import Parts
from streamsv.server.streams import Said

log = logging.getLogger("streamsv.server")

_CHECK_S = 1.0


class MediaEndpoint:
    """The ASGI application of ``/v1/stream``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        parts: Parts = scope["app"].state.parts
        await receive()  # websocket.connect
        try:
            principal = await who_asks(parts, scope)
            with parts.limits.connection(principal, peer_of(scope)):
                await accept(scope, send)
                await MediaSocket(parts, principal, scope, receive, send).run()
        except StreamsvError as error:
            parts.metrics.refused(error.code)
            await turn_away(scope, send, error)


class MediaSocket:
    """One open media connection.

    Parameters
    ----------
    parts:
        The application.
    principal:
        Who asks.
    scope, receive, send:
        ASGI's.
    """

    def __init__(
        self, parts: Parts, principal: Principal, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._parts = parts
        self._principal = principal
        self._peer = peer_of(scope)
        self._receive = receive
        self._send = send
        self._wire: wire.Wire | None = scope.get("extensions", {}).get(wire.EXTENSION)
        self._media = parts.config.media
        self._call: Call | None = None
        self._frame_bytes = 1
        self._tail = b""
        self._heard_at = time.monotonic()
        self._acknowledged = 0
        self._ack_every = 0
        self._is_confirmed = False
        self._is_full = False
        self._pace = Pace(self._media.controls_per_s, self._media.controls_at_once)
        self._rest: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._closing: Closing | None = None
        self._outgoing: collections.deque[str | Said] = collections.deque()
        self._unsent = 0
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Serve it to its end."""
        call = await self._begin()
        if call is None:
            return
        writer = background.begin("The writer of a media socket", self._write())
        watch = background.begin("The watch over a media socket", self._watch(call))
        try:
            if self._wire is not None:
                self._wire.tap(self.hear)
            await self._read()
        finally:
            watch.cancel()
            if self._rest is not None:
                self._rest.cancel()
            call.detach(self)
            if self._closing is None:
                writer.cancel()
            await asyncio.wait([writer, watch], timeout=10)
            writer.cancel()

    def tell(self, said: list[Said]) -> None:
        """Write events."""
        if self._closing is not None:
            return
        if self._wire is not None and not self._outgoing:
            self._wire.write([each.text for each in said])
            self._measure(said)
            self._check_unsent(self._wire.unsent_bytes)
            return
        self._outgoing.extend(said)
        self._unsent += sum(len(each.text) for each in said)
        self._news.set()
        self._check_unsent(self._unsent)

    def close(self, why: Closing) -> None:
        """Write what is left, then close."""
        if self._closing is None:
            self._closing = why
            self._news.set()
            self._room.set()
            self._is_full = False
            if self._rest is not None:
                self._rest.cancel()
                self._rest = None
            self._read_again()  # the peer's own close is still to be read

    def go_on(self) -> None:
        """There is room again."""
        self._is_full = False
        self._read_again()

    @property
    def _is_held(self) -> bool:
        """Whether nothing is read: there is no room, or too many messages came."""
        return self._is_full or self._rest is not None

    def _hold(self) -> None:
        self._room.clear()
        if self._wire is not None:
            self._wire.hold()

    def _read_again(self) -> None:
        if self._is_held:
            return
        self._heard_at = time.monotonic()
        self._room.set()
        if self._wire is not None:
            self._wire.go_on()

    def hear(self, message: bytes | str) -> None:
        """One message after ``start``. Never raises."""
        call = self._call
        if self._closing is not None or call is None:
            return
        try:
            self._hear(call, message)
        except Exception as error:  # noqa: BLE001 - the call fails, is told so, and the log has it
            self._parts.calls.fail(call, closing.because_of(error, call.session_id))

    def _hear(self, call: Call, message: bytes | str) -> None:
        self._heard_at = read_at = time.monotonic()
        if not self._is_confirmed:
            self._is_confirmed = True
            self._parts.calls.confirm(call)
        if isinstance(message, bytes):
            has_room = self._take_audio(call, message, read_at)
        else:
            has_room = self._take_text(call, message)
            self._pace.take(read_at)
            self._keep_pace()
        if call.received_frames - self._acknowledged >= self._ack_every:
            self._acknowledge(call)
        if not has_room and not self._is_full and self._closing is None:
            self._is_full = True
            self._hold()

    def _keep_pace(self) -> None:
        """If there were too many text messages, nothing is read for a while."""
        wait_s = self._pace.wait_s(time.monotonic())
        if wait_s > 0 and self._rest is None and self._closing is None:
            self._rest = asyncio.get_running_loop().call_later(wait_s, self._rested)
            self._hold()

    def _rested(self) -> None:
        self._rest = None
        self._keep_pace()
        self._read_again()

    def _take_audio(self, call: Call, message: bytes, read_at: float) -> bool:
        data = self._tail + message if self._tail else message
        cut = len(data) % self._frame_bytes
        if cut:
            self._tail, data = data[-cut:], data[:-cut]
        elif self._tail:
            self._tail = b""
        if not data:
            return True
        return call.put_audio(data, len(data) // self._frame_bytes, read_at)

    def _take_text(self, call: Call, text: str) -> bool:
        if call.end_reason is not None:
            return True  # what comes after `stop` is left out, whatever it is
        try:
            message = parse_message(text, self._media)
        except ProtocolError as error:
            self._parts.calls.fail(call, closing.because_of(error, call.session_id))
            return True
        if isinstance(message, GapMessage):
            self._tail = b""
            return call.put_gap(message.ms)
        if not isinstance(message, DtmfMessage):
            self._acknowledge(call)
            self._parts.calls.finish(call, STOPPED)
        return True

    def _acknowledge(self, call: Call) -> None:
        self._acknowledged = call.received_frames
        text = f'{{"type":"received","received_samples":{call.received_frames}}}'
        if self._wire is not None and not self._outgoing:
            self._wire.write([text])
            return
        self._outgoing.append(text)
        self._news.set()

    async def _begin(self) -> Call | None:
        """The call that the first message starts or resumes; ``None`` if there is none."""
        try:
            deadline_s = self._media.first_message_s
            first = await asyncio.wait_for(self._receive(), deadline_s)
            if first["type"] == "websocket.disconnect":
                return None
            if first.get("bytes") is not None:
                sentence = "send start, as text, before any audio."
                await self._refuse(
                    closing.closed(closing.BINARY_BEFORE_START, "protocol", sentence)
                )
                return None
            return await self._start(first)
        except TimeoutError:
            sentence = f"start did not come within {self._media.first_message_s:g} s."
            await self._refuse(closing.closed(closing.START_TOO_LATE, "start_too_late", sentence))
        except Exception as error:  # noqa: BLE001 - whatever it was, the client is told
            why = closing.because_of(error)
            self._parts.metrics.refused(why.error.code if why.error else "server")
            await self._refuse(why)
        return None

    async def _start(self, first: Message) -> Call | None:
        start = parse_start(first["text"], self._media)
        calls = self._parts.calls
        if start.resume is not None:
            call = calls.resume(start, self._principal)
        elif calls.is_draining:
            self._parts.metrics.refused("draining")
            sentence = "the server restarts; open another connection soon."
            await self._refuse(closing.closed(closing.RESTARTING, "restarting", sentence))
            return None
        else:
            call = await calls.open(start, self._principal, self._peer)
        self._call = call
        self._frame_bytes = call.start.audio.bytes_per_frame
        self._acknowledged = call.received_frames
        self._ack_every = call.start.audio.sample_rate
        self._heard_at = time.monotonic()
        self._outgoing.extend(calls.attach(call, self, start.resume))
        self._news.set()
        if not call.is_live:
            self.close(call.closing or Closing(closing.DONE))
        return call

    async def _refuse(self, why: Closing) -> None:
        with contextlib.suppress(OSError):  # the client has gone: nobody is there to be told
            await say_goodbye(self._send, why)

    async def _read(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                call = self._call
                # Another connection may have taken the session over: then it is not this one's.
                if message.get("code") == closing.DONE and call and call.connection is self:
                    self._parts.calls.finish(call, "closed")
                return
            data = message.get("bytes")
            self.hear(message["text"] if data is None else data)
            if self._is_held and self._closing is None:
                await self._room.wait()

    async def _write(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone, which `_read` hears, too
            while self._closing is None or self._outgoing:
                await self._news.wait()
                self._news.clear()
                await self._write_waiting()
            await say_goodbye(self._send, self._closing)

    async def _write_waiting(self) -> None:
        while self._outgoing:
            item = self._outgoing[0]  # it stays there until it is sent: nothing may overtake it
            text = item if isinstance(item, str) else item.text
            await self._send({"type": "websocket.send", "text": text})
            if not self._outgoing:
                return  # all was thrown away, because the client does not read
            self._outgoing.popleft()
            if not isinstance(item, str):
                self._unsent -= len(text)
                self._measure([item])

    async def _watch(self, call: Call) -> None:
        """Close a connection on which nothing comes, unless it is we who do not read it."""
        while self._closing is None:
            await asyncio.sleep(min(_CHECK_S, self._media.idle_s / 4))
            idle_s = time.monotonic() - self._heard_at
            if idle_s > self._media.idle_s and not self._is_held and call.end_reason is None:
                sentence = f"nothing came for {self._media.idle_s:g} s."
                call.detach(self)
                self.close(closing.closed(closing.IDLE, "idle", sentence))

    def _measure(self, said: list[Said]) -> None:
        now = time.monotonic()
        for each in said:
            if each.read_at is not None:
                self._parts.metrics.packet_to_score(now - each.read_at)

    def _check_unsent(self, unsent: int) -> None:
        if unsent <= self._media.max_unsent_bytes:
            return
        log.warning("A client does not read its events; its connection is dropped.")
        if self._call is not None:
            self._call.detach(self)
        self._closing = Closing(closing.NOT_ALLOWED, "too_slow: the events were not read.")
        self._outgoing.clear()
        self._news.set()
        self._room.set()
        if self._wire is not None:
            self._wire.abort()


def route() -> WebSocketRoute:
    """The route of the media socket."""
    return WebSocketRoute("/v1/stream", MediaEndpoint())
