"""The microphone path, through a real sound server; and what is said where there is none."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

pulse = [pytest.mark.needs_portaudio, pytest.mark.needs_pulseaudio]
QUICK = """
enrollment: {wanted_net_speech_s: 4.0, min_net_speech_s: 3.0, stretch_s: 0.5}
decision: {accept_llr: 0.0, reject_llr: -8.0, min_net_speech_s: 2.0}
"""


def until(process, kind):
    """The lines of a ``--json`` command up to the first event of this kind."""
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["type"] == kind:
            return lines
    raise AssertionError(process.stderr.read())


@pytest.fixture
def through_pulse(material, pulseaudio, start, tmp_path):
    """Starts a command that records from the sound server, with a quick configuration."""
    config = tmp_path / "quick.yaml"
    config.write_text(QUICK)

    def run(*arguments, env=pulseaudio.env):
        options = () if "--config" in arguments else ("--config", config)
        return start(*arguments, "--json", *options, env=dict(env) | home)

    home = {"STREAMSV_HOME": str(material.store.parent)}
    return run


class TestThroughPulseAudio:
    pytestmark = pulse

    def test_a_voice_enrolled_by_microphone_is_accepted_by_microphone(
        self, through_pulse, pulseaudio, clips
    ):
        enrolling = through_pulse("enroll", "carol", "--microphone", "--max-seconds", "20")
        until(enrolling, "session_started")
        player = pulseaudio.play(clips.path("voice_a_enroll"))
        out, err = enrolling.communicate(timeout=40)
        player.kill()
        player.wait()
        assert (enrolling.returncode, err) == (0, "")
        stored = json.loads(out.splitlines()[-1])
        assert (stored["type"], stored["speaker"]) == ("voiceprint_stored", "carol")
        assert stored["net_speech_s"] >= 3.9
        verifying = through_pulse("verify", "carol", "--microphone", "--max-seconds", "20")
        until(verifying, "session_started")
        player = pulseaudio.play(clips.path("voice_a_call"))
        heard = until(verifying, "decision_made")
        out, err = verifying.communicate(timeout=40)
        player.kill()
        player.wait()
        assert heard[-1]["verdict"] == "accept"
        assert (verifying.returncode, err) == (0, "")
        assert heard[-1]["at_s"] < 15

    def test_max_seconds_ends_a_recording_of_silence_undecided(self, through_pulse):
        silent = through_pulse("verify", "alice", "--microphone", "--max-seconds", "0.5")
        out, err = silent.communicate(timeout=40)
        assert (silent.returncode, err) == (3, "")
        ended = json.loads(out.splitlines()[-1])
        assert ended["type"] == "session_ended"
        assert 0.5 <= ended["at_s"] < 0.6

    def test_ctrl_c_ends_a_recording_with_its_result_and_130(
        self, through_pulse, pulseaudio, clips
    ):
        process = through_pulse("verify", "alice", "--microphone", "--keep-going")
        until(process, "session_started")
        player = pulseaudio.play(clips.path("voice_a_call"))
        until(process, "score_updated")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
        player.kill()
        player.wait()
        assert process.returncode == 130
        assert json.loads(out.splitlines()[-1])["type"] == "session_ended"
        assert json.loads(err)["code"] == "interrupted"

    def test_a_device_that_goes_away_is_a_sentence_after_the_result_so_far(
        self, through_pulse, start_pulseaudio
    ):
        with start_pulseaudio() as server:
            process = through_pulse("verify", "alice", "--microphone", env=server.env)
            until(process, "session_started")
            threading.Event().wait(0.3)
            server.stop()
            out, err = process.communicate(timeout=40)
        assert process.returncode == 4
        assert [json.loads(line)["type"] for line in out.splitlines()][-1] == "session_ended"
        assert json.loads(err.splitlines()[-1])["code"] == "audio_device"

    def test_live_enrolls_and_then_judges(self, through_pulse, pulseaudio, clips, tmp_path):
        config = tmp_path / "live.yaml"
        config.write_text(
            "enrollment: {wanted_net_speech_s: 2.0, min_net_speech_s: 1.0, stretch_s: 0.5}\n"
            "decision: {accept_llr: -1000, reject_llr: -2000, min_net_speech_s: 0.5}\n"
        )
        process = through_pulse("live", "--rounds", "1", "--config", config)
        until(process, "session_started")
        player = pulseaudio.play(np.tile(clips.pcm("voice_a_call"), 2))
        until(process, "enrollment_completed")
        (decision,) = until(process, "decision_made")[-1:]
        out, err = process.communicate(timeout=40)
        player.kill()
        player.wait()
        assert decision["verdict"] == "accept"
        assert (process.returncode, err) == (0, "")
        assert out.count("score_updated") > 20

    def test_devices_lists_the_default_microphone(self, spawn, pulseaudio):
        said = spawn("devices", "--json", env=dict(pulseaudio.env))
        assert said.code == 0
        assert any(device["is_default"] for device in said.objects)
        table = spawn("devices", env=dict(pulseaudio.env))
        assert "default" in table.out


@pytest.mark.parametrize(
    "arguments",
    [["devices"], ["live"], ["verify", "alice", "--microphone"], ["enroll", "c", "--microphone"]],
    ids=" ".join,
)
def test_a_missing_portaudio_is_a_sentence_that_says_what_to_install(material, arguments):
    code = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "sounddevice":
            raise OSError("PortAudio library not found")

sys.meta_path.insert(0, Missing())
from streamsv.cli.main import main
sys.exit(int(main(sys.argv[1:])))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert "apt-get install libportaudio2" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_device_that_is_not_there_is_named(material, spawn):
    said = spawn("verify", "alice", "--microphone", "--device", "no such thing", "--json")
    assert said.code == 4
    assert said.error["code"] == "audio_device"
