"""One stream over as many connections as it takes, without a socket."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsv.audio import AudioFormat
from streamsv.client.protocol import StreamProtocol, Wish
from streamsv.errors import ProtocolError, SessionClosed, UnknownSpeaker
from streamsv.events import SessionEnded, SessionStarted, SpeechEnded, SpeechStarted

FORMAT = AudioFormat("s16le", 8000)
WISH = Wish("verify", ("alice",), FORMAT, {"call_id": "c"})


class FakeServer:
    """Takes what a client sends, and may be cut off anywhere: an event for each 100 samples."""

    def __init__(self) -> None:
        self.line = b""
        self.events: list[dict[str, Any]] = []
        self.is_stopped = False
        self.connections = 0
        self._say(SessionStarted(0.0, "verify", ("alice",), "s16le", 8000, 1, "telephone", 1, 1))

    def accept(self, start: dict[str, Any]) -> list[dict[str, Any]]:
        assert (start["type"], start["version"], start["mode"]) == ("start", 1, "verify")
        assert start["audio"] == {"encoding": "s16le", "sample_rate": 8000, "channels": 1}
        resume = start.get("resume")
        assert (resume is None) == (self.connections == 0)
        if resume is not None:
            assert resume["token"] == f"token {self.connections}"
        self.connections += 1
        granted = {
            "session_id": "s",
            "resume_token": f"token {self.connections}",
            "received_samples": len(self.line) // 2,
        }
        last = resume["last_seq"] if resume is not None else 1
        return [self.events[0] | granted, *self.events[last:]]

    def take(self, message: str | bytes) -> list[dict[str, Any]]:
        before = len(self.events)
        if isinstance(message, bytes):
            self.line += message
        elif (control := json.loads(message))["type"] == "gap":
            self.line += bytes(2 * round(control["ms"] * 8))
        elif not self.is_stopped:
            self.is_stopped = True
            self._say(SessionEnded(1.0, 0.0))
        while len(self.line) // 200 > len(self.events) - 1 and not self.is_stopped:
            self._say(SpeechStarted(float(len(self.events))))
        return self.events[before:]

    def _say(self, event: Any) -> None:
        self.events.append(event.to_dict() | {"seq": len(self.events) + 1})


def begun(server: FakeServer) -> StreamProtocol:
    protocol = StreamProtocol(WISH, 60.0)
    for fields in server.accept(json.loads(protocol.start_message())):
        protocol.receive(json.dumps(fields))
    return protocol


@given(
    chunks=st.lists(st.integers(0, 700), max_size=20),
    cuts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=5),
)
def test_however_often_the_connection_drops_nothing_is_lost_and_nothing_comes_twice(
    chunks, cuts
) -> None:
    server, protocol = FakeServer(), StreamProtocol(WISH, 60.0)
    ids = itertools.count()
    sound = b"".join((next(ids) % 60_000).to_bytes(2, "little") for _ in range(sum(chunks)))
    position = 0
    for chunk in chunks:
        protocol.send(sound[2 * position : 2 * (position + chunk)])
        position += chunk
    protocol.stop()
    heard = []
    for most_out, most_in in [*cuts, (10_000, 10_000)]:
        on_wire = server.accept(json.loads(protocol.start_message()))
        heard += protocol.receive(json.dumps(on_wire.pop(0)))
        for _ in range(most_out):
            if (message := protocol.next_message(300)) is None:
                break
            on_wire += server.take(message)
        for fields in on_wire[:most_in]:
            heard += protocol.receive(json.dumps(fields))
    assert server.line == sound
    said = [{k: v for k, v in fields.items() if k != "seq"} for fields in server.events]
    assert [json.loads(json.dumps(event.to_dict())) for event in heard] == json.loads(
        json.dumps(said)
    )
    assert protocol.is_ended


def test_nothing_is_sent_before_the_session_has_started() -> None:
    protocol = StreamProtocol(WISH, 60.0)
    protocol.send(bytes(100))
    protocol.start_message()
    assert protocol.next_message() is None
    assert not protocol.is_open


def test_the_start_message_carries_what_was_wished() -> None:
    fields = json.loads(StreamProtocol(WISH, 60.0).start_message())
    assert fields["call_id"] == "c"
    assert fields["speakers"] == ["alice"]
    assert "resume" not in fields


def test_messages_are_of_bounded_size_and_in_order() -> None:
    protocol = begun(FakeServer())
    protocol.send(bytes(1000))
    protocol.gap(12.5)
    protocol.send(b"\1" * 10)
    protocol.stop()
    sent = list(iter(lambda: protocol.next_message(400), None))
    assert sent[:3] == [bytes(400), bytes(400), bytes(200)]
    assert json.loads(sent[3]) == {"type": "gap", "ms": 12.5}
    assert sent[4] == b"\1" * 10
    assert json.loads(sent[5]) == {"type": "stop"}
    assert len(sent) == 6


def test_acknowledged_sound_is_waited_for_no_more() -> None:
    protocol = begun(FakeServer())
    protocol.send(bytes(16_000))
    while protocol.next_message() is not None:
        pass
    assert protocol.waiting_s == 1.0
    protocol.receive('{"type": "received", "received_samples": 4000}')
    assert protocol.waiting_s == 0.5
    protocol.acknowledge(protocol.sent_samples)
    assert protocol.waiting_s == 0.0


def test_an_event_that_comes_twice_is_given_once() -> None:
    protocol = begun(FakeServer())
    message = json.dumps(SpeechEnded(1.0, 0.5).to_dict() | {"seq": 2})
    assert protocol.receive(message) == [SpeechEnded(1.0, 0.5)]
    assert protocol.receive(message) == []


def test_an_unknown_control_message_is_passed_over() -> None:
    protocol = begun(FakeServer())
    assert protocol.receive('{"type": "weather", "is": "fine"}') == []


def test_the_error_that_a_server_reports_is_kept() -> None:
    protocol = StreamProtocol(WISH, 60.0)
    error = UnknownSpeaker("There is no voiceprint of 'bob'.", "bob").to_dict()
    assert protocol.receive(json.dumps(error)) == []
    assert isinstance(protocol.error, UnknownSpeaker)
    assert (protocol.error.message, protocol.error.value) == (error["message"], "bob")


@pytest.mark.parametrize("message", [b"{}", "[]", "nonsense", '{"type": "speech_started"'])
def test_what_is_no_json_object_is_refused(message) -> None:
    with pytest.raises(ProtocolError, match="not a JSON object"):
        StreamProtocol(WISH, 60.0).receive(message)


def test_an_event_without_its_number_is_refused() -> None:
    with pytest.raises(ProtocolError, match="seq"):
        begun(FakeServer()).receive(json.dumps(SpeechStarted(1.0).to_dict()))


def test_after_stop_there_is_no_more_sound() -> None:
    protocol = begun(FakeServer())
    protocol.stop()
    protocol.stop()
    with pytest.raises(SessionClosed, match="stopped"):
        protocol.send(b"")
    with pytest.raises(SessionClosed):
        protocol.gap(10)


@pytest.mark.parametrize("ms", [-1.0, float("nan"), float("inf")])
def test_a_gap_has_a_length(ms) -> None:
    with pytest.raises(ProtocolError, match="milliseconds"):
        begun(FakeServer()).gap(ms)
