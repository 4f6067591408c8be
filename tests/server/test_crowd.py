"""Thousands of connections that mean no good: the calls beside them are what they would be alone,
and when the crowd has gone nothing of it is left.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamsv.audio import AudioFormat

CONNECTS = 3000
AT_ONCE = 100
HONEST = 4
MULAW = AudioFormat("mulaw", 8000)
NOT_FINITE = struct.pack("<f", float("nan")) * 160
AUDIO = {"encoding": "mulaw", "sample_rate": 8000}
FLOATS = {"encoding": "f32le", "sample_rate": 16_000}


def frame(data: bytes, opcode: int, is_final: bool = True) -> bytes:
    """One frame as a client sends it, masked with zeros."""
    head = bytes([opcode | (0x80 if is_final else 0)])
    if len(data) < 126:
        return head + bytes([0x80 | len(data)]) + bytes(4) + data
    return head + struct.pack(">BH", 0xFE, len(data)) + bytes(4) + data


def starting(audio: dict[str, Any]) -> bytes:
    start = {"type": "start", "speakers": ["alice"], "audio": audio}
    return frame(json.dumps(start).encode(), 1)


class Rude:
    """One connection to the server that does not keep to anything."""

    def __init__(self, port: int, speech: bytes) -> None:
        self.port = port
        self.speech = speech

    @contextlib.asynccontextmanager
    async def open(self, *, is_upgraded: bool = True) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            if is_upgraded:
                writer.write(self.request)
                await reader.readuntil(b"\r\n\r\n")
            yield reader, writer
        finally:
            writer.transport.abort()

    @property
    def request(self) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /v1/stream HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def connects_and_goes(self) -> None:
        async with self.open(is_upgraded=False):
            pass

    async def asks_half_a_question(self) -> None:
        async with self.open(is_upgraded=False) as (reader, writer):
            writer.write(self.request[:60])
            await reader.read()

    async def says_nothing_at_all(self) -> None:
        async with self.open(is_upgraded=False) as (reader, _):
            await reader.read()

    async def upgrades_and_goes(self) -> None:
        async with self.open():
            pass

    async def never_starts(self) -> None:
        async with self.open() as (reader, _):
            assert struct.pack(">H", 4408) in await reader.read()

    async def starts_and_goes(self) -> None:
        async with self.open() as (_, writer):
            writer.write(starting(AUDIO))
            await writer.drain()

    async def dies_in_mid_word(self) -> None:
        async with self.open() as (reader, writer):
            writer.write(starting(AUDIO) + frame(self.speech, 2)[:-1])
            await reader.read(100)

    async def sends_what_is_no_number(self) -> None:
        async with self.open() as (reader, writer):
            writer.write(starting(FLOATS) + frame(NOT_FINITE, 2))
            assert struct.pack(">H", 1007) in await reader.read()

    async def drips(self) -> None:
        async with self.open() as (reader, writer):
            for byte in starting(AUDIO)[:10]:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.1)
            await reader.read()

    async def announces_a_giant(self) -> None:
        async with self.open() as (reader, writer):
            writer.write(starting(AUDIO) + b"\x82\xff" + struct.pack(">Q", 1 << 40) + bytes(4))
            assert struct.pack(">H", 1009) in await reader.read()

    async def floods_with_pings(self) -> None:
        async with self.open() as (_, writer):
            writer.write(starting(AUDIO) + 500 * frame(b"x" * 125, 9))
            await writer.drain()

    async def does_not_listen(self) -> None:
        async with self.open() as (reader, writer):
            reader._transport.pause_reading()
            writer.write(starting(AUDIO) + 20 * frame(self.speech, 2))
            await asyncio.sleep(0.2)

    async def speaks_out_of_turn(self) -> None:
        async with self.open() as (reader, writer):
            writer.write(starting(AUDIO) + starting(AUDIO))
            assert struct.pack(">H", 1007) in await reader.read()

    async def never_ends_a_message(self) -> None:
        async with self.open() as (reader, writer):
            writer.write(frame(b"{", 1, is_final=False) + 4200 * frame(b"", 0, is_final=False))
            assert struct.pack(">H", 1009) in await reader.read()

    async def writes_no_text(self) -> None:
        async with self.open() as (reader, writer):
            writer.write(starting(AUDIO) + frame(b"\xff\xfe", 1))
            assert struct.pack(">H", 1007) in await reader.read()


MANY = (
    Rude.connects_and_goes,
    Rude.upgrades_and_goes,
    Rude.starts_and_goes,
    Rude.dies_in_mid_word,
)
SOME = tuple(
    each
    for name, each in vars(Rude).items()
    if callable(each) and not name.startswith("_") and name != "open" and each not in MANY
)


def rude(n: int) -> Callable[[Rude], Awaitable[None]]:
    """Of ten connects seven only come and go, and two leave after ``start``."""
    if n % 10 < 7:
        return MANY[n % 2]
    return MANY[2 + n // 10 % 2] if n % 10 < 9 else SOME[n // 10 % len(SOME)]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_until(is_so: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_thousands_of_connects_change_no_other_call_and_leave_nothing(
    serve: Any, desk: Any, voice: Any, expected: Any
) -> None:
    live = serve(media={"handshake_s": 2.0, "first_message_s": 2.0, "resume_s": 0.5})
    data = desk.encoded(voice("voice_a_call"), MULAW)
    start = desk.start_of(MULAW, "alice")
    crowd = Rude(live.port, data[:8000])
    failures: list[str] = []

    async def come(gate: asyncio.Semaphore, n: int) -> None:
        async with gate:
            try:
                await asyncio.wait_for(rude(n)(crowd), 60)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the server has had enough
            except Exception as error:  # noqa: BLE001
                failures.append(f"{rude(n).__name__}: {error!r}")

    async def run(connects: int, calls: int = 0) -> list[Any]:
        gate = asyncio.Semaphore(AT_ONCE)
        patient = {"ping_interval": None, "open_timeout": None}
        honest = [
            asyncio.create_task(desk.whole_call(live, start, data, 160, 0.01, **patient))
            for _ in range(calls)
        ]
        while len(live.parts.calls.live) < calls:
            await asyncio.sleep(0.01)
        await asyncio.gather(*(come(gate, n) for n in range(connects)))
        return [await each for each in honest]

    def is_empty() -> bool:
        return not live.parts.calls.live and live.parts.limits.in_use("connections") == 0

    asyncio.run(run(10 * len(SOME)))  # what is made once, is made
    wait_until(is_empty)
    before = open_files()
    wanted = expected(data, MULAW)
    for heard in asyncio.run(run(CONNECTS, HONEST)):
        assert heard.code == 1000
        desk.assert_same_events(desk.plain(heard.events), wanted)
    assert failures == []
    wait_until(is_empty)
    wait_until(lambda: open_files() <= before)
    gc.collect()
    streams = [each for each in gc.get_objects() if type(each).__name__ == "MediaSocket"]
    assert streams == []
    assert live.parts.limits.in_use("sessions") == 0
