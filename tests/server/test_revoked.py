"""A key that is revoked loses its live connections, whatever happens to the file of keys before."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from streamsv.audio import AudioFormat
from streamsv.server import access, keys
from streamsv.server.keys import KeyStore

MULAW = AudioFormat("mulaw", 8000)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of keys is looked at ten times a second, and waited for no longer than that."""
    monkeypatch.setattr(access, "RECHECK_S", 0.1)
    monkeypatch.setattr(keys, "_BUSY_TIMEOUT_S", 0.05)


@pytest.mark.usefixtures("often")
def test_a_file_of_keys_that_was_locked_for_long_does_not_end_the_watch_over_keys(
    serve: Any, desk: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "streamsv.server")
    path = tmp_path / "keys.db"
    with KeyStore(path) as store:
        made = store.create(["verify"])
    live = serve()

    async def run() -> Any:
        header = {"Authorization": f"Bearer {made.key}"}
        async with live.open(additional_headers=header) as socket:
            await socket.send(desk.start_of(MULAW, "alice"))
            first = json.loads(await socket.recv())
            other = sqlite3.connect(path)
            other.execute("BEGIN EXCLUSIVE")
            while not any("cannot be used" in record.getMessage() for record in caplog.records):
                await asyncio.sleep(0.05)
            other.rollback()
            other.close()
            with KeyStore(path) as store:
                store.revoke(made.record.id)
            return await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([first])), 10)

    heard = asyncio.run(asyncio.wait_for(run(), 20))
    assert (heard.code, heard.events[-1]["code"]) == (1008, "authentication")
    assert live.parts.calls.live == []


def events_of(live: Any, session_id: str) -> str:
    return str(live.url.replace("/stream", f"/sessions/{session_id}/events"))


@pytest.mark.usefixtures("often")
def test_who_looks_on_with_a_key_that_is_revoked_is_closed(
    serve: Any, desk: Any, tmp_path: Path
) -> None:
    with KeyStore(tmp_path / "keys.db") as store:
        owner, admin = store.create(["verify"]), store.create(["admin"])
    live = serve()

    async def run() -> tuple[Any, bool]:
        header = {"Authorization": f"Bearer {owner.key}"}
        async with live.open(additional_headers=header) as socket:
            await socket.send(desk.start_of(MULAW, "alice"))
            session_id = json.loads(await socket.recv())["session_id"]
            header = {"Authorization": f"Bearer {admin.key}"}
            async with connect(events_of(live, session_id), additional_headers=header) as observer:
                first = json.loads(await observer.recv())
                with KeyStore(tmp_path / "keys.db") as store:
                    store.revoke(admin.record.id)
                heard = await asyncio.wait_for(desk.read_to_end(observer, desk.Heard([first])), 10)
            return heard, live.parts.calls.get(session_id).is_live

    heard, is_live = asyncio.run(run())
    assert (heard.code, heard.events[-1]["code"]) == (1008, "authentication")
    assert is_live  # the call is another key's


def test_a_key_that_only_enrolls_may_look_on_at_its_own_session_and_no_other(
    serve: Any, desk: Any, tmp_path: Path
) -> None:
    with KeyStore(tmp_path / "keys.db") as store:
        mine, other = store.create(["enroll"]), store.create(["enroll"])
    live = serve()

    async def run() -> list[Any]:
        found = []
        header = {"Authorization": f"Bearer {mine.key}"}
        async with live.open(additional_headers=header) as socket:
            await socket.send(desk.start_of(MULAW, "bob", mode="enroll"))
            session_id = json.loads(await socket.recv())["session_id"]
            for key in (mine.key, other.key):
                header = {"Authorization": f"Bearer {key}"}
                async with connect(events_of(live, session_id), additional_headers=header) as it:
                    found.append(json.loads(await it.recv()))
        return found

    seen, refused = asyncio.run(run())
    assert (seen["type"], seen["seq"]) == ("session_started", 1)
    assert (refused["type"], refused["code"]) == ("error", "unknown_session")
