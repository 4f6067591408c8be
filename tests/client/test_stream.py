"""The client against a real server: a cut connection changes nothing that is said."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import urllib.request
from typing import Any

import pytest
from websockets.asyncio import server
from websockets.asyncio.server import ServerConnection

from streamsv.audio import AudioFormat, encode_s16le
from streamsv.client import Client, Patience
from streamsv.errors import (
    AuthenticationError,
    ConfigError,
    ConnectionLost,
    ServerError,
    SessionClosed,
    UnknownSpeaker,
    VoiceprintExists,
)
from streamsv.events import (
    AudioGap,
    DecisionMade,
    EnrollmentCompleted,
    Event,
    SessionEnded,
    SessionStarted,
    Verdict,
)
from streamsv.server import closing

FORMAT = AudioFormat("s16le", 16_000)
PACKET = 3200
QUICK = Patience(connect_s=5.0, resume_s=10.0, first_retry_s=0.02, longest_retry_s=0.2)


def packets(clips: Any, name: str) -> list[bytes]:
    data = encode_s16le(clips.pcm(name))
    return [data[n : n + PACKET] for n in range(0, len(data), PACKET)]


async def whole(stream: Any, chunks: list[bytes]) -> list[Event]:
    async with stream:
        for chunk in chunks:
            await stream.send(chunk)
        await stream.stop()
        return [event async for event in stream]


def assert_same(found: list[Event], wanted: list[Event]) -> None:
    """Type, order, times and speech are equal, scores within 1e-3."""
    assert [event.type for event in found] == [event.type for event in wanted]
    for one, other in zip(found, wanted, strict=True):
        for name, value in dataclasses.asdict(other).items():
            got = dataclasses.asdict(one)[name]
            if name in ("score", "scores"):
                scores = [got] if name == "score" else got
                others = [value] if name == "score" else value
                for left, right in zip(scores, others, strict=True):
                    assert left["llr"] == pytest.approx(right["llr"], abs=1e-3)
            else:
                assert got == value


def test_a_stream_says_what_the_engine_says(serve, engine, alice, clips) -> None:
    chunks = packets(clips, "voice_a_call")
    session = engine.verify(alice, FORMAT)
    wanted = [*session.push(b"".join(chunks)), *session.finish()]
    found = asyncio.run(whole(Client(serve().url).verify("alice", FORMAT), chunks))
    assert_same(found, wanted)


def test_connections_cut_in_mid_call_change_no_event(serve, network, engine, alice, clips) -> None:
    chunks = packets(clips, "voice_a_call")
    live = serve()
    session = engine.verify(alice, FORMAT)
    wanted = [*session.push(b"".join(chunks)), *session.finish()]

    async def call() -> tuple[list[Event], int]:
        async with network(live.port).running() as between:
            client = Client(between.url, patience=QUICK)
            async with client.verify("alice", FORMAT) as stream:
                for number, chunk in enumerate(chunks):
                    await stream.send(chunk)
                    if number % 25 == 20:
                        await asyncio.sleep(0.1)
                        await between.cut()
                await stream.stop()
                found = [event async for event in stream]
            return found, stream.reconnections

    found, reconnections = asyncio.run(call())
    assert reconnections >= 2
    assert_same(found, wanted)


def test_a_live_source_speaks_on_while_the_network_is_down(
    serve, network, engine, alice, clips
) -> None:
    chunks = packets(clips, "voice_a_call")
    live = serve()
    session = engine.verify(alice, FORMAT)
    wanted = [*session.push(b"".join(chunks)), *session.finish()]

    async def call() -> list[Event]:
        async with network(live.port).running() as between:
            client = Client(between.url, patience=QUICK)
            async with client.verify("alice", FORMAT, is_live=True) as stream:
                for number, chunk in enumerate(chunks):
                    await stream.send(chunk)
                    await asyncio.sleep(0.005)
                    if number == 30:
                        between.is_down = True
                        await between.cut()
                    if number == 60:
                        between.is_down = False
                await stream.stop()
                return [event async for event in stream]

    assert_same(asyncio.run(call()), wanted)


def test_a_server_that_is_no_longer_heard_is_asked_again_on_another_connection(
    serve, network, engine, alice, clips
) -> None:
    chunks = packets(clips, "voice_a_call")
    live = serve()
    session = engine.verify(alice, FORMAT)
    wanted = [*session.push(b"".join(chunks)), *session.finish()]

    async def call() -> tuple[list[Event], str]:
        patience = dataclasses.replace(QUICK, ping_s=0.5)
        async with network(live.port).running() as between:
            client = Client(between.url, patience=patience)
            async with client.verify("alice", FORMAT, is_live=True) as stream:
                for number, chunk in enumerate(chunks):
                    await stream.send(chunk)
                    await asyncio.sleep(0.005)
                    if number == 30:
                        between.deafen()
                async with asyncio.timeout(30):
                    while between.connections == 1:
                        await asyncio.sleep(0.02)
                    await stream.stop()
                    found = [event async for event in stream]
            assert 1 <= stream.reconnections < between.connections
            result = await client.session(stream.started.session_id)
            return found, result["end_reason"]

    found, end_reason = asyncio.run(call())
    assert end_reason == "stopped"
    assert_same(found, wanted)


def test_what_is_no_longer_kept_after_a_long_cut_is_a_marked_gap(serve, network, clips) -> None:
    chunks = packets(clips, "voice_a_call")
    live = serve()

    async def call() -> list[Event]:
        patience = dataclasses.replace(QUICK, kept_s=1.0)
        async with network(live.port).running() as between:
            client = Client(between.url, patience=patience)
            async with client.verify("alice", FORMAT, is_live=True) as stream:
                for chunk in chunks[:10]:
                    await stream.send(chunk)
                await asyncio.sleep(0.5)
                between.is_down = True
                await between.cut()
                for chunk in chunks[10:60]:
                    await stream.send(chunk)
                between.is_down = False
                await stream.stop()
                return [event async for event in stream]

    found = asyncio.run(call())
    gaps = [event.gap_s for event in found if isinstance(event, AudioGap)]
    assert gaps == [pytest.approx(4.0, abs=0.15)]
    assert isinstance(found[-1], SessionEnded)
    assert found[-1].at_s == pytest.approx(6.0, abs=0.05)


def test_a_gap_that_the_caller_marks_reaches_the_events(serve, clips) -> None:
    async def call() -> list[Event]:
        async with Client(serve().url).verify("alice", FORMAT) as stream:
            await stream.send(bytes(32_000))
            await stream.gap(250)
            await stream.send(bytes(32_000))
            await stream.stop()
            return [event async for event in stream]

    found = asyncio.run(call())
    (gap,) = (event for event in found if isinstance(event, AudioGap))
    assert gap.gap_s == 0.25
    assert found[-1].at_s == pytest.approx(2.25, abs=0.03)


def test_a_voice_enrolled_over_the_wire_is_recognized_and_another_is_not(serve, clips) -> None:
    client = Client(serve().url)

    async def run() -> tuple[list[Event], list[Event], list[Event]]:
        consent = {"consent_by": "Bob", "consent_purpose": "a test"}
        enrolled = await whole(
            client.enroll("bob", FORMAT, **consent), packets(clips, "voice_a_enroll")
        )
        same = await whole(client.verify("bob", FORMAT), packets(clips, "voice_a_call"))
        other = await whole(client.verify(["bob"], FORMAT), packets(clips, "voice_b_call"))
        return enrolled, same, other

    enrolled, same, other = asyncio.run(run())
    assert any(isinstance(event, EnrollmentCompleted) for event in enrolled)
    verdicts = [
        [event.verdict for event in events if isinstance(event, DecisionMade)]
        for events in (same, other)
    ]
    assert verdicts[0] == [Verdict.ACCEPT]
    assert verdicts[1] != [Verdict.ACCEPT]


def test_a_session_says_what_was_granted(serve) -> None:
    async def run() -> Any:
        async with Client(serve().url).verify("alice", FORMAT) as stream:
            return stream.started

    started = asyncio.run(run())
    assert isinstance(started.event, SessionStarted)
    assert started.decision["accept_llr"] > started.decision["reject_llr"]
    assert started.session_id
    assert started.resume_token not in repr(started)


def test_an_unknown_speaker_is_an_error_that_names_it(serve) -> None:
    async def run() -> None:
        async with Client(serve().url).verify("nobody", FORMAT):
            pass

    with pytest.raises(UnknownSpeaker, match="nobody"):
        asyncio.run(run())


def test_a_speaker_who_is_enrolled_is_not_enrolled_over(serve) -> None:
    async def run() -> None:
        async with Client(serve().url).enroll("alice", FORMAT):
            pass

    with pytest.raises(VoiceprintExists, match="alice"):
        asyncio.run(run())


def test_without_its_key_a_server_lets_nobody_in(serve) -> None:
    live = serve()
    live.add_key("verify")

    async def run() -> None:
        async with Client(live.url).verify("alice", FORMAT):
            pass

    with pytest.raises(AuthenticationError):
        asyncio.run(run())


def test_with_its_key_a_server_lets_in_and_shows_it_nowhere(serve, clips) -> None:
    live = serve()
    key = live.add_key("verify")
    client = Client(live.url, key)
    found = asyncio.run(whole(client.verify("alice", FORMAT), packets(clips, "voice_a_call")[:20]))
    assert isinstance(found[-1], SessionEnded)
    assert key not in repr(vars(client))


def test_where_nobody_listens_the_error_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def run() -> None:
        async with Client(f"http://127.0.0.1:{port}").verify("alice", FORMAT):
            pass

    with pytest.raises(ConnectionLost, match=rf"no answer from 127.0.0.1:{port}"):
        asyncio.run(run())


def test_a_connection_that_never_comes_back_is_given_up(serve, network, clips) -> None:
    live = serve()

    async def run() -> None:
        patience = dataclasses.replace(QUICK, resume_s=0.5)
        async with network(live.port).running() as between:
            client = Client(between.url, patience=patience)
            async with client.verify("alice", FORMAT, is_live=True) as stream:
                await stream.send(bytes(3200))
                between.is_down = True
                await between.cut()
                async for _ in stream:
                    pass

    with pytest.raises(ConnectionLost, match="broke"):
        asyncio.run(run())


def test_a_session_that_failed_while_nobody_was_connected_is_an_error(serve, network) -> None:
    live = serve()
    calls = live.server._app.state.parts.calls

    async def run() -> None:
        async with network(live.port).running() as between:
            client = Client(between.url, patience=QUICK)
            async with client.verify("alice", FORMAT, is_live=True) as stream:
                between.is_down = True
                await between.cut()
                (call,) = calls.live
                failure = closing.because_of(RuntimeError("a broken disk"), call.session_id)
                loop = live.server.servers[0].get_loop()
                loop.call_soon_threadsafe(calls.fail, call, failure)
                between.is_down = False
                await stream.stop()
                async for _ in stream:
                    pass

    with pytest.raises((ServerError, SessionClosed), match="The server"):
        asyncio.run(run())


def test_a_session_that_is_deleted_before_it_has_said_how_it_ended_is_an_error(serve) -> None:
    live = serve()

    def delete(session_id: str) -> None:
        request = urllib.request.Request(f"{live.url}/v1/sessions/{session_id}", method="DELETE")
        urllib.request.urlopen(request).close()

    async def run() -> None:
        async with Client(live.url).verify("alice", FORMAT) as stream:
            await asyncio.to_thread(delete, stream.started.session_id)
            async for _ in stream:
                pass

    with pytest.raises(SessionClosed, match="did not say what became of it"):
        asyncio.run(run())


def test_a_source_that_can_wait_is_held_back_by_a_slow_server(serve, clips) -> None:
    async def run() -> float:
        patience = dataclasses.replace(QUICK, unacknowledged_s=2.0)
        furthest = 0.0
        async with Client(serve().url, patience=patience).verify("alice", FORMAT) as stream:
            for chunk in packets(clips, "voice_a_call"):
                await stream.send(chunk)
                furthest = max(furthest, stream.waiting_s)
            await stream.stop()
            assert isinstance([event async for event in stream][-1], SessionEnded)
        return furthest

    assert asyncio.run(run()) <= 2.1


def test_a_stopped_stream_takes_no_more_sound(serve) -> None:
    async def run() -> None:
        async with Client(serve().url).verify("alice", FORMAT) as stream:
            await stream.stop()
            await stream.stop()
            assert [event.type async for event in stream][-1] == "session_ended"
            await stream.send(b"")

    with pytest.raises(SessionClosed):
        asyncio.run(run())


def test_an_error_of_the_caller_ends_the_session_without_saying_stop(serve, clips) -> None:
    client = Client(serve().url)

    async def run() -> dict[str, Any]:
        with contextlib.suppress(RuntimeError):
            async with client.enroll("bob", FORMAT) as stream:
                for chunk in packets(clips, "voice_a_enroll")[:20]:
                    await stream.send(chunk)
                raise RuntimeError("an error of the caller")
        async with asyncio.timeout(10):
            while (result := await client.session(stream.started.session_id))["status"] != "ended":
                await asyncio.sleep(0.02)
        return result

    assert asyncio.run(run())["end_reason"] == "closed"


@pytest.mark.parametrize(
    "url", ["", "localhost", "ftp://a", "http://", "http://a:b", "http://k@a", "http://a/?key=1"]
)
def test_what_is_no_address_is_refused(url) -> None:
    with pytest.raises(ConfigError, match="address"):
        Client(url)


@pytest.mark.parametrize("key", ["", "a\nb", "ä"])
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key) -> None:
    with pytest.raises(ConfigError, match="key") as caught:
        Client("http://a", key)
    assert caught.value.value is None


def test_who_is_cancelled_while_a_stream_closes_stays_cancelled() -> None:
    started = {
        **{"type": "session_started", "seq": 1, "at_s": 0.0, "mode": "verify", "speakers": ["a"]},
        **{"encoding": "s16le", "sample_rate": 16_000, "channels": 1, "channel": "wideband"},
        **{"hop_s": 0.08, "update_interval_s": 0.08, "session_id": "x", "resume_token": "t"},
    }

    async def grant_and_die(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send(json.dumps(started))
        connection.transport.pause_reading()  # a network that has just died
        await asyncio.sleep(10)

    async def call() -> str:
        async with server.serve(grant_and_die, "127.0.0.1", 0, ping_interval=None) as serving:
            port = serving.sockets[0].getsockname()[1]
            patience = Patience(connect_s=0.5, resume_s=0.0)
            client = Client(f"http://127.0.0.1:{port}", patience=patience)

            async def use() -> str:
                async with client.verify("a", FORMAT) as stream:
                    await stream.send(bytes(PACKET))
                return "went on"

            task = asyncio.create_task(use())
            await asyncio.sleep(1.2)  # past the wait for the last events: the connection closes
            task.cancel()
            try:
                return await task
            except asyncio.CancelledError:
                return "cancelled"

    assert asyncio.run(call()) == "cancelled"
