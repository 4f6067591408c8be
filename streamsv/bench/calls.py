"""Telephone calls for a server to hear: paced 20 ms mu-law packets over real WebSockets.

One process makes hundreds of calls, so what is sent is prepared: the packets of all calls are the
same frames, masked once with zeros, which RFC 6455 leaves to the client.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from streamsv.errors import CapacityError, ProtocolError, StreamsvError

PACKET_S = 0.02
TELEPHONE_RATE = 8_000
PACKET_BYTES = round(PACKET_S * TELEPHONE_RATE)

_SPEAKS = "streamsv.v1"
_SPREAD = 0.618034  # the golden section: any number of calls is spread evenly
_STARTED_WITHIN_S = 30.0
_ENDED_WITHIN_S = 30.0
_BINARY = 0x82
_MASKED = 0x80
_TWO_BYTE_LENGTH = 126
_NO_MASK = bytes(4)


@dataclass(slots=True)
class Heard:
    """What the server said to one call.

    Fields
    ------
    scores: how many ``score_updated``.
    ages_s: for each, wall time since the packet that its ``at_s`` lies in was due: that includes
        what resampler and gate hold back, and what the caller is late.
    acknowledged: samples that the server says it took, gaps left out.
    gap_s: audio that it says was lost.
    """

    scores: int = 0
    ages_s: list[float] = field(default_factory=list)
    acknowledged: int = 0
    gap_s: float = 0.0


class Call(asyncio.Protocol):
    """One call: `start`, packets by `send`, `stop`. Made by `dial`."""

    def __init__(self, url: str, speaker: str) -> None:
        self.heard = Heard()
        self.sent_packets = 0
        self.is_over = False
        self._speaker = speaker
        self._ws = ClientProtocol(parse_uri(url), subprotocols=[_SPEAKS])  # type: ignore[list-item]
        self._begun_s = 0.0
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection is there: ask for a WebSocket."""
        self._transport = cast(asyncio.Transport, transport)
        self._ws.send_request(self._ws.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        """The server has said something."""
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Response):
                self._handshaken()
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self._take(json.loads(bytes(event.data)))
            elif isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                self._closed()
        self._flush()

    def eof_received(self) -> None:
        """The server has closed its side."""
        self._ws.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is gone."""
        self._closed()

    async def start(self) -> None:
        """Wait until the session has begun. Raises `CapacityError` if the server has no room, and
        `ProtocolError`.
        """
        await asyncio.wait_for(asyncio.shield(self._started), _STARTED_WITHIN_S)

    def send(self, frame: bytes, due_s: float) -> None:
        """Send one prepared packet, which was due at ``due_s`` on the performance counter."""
        if not self.sent_packets:
            self._begun_s = due_s
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)
        self.sent_packets += 1

    async def stop(self) -> None:
        """Say that the audio has ended, and wait for the end of the session."""
        self._ws.send_text(json.dumps({"type": "stop"}).encode())
        self._flush()
        await asyncio.wait_for(asyncio.shield(self._ended), _ENDED_WITHIN_S)

    def _handshaken(self) -> None:
        error = self._ws.handshake_exc
        if error is not None:
            self._fail(_refusal(str(error), getattr(error, "response", None)))
            return
        start = {
            "type": "start",
            "version": 1,
            "mode": "verify",
            "speakers": [self._speaker],
            "audio": {"encoding": "mulaw", "sample_rate": TELEPHONE_RATE, "channels": 1},
            "pacing": "real_time",
        }
        if self._ws.state is OPEN:  # a refusal may come together with the handshake
            self._ws.send_text(json.dumps(start).encode())

    def _take(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "session_started":
                if not self._started.done():
                    self._started.set_result(None)
            case "score_updated":
                self.heard.scores += 1
                packet = int(message["at_s"] / PACKET_S - 1e-9)
                self.heard.ages_s.append(time.perf_counter() - self._begun_s - packet * PACKET_S)
            case "received":
                self._acknowledge(message["received_samples"] / TELEPHONE_RATE)
            case "audio_gap":
                self.heard.gap_s += message["gap_s"]
            case "session_ended":
                self._acknowledge(message["at_s"])
                if not self._ended.done():
                    self._ended.set_result(None)

    def _acknowledge(self, at_s: float) -> None:
        taken = round((at_s - self.heard.gap_s) * TELEPHONE_RATE)
        self.heard.acknowledged = max(self.heard.acknowledged, taken)

    def _closed(self) -> None:
        self.is_over = True
        close = self._ws.close_rcvd
        if close is not None and close.code == CloseCode.TRY_AGAIN_LATER:
            self._fail(CapacityError(f"The server has no room: {close.reason}.", close.reason))
        else:
            said = "the connection was lost" if close is None else str(close)
            self._fail(_refusal(said, None))

    def _fail(self, error: StreamsvError) -> None:
        for waiting in (self._started, self._ended):
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # a call may be let go without anybody waiting for its end

    def _flush(self) -> None:
        if self._transport is None:
            return
        for data in self._ws.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._transport.is_closing():
                self._transport.close()


async def dial(host: str, port: int, speaker: str) -> Call:
    """A call that has begun. Raises `CapacityError` if there is no room, and `ProtocolError`."""
    url = f"ws://{host}:{port}/v1/stream"
    loop = asyncio.get_running_loop()
    try:
        _, call = await loop.create_connection(lambda: Call(url, speaker), host, port)
        await call.start()
    except TimeoutError as error:
        raise ProtocolError("The server did not begin the session in time.", url) from error
    except OSError as error:
        raise ProtocolError(f"The server cannot be reached: {error}.", url) from error
    return call


def frames_of(data: bytes) -> list[bytes]:
    """``data``, mu-law at 8 kHz, as WebSocket messages of 20 ms; what is less than one is left."""
    whole = len(data) - len(data) % PACKET_BYTES
    header = struct.pack(">BBH", _BINARY, _MASKED | _TWO_BYTE_LENGTH, PACKET_BYTES) + _NO_MASK
    return [header + data[i : i + PACKET_BYTES] for i in range(0, whole, PACKET_BYTES)]


class Talk:
    """Sends every one of ``calls``, which may grow, a packet of ``frames`` each 20 ms.

    Each call has its own moment of the 20 ms and its own place of ``frames``. ``late_s`` is how
    late each packet was sent, in seconds: the load generator's own fault.
    """

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.calls: list[Call] = []
        self.late_s: list[float] = []
        self._frames = frames
        self._is_over = False

    def stop(self) -> None:
        """Nothing more is sent after the packets of this moment."""
        self._is_over = True

    async def run(self) -> None:
        """Talk until `stop`."""
        begun, period = time.perf_counter(), 0
        while not self._is_over:
            turns = sorted((number * _SPREAD % 1.0, number) for number in range(len(self.calls)))
            for phase, number in turns:
                due = begun + (period + phase) * PACKET_S
                wait_s = due - time.perf_counter()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                self.late_s.append(time.perf_counter() - due)
                call = self.calls[number]
                place = round(number * _SPREAD % 1.0 * len(self._frames)) + call.sent_packets
                call.send(self._frames[place % len(self._frames)], due)
            period += 1
            # Even when late it lets the answers in.
            await asyncio.sleep(max(0.0, begun + period * PACKET_S - time.perf_counter()))


def _refusal(reason: str, response: Any) -> StreamsvError:
    if getattr(response, "status_code", None) == 503:
        return CapacityError("The server has no room for another call.", 5)
    return ProtocolError(f"The server ended a call: {reason}.", reason)
