"""An enrollment is stored only if its client said ``stop``; one that broke off leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamsv.audio import AudioFormat
from streamsv.voiceprints import Voiceprint, VoiceprintStore

WIDEBAND = AudioFormat("s16le", 16_000)


async def close(socket: Any) -> None:
    await socket.close(1000)


async def drop(socket: Any) -> None:
    socket.transport.abort()


async def wait(socket: Any) -> None:
    await asyncio.wait_for(socket.wait_closed(), 10)


def enrolled(live: Any) -> dict[str, Voiceprint]:
    with VoiceprintStore(live.config.store, must_exist=True) as store:
        return {each.speaker: store.get(each.speaker) for each in store.list()}


async def break_off(
    live: Any, desk: Any, data: bytes, leave: Callable[[Any], Awaitable[None]], **fields: Any
) -> dict[str, Any]:
    """An enrollment that has all the speech it wants, and is left without ``stop``; its result."""
    async with live.open() as socket:
        await socket.send(desk.start_of(WIDEBAND, mode="enroll", **fields))
        first = json.loads(await socket.recv())
        for n in range(0, len(data), 32_000):
            await socket.send(data[n : n + 32_000])
        while json.loads(await socket.recv())["type"] != "enrollment_progress":
            pass
        with contextlib.suppress(OSError):
            await leave(socket)
    call = live.parts.calls.get(first["session_id"])
    deadline = time.monotonic() + 10
    while call.is_live:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    # Whatever the engine's thread still had to say of it has been said when another call is over.
    await desk.whole_call(live, desk.start_of(WIDEBAND, "alice"), b"")
    return dict(call.result())


@pytest.mark.parametrize(
    ("leave", "reason", "media"),
    [
        (close, "closed", {}),
        (drop, "connection_lost", {"resume_s": 0.2}),
        (wait, "too_long", {"session_s": 2.0}),
    ],
    ids=["closed", "lost", "too long"],
)
def test_an_enrollment_that_was_not_stopped_is_cancelled_and_stores_nothing(
    serve: Any, desk: Any, voice: Any, leave: Any, reason: str, media: dict[str, float]
) -> None:
    live = serve(media=media)
    before = enrolled(live)
    data = desk.encoded(voice("voice_b_call"), WIDEBAND)

    async def run() -> list[dict[str, Any]]:
        return await asyncio.gather(
            break_off(live, desk, data, leave, speakers=["bob"]),
            break_off(live, desk, data, leave, speakers=["alice"], replace=True),
        )

    for result in asyncio.run(run()):
        assert (result["status"], result["end_reason"]) == ("ended", reason)
        assert result["enrollment"] == {"outcome": "CANCELLED"}
    after = enrolled(live)
    assert list(after) == ["alice"]
    assert after == before


def test_an_enrollment_whose_connection_breaks_after_stop_is_stored(
    serve: Any, desk: Any, voice: Any
) -> None:
    live = serve()
    data = desk.encoded(voice("voice_b_call"), WIDEBAND)

    async def stop_and_drop(socket: Any) -> None:
        await socket.send('{"type": "stop"}')
        while json.loads(await socket.recv()).get("received_samples") != len(data) // 2:
            pass
        socket.transport.abort()

    result = asyncio.run(break_off(live, desk, data, stop_and_drop, speakers=["bob"]))
    assert (result["end_reason"], result["enrollment"]["outcome"]) == ("stopped", "ENROLLED")
    assert set(enrolled(live)) == {"alice", "bob"}
