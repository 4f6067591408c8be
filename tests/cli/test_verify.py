"""verify says by its exit code and on its output whether this is the voice of NAME."""

from __future__ import annotations

import re

import numpy as np
import pytest
import soundfile


@pytest.mark.parametrize(
    ("config", "code", "verdict", "word"),
    [
        ("accepts", 0, "accept", "Accepted as alice, after 3.0 s of speech"),
        ("rejects", 1, "reject", "Rejected: the voice is not alice's, after 3.0 s of speech"),
        ("hesitates", 3, "undecided", "Undecided: the evidence does not suffice"),
    ],
)
def test_the_verdict_is_the_exit_code(call, material, config, code, verdict, word):
    options = ("verify", "alice", material.a, "--config", getattr(material, config))
    said = call(*options)
    assert (said.code, said.err) == (code, "")
    assert word in said.out
    as_json = call(*options, "--json")
    assert as_json.code == code
    (decision,) = as_json.of_type("decision_made")
    assert (decision["verdict"], decision["speaker"]) == (verdict, "alice")


def test_silence_is_undecided_and_says_that_there_was_too_little_speech(call, material):
    said = call("verify", "alice", material.silence, "--config", material.accepts)
    assert said.code == 3
    assert "Undecided: there was too little speech, after 0.0 s of speech." in said.out


def test_json_is_one_event_a_line_from_session_started_to_session_ended(call, material):
    said = call("verify", "alice", material.a, "--json")
    kinds = [found["type"] for found in said.objects]
    assert kinds[0] == "session_started"
    assert kinds[-1] == "session_ended"
    assert "speech_started" in kinds
    assert all(found["at_s"] >= 0 for found in said.objects)


def test_json_and_exit_code_are_the_same_at_every_speed(call, material):
    options = ("verify", "alice", material.a, "--json")
    assert call(*options, "--speed", "20") == call(*options)


def test_a_log_gets_lines_that_stand_alone(spawn, material):
    said = spawn("verify", "alice", material.a)
    assert "\x1b" not in said.out
    assert "\r" not in said.out
    assert said.out.isascii() or "·" in said.out
    lines = said.out.splitlines()
    assert re.fullmatch(r" +0\.0 s  alice · a\.wav: 16000 Hz, wideband", lines[0])
    assert all(re.match(r" +\d+\.\d s  \S", line) for line in lines)
    assert sum("LLR" in line and "speech" in line for line in lines) < 12


def test_force_color_does_not_make_a_log_a_live_picture(spawn, material):
    said = spawn("verify", "alice", material.a, env={"FORCE_COLOR": "1"})
    assert "\x1b[2K" not in said.out
    assert "╭" not in said.out


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20)])
def test_a_terminal_gets_a_picture_that_ends_with_the_verdict(watch, material, columns, rows):
    said = watch(
        "verify",
        "alice",
        material.a,
        "--config",
        material.rejects,
        "--speed",
        "0",
        columns=columns,
        rows=rows,
        NO_COLOR="1",
    )
    assert said.code == 1
    picture = said.out[said.out.rindex("╭") :]
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", picture).rstrip().splitlines()
    assert all(len(line) == columns for line in lines)
    assert len(lines) < rows
    assert any(re.search(r"REJECT +not alice, after 3\.0 s of speech, LLR", line) for line in lines)
    assert sum(bool(re.search(r"(accept|reject) \+", line)) for line in lines) == 2
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", said.out)


def test_without_no_color_the_picture_has_colors(watch, material):
    said = watch("verify", "alice", material.a, "--config", material.accepts, "--speed", "0")
    assert said.code == 0
    assert re.search(r"\x1b\[[0-9;]*32m", said.out)


def test_an_unknown_speaker_is_named_with_those_that_are_known(call, material):
    said = call("verify", "alicia", material.a)
    assert said.code == 4
    assert said.out == ""
    assert said.err.startswith("Error: There is no voiceprint of 'alicia'. Did you mean 'alice'?")


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("verify", "alice"), ("verify", "alice", "x.wav", "--microphone")],
)
def test_neither_or_both_sources_are_a_usage_error(call, material, arguments):
    said = call(*arguments)
    assert said.code == 2
    assert "Usage: streamsv verify" in said.err


def test_a_voiceprint_of_another_model_is_refused_with_what_to_do(call, material):
    exported = material.store.parent / "alice.json"
    assert call("voiceprints", "export", "alice", exported).code == 0
    from dataclasses import replace

    from streamsv.voiceprints import Voiceprint

    foreign = replace(Voiceprint.from_bytes(exported.read_bytes()), fingerprint="0" * 64)
    exported.write_bytes(foreign.to_bytes())
    assert call("voiceprints", "import", exported, "--as", "old").code == 0
    said = call("verify", "old", material.a, "--json")
    assert (said.code, said.error["code"]) == (4, "model_mismatch")
    assert "Enroll 'old' again" in said.error["message"]


@pytest.mark.parametrize(
    "options", [("--max-seconds", "3"), ("--device", "0"), ("--keep-going",)], ids=" ".join
)
def test_an_option_of_the_microphone_with_a_file_is_a_usage_error(call, material, options):
    said = call("verify", "alice", material.a, *options)
    assert said.code == 2
    assert said.err.splitlines()[-1] == f"Error: {options[0]} goes with --microphone."


@pytest.mark.parametrize("command", ["verify", "enroll"])
def test_a_file_where_the_name_should_be_says_what_comes_first(call, material, command):
    said = call(command, material.a, "alice")
    assert said.code == 2
    assert "NAME comes before FILE." in said.err


def test_several_channels_are_said_to_be_averaged_in_the_first_line(call, material, tmp_path):
    pcm, rate = soundfile.read(material.a)
    stereo = tmp_path / "stereo.wav"
    soundfile.write(stereo, np.stack([pcm, pcm], axis=1), rate)
    first = call("verify", "alice", stereo).out.splitlines()[0]
    assert first.endswith("stereo.wav (2 channels, averaged): 16000 Hz, wideband")


def test_the_picture_says_what_an_llr_means(watch, material):
    said = watch("verify", "alice", material.a, "--speed", "0", NO_COLOR="1")
    assert "LLR: + speaks for alice, - against" in said.out
