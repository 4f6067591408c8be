"""An enrollment is stored only if its client said ``stop``; one that broke off leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamsv.audio import AudioFormat
from streamsv.server import access
from streamsv.server.audit import read
from streamsv.server.keys import KeyStore
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


async def end_while_stored(
    live: Any, desk: Any, data: bytes, end: Callable[[str], Awaitable[None]], **options: Any
) -> tuple[Any, Any]:
    """An enrollment of bob whose session is ended while its voiceprint is being stored."""
    store, is_storing, may_go_on = live.parts.store, threading.Event(), threading.Event()
    add = store.add

    def slowly(voiceprint: Voiceprint) -> None:
        is_storing.set()
        assert may_go_on.wait(20)
        add(voiceprint)

    store.add = slowly
    async with live.open(**options) as socket:
        await socket.send(desk.start_of(WIDEBAND, "bob", mode="enroll"))
        first = json.loads(await socket.recv())
        for n in range(0, len(data), 32_000):
            await socket.send(data[n : n + 32_000])
        await socket.send('{"type": "stop"}')
        call = live.parts.calls.get(first["session_id"])
        assert await asyncio.to_thread(is_storing.wait, 20)
        ending = asyncio.create_task(end(first["session_id"]))
        await asyncio.sleep(0.5)
        assert call.is_live
        may_go_on.set()
        await asyncio.wait_for(ending, 10)
        return await desk.read_to_end(socket, desk.Heard([first])), call


def on_the_loop(live: Any, work: Any) -> Any:
    return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, live.server._serving_loop))


@pytest.mark.parametrize("how", ["deleted", "drained"])
def test_what_ends_a_session_waits_for_the_voiceprint_that_is_being_stored(
    serve: Any, desk: Any, voice: Any, how: str
) -> None:
    live = serve()
    calls = live.parts.calls

    async def end(session_id: str) -> None:
        await on_the_loop(live, calls.remove(session_id) if how == "deleted" else calls.drain(0.0))

    data = desk.encoded(voice("voice_b_call"), WIDEBAND)
    heard, call = asyncio.run(end_while_stored(live, desk, data, end))
    assert heard.of("enrollment_completed")
    assert heard.code == 1000
    assert (call.end_reason, call.result()["error"]) == ("stopped", None)
    assert call.result()["enrollment"]["outcome"] == "ENROLLED"
    assert set(enrolled(live)) == {"alice", "bob"}
    assert (calls.get(call.session_id) is None) == (how == "deleted")


def test_a_key_that_is_revoked_while_its_voiceprint_is_stored_does_not_make_it_undone(
    serve: Any, desk: Any, voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "RECHECK_S", 0.05)
    with KeyStore(tmp_path / "keys.db") as keys:
        made = keys.create(["enroll"])
    live = serve()

    async def revoke(_session_id: str) -> None:
        with KeyStore(tmp_path / "keys.db") as keys:
            keys.revoke(made.record.id)

    data = desk.encoded(voice("voice_b_call"), WIDEBAND)
    header = {"Authorization": f"Bearer {made.key}"}
    heard, call = asyncio.run(end_while_stored(live, desk, data, revoke, additional_headers=header))
    assert (heard.code, call.result()["enrollment"]["outcome"]) == (1000, "ENROLLED")
    assert set(enrolled(live)) == {"alice", "bob"}


def test_an_enrollment_that_came_to_nothing_is_in_the_audit_log_with_its_reason(
    serve: Any, desk: Any, voice: Any, tmp_path: Path
) -> None:
    live = serve()
    data = desk.encoded(voice("voice_b_call"), WIDEBAND)

    async def run() -> None:
        await break_off(live, desk, data, close, speakers=["bob"])
        start = desk.start_of(WIDEBAND, "carol", mode="enroll")
        await desk.whole_call(live, start, data[:32_000])

    asyncio.run(run())
    live.stop()
    found = [
        (each["speaker"], each["outcome"])
        for each in read(tmp_path / "audit.jsonl")
        if each["action"] == "enroll"
    ]
    assert found == [("bob", "cancelled"), ("carol", "not_enough_speech")]
