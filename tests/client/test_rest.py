"""The calls beside a stream, against the real server."""

from __future__ import annotations

import asyncio

import pytest

from streamsv.audio import AudioFormat
from streamsv.client import Client
from streamsv.errors import (
    AuthenticationError,
    ConfigError,
    ConnectionLost,
    UnknownSpeaker,
    UnsupportedAudio,
    VoiceprintExists,
)


def test_a_voiceprint_is_made_of_files_listed_and_deleted(serve, clips) -> None:
    client = Client(serve().url)

    async def run() -> tuple[list[str], list[str]]:
        consent = {"consent_by": "Bob", "consent_purpose": "a test"}
        files = [clips.path("voice_a_enroll"), clips.path("voice_a_call")]
        await client.enroll_files("bob / 1", files, **consent)
        before = [each["speaker"] for each in await client.voiceprints()]
        await client.delete("bob / 1")
        return before, [each["speaker"] for each in await client.voiceprints()]

    assert asyncio.run(run()) == (["alice", "bob / 1"], ["alice"])


def test_a_session_can_be_asked_for_afterwards(serve) -> None:
    client = Client(serve().url)

    async def run() -> dict[str, object]:
        async with client.verify("alice", AudioFormat("s16le", 16_000)) as stream:
            await stream.stop()
            _ = [event async for event in stream]
            return await client.session(stream.started.session_id)

    assert asyncio.run(run())["decisions"]


def test_what_the_server_refuses_is_raised_as_what_it_is(serve, clips, tmp_path) -> None:
    client = Client(serve().url)
    text = tmp_path / "notes.txt"
    text.write_text("no sound")
    with pytest.raises(VoiceprintExists):
        asyncio.run(client.enroll_files("alice", [clips.path("voice_a_enroll")]))
    with pytest.raises(UnknownSpeaker):
        asyncio.run(client.delete("nobody"))
    with pytest.raises(UnsupportedAudio):
        asyncio.run(client.enroll_files("bob", [text]))
    with pytest.raises(UnsupportedAudio, match="cannot be read"):
        asyncio.run(client.enroll_files("bob", [tmp_path / "none.wav"]))
    with pytest.raises(ConfigError, match="purpose"):
        asyncio.run(client.enroll_files("bob", [text], consent_by="Bob"))


def test_without_its_key_a_server_tells_nothing(serve) -> None:
    live = serve()
    key = live.add_key("admin", "enroll", "verify")
    with pytest.raises(AuthenticationError):
        asyncio.run(Client(live.url).voiceprints())
    assert len(asyncio.run(Client(live.url, key).voiceprints())) == 1


def test_where_nobody_listens_a_call_says_so() -> None:
    with pytest.raises(ConnectionLost, match="no answer"):
        asyncio.run(Client("http://127.0.0.1:9").voiceprints())
