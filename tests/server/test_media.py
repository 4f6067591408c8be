"""The media socket gives the engine's own events, however the audio arrives."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import struct
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from streamsv.audio import AudioFormat
from streamsv.voiceprints import VoiceprintStore

MULAW = AudioFormat("mulaw", 8000)
WIDEBAND = AudioFormat("s16le", 16_000)
SECONDS = 6


@pytest.mark.parametrize(
    ("audio", "packet"),
    [
        (MULAW, 160),
        (AudioFormat("alaw", 8000), 8000),
        (WIDEBAND, 641),
        (AudioFormat("f32le", 16_000), 1_922),
    ],
    ids=str,
)
def test_any_format_and_packet_size_gives_the_engines_own_events(
    serve: Any, desk: Any, voice: Any, expected: Any, audio: AudioFormat, packet: int
) -> None:
    data = desk.encoded(voice("voice_a_call", SECONDS), audio)
    heard = asyncio.run(desk.whole_call(serve(), desk.start_of(audio, "alice"), data, packet))
    assert heard.code == 1000
    assert [event["seq"] for event in heard.events] == list(range(1, len(heard.events) + 1))
    desk.assert_same_events(desk.plain(heard.events), expected(data, audio))


def test_many_calls_at_once_give_what_each_gives_alone(
    serve: Any, desk: Any, voice: Any, expected: Any
) -> None:
    live = serve()
    voices = ["voice_a_call", "voice_b_call", "voice_c_call"] * 4
    calls = [desk.encoded(voice(name, 4), MULAW) for name in voices]

    async def all_of_them() -> list[Any]:
        start = desk.start_of(MULAW, "alice")
        return await asyncio.gather(*(desk.whole_call(live, start, data, 160) for data in calls))

    for heard, data in zip(asyncio.run(all_of_them()), calls, strict=True):
        desk.assert_same_events(desk.plain(heard.events), expected(data, MULAW))


@pytest.mark.parametrize("cut", [8_001, 24_000])
def test_a_call_that_is_resumed_says_what_an_unbroken_one_says(
    serve: Any, desk: Any, voice: Any, expected: Any, cut: int
) -> None:
    live = serve()
    data = desk.encoded(voice("voice_a_call", SECONDS), WIDEBAND)

    async def broken_call() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        async with live.open() as socket:
            await socket.send(desk.start_of(WIDEBAND, "alice"))
            first = json.loads(await socket.recv())
            events.append(first)
            await socket.send(data[:cut])
            await asyncio.sleep(0.2)
            socket.transport.abort()
        async with live.open() as socket:
            resume = {"token": first["resume_token"], "last_seq": 1}
            await socket.send(desk.start_of(WIDEBAND, "alice", resume=resume))
            again = json.loads(await socket.recv())
            assert again["session_id"] == first["session_id"]
            assert again["resume_token"] != first["resume_token"]
            assert again["received_samples"] == cut // 2
            reader = asyncio.create_task(desk.read_to_end(socket, desk.Heard(events)))
            await socket.send(data[2 * again["received_samples"] :])
            await socket.send('{"type": "stop"}')
            heard = await asyncio.wait_for(reader, 20)
            assert heard.code == 1000
        return events

    events = asyncio.run(broken_call())
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    desk.assert_same_events(desk.plain(events), expected(data, WIDEBAND))


def test_a_token_of_another_life_of_the_server_is_answered_with_4412(serve: Any, desk: Any) -> None:
    resume = {"token": "from before the restart", "last_seq": 3}
    start = desk.start_of(MULAW, "alice", resume=resume)
    heard = asyncio.run(desk.whole_call(serve(), start, b""))
    assert heard.code == 4412
    assert heard.events[0]["code"] == "resume_window_over"


def test_a_second_socket_takes_the_session_over(serve: Any, desk: Any) -> None:
    live = serve()

    async def run() -> tuple[Any, Any]:
        async with live.open() as first, live.open() as second:
            await first.send(desk.start_of(MULAW, "alice"))
            token = json.loads(await first.recv())["resume_token"]
            resume = {"token": token, "last_seq": 1}
            await second.send(desk.start_of(MULAW, "alice", resume=resume))
            assert json.loads(await second.recv())["type"] == "session_started"
            ousted = await asyncio.wait_for(desk.read_to_end(first, desk.Heard([])), 5)
            await second.send('{"type": "stop"}')
            return ousted, await asyncio.wait_for(desk.read_to_end(second, desk.Heard([])), 5)

    ousted, heir = asyncio.run(run())
    assert (ousted.code, ousted.reason.split(":")[0]) == (1008, "taken_over")
    assert heir.code == 1000


def test_a_gap_moves_the_clock_and_keeps_the_evidence(serve: Any, desk: Any, voice: Any) -> None:
    live = serve()
    data = desk.encoded(voice("voice_a_call", 4), MULAW)

    async def run() -> Any:
        async with live.open() as socket:
            await socket.send(desk.start_of(MULAW, "alice"))
            await socket.send(data[:16_000])
            await socket.send('{"type": "gap", "ms": 1500}')
            await socket.send('{"type": "dtmf", "digit": "5"}')
            await socket.send(data[16_000:])
            await socket.send('{"type": "stop"}')
            return await desk.read_to_end(socket, desk.Heard([]))

    heard = asyncio.run(run())
    (gap,) = heard.of("audio_gap")
    assert (gap["gap_s"], gap["at_s"]) == (1.5, 3.5)
    assert heard.events[-1]["at_s"] == 5.5
    assert heard.events[-1]["net_speech_s"] > 1.0


def test_what_comes_after_stop_is_left_out(
    serve: Any, desk: Any, voice: Any, expected: Any
) -> None:
    live = serve()
    data = desk.encoded(voice("voice_a_call", 4), MULAW)

    async def run() -> Any:
        async with live.open() as socket:
            await socket.send(desk.start_of(MULAW, "alice"))
            await socket.send(data)
            await socket.send('{"type": "stop"}')
            with contextlib.suppress(ConnectionClosed):
                await socket.send('{"type": "gap", "ms": 500}')
                for n in range(0, len(data), 160):
                    await socket.send(data[n : n + 160])
            return await desk.read_to_end(socket, desk.Heard([]))

    heard = asyncio.run(run())
    assert heard.code == 1000
    desk.assert_same_events(desk.plain(heard.events), expected(data, MULAW))
    call = live.parts.calls.get(heard.events[0]["session_id"])
    assert call.received_frames == len(data)


def test_an_enrollment_is_in_the_store_with_its_consent_before_it_is_said(
    serve: Any, desk: Any, voice: Any
) -> None:
    live = serve()
    consent = {"given_at": "2025-01-31", "by": "Bob", "purpose": "testing"}
    start = desk.start_of(WIDEBAND, "bob", mode="enroll", consent=consent)
    data = desk.encoded(voice("voice_b_call"), WIDEBAND)
    heard = asyncio.run(desk.whole_call(live, start, data))
    assert heard.code == 1000
    assert len(heard.of("enrollment_completed")) == 1
    with VoiceprintStore(live.config.store) as store:
        assert store.get("bob").consent.purpose == "testing"
    again = asyncio.run(desk.whole_call(live, start, b""))
    assert (again.code, again.events[0]["code"]) == (1008, "voiceprint_exists")


def test_identify_finds_the_speaker_among_all(serve: Any, desk: Any, voice: Any) -> None:
    data = desk.encoded(voice("voice_a_enroll"), WIDEBAND)
    start = desk.start_of(WIDEBAND, mode="identify")
    heard = asyncio.run(desk.whole_call(serve(), start, data))
    (decision,) = heard.of("decision_made")
    assert (decision["speaker"], decision["verdict"]) == ("alice", "accept")


def of_another_model(live: Any, *speakers: str) -> None:
    """Voiceprints that an earlier model made, in the server's store."""
    with VoiceprintStore(live.config.store) as store:
        alice = store.get("alice")
        for speaker in speakers:
            store.replace(dataclasses.replace(alice, speaker=speaker, fingerprint="0" * 64))


