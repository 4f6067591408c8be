"""A real server, and a network between it and the client that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Set
from pathlib import Path
from typing import Any

import pytest

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.engine import Engine
from streamsv.server.config import AdmissionConfig, ServeConfig
from streamsv.server.keys import KeyStore
from streamsv.server.serving import server_of
from streamsv.voiceprints import Voiceprint, VoiceprintStore

FORMAT = AudioFormat("s16le", 16_000)


class Live:
    """A server in a thread of this process; ``keys`` is where its keys lie."""

    def __init__(self, config: ServeConfig) -> None:
        self.keys = Path(str(config.keys))
        self.server = server_of(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.port: int = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def add_key(self, *scopes: str) -> str:
        """A new key with ``scopes``, in the clear."""
        with contextlib.closing(KeyStore(self.keys)) as keys:
            return keys.create(scopes, "test").key

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


class Network:
    """A TCP proxy before a server: connections through it can be cut, made deaf, or refused."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self.is_down = False
        self.connections = 0
        self.url = ""

    async def cut(self) -> None:
        """Break every connection in the middle of whatever it carries."""
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def deafen(self) -> None:
        """From now on nothing that the server says arrives on the connections that there are."""
        self._deaf |= self._writers

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Network]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_down:
            writer.transport.abort()
            return
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer, self._deaf))
        finally:
            self._writers -= {writer, back}

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        deaf: Set[asyncio.StreamWriter] = frozenset(),
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                if writer not in deaf:
                    writer.write(data)
                    await writer.drain()
        writer.close()


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.load()


@pytest.fixture(scope="session")
def alice(engine: Engine, clips: Any) -> Voiceprint:
    session = engine.enroll("alice", FORMAT)
    session.push(encode_s16le(clips.pcm("voice_a_enroll")))
    session.finish()
    return session.voiceprint("2025-01-31T09:30:00Z")


@pytest.fixture
def serve(tmp_path: Path, alice: Voiceprint) -> Iterator[Callable[..., Live]]:
    """Starts a server that knows alice; keyword arguments change its configuration."""
    running: list[Live] = []

    def start(**values: Any) -> Live:
        store = tmp_path / "voiceprints.db"
        with VoiceprintStore(store) as opened:
            opened.replace(alice)
        keys = str(tmp_path / "keys.db")
        room_for_all = AdmissionConfig(max_utilization=100.0, max_delay_ms=1e6)
        values = {"admission": room_for_all, **values}
        running.append(Live(ServeConfig(port=0, store=str(store), keys=keys, **values)))
        return running[-1]

    yield start
    for live in running:
        live.stop()


@pytest.fixture
def network() -> type[Network]:
    return Network
