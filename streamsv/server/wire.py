"""uvicorn's protocols, with bounds for hostile peers and a short way for audio.

ASGI hands each message over by a queue, a paused socket and a task that wakes up, which costs more
than parsing it. Once a session has started, its messages go straight to a function instead
(:meth:`Wire.tap`), audio without the parser, and events are written without a task. The application
works without it, too, under any other ASGI server.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from streamsv.server.frames import FrameSplitter
from streamsv.server.limits import address_of

EXTENSION = "streamsv.wire"
"""Under this name a socket's :class:`Wire` is found in ``scope["extensions"]``."""

_MAX_FRAGMENTS = 4096
_SLICE_S = 0.005
"""What a connection sent is taken for so long at a time; if there is more, others come first."""
_LOOK_EVERY = 16
"""Frames between two looks at the clock; a read seldom has so many."""
_REST = 3
"""Times as long as that the connection then rests: it has a quarter of the loop at most."""
_MOST_AFTER_CLOSE = 1 << 24
"""Bytes after our close in which the peer's own close is looked for: what was on its way."""
_ABORT_AFTER_S = 5.0
_END_OF_REQUEST = b"\r\n\r\n"
_FINAL_TEXT = 0x81

Sink = Callable[[bytes | str], None]


class Wire(WebSocketsSansIOProtocol):
    """One WebSocket connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._sink: Sink | None = None
        self._frames: FrameSplitter | None = None
        self._parts: Iterator[tuple[bytes, bool]] | None = None
        self._after_close = 0
        self._is_held = False
        self._is_choked = False
        self._has_failed = False
        self.close_timeout = _ABORT_AFTER_S

    def tap(self, sink: Sink) -> None:
        """From now on each message goes to ``sink``, in order; those that wait go there now.

        The end of the connection still comes by ASGI's ``receive``.
        """
        self._sink = sink
        others = []
        while not self.queue.empty():
            message: Any = self.queue.get_nowait()
            if message["type"] == "websocket.receive":
                data = message.get("bytes")
                sink(message["text"] if data is None else data)
            else:
                others.append(message)
        for message in others:
            self.queue.put_nowait(message)
        self.read_paused = False
        self._read_if_free()

    def write(self, texts: list[str]) -> None:
        """Write text messages now. After the close nothing happens."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        self.transport.write(b"".join(map(_framed, texts)))

    @property
    def unsent_bytes(self) -> int:
        """What the peer has not read yet, as far as it is known here."""
        return self.transport.get_write_buffer_size()

    def hold(self) -> None:
        """Read nothing, until :meth:`go_on`."""
        self._is_held = True
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        self._is_held = False
        self._read_if_free()

    def abort(self) -> None:
        """Drop the connection at once, with whatever was not sent."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """The peer has sent something: audio goes the short way, the rest to the parser."""
        frames = self._frames
        if frames is None:
            super().data_received(data)
            if self.handshake_initiated and data.endswith(_END_OF_REQUEST):
                self._frames = FrameSplitter(self.config.ws_max_size)
            return
        if self.close_sent:
            self._after_close += len(data)
            if self._after_close > _MOST_AFTER_CLOSE:
                self.transport.pause_reading()  # it is dropped in a moment
                return
        parts = frames.split(data, self._sink is not None)
        if self._parts is not None:  # TLS may still give what it had decrypted
            self._parts = itertools.chain(self._parts, parts)
            return
        self._parts = parts
        self._take_parts()

    def _take_parts(self) -> None:
        """Take what has come, for a short while: thousands of tiny frames fit into one read."""
        began = time.thread_time()  # of this thread: what others take of Python is not its fault
        for number, (part, is_audio) in enumerate(self._parts or (), 1):
            if self.transport.is_closing():
                break
            if not is_audio:
                super().data_received(part)
            elif self._sink is not None and not self.close_sent:
                self._sink(part)
            if number % _LOOK_EVERY:
                continue
            spent_s = time.thread_time() - began
            if spent_s > _SLICE_S:
                self.transport.pause_reading()
                self.loop.call_later(_REST * spent_s, self._go_on_with_parts)
                return
        self._parts = None

    def _go_on_with_parts(self) -> None:
        self._take_parts()
        self._read_if_free()

    def handle_connect(self, event: Any) -> None:
        """The request is there: the application finds this object in its scope."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self

    def handle_cont(self, event: Any) -> None:
        """One more fragment; a message in more pieces than any sender makes is refused."""
        if len(self.frames) >= _MAX_FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, "too many fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """A message is whole: to the sink, if there is one. Text that is none is refused."""
        if self.close_sent:
            super().send_receive_event_to_app()
            return
        data = b"".join(self.frames)
        message: bytes | str = data
        if self.curr_msg_data_type == "text":
            try:
                message = data.decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA, "the text is not UTF-8")
                self.handle_parser_exception()
                return
        if self._sink is None:
            super().send_receive_event_to_app()
            return
        self.frames = []
        self._sink(message)

    def handle_parser_exception(self) -> None:
        """The peer broke the protocol, which has been closed: to the application it is gone."""
        self._has_failed = True
        super().handle_parser_exception()

    async def send(self, message: Any) -> None:
        """What the application has to say. Raises ClientDisconnected if nobody hears it."""
        if self._has_failed:
            raise ClientDisconnected
        await super().send(message)
        is_refusal = message["type"] == "websocket.http.response.body"
        if is_refusal and not message.get("more_body", False):
            self.handshake_complete = True  # by a refusal: uvicorn would take it for a fault

    def pause_writing(self) -> None:
        """The peer does not read: then nothing of it is read, or its pings would pile up."""
        super().pause_writing()
        self._is_choked = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        self._is_choked = False
        self._read_if_free()

    def keepalive_timeout(self) -> None:
        """No pong in time; while nothing is read, there can be none."""
        if self._is_held:
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self._abort_later()

    async def run_asgi(self) -> None:
        """Run the application; then the connection is closed, however little the peer reads."""
        await super().run_asgi()
        self._abort_later()

    def _abort_later(self) -> None:
        asyncio.get_running_loop().call_later(_ABORT_AFTER_S, self.transport.abort)

    def _read_if_free(self) -> None:
        is_busy = self._parts is not None or self._after_close > _MOST_AFTER_CLOSE
        is_held = self._is_held or self._is_choked or self.read_paused
        if not (is_busy or is_held or self.disconnected):
            self.transport.resume_reading()


def _framed(text: str) -> bytes:
    """A text message as one frame; a server masks nothing."""
    data = text.encode()
    length = len(data)
    if length < 126:
        return bytes((_FINAL_TEXT, length)) + data
    if length < 65_536:
        return struct.pack(">BBH", _FINAL_TEXT, 126, length) + data
    return struct.pack(">BBQ", _FINAL_TEXT, 127, length) + data


def http_protocol(deadline_s: float, most: int, per_address: int) -> type[asyncio.Protocol]:
    """HTTP as uvicorn has it; a request whose head does not come in time is dropped, and so is a
    connection beyond ``most``: the last descriptors are for the store, not for a crowd. No address
    may hold more than ``per_address`` or three quarters of ``most``; WebSockets, which have shown a
    key, count elsewhere (:mod:`streamsv.server.limits`).

    It is h11's: its heads are bounded, while httptools takes one of any length.
    """
    held: collections.Counter[str] = collections.Counter()
    per_address = min(per_address, max(1, most * 3 // 4))

    class Impatient(H11Protocol):
        """Looks now and then whether a request is on its way that never arrives."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._seen: Any = None
            self._address = address_of(self.client[0]) if self.client else ""
            if self._address:  # a socket of this machine's file system has none
                held[self._address] += 1
            if len(self.connections) > most or held[self._address] > per_address:
                transport.abort()
            self._watch = self.loop.call_later(deadline_s, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.cancel()
            self._leave()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._leave()
            super().handle_websocket_upgrade(event)

        def _leave(self) -> None:
            """It is no HTTP connection any more. A second call does nothing."""
            address, self._address = self._address, ""
            if address:
                held[address] -= 1
                if not held[address]:
                    del held[address]

        def _look(self) -> None:
            transport = self.transport
            if transport.is_closing() or transport.get_protocol() is not self:
                return
            is_idle = self.cycle is None or self.cycle.response_complete
            if is_idle and self._seen is self.cycle:
                transport.abort()
                return
            self._seen = self.cycle if is_idle else object()
            self._watch = self.loop.call_later(deadline_s, self._look)

    return Impatient
