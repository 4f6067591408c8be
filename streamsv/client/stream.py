"""One stream over real connections: the protocol's thin shell of asyncio and ``websockets``."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from streamsv.client.address import Address
from streamsv.client.closing import can_resume, error_of_close, error_of_response
from streamsv.client.protocol import StreamProtocol, Wish
from streamsv.client.wire import Started
from streamsv.errors import CapacityError, ConnectionLost, SessionClosed, StreamsvError
from streamsv.events import Event

SUBPROTOCOL = Subprotocol("streamsv.v1")

_ACKNOWLEDGED_EVERY_S = 1.0
_MOST_MESSAGE = 1 << 20
_CLOSE_WITHIN_S = 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for what.

    Parameters
    ----------
    connect_s:
        For a connection, and for the server's first answer on it.
    resume_s:
        From a dropped connection on, for another that resumes; 0 does not try.
    first_retry_s, longest_retry_s:
        Between two tries to connect again: the first, doubled each time, up to the longest.
    kept_s:
        Seconds of sound that are kept to be sent again; of a source that can wait, all that the
        server is not known to have besides.
    unacknowledged_s:
        Seconds of sound that a source which can wait may be ahead of the server.
    ping_s:
        Between two signs of life, and for the answer to one.
    """

    connect_s: float = 10.0
    resume_s: float = 60.0
    first_retry_s: float = 0.1
    longest_retry_s: float = 5.0
    kept_s: float = 60.0
    unacknowledged_s: float = 20.0
    ping_s: float = 10.0


