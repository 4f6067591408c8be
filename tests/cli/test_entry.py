"""What fails before there is a command line has an exit code, and never that of a verdict."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from streamsv.cli import entry
from streamsv.cli.exits import ExitCode

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["-m streamsv", "-m streamsv.cli", "-c the console script"])
def begin(request, tmp_path):
    """Starts the program with a typer whose import runs ``code``."""

    def run(code):
        (tmp_path / "typer.py").write_text(f"{code}\n")
        option, target = request.param.split(" ", 1)
        if option == "-c":
            target = "from streamsv.cli.entry import run; run()"
        return subprocess.run(
            [sys.executable, option, target, "voiceprints", "list"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_ctrl_c_during_the_imports_is_130_without_a_traceback(begin):
    done = begin("raise KeyboardInterrupt")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ImportError('a library is missing')", "ImportError: a library is missing."),
        ("raise SystemExit(1)", "SystemExit: 1."),
    ],
)
def test_a_failing_import_is_a_sentence_and_70_never_1(begin, code, said):
    done = begin(code)
    assert (done.returncode, done.stdout) == (70, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: streamsv cannot start: {said}")


def test_the_codes_are_those_of_the_command_line():
    assert ExitCode.INTERNAL == entry.INTERNAL
    assert ExitCode.INTERRUPTED == entry.INTERRUPTED


def test_the_console_script_is_the_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    script = metadata.EntryPoint("streamsv", project["scripts"]["streamsv"], "console_scripts")
    assert script.load() is entry.run
