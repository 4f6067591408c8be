"""The example program, run as it is, hearing a voice through a real sound server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "demo" / "microphone.py"


def line_with(process: subprocess.Popen[str], word: str) -> str:
    for line in process.stdout:
        if word in line:
            return line
    raise AssertionError(process.stderr.read())


@pytest.mark.needs_portaudio
@pytest.mark.needs_pulseaudio
def test_the_example_scores_the_voice_that_it_enrolled_above_zero(pulseaudio, clips):
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
    said = process.stdout.read()
    assert float(re.findall(r"LLR ([+-][\d.]+)", said)[-1]) > 0
    assert re.search(r"In the end: (accept|undecided)", said)
    assert process.wait(timeout=20) == 0
    call.kill()
    call.wait()


def test_what_goes_wrong_is_a_sentence_and_4():
    code = """
import runpy, sys
import streamsv

def fail(*_):
    raise streamsv.StreamsvError("That was wrong. Do this.")

streamsv.Microphone = fail
program = sys.argv.pop(1)
runpy.run_path(program, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (4, "Error: That was wrong. Do this.\n")
