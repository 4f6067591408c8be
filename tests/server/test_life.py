"""A server that is told to end, or is killed: calls finish or are told, voiceprints stay whole."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
import soundfile
import yaml
from websockets.asyncio.client import connect

from streamsv.audio import AudioFormat
from streamsv.client import Client, Patience
from streamsv.client.stream import Stream
from streamsv.errors import ResumeWindowOver, SessionClosed, StreamsvError
from streamsv.events import EnrollmentCompleted, SessionEnded
from streamsv.server.rest import enrollment
from streamsv.voiceprints import Voiceprint, VoiceprintStore

MULAW = AudioFormat("mulaw", 8000)
CALLS = 50
ENROLLMENTS = 12
ENROLLED_BEFORE = 3


class Process:
    """``streamsv serve`` as a process of its own."""

    started: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(
        self, folder: Path, port: int | None = None, files: int | None = None, **values: Any
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = port or free.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/v1/stream"
        path = folder / "serve.yaml"
        names = {"store": str(folder / "voiceprints.db"), "keys": str(folder / "keys.db")}
        path.write_text(yaml.safe_dump({**names, "port": self.port, **values}))
        command = [sys.executable, "-m", "streamsv", "serve", "--config", str(path)]
        if files is not None:
            command = ["bash", "-c", f'ulimit -n {files}; exec "$@"', "bash", *command]
        self.process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.started.append(self.process)
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def end(self, how: int) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture
def folder(tmp_path: Path, alice: Voiceprint) -> Iterator[Path]:
    with VoiceprintStore(tmp_path / "voiceprints.db") as store:
        store.add(alice)
    yield tmp_path
    for process in Process.started:  # a test that failed leaves none running
        process.kill()
        process.wait(20)
    Process.started.clear()


def test_sigterm_lets_a_call_finish_and_takes_no_new_one(folder: Path, desk: Any) -> None:
    server = Process(folder, drain_s=10.0)

    async def run() -> tuple[Any, Any]:
        async with connect(server.url) as live, connect(server.url) as late:
            await live.send(desk.start_of(MULAW, "alice"))
            first = json.loads(await live.recv())
            server.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            await late.send(desk.start_of(MULAW, "alice"))
            refused = await asyncio.wait_for(desk.read_to_end(late, desk.Heard([])), 5)
            await live.send(b"\xff" * 8000)
            await live.send('{"type": "stop"}')
            finished = await asyncio.wait_for(desk.read_to_end(live, desk.Heard([first])), 5)
            return refused, finished

    refused, finished = asyncio.run(run())
    assert refused.code == 1012
    assert (finished.code, finished.events[-1]["type"]) == (1000, "session_ended")
    server.process.wait(20)


def test_a_call_that_outlasts_the_drain_is_closed_with_1012(folder: Path, desk: Any) -> None:
    server = Process(folder, drain_s=0.5)

    async def run() -> Any:
        async with connect(server.url) as live:
            await live.send(desk.start_of(MULAW, "alice"))
            await live.recv()
            server.process.send_signal(signal.SIGTERM)
            return await asyncio.wait_for(desk.read_to_end(live, desk.Heard([])), 10)

    assert asyncio.run(run()).code == 1012
    server.process.wait(20)


def test_after_kill_9_a_resume_is_told_4412_and_no_voiceprint_is_lost(
    folder: Path, desk: Any, alice: Voiceprint
) -> None:
    server = Process(folder)

    async def begin() -> str:
        async with connect(server.url) as live:
            await live.send(desk.start_of(MULAW, "alice"))
            token = json.loads(await live.recv())["resume_token"]
            await live.send(b"\xff" * 8000)
            server.end(signal.SIGKILL)
            return str(token)

    token = asyncio.run(begin())
    with VoiceprintStore(folder / "voiceprints.db", must_exist=True) as store:
        assert store.get("alice") == alice
    again = Process(folder)

    async def resume() -> Any:
        async with connect(again.url) as live:
            resume = {"token": token, "last_seq": 1}
            await live.send(desk.start_of(MULAW, "alice", resume=resume))
            return await asyncio.wait_for(desk.read_to_end(live, desk.Heard([])), 5)

    try:
        assert asyncio.run(resume()).code == 4412
    finally:
        again.end(signal.SIGTERM)


@pytest.mark.slow
def test_kill_9_during_50_calls_ends_each_with_a_clear_error_and_loses_no_voiceprint(
    folder: Path, desk: Any, voice: Any, alice: Voiceprint
) -> None:
    server = Process(folder, admission={"max_utilization": 100.0, "max_delay_ms": 1e6})
    client = Client(server.url.replace("/v1/stream", ""), patience=Patience(longest_retry_s=0.5))
    speech = desk.encoded(voice("voice_b_call"), MULAW)
    said: set[str] = set()

    async def call(begun: asyncio.Semaphore) -> StreamsvError | None:
        """A call that never stops by itself, and how it ended."""
        try:
            async with client.verify("alice", MULAW, is_live=True) as stream:
                begun.release()
                sending = asyncio.create_task(talk(stream))
                try:
                    async for _ in stream:
                        pass
                finally:
                    sending.cancel()
        except StreamsvError as error:
            return error
        return None

    async def talk(stream: Stream) -> None:
        while True:
            await stream.send(speech[:800])
            await asyncio.sleep(0.1)

    async def enroll(number: int, enough: asyncio.Event) -> StreamsvError | None:
        try:
            async with client.enroll(f"speaker {number}", MULAW) as stream:
                await stream.send(speech)
                await stream.stop()
                async for event in stream:
                    if isinstance(event, EnrollmentCompleted):
                        said.add(f"speaker {number}")
                        if len(said) == ENROLLED_BEFORE:
                            enough.set()
        except StreamsvError as error:
            return error
        return None

    async def run() -> list[StreamsvError | None]:
        begun, enough = asyncio.Semaphore(0), asyncio.Event()
        calls = [asyncio.create_task(call(begun)) for _ in range(CALLS)]
        for _ in range(CALLS):
            await begun.acquire()
        enrollments = [asyncio.create_task(enroll(n, enough)) for n in range(ENROLLMENTS)]
        await enough.wait()
        server.end(signal.SIGKILL)
        again = await asyncio.to_thread(Process, folder, server.port)
        try:
            ends = await asyncio.wait_for(asyncio.gather(*calls, *enrollments), 60)
            async with client.verify("alice", MULAW) as stream:
                await stream.send(speech)
                await stream.stop()
                assert isinstance([event async for event in stream][-1], SessionEnded)
        finally:
            again.end(signal.SIGTERM)
        return ends

    ends = asyncio.run(run())
    assert all(isinstance(end, ResumeWindowOver | SessionClosed) for end in ends[:CALLS]), ends
    for end in ends[CALLS:]:
        assert end is None or isinstance(end, ResumeWindowOver | SessionClosed)
    with VoiceprintStore(folder / "voiceprints.db", must_exist=True) as store:
        kept = {summary.speaker: store.get(summary.speaker) for summary in store.list()}
    assert kept["alice"] == alice
    assert said <= set(kept)
    # All of one recording: what was stored but could not be said any more is as whole as the rest.
    embeddings = {each.embedding.tobytes() for name, each in kept.items() if name != "alice"}
    assert len(embeddings) == 1


def test_a_crowd_of_connections_does_not_take_the_descriptors_that_calls_and_store_need(
    folder: Path, desk: Any, voice: Any
) -> None:
    server = Process(folder, files=160, media={"handshake_s": 60.0})
    speech = desk.encoded(voice("voice_b_call"), MULAW)
    client = Client(server.url.replace("/v1/stream", ""))

    async def run() -> list[Any]:
        async with client.enroll("bob", MULAW) as stream:
            await stream.send(speech[:8000])
            crowd = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(300)]
            await stream.send(speech[8000:])
            await stream.stop()
            events = [event async for event in stream]
            for _, writer in crowd:
                writer.transport.abort()
        async with client.verify("bob", MULAW) as stream:
            await stream.send(speech)
        return events

    events = asyncio.run(run())
    assert isinstance(events[-2], EnrollmentCompleted)
    assert server.end(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_an_upload_finishes_while_the_server_drains_and_no_other_begins(
    serve: Any, voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on, enroll = threading.Event(), enrollment.enroll

    def slowly(*arguments: Any) -> Any:
        assert may_go_on.wait(30)
        return enroll(*arguments)

    monkeypatch.setattr(enrollment, "enroll", slowly)
    live = serve()
    sound = io.BytesIO()
    soundfile.write(sound, voice("voice_b_call"), 16_000, format="WAV")

    def upload(speaker: str) -> int:
        asker = http.client.HTTPConnection("127.0.0.1", live.port, timeout=40)
        headers = {"Content-Type": "audio/wav"}
        asker.request("POST", f"/v1/voiceprints/{speaker}", sound.getvalue(), headers)
        return asker.getresponse().status

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload, "bob")
        while not live.server._app.state.places.are_taken:
            time.sleep(0.02)
        live.server._serving_loop.call_soon_threadsafe(live.server.drain)
        while not live.parts.calls.is_draining:
            time.sleep(0.02)
        assert upload("carol") == 503
        time.sleep(6)  # longer than what is left of a server that ends for good
        may_go_on.set()
        assert first.result(30) == 201