class Stream:
    """Sound to a server and events from it; use it in an ``async with`` statement.

    Made by :class:`streamsv.client.Client`. ``async for`` gives the events, each once and in
    order, however often the connection broke; it ends after ``session_ended``, and raises what
    ended the stream before. Events that are not taken are kept.

    With ``is_live`` the source cannot wait, a microphone or a call: :meth:`send` returns at once,
    and what the network does not take for longer than ``patience.kept_s`` becomes a gap. Without
    it, :meth:`send` waits until the server has come near.
    """

    def __init__(
        self, address: Address, wish: Wish, is_live: bool = False, patience: Patience | None = None
    ) -> None:
        self._address = address
        self._is_live = is_live
        self._patience = patience or Patience()
        self._protocol = StreamProtocol(wish, self._patience.kept_s, is_live)
        self._events: collections.deque[Event] = collections.deque()
        self._changed = _Bell()
        self._to_send = asyncio.Event()
        self._acknowledged_every = round(_ACKNOWLEDGED_EVERY_S * wish.audio.sample_rate)
        self._task: asyncio.Task[None] | None = None
        self._error: StreamsvError | None = None
        self._is_over = False

    @property
    def started(self) -> Started:
        """What the server granted. Raises SessionClosed before the stream was entered."""
        if self._protocol.started is None:
            raise SessionClosed("The stream is not open. Use it in an async with statement.")
        return self._protocol.started

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that the server is not known to have."""
        return self._protocol.waiting_s

    @property
    def reconnections(self) -> int:
        """How often the connection broke and was made again."""
        return self._protocol.resumptions

    async def __aenter__(self) -> Self:
        """Open the stream: returns when the server has granted it, or raises why it did not."""
        if self._task is not None:
            raise SessionClosed("A stream is entered once. Open another.")
        self._task = asyncio.create_task(self._run())
        try:
            await self._changed.until(lambda: self._is_over or self._protocol.started is not None)
            if self._protocol.started is None and self._error is not None:
                raise self._error
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop if that was not said, and close; events that have not come by then are lost.

        After an error it is not stopped but given up: an enrollment is not stored.
        """
        if error is None and not self._is_over:
            self._protocol.stop()
            self._to_send.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.connect_s):
                    await self._changed.until(lambda: self._is_over)
        await self._end()

    async def send(self, chunk: bytes | bytearray | memoryview) -> None:
        """Send any number of bytes, cut anywhere.

        Raises SessionClosed after :meth:`stop`, and what has ended the stream.
        """
        self._raise_if_over()
        self._protocol.send(bytes(chunk))
        self._to_send.set()
        if self._is_live:
            return
        most_s = self._patience.unacknowledged_s
        await self._changed.until(lambda: self._is_over or self._protocol.waiting_s <= most_s)
        self._raise_if_over()

    async def gap(self, ms: float) -> None:
        """The source lost ``ms`` milliseconds. Raises as :meth:`send`."""
        self._raise_if_over()
        self._protocol.gap(ms)
        self._to_send.set()

    async def stop(self) -> None:
        """No more sound comes; what is left to say comes by iteration. Twice is fine."""
        self._protocol.stop()
        self._to_send.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises what ended the stream, after the events that came before it."""
        await self._changed.until(lambda: bool(self._events) or self._is_over)
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _raise_if_over(self) -> None:
        if self._error is not None:
            raise self._error
        if self._task is None or self._is_over:
            raise SessionClosed("The stream is not open. Open another for more sound.")

    async def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])  # its own end is no error, and ours is not held back

    async def _run(self) -> None:
        try:
            await self._connections()
        except StreamsvError as error:
            self._error = error
        finally:
            self._is_over = True
            self._changed.ring()

    async def _connections(self) -> None:
        """One connection after another until the stream is over. Raises why it ended early."""
        lost_at: float | None = None
        retry_s = self._patience.first_retry_s
        while True:
            before = self._protocol.started
            try:
                await self._connection()
                return
            except (ConnectionLost, CapacityError) as error:
                now = time.monotonic()
                has_resumed = before is not None and self._protocol.started is not before
                if self._protocol.started is None or self._protocol.started.resume_token is None:
                    raise
                if lost_at is None or has_resumed:
                    lost_at, retry_s = now, self._patience.first_retry_s
                if now + retry_s > lost_at + self._patience.resume_s:
                    raise self._broke() from error
                wait_s = retry_s
                if isinstance(error, CapacityError) and isinstance(error.value, int | float):
                    wait_s = min(float(error.value), self._patience.longest_retry_s)
            await asyncio.sleep(wait_s * random.uniform(0.7, 1.3))
            retry_s = min(2 * retry_s, self._patience.longest_retry_s)

    async def _connection(self) -> None:
        """One connection to its end.

        Raises ConnectionLost if it may be resumed, and otherwise what ended it early.
        """
        async with await self._connected() as socket:
            try:
                code, reason = await self._talk(socket)
            except asyncio.CancelledError:
                await socket.close()  # 1000: who leaves does not come back to resume
                raise
        if self._protocol.is_ended:
            return
        if self._protocol.error is not None:
            raise self._protocol.error
        if can_resume(code):
            raise self._broke()
        raise error_of_close(code, reason)

    def _broke(self) -> ConnectionLost:
        return ConnectionLost(
            f"The connection to {self._address} broke and could not be made again. Check the "
            "network and start another session.",
            str(self._address),
        )

    async def _connected(self) -> ClientConnection:
        patience = self._patience
        try:
            return await connect(
                self._address.stream_url,
                additional_headers=self._address.headers,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                open_timeout=patience.connect_s,
                close_timeout=_CLOSE_WITHIN_S,
                ping_interval=patience.ping_s,
                ping_timeout=patience.ping_s,
                max_size=_MOST_MESSAGE,
                ssl=self._address.tls,
            )
        except InvalidStatus as error:
            response = error.response
            raise error_of_response(
                response.status_code, response.headers, bytes(response.body or b"")
            ) from error
        except (OSError, InvalidHandshake, EOFError) as error:
            raise ConnectionLost(
                f"There is no answer from {self._address}: {_in_words(error)}. Check the address "
                "and that the server runs.",
                str(self._address),
            ) from error

    async def _talk(self, socket: ClientConnection) -> tuple[int | None, str]:
        """Everything on one connection: its close code, ``None`` if it broke, and reason."""
        reading = asyncio.create_task(self._read(socket))
        writing = asyncio.create_task(self._write(socket))
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not reading.done():
                writing.result()
            await reading
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
        return (socket.close_code, socket.close_reason or "")

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(self._patience.connect_s) as deadline:
                await socket.send(self._protocol.start_message())
                async for message in socket:
                    events = self._protocol.receive(message)
                    if self._protocol.is_open:
                        deadline.reschedule(None)
                        self._to_send.set()
                    self._events.extend(events)
                    self._changed.ring()
        except TimeoutError as error:
            raise ConnectionLost(
                f"{self._address} did not answer the start message. Check the address.",
                str(self._address),
            ) from error
        except ConnectionClosed:
            return

    async def _write(self, socket: ClientConnection) -> None:
        """Send what there is whenever there is something; a broken connection ends the reading."""
        asked_at = self._protocol.sent_samples
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._to_send.wait()
                self._to_send.clear()
                while (message := self._protocol.next_message()) is not None:
                    await socket.send(message)
                    position = self._protocol.sent_samples
                    if abs(position - asked_at) >= self._acknowledged_every:
                        asked_at = position
                        await self._ask(socket, position)

    async def _ask(self, socket: ClientConnection, position: int) -> None:
        """Take note, once the server answers a ping, that it has all that was sent before it."""

        def note(answer: asyncio.Future[float]) -> None:
            if not answer.cancelled() and answer.exception() is None:
                self._protocol.acknowledge(position)
                self._changed.ring()

        answer = await socket.ping()
        asyncio.ensure_future(answer).add_done_callback(note)


class _Bell:
    """Wakes everybody who waits for something to have changed."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Return when ``is_true`` does, which is asked now and at each ring."""
        while not is_true():
            rung = asyncio.get_running_loop().create_future()
            self._waiting.add(rung)
            try:
                await rung
            finally:
                self._waiting.discard(rung)


def _in_words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
