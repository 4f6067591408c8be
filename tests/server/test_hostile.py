"""Whatever a client does, it is told a documented code. What a crowd of them does: test_crowd."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket as socket_module
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamsv.audio import AudioFormat
from streamsv.server.config import LimitsConfig, ResultsConfig
from streamsv.server.keys import KeyStore
from streamsv.server.wire import http_protocol

MULAW = AudioFormat("mulaw", 8000)
FLOATS = AudioFormat("f32le", 16_000)
GOOD = {"type": "start", "speakers": ["alice"], "audio": {"encoding": "mulaw", "sample_rate": 8000}}


def starting(**changes: Any) -> str:
    return json.dumps({**GOOD, **changes})


async def exchange(live: Any, desk: Any, *messages: str | bytes) -> Any:
    """Send these on a fresh socket and read to the close."""
    async with live.open() as socket:
        with contextlib.suppress(ConnectionClosed):
            for message in messages:
                await socket.send(message)
        return await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([])), 10)


FIRST_MESSAGES = [
    (b"\x00" * 160, 1003, "protocol"),
    ("{", 1007, "protocol"),
    ("[]", 1007, "protocol"),
    ("[" * 5000, 1007, "protocol"),
    ('{"type": "start", "type": "start"}', 1007, "protocol"),
    ('{"type": "stop"}', 1007, "type"),
    (starting(version=2), 1007, "version"),
    (starting(mode="guess"), 1007, "mode"),
    (starting(speakers="alice"), 1007, "speakers"),
    (starting(speakers=[]), 1007, "speakers"),
    (starting(speakers=["alice", "alice"]), 1007, "speakers"),
    (starting(speakers=["a" * 200]), 1007, "speakers"),
    (starting(speakers=["."], mode="enroll"), 1007, "speakers"),
    (starting(speakers=[".."], mode="enroll"), 1007, "speakers"),
    (starting(speakers=[f"s{n}" for n in range(51)]), 1007, "speakers"),
    (starting(audio=None), 1007, "audio"),
    (starting(audio={"encoding": "mp3", "sample_rate": 8000}), 1007, "audio"),
    (starting(audio={"encoding": "mulaw", "sample_rate": 7999}), 1007, "audio"),
    (starting(audio={"encoding": "mulaw", "sample_rate": 1e4}), 1007, "audio"),
    (starting(extra=1), 1007, "extra"),
    (starting(resume={"token": 5}), 1007, "resume.token"),
    (starting(consent={"by": "x"}, mode="enroll"), 1007, "consent"),
    (starting(metadata=[1]), 1007, "metadata"),
    (starting(metadata={"a": "x" * 20_000}), 1007, "protocol"),
    (starting(speakers=["nobody"]), 1008, "unknown_speaker"),
]


def test_a_wrong_first_message_is_answered_with_its_code_and_the_field(
    serve: Any, desk: Any
) -> None:
    live = serve()
    for message, code, name in FIRST_MESSAGES:
        heard = asyncio.run(exchange(live, desk, message))
        assert heard.code == code, (message, heard)
        assert name in heard.reason, (message, heard)
    assert live.parts.calls.live == []


@pytest.mark.parametrize(
    ("message", "code", "name"),
    [
        ("not json", 1007, "protocol"),
        (starting(), 1007, "start was sent already"),
        ('{"type": "gap", "ms": 0}', 1007, "ms"),
        ('{"type": "gap", "ms": NaN}', 1007, "protocol"),
        ('{"type": "dtmf", "digit": "55"}', 1007, "digit"),
        ('{"type": "dtmf", "digit": ["5"]}', 1007, "digit"),
        ('{"type": "dtmf", "digit": {}}', 1007, "digit"),
        ('{"type": "dtmf", "digit": ""}', 1007, "digit"),
        ('{"type": "dtmf"}', 1007, "digit"),
        ('{"type": ["stop"]}', 1007, "type"),
        ('{"type": "gap", "ms": [1]}', 1007, "ms"),
        ('{"type": "pause"}', 1007, "type"),
        (b"\x00" * 300_000, 1009, ""),
    ],
)
def test_a_wrong_message_in_a_call_is_answered_with_its_code(
    serve: Any, desk: Any, message: str | bytes, code: int, name: str
) -> None:
    heard = asyncio.run(exchange(serve(), desk, starting(), message))
    assert heard.code == code
    assert name in heard.reason


def test_float_audio_that_is_not_finite_ends_its_own_call_only(serve: Any, desk: Any) -> None:
    audio = {"encoding": "f32le", "sample_rate": 16_000}
    bad = struct.pack("<f", float("nan")) * 320
    heard = asyncio.run(exchange(serve(), desk, starting(audio=audio), bad))
    assert heard.code == 1007
    assert heard.events[-1]["code"] == "unsupported_audio"


def test_a_call_that_failed_keeps_none_of_its_audio_and_is_closed_at_once(
    serve: Any, desk: Any
) -> None:
    """A patient source that fails at its beginning, and has filled its inbox meanwhile."""
    live = serve(media={"inbox_s": 2.0})
    audio = {"encoding": "f32le", "sample_rate": 48_000, "channels": 8}
    bad = struct.pack("<f", float("nan")) * 8 * 480

    async def run() -> float:
        async with live.open() as socket:
            await socket.send(starting(audio=audio))
            reader = asyncio.create_task(desk.read_to_end(socket, desk.Heard([])))
            with contextlib.suppress(ConnectionClosed):
                for message in (bad, *[bytes(200_000)] * 50):
                    await socket.send(message)
            heard = await asyncio.wait_for(reader, 20)
            assert (heard.code, heard.events[-1]["code"]) == (1007, "unsupported_audio")
            return time.monotonic()

    closed_at = asyncio.run(run())
    (call,) = live.parts.calls
    assert closed_at - call.ended_mono < 2.0
    assert (call._inbox.take(), call._inbox._waiting_bytes) == (None, 0)


def test_one_address_does_not_take_every_connection(serve: Any) -> None:
    live = serve(limits=LimitsConfig(connections_per_address=4))
    with contextlib.ExitStack() as stack:

        def connected() -> socket_module.socket:
            made = socket_module.create_connection(("127.0.0.1", live.port), 5)
            return stack.enter_context(made)

        first = [connected() for _ in range(4)]
        fifth = connected()
        fifth.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert fifth.recv(1) == b""
        for each in first:
            each.close()
        deadline = time.monotonic() + 5
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                asked = http.client.HTTPConnection("127.0.0.1", live.port, timeout=5)
                asked.request("GET", "/livez")
                assert asked.getresponse().status == 200
                break
            assert time.monotonic() < deadline


def test_a_head_without_end_is_cut_off(serve: Any) -> None:
    live = serve()
    with socket_module.create_connection(("127.0.0.1", live.port), 10) as made:
        made.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 64_000_000:
                made.sendall(b"X-A: " + b"a" * 65_000 + b"\r\n")
                sent += 65_000
    assert sent < 32_000_000
    # By this parser and not by httptools, which bounds nothing and may be installed elsewhere.
    assert issubclass(http_protocol(1.0, 1, 1), H11Protocol)


def test_who_is_turned_away_fills_no_log(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    live = serve(limits=LimitsConfig(connections_per_key=1))

    async def run() -> None:
        async with live.open():
            with pytest.raises(InvalidStatus) as refused:
                async with live.open():
                    pass
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["retry-after"]) >= 1

    asyncio.run(run())
    assert "without completing handshake" not in caplog.text


def test_the_deadlines_have_codes_of_their_own(serve: Any, desk: Any) -> None:
    live = serve(media={"first_message_s": 0.3, "idle_s": 0.5, "session_s": 2.0})

    async def run() -> list[Any]:
        async def never_ends() -> Any:
            async with live.open() as socket:
                await socket.send(starting())
                reader = asyncio.create_task(desk.read_to_end(socket, desk.Heard([])))
                with contextlib.suppress(ConnectionClosed):
                    while not reader.done():
                        await socket.send(b"\xff" * 160)
                        await asyncio.sleep(0.02)
                return await reader

        return await asyncio.gather(
            exchange(live, desk), exchange(live, desk, starting()), never_ends()
        )

    mute, idle, endless = asyncio.run(run())
    assert (mute.code, idle.code, endless.code) == (4408, 4409, 4410)
    assert endless.events[-1]["type"] == "session_ended"


def test_audio_that_a_real_time_source_sends_too_fast_is_shed_and_marked(
    serve: Any, desk: Any, voice: Any
) -> None:
    live = serve(media={"inbox_s": 0.5})
    data = desk.encoded(voice("voice_a_call", 8), MULAW) * 4
    start = desk.start_of(MULAW, "alice", pacing="real_time")
    heard = asyncio.run(desk.whole_call(live, start, data, 16_000))
    assert heard.code == 1000
    assert heard.of("audio_gap")
    assert heard.events[-1]["at_s"] == pytest.approx(len(data) / 8000, abs=0.01)
    session_id = heard.events[0]["session_id"]
    assert live.parts.calls.get(session_id).received_frames == len(data)


def test_a_patient_source_that_sends_too_fast_loses_nothing(
    serve: Any, desk: Any, voice: Any, expected: Any
) -> None:
    live = serve(media={"inbox_s": 0.5})
    data = desk.encoded(voice("voice_a_call", 8), MULAW) * 2
    heard = asyncio.run(desk.whole_call(live, desk.start_of(MULAW, "alice"), data, 16_000))
    desk.assert_same_events(desk.plain(heard.events), expected(data, MULAW))


def test_nothing_of_a_call_is_kept_once_its_time_is_over(serve: Any, desk: Any) -> None:
    results = ResultsConfig(kept_s=0.5, max_kept=5)
    live = serve(media={"resume_s": 0.2}, results=results)

    async def run() -> None:
        for _ in range(12):
            await desk.whole_call(live, starting(), b"\xff" * 1600)
        await asyncio.sleep(1.5)

    asyncio.run(run())
    calls = live.parts.calls
    assert (list(calls), calls.live, calls._by_token, calls._by_stream) == ([], [], {}, {})
    assert live.parts.limits.in_use("sessions") == 0
    assert live.parts.limits.in_use("connections") == 0


def test_a_message_that_we_fail_on_ends_its_call_with_1011_and_an_id_that_is_in_the_log(
    serve: Any, desk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    live = serve()

    async def run() -> Any:
        async with live.open() as socket:
            await socket.send(starting())
            first = json.loads(await socket.recv())
            (call,) = live.parts.calls.live
            call._inbox.put_audio = None  # a fault of ours that no message can cause
            await socket.send(b"\xff" * 160)
            return await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([first])), 5)

    heard = asyncio.run(run())
    assert (heard.code, heard.events[-1]["code"]) == (1011, "server")
    assert any(heard.events[-1]["value"] in record.getMessage() for record in caplog.records)
    (call,) = live.parts.calls
    assert (call.result()["status"], call.result()["end_reason"]) == ("ended", "failed")
    assert live.parts.calls.live == []


DTMF = '{"type": "dtmf", "digit": "5"}'


async def in_pieces(socket: Any, first: list[str], later: list[str | bytes]) -> None:
    for message in first:
        await socket.send(message)
    await asyncio.sleep(0.3)  # so that what follows does not lie in the piece that was read
    for message in later:
        await socket.send(message)


def test_a_flood_of_text_is_not_read_and_the_server_answers_others(serve: Any, desk: Any) -> None:
    live = serve(media={"controls_at_once": 5, "controls_per_s": 0.001})

    async def run() -> None:
        async with live.open() as socket:
            await socket.send(starting())
            session_id = json.loads(await socket.recv())["session_id"]
            await in_pieces(socket, [DTMF] * 10, [b"\xff" * 160])
            other = await desk.whole_call(live, starting(), b"\xff" * 800)
            assert other.code == 1000
            call = live.parts.calls.get(session_id)
            assert (call.received_frames, call.is_live) == (0, True)
            socket.transport.abort()

    asyncio.run(run())


def test_text_that_comes_too_fast_waits_and_nothing_is_lost(serve: Any, desk: Any) -> None:
    live = serve(media={"controls_at_once": 3, "controls_per_s": 20.0, "idle_s": 1.0})

    async def run() -> Any:
        async with live.open() as socket:
            await socket.send(starting())
            gaps = ['{"type": "gap", "ms": 100}'] * 30
            await in_pieces(socket, gaps, [b"\xff" * 800, '{"type": "stop"}'])
            return await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([])), 20)

    heard = asyncio.run(run())
    assert heard.code == 1000
    assert len(heard.of("audio_gap")) == 30
    assert heard.events[-1]["at_s"] == pytest.approx(3.1)


def test_a_text_message_in_a_call_is_short(serve: Any, desk: Any) -> None:
    live = serve()
    padded = DTMF + " " * (512 - len(DTMF))
    heard = asyncio.run(exchange(live, desk, starting(), padded, '{"type": "stop"}'))
    assert heard.code == 1000
    heard = asyncio.run(exchange(live, desk, starting(), padded + " "))
    assert (heard.code, heard.events[-1]["value"]) == (1007, 513)


_FLOOD = """
import base64, socket, sys, threading, time
port, first, opcode = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
peer = socket.create_connection(("127.0.0.1", port))
key = base64.b64encode(bytes(16)).decode()
peer.sendall(
    f"GET /v1/stream HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\nUpgrade: websocket\\r\\n"
    f"Connection: Upgrade\\r\\nSec-WebSocket-Version: 13\\r\\n"
    f"Sec-WebSocket-Key: {key}\\r\\n\\r\\n".encode()
)
peer.recv(4096)
def hear():
    while peer.recv(1 << 20):
        pass