def test_identify_says_how_many_voiceprints_it_cannot_compare_with(
    serve: Any, desk: Any, voice: Any
) -> None:
    live = serve()
    of_another_model(live, "bob", "carol")
    data = desk.encoded(voice("voice_a_call"), WIDEBAND)
    start = desk.start_of(WIDEBAND, mode="identify")
    heard = asyncio.run(desk.whole_call(live, start, data))
    assert heard.events[0]["left_out"] == 2
    assert heard.events[0]["speakers"] == ["alice"]
    assert heard.of("decision_made")[0]["speaker"] == "alice"
    of_another_model(live, "alice")
    heard = asyncio.run(desk.whole_call(live, start, b""))
    assert (heard.code, heard.events[-1]["code"]) == (1008, "model_mismatch")


@pytest.mark.parametrize("asked", ["alic", "zzz"])
def test_who_may_only_verify_is_not_told_who_is_enrolled(serve: Any, desk: Any, asked: str) -> None:
    live = serve()
    heard = asyncio.run(desk.whole_call(live, desk.start_of(WIDEBAND, asked), b""))
    assert heard.code == 1008
    assert f"There is no voiceprint of '{asked}'." in heard.events[-1]["message"]
    assert "alice" not in json.dumps(heard.events)


def test_the_result_outlives_the_call(serve: Any, desk: Any, voice: Any) -> None:
    live = serve()
    data = desk.encoded(voice("voice_a_enroll"), WIDEBAND)
    start = desk.start_of(WIDEBAND, "alice", call_id="c-1", metadata={"queue": 7})
    heard = asyncio.run(desk.whole_call(live, start, data))
    result = live.parts.calls.get(heard.events[0]["session_id"]).result()
    assert (result["status"], result["end_reason"]) == ("ended", "stopped")
    assert (result["call_id"], result["metadata"]) == ("c-1", {"queue": 7})
    assert [each["decision"] for each in result["decisions"]] == ["ACCEPT"]
    assert "resume_token" not in json.dumps(result)


