"""Whatever closes a connection becomes an error of the one tree, with what to do."""

from __future__ import annotations

import json

import pytest

from streamsv import errors
from streamsv.client.closing import can_resume, error_of_close, error_of_message, error_of_response


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, errors.SessionClosed),
        (1003, errors.ProtocolError),
        (1007, errors.ProtocolError),
        (1008, errors.AuthenticationError),
        (1009, errors.ProtocolError),
        (1011, errors.ServerError),
        (1013, errors.CapacityError),
        (4408, errors.ProtocolError),
        (4409, errors.SessionClosed),
        (4410, errors.SessionClosed),
        (4412, errors.SessionClosed),
        (4999, errors.ServerError),
    ],
)
def test_every_close_code_is_an_error_of_its_kind(code, kind) -> None:
    assert type(error_of_close(code, "")) is kind
    assert not can_resume(code)


@pytest.mark.parametrize("code", [None, 1001, 1006, 1012])
def test_a_broken_connection_and_a_restart_are_resumed(code) -> None:
    assert can_resume(code)


def test_a_reason_that_names_an_error_becomes_that_error() -> None:
    error = error_of_close(1008, "unknown_speaker: There is no voiceprint of 'bob'.")
    assert type(error) is errors.UnknownSpeaker
    assert error.message == "There is no voiceprint of 'bob'."


def test_a_reason_in_other_words_is_passed_on() -> None:
    assert "field 'mode'" in error_of_close(1007, "field 'mode'").message


def test_no_capacity_says_after_how_many_seconds_to_try_again() -> None:
    assert error_of_close(1013, "capacity: Full; retry after 7 s").value == 7.0
    assert error_of_close(1013, "").value is None
    assert error_of_response(503, {"Retry-After": "12"}, b"").value == 12.0
    assert error_of_response(503, {}, b"").value is None


@pytest.mark.parametrize("wrap", [lambda error: error, lambda error: {"error": error}])
def test_a_response_with_an_error_in_json_becomes_that_error(wrap) -> None:
    said = errors.VoiceprintExists("There is one.", "alice").to_dict()
    error = error_of_response(409, {}, json.dumps(wrap(said)).encode())
    assert type(error) is errors.VoiceprintExists
    assert (error.message, error.value) == ("There is one.", "alice")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AuthenticationError),
        (403, errors.AuthenticationError),
        (404, errors.ProtocolError),
        (418, errors.ProtocolError),
        (429, errors.CapacityError),
        (500, errors.ServerError),
        (503, errors.CapacityError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"error": 3}'])
def test_a_response_without_one_is_known_by_its_status(status, kind, body) -> None:
    assert type(error_of_response(status, {}, body)) is kind


def test_an_error_of_a_newer_server_is_the_servers() -> None:
    error = error_of_message({"code": "weather", "message": "It rains."})
    assert type(error) is errors.ServerError
    assert error.message == "It rains."


def test_a_session_that_another_connection_resumed_is_no_question_of_keys() -> None:
    error = error_of_close(1008, "taken_over: another connection resumed this session.")
    assert type(error) is errors.SessionClosed
    assert "Another connection" in error.message
    assert not can_resume(1008)
