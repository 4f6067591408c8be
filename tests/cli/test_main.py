"""Whatever happens, the exit code says what it was, and nothing but a verdict exits with 1."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import streamsv
from streamsv.cli import options
from streamsv.cli.main import main
from streamsv.errors import StreamsvError


def all_errors(root=StreamsvError):
    return [root, *(each for child in root.__subclasses__() for each in all_errors(child))]


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_named_error_is_a_sentence_and_4(call, material, monkeypatch, error):
    def fail(config):
        raise error("That was wrong. Do this.", "value")

    monkeypatch.setattr(options, "load_engine", fail)
    said = call("verify", "alice", material.a)
    assert (said.code, said.out, said.err) == (4, "", "Error: That was wrong. Do this.\n")
    as_json = call("verify", "alice", material.a, "--json")
    assert as_json.code == 4
    assert as_json.error == error("That was wrong. Do this.", "value").to_dict()


@pytest.mark.parametrize(
    "error",
    [
        ValueError("one"),
        RuntimeError(),
        MemoryError(),
        RecursionError(),
        OSError(28, "No space left on device"),
        SystemExit(1),
        SystemExit("a sentence"),
        EOFError(),
        KeyError("x"),
    ],
    ids=repr,
)
def test_what_nobody_foresaw_is_never_taken_for_a_verdict(call, material, monkeypatch, error):
    def fail(config):
        raise error

    monkeypatch.setattr(options, "load_engine", fail)
    codes = {call("verify", "alice", material.a, *more).code for more in ((), ("--json",))}
    assert codes <= {70, 130}
    if not isinstance(error, EOFError):
        assert codes == {70}


def test_an_internal_error_names_itself_and_shows_its_traceback_only_when_asked(
    call, material, monkeypatch
):
    def fail(config):
        raise ValueError("of no use")

    monkeypatch.setattr(options, "load_engine", fail)
    said = call("verify", "alice", material.a)
    assert said.err.startswith("Error: Inside streamsv: ValueError: of no use.")
    assert "--debug" in said.err
    assert "Traceback" not in said.err
    debugged = call("verify", "alice", material.a, "--debug")
    assert (debugged.code, debugged.err.startswith("Traceback")) == (70, True)
    as_json = call("verify", "alice", material.a, "--debug", "--json")
    assert as_json.error["code"] == "internal"
    assert "ValueError: of no use" in as_json.error["traceback"]


def test_debug_shows_where_a_named_error_came_from_and_changes_no_code(call, material):
    said = call("verify", "alice", "missing.wav", "--debug")
    assert said.code == 4
    assert "Traceback" in said.err
    assert said.err.splitlines()[-1].startswith("Error: There is no file missing.wav")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["verify", "--bogus"],
        ["verify", "alice", "x.wav", "--speed", "fast"],
        ["verify", "alice", "x.wav", "--speed", "-1"],
        ["voiceprints"],
        ["voiceprints", "list", "extra"],
        ["identify"],
        ["model"],
        ["bench", "--minutes"],
        ["evaluate", ".", "--at", "one,two"],
        ["evaluate", ".", "--score", "luck"],
    ],
    ids=" ".join,
)
def test_a_usage_error_is_2_and_with_json_an_object(call, arguments):
    said = call(*arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1].startswith("Error: ")
    as_json = call("--json", *arguments)
    assert (as_json.code, as_json.error["code"]) == (2, "usage")


def test_without_arguments_there_is_help_and_the_version_is_said(call):
    assert "Usage" in call().out
    assert call().code == 0
    assert call("--version").out == f"streamsv {streamsv.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        "demo",
        "enroll",
        "verify",
        "identify",
        "live",
        "devices",
        "evaluate",
        "bench",
        "voiceprints list",
        "voiceprints show",
        "voiceprints delete",
        "voiceprints export",
        "voiceprints import",
        "model info",
    ],
)
def test_every_command_has_help_and_knows_debug(call, command):
    said = call(*command.split(), "--help")
    assert said.code == 0
    assert "--debug" in said.out
    assert "<bool>" not in said.out
    assert call(*command.split(), "-h").out == said.out


@pytest.mark.parametrize(
    ("group", "commands"),
    [("model", "info"), ("voiceprints", "list, show, delete, export, import")],
)
def test_a_group_without_a_command_shows_its_help_and_a_sentence(call, group, commands):
    said = call(group)
    assert (said.code, said.out) == (2, "")
    assert f"Usage: streamsv {group}" in said.err
    assert said.err.splitlines()[-1] == f"Error: Name a command: {commands}."


def test_the_package_runs_as_a_module_and_its_help_says_where_to_start():
    done = subprocess.run(
        [sys.executable, "-m", "streamsv", "-h"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert "Start with `streamsv demo`." in done.stdout
    assert "<bool>" not in done.stdout


def test_a_configuration_that_is_not_there_is_named(call, material):
    said = call("verify", "alice", material.a, "--config", "nofile.yaml")
    assert said.code == 4
    assert said.err.startswith("Error: There is no file nofile.yaml.")


def test_a_configuration_with_a_wrong_key_names_file_and_key(call, material, tmp_path):
    config = tmp_path / "engine.yaml"
    config.write_text("decision: {acept_llr: 1}\n")
    said = call("verify", "alice", material.a, "--config", config)
    assert said.code == 4
    assert "engine.yaml: decision.acept_llr is not a key" in said.err


def test_a_store_that_is_none_is_a_sentence(call, material):
    said = call("voiceprints", "list", "--store", material.a)
    assert said.code == 4
    assert "is not a voiceprint store" in said.err


COMMANDS = st.sampled_from(
    [
        ["verify", "alice", "a.wav"],
        ["verify", "alice", "b.wav", "--config", "rejects.yaml"],
        ["verify", "alice", "a.wav", "--config", "hesitates.yaml", "--json"],
        ["verify", "nobody", "a.wav", "--json"],
        ["identify", "a.wav", "--config", "rejects.yaml"],
        ["identify", "silence.wav"],
        ["enroll", "alice", "a.wav"],
        ["enroll", "carol", "silence.wav", "--consent-by", "x"],
        ["voiceprints", "list"],
        ["voiceprints", "show", "alice", "--json"],
        ["voiceprints", "delete", "nobody"],
        ["voiceprints", "import", "rejects.yaml"],
        ["model", "info", "--config", "a.wav"],
        ["evaluate", "."],
        ["devices"],
    ]
)
NOISE = st.sampled_from(
    ["--json", "--debug", "--", "--help", "--speed", "0", "--config", "a.wav", "", "-", "--store"]
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    command=COMMANDS,
    noise=st.lists(st.tuples(st.integers(0, 6), NOISE), max_size=2),
    dropped=st.sets(st.integers(0, 5), max_size=1),
)
def test_the_exit_code_is_1_only_after_a_rejection(material, monkeypatch, command, noise, dropped):
    monkeypatch.chdir(material.folder)
    arguments = [word for index, word in enumerate(command) if index not in dropped]
    for place, word in noise:
        arguments.insert(place, word)
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = main(arguments)
    assert code in (0, 1, 2, 3, 4), err.getvalue()
    was_rejected = '"verdict": "reject"' in out.getvalue() or "Rejected: " in out.getvalue()
    assert (code == 1) == was_rejected


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["verify", "alice", "a.wav", "--config", "accepts.yaml"], 0),
        (["verify", "alice", "a.wav", "--config", "rejects.yaml", "--json"], 1),
        (["verify"], 2),
        (["verify", "alice", "silence.wav"], 3),
        (["verify", "nobody", "a.wav"], 4),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_the_program_itself_exits_with_these_codes(spawn, material, arguments, code):
    said = spawn(*arguments, cwd=material.folder)
    assert said.code == code
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", "alice", "a.wav", "--json", "--config", "rejects.yaml", "--speed", "4"],
        ["verify", "alice", "a.wav", "--speed", "4"],
        ["voiceprints", "list"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_a_reader_that_leaves_ends_the_program_quietly(start, material, arguments):
    read, write = os.pipe()
    process = start(*arguments, stdout=write, cwd=material.folder)
    os.close(write)
    if "--speed" in arguments:
        os.read(read, 10)
    os.close(read)
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_output_is_no_verdict(start, material):
    arguments = ["verify", "alice", material.a, "--config", material.rejects]
    with Path("/dev/full").open("w") as full:
        process = start(*arguments, stdout=full)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == 70
        assert "No space left" in said
        assert "Traceback" not in said
        assert start(*arguments, stdout=full, stderr=full).wait(timeout=30) == 70


def test_closed_standard_streams_do_no_harm(material):
    command = 'exec "$0" -m streamsv.cli verify alice "$1" --config "$2" >&- 2>&-'
    from_shell = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, material.a, material.rejects],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=30,
        check=False,
    )
    assert from_shell.returncode == 1


def test_an_output_without_unicode_is_still_written(spawn, material):
    said = spawn("verify", "alice", material.a, env={"PYTHONIOENCODING": "ascii"})
    assert said.code in (0, 1, 3)
    assert "alice ? a.wav" in said.out


def test_ctrl_c_ends_the_session_shows_its_result_and_exits_with_130(start, material):
    options = ("--json", "--speed", "1", "--config", material.accepts)
    process = start("verify", "alice", material.b, *options)
    while "score_updated" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    last = out.splitlines()[-2:]
    assert '"verdict": "undecided"' in last[0]
    assert '"session_ended"' in last[1]
    assert '"code": "interrupted"' in err


def test_ctrl_c_during_an_enrollment_claims_no_voiceprint(start):
    process = start("demo", "--speed", "1")
    assert "Enrolling" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Interrupted.\n")
    assert "voiceprint ready" not in out


def test_help_waits_for_no_model_and_no_sound_card():
    code = """
import sys
from streamsv.cli.main import main
main(["--help"])
sys.exit(bool({"onnxruntime", "torch", "sounddevice"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