threading.Thread(target=hear, daemon=True).start()
if first:
    size = len(first).to_bytes(2, "big")
    peer.sendall(b"\\x81" + bytes([0x80 | 126]) + size + bytes(4) + first)
    time.sleep(0.5)
print("begins", flush=True)
frames = (bytes([0x80 | opcode, 0x80]) + bytes(4)) * 20_000
end = time.monotonic() + 4
try:
    while time.monotonic() < end:
        peer.sendall(frames)
except OSError:
    pass
"""


@pytest.mark.parametrize("opcode", [2, 9, 10], ids=["empty audio", "pings", "pongs"])
@pytest.mark.parametrize("has_key", [True, False], ids=["in a call", "without a key"])
def test_a_flood_of_tiny_frames_holds_nobody_else_up(
    serve: Any, tmp_path: Path, opcode: int, has_key: bool
) -> None:
    """Unbounded, each made everybody wait for as long as it lasted."""
    if not has_key:
        with KeyStore(tmp_path / "keys.db") as keys:
            keys.create(["verify"])
    live = serve()
    first = starting().encode().hex() if has_key else ""
    command = [sys.executable, "-c", _FLOOD, str(live.port), first, str(opcode)]
    slowest_s = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as flood:
        assert flood.stdout is not None
        assert flood.stdout.readline() == b"begins\n"
        while flood.poll() is None:
            began = time.monotonic()
            asker = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
            asker.request("GET", "/livez")
            assert asker.getresponse().status == 200
            asker.close()
            slowest_s = max(slowest_s, time.monotonic() - began)
    assert slowest_s < 1.0
