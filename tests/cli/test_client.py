"""``streamsv client`` against a real server: the same codes and events as on this machine."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest

from streamsv.audio import AudioFormat
from streamsv.cli.client import _Conversation
from streamsv.cli.sounds import Sound
from streamsv.events import DecisionMade, Reason, Verdict
from streamsv.server.config import ServeConfig
from streamsv.server.keys import KeyStore
from streamsv.server.serving import server_of


@pytest.fixture
def url(tmp_path, monkeypatch):
    """The address of a server with an empty store."""
    for name in ("STREAMSV_URL", "STREAMSV_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    config = ServeConfig(
        port=0, store=str(tmp_path / "voiceprints.db"), keys=str(tmp_path / "keys.db")
    )
    server = server_of(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def test_a_file_enrolls_and_others_are_judged_by_exit_codes(call, url, clips):
    to = ("--url", url, "--json")
    enrolled = call("client", clips.path("voice_a_enroll"), "--enroll", "alice", *to)
    assert (enrolled.code, enrolled.err) == (0, "")
    assert enrolled.of_type("enrollment_completed")[0]["speaker"] == "alice"
    same = call("client", clips.path("voice_a_call"), "--speaker", "alice", *to)
    assert (same.code, same.err) == (0, "")
    assert [each["verdict"] for each in same.of_type("decision_made")] == ["accept"]
    assert [each["type"] for each in same.objects][-1] == "session_ended"
    other = call("client", clips.path("voice_b_call"), "--speaker", "alice", *to)
    verdict = other.of_type("decision_made")[0]["verdict"]
    assert verdict != "accept"
    assert other.code == {"reject": 1, "undecided": 3}[verdict]
    again = call("client", clips.path("voice_a_enroll"), "--enroll", "alice", *to)
    assert (again.code, again.error["code"]) == (4, "voiceprint_exists")
    replaced = call("client", clips.path("voice_a_enroll"), "--enroll", "alice", "--replace", *to)
    assert replaced.code == 0


def test_for_a_log_it_prints_lines(call, url, clips):
    call("client", clips.path("voice_a_enroll"), "--enroll", "alice", "--url", url)
    said = call("client", clips.path("voice_a_call"), "--speaker", "alice", "--url", url)
    assert said.code == 0
    assert "Accepted as alice" in said.out


def test_the_key_is_taken_from_the_environment_and_never_shown(
    call, url, clips, tmp_path, monkeypatch
):
    with KeyStore(tmp_path / "keys.db") as keys:
        key = keys.create(("verify", "enroll")).key
    without = call("client", clips.path("voice_a_enroll"), "--enroll", "a", "--url", url, "--json")
    assert (without.code, without.error["code"]) == (4, "authentication")
    monkeypatch.setenv("STREAMSV_API_KEY", key)
    said = call("client", clips.path("voice_a_enroll"), "--enroll", "a", "--url", url)
    assert said.code == 0
    shown = call("client", "--help")
    assert key not in said.out + said.err + shown.out


def test_ctrl_c_shows_the_result_of_a_claim_so_far_and_gives_an_enrollment_up(
    call, start, url, clips
):
    to = ("--url", url, "--speed", "1", "--json")
    enrolling = start("client", clips.path("voice_a_enroll"), "--enroll", "alice", *to)
    while "enrollment_progress" not in enrolling.stdout.readline():
        pass
    enrolling.send_signal(signal.SIGINT)
    out, err = enrolling.communicate(timeout=30)
    assert (enrolling.returncode, json.loads(err)["code"]) == (130, "interrupted")
    said = {json.loads(line)["type"] for line in out.splitlines()}
    assert not said & {"enrollment_completed", "enrollment_refused", "session_ended"}
    again = call("client", clips.path("voice_a_enroll"), "--enroll", "alice", "--url", url)
    assert again.code == 0, "the enrollment that was given up is stored"
    claiming = start("client", clips.path("voice_a_call"), "--speaker", "alice", *to)
    while "score_updated" not in claiming.stdout.readline():
        pass
    claiming.send_signal(signal.SIGINT)
    out, err = claiming.communicate(timeout=30)
    assert (claiming.returncode, json.loads(err)["code"]) == (130, "interrupted")
    last = [json.loads(line)["type"] for line in out.splitlines()[-2:]]
    assert last == ["decision_made", "session_ended"]


@pytest.mark.parametrize(
    "arguments", [(), ("--speaker", "a", "--enroll", "a")], ids=["neither", "both"]
)
def test_either_speakers_are_claimed_or_one_is_enrolled(call, clips, arguments):
    said = call("client", clips.path("voice_a_call"), *arguments, "--json")
    assert (said.code, said.error["code"]) == (2, "usage")


@pytest.mark.parametrize(
    "option", [("--replace",), ("--consent-by", "Bob"), ("--consent-purpose", "a test")]
)
def test_what_only_an_enrollment_takes_is_refused_for_a_claim(call, clips, option):
    said = call("client", clips.path("voice_a_call"), "--speaker", "a", *option, "--json")
    assert (said.code, said.error["code"]) == (2, "usage")
    assert f"{option[0]} goes with --enroll" in said.error["message"]


def test_where_no_server_is_the_error_says_so(call, clips):
    said = call(
        "client",
        clips.path("voice_a_call"),
        "--speaker",
        "a",
        "--url",
        "http://127.0.0.1:9",
        "--json",
    )
    assert (said.code, said.error["code"]) == (4, "connection_lost")


def test_a_microphone_is_heard_until_there_is_a_decision_for_each_claimed_speaker():
    sound = Sound("microphone", AudioFormat("f32le", 16_000), None, ())
    heard = _Conversation(sound, "two", None, True, is_enrolling=False, claimed=2)
    for speaker, is_enough in (("alice", False), ("bob", True)):
        reason = Reason.ABOVE_ACCEPT_THRESHOLD
        heard._note(DecisionMade(1.0, speaker, Verdict.ACCEPT, reason, 0.02, 1.0, None))
        assert heard._is_enough == is_enough
