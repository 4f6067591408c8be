"""A key that is revoked loses its live connections, whatever happens to the file of keys before."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

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
