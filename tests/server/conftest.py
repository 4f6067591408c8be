"""A real server on a loopback port, real voices, and a plain client."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamsv.audio import AudioFormat, encode_alaw, encode_mulaw, encode_s16le
from streamsv.engine import Engine
from streamsv.server.config import AdmissionConfig, MediaConfig, ServeConfig
from streamsv.server.parts import Parts
from streamsv.server.serving import DrainingServer, server_of
from streamsv.voiceprints import Voiceprint, VoiceprintStore

Floats = NDArray[np.float32]
DATED = "2025-01-31T09:30:00Z"
ROOM_FOR_ALL = AdmissionConfig(max_utilization=100.0, max_delay_ms=1e6)
"""A test that is not about admission asks for it however busy the machine is."""
MULAW = AudioFormat("mulaw", 8000)
WIDEBAND = AudioFormat("s16le", 16_000)


@dataclasses.dataclass
class Heard:
    """What a call gave: its events, and the code and reason of the close."""

    events: list[dict[str, Any]]
    code: int | None = None
    reason: str = ""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]


class Live:
    """A server in a thread of this process."""

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.server: DrainingServer = server_of(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self.server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    @property
    def parts(self) -> Parts:
        return self.server._app.state.parts  # type: ignore[no-any-return]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/stream"

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def open(self, **options: Any) -> Any:
        return connect(self.url, compression=None, max_size=None, **options)


def start_of(audio: AudioFormat, *speakers: str, **fields: Any) -> str:
    described = {
        "encoding": str(audio.encoding),
        "sample_rate": audio.sample_rate,
        "channels": audio.channels,
    }
    return json.dumps({"type": "start", "speakers": list(speakers), "audio": described, **fields})


async def read_to_end(socket: ClientConnection, heard: Heard) -> Heard:
    try:
        while True:
            message = json.loads(await socket.recv())
            if message["type"] != "received":
                heard.events.append(message)
    except ConnectionClosed as closed:
        if closed.rcvd is not None:
            heard.code, heard.reason = closed.rcvd.code, closed.rcvd.reason
    return heard


async def whole_call(
    live: Live, start: str, data: bytes, packet: int = 3200, pause_s: float = 0.0, **options: Any
) -> Heard:
    """One call from start to close, in packets of so many bytes."""
    async with live.open(**options) as socket:
        await socket.send(start)
        reader = asyncio.create_task(read_to_end(socket, Heard([])))
        with contextlib.suppress(ConnectionClosed):
            for n in range(0, len(data), packet):
                await socket.send(data[n : n + packet])
                if pause_s:
                    await asyncio.sleep(pause_s)
            await socket.send(json.dumps({"type": "stop"}))
        return await asyncio.wait_for(reader, 30)


def plain(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events as the engine itself gives them: without what only the server adds."""
    added = {"seq", "session_id", "resume_token", "received_samples", "decision", "enrollment"}
    return [{k: v for k, v in event.items() if k not in added} for event in events]


def assert_same_events(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Type, order, times and speech are equal, scores within 1e-3."""
    assert [event["type"] for event in found] == [event["type"] for event in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert _rounded(one) == _rounded(other)
        for score, expected in zip(_scores(one), _scores(other), strict=True):
            assert score["llr"] == pytest.approx(expected["llr"], abs=1e-3)
            assert score["cosine"] == pytest.approx(expected["cosine"], abs=1e-3)


def _scores(event: dict[str, Any]) -> list[dict[str, Any]]:
    return [*event.get("scores", []), *([event["score"]] if event.get("score") else [])]


def _rounded(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("scores", "score")}


def encoded(pcm: Floats, audio: AudioFormat) -> bytes:
    if audio.sample_rate != 16_000:
        pcm = soxr.resample(pcm, 16_000, audio.sample_rate)
    pcm = np.clip(pcm, -1.0, 1.0)
    match str(audio.encoding):
        case "s16le":
            return encode_s16le(pcm)
        case "mulaw":
            return encode_mulaw(pcm)
        case "alaw":
            return encode_alaw(pcm)
        case _:
            return pcm.astype("<f4").tobytes()


class Desk:
    """What the tests of this folder do, by name; a test file cannot import this one."""

    start_of = staticmethod(start_of)
    read_to_end = staticmethod(read_to_end)
    whole_call = staticmethod(whole_call)
    plain = staticmethod(plain)
    encoded = staticmethod(encoded)
    assert_same_events = staticmethod(assert_same_events)
    Heard = Heard


@pytest.fixture(scope="session")
def desk() -> type[Desk]:
    return Desk


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.load()


@pytest.fixture(scope="session")
def voice() -> Callable[..., Floats]:
    """Seconds of one of the bundled recordings at 16 kHz."""

    def read(name: str, seconds: float | None = None) -> Floats:
        path = Path(str(resources.files("streamsv.clips"))) / f"{name}.opus"
        pcm, rate = soundfile.read(path, dtype="float32")
        pcm = soxr.resample(pcm, rate, 16_000)
        return pcm if seconds is None else pcm[: round(seconds * 16_000)]

    return read


@pytest.fixture(scope="session")
def alice(engine: Engine, voice: Callable[..., Floats]) -> Voiceprint:
    session = engine.enroll("alice", WIDEBAND)
    session.push(encode_s16le(voice("voice_a_enroll")))
    session.finish()
    return session.voiceprint(DATED)


@pytest.fixture(scope="session")
def expected(engine: Engine, alice: Voiceprint) -> Callable[..., list[dict[str, Any]]]:
    """The events of the engine alone for a verification of alice, as JSON has them."""

    def run(data: bytes, audio: AudioFormat) -> list[dict[str, Any]]:
        session = engine.verify(alice, audio)
        events = [*session.push(data), *session.finish()]
        return [json.loads(json.dumps(event.to_dict())) for event in events]

    return run


@pytest.fixture
def serve(tmp_path: Path, alice: Voiceprint) -> Iterator[Callable[..., Live]]:
    """Start a server whose store holds alice; keyword arguments change its configuration."""
    running: list[Live] = []

    def start(media: dict[str, Any] | None = None, **values: Any) -> Live:
        store = tmp_path / "voiceprints.db"
        with VoiceprintStore(store) as opened:
            opened.replace(alice)
        config = ServeConfig(
            port=0,
            store=str(store),
            keys=str(tmp_path / "keys.db"),
            media=MediaConfig(**(media or {})),
            **{"admission": ROOM_FOR_ALL, **values},
        )
        live = Live(config)
        running.append(live)
        return live

    yield start
    for live in running:
        live.stop()
