"""The example program, run as it is, hearing a voice through a real sound server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "demo" / "microphone.py"
pytestmark = [pytest.mark.needs_portaudio, pytest.mark.needs_pulseaudio]


def line_with(process: subprocess.Popen[str], word: str) -> str:
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(process.stderr.read())


def test_the_example_recognizes_the_voice_that_it_enrolled(pulseaudio, clips):
    command = [sys.executable, str(PROGRAM), "--enroll", "5", "--watch", "12"]
    process = subprocess.Popen(
        command,
        env=dict(pulseaudio.env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line_with(process, "Talk until")
    enrolling = pulseaudio.play(clips.path("voice_a_enroll"))
    line_with(process, "Now talk")
    enrolling.kill()
    enrolling.wait()
    call = pulseaudio.play(clips.path("voice_a_call"))
    assert "accept" in line_with(process, "In the end")
    assert process.wait(timeout=20) == 0
    call.kill()
    call.wait()