def test_the_observers_socket_carries_the_same_events_and_no_token(
    serve: Any, desk: Any, voice: Any
) -> None:
    live = serve()
    data = desk.encoded(voice("voice_a_call", 4), MULAW)

    async def run() -> tuple[Any, Any]:
        from websockets.asyncio.client import connect

        async with live.open() as socket:
            await socket.send(desk.start_of(MULAW, "alice"))
            first = json.loads(await socket.recv())
            url = live.url.replace("/stream", f"/sessions/{first['session_id']}/events")
            async with connect(url) as observer:
                watching = asyncio.create_task(desk.read_to_end(observer, desk.Heard([])))
                await socket.send(data)
                await socket.send('{"type": "stop"}')
                heard = await desk.read_to_end(socket, desk.Heard([first]))
                return heard, await asyncio.wait_for(watching, 10)

    heard, watched = asyncio.run(run())
    assert watched.code == 1000
    assert desk.plain(watched.events) == desk.plain(heard.events)
    assert "resume_token" not in json.dumps(watched.events)


def test_a_listener_that_fails_on_the_end_of_a_call_keeps_no_other_from_hearing_of_it(
    serve: Any, desk: Any
) -> None:
    live = serve()
    ended: list[str] = []

    def fail(_call: Any) -> None:
        raise RuntimeError("a listener failed")

    live.parts.calls.on_end(fail)
    live.parts.calls.on_end(lambda call: ended.append(call.session_id))
    for _ in range(2):
        heard = asyncio.run(desk.whole_call(live, desk.start_of(MULAW, "alice"), b"\xff" * 800))
        assert heard.code == 1000
        assert heard.events[0]["session_id"] == ended[-1]
    assert live.parts.calls.live == []


def test_a_token_survives_any_number_of_resumes_that_break(serve: Any, desk: Any) -> None:
    live = serve()

    async def run() -> Any:
        async with live.open() as socket:
            await socket.send(desk.start_of(MULAW, "alice"))
            token = json.loads(await socket.recv())["resume_token"]
            socket.transport.abort()
        resume = {"token": token, "last_seq": 1}
        for _ in range(4):  # each answer is lost: the client knows of no other token
            async with live.open() as socket:
                await socket.send(desk.start_of(MULAW, "alice", resume=resume))
                first = json.loads(await socket.recv())
                assert first["type"] == "session_started", first
                socket.transport.abort()
        async with live.open() as socket:
            await socket.send(desk.start_of(MULAW, "alice", resume=resume))
            await socket.send('{"type": "stop"}')
            heard = await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([])), 5)
        async with live.open() as socket:  # now that the client has spoken, it is used up
            await socket.send(desk.start_of(MULAW, "alice", resume=resume))
            return heard, await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([])), 5)

    heard, late = asyncio.run(run())
    assert heard.code == 1000
    assert late.code == 4412


def test_who_comes_back_to_a_session_that_failed_meanwhile_is_told_so(
    serve: Any, desk: Any
) -> None:
    live = serve()
    floats = AudioFormat("f32le", 16_000)
    start = desk.start_of(floats, "alice")

    async def run() -> tuple[Any, Any]:
        async with live.open() as socket:
            await socket.send(start)
            token = json.loads(await socket.recv())["resume_token"]
            await socket.send(struct.pack("<f", float("nan")) * 320)
            failed = await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([])), 5)
        async with live.open() as socket:
            resume = {"token": token, "last_seq": 1}
            await socket.send(desk.start_of(floats, "alice", resume=resume))
            return failed, await asyncio.wait_for(desk.read_to_end(socket, desk.Heard([])), 5)

    failed, told = asyncio.run(run())
    assert (failed.code, failed.events[-1]["code"]) == (1007, "unsupported_audio")
    assert (told.code, told.reason) == (failed.code, failed.reason)
    assert told.events[-1] == failed.events[-1]


@pytest.mark.parametrize("late", ["no json", '{"type": "dtmf", "digit": "x"}', '{"type": "start"}'])
def test_what_comes_after_stop_spoils_nothing_whatever_it_is(
    serve: Any, desk: Any, voice: Any, late: str
) -> None:
    live = serve()
    data = desk.encoded(voice("voice_a_call"), WIDEBAND)

    async def run() -> Any:
        async with live.open() as socket:
            await socket.send(desk.start_of(WIDEBAND, "alice"))
            for n in range(0, len(data), 32_000):
                await socket.send(data[n : n + 32_000])
            await socket.send('{"type": "stop"}')
            await socket.send(late)
            return await desk.read_to_end(socket, desk.Heard([]))

    heard = asyncio.run(run())
    assert heard.code == 1000
    assert [each["verdict"] for each in heard.of("decision_made")] == ["accept"]
