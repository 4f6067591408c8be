"""What is printed arrives whole and as it is, in a log as on a terminal."""

from __future__ import annotations

import io
import json

from streamsv.cli import terminal
from streamsv.cli.terminal import Terminal


def test_a_log_line_is_never_wrapped_and_markup_is_text():
    file = io.StringIO()
    Terminal(file=file, width=20).say("[bold]" + "x" * 100)
    assert file.getvalue() == "[bold]" + "x" * 100 + "\n"


def test_a_json_line_is_one_line_however_long():
    file = io.StringIO()
    terminal.write_json({"type": "x", "text": "é\n" * 500}, file)
    (line,) = file.getvalue().splitlines()
    assert json.loads(line)["text"] == "é\n" * 500


def test_a_table_in_a_log_is_as_wide_as_its_cells():
    file = io.StringIO()
    Terminal(file=file, width=20).table(("name", "n"), [("x" * 50, "1"), ("y", "22")])
    lines = file.getvalue().splitlines()
    assert lines[1] == "x" * 50 + "  1"
    assert lines[2] == "y" + " " * 51 + "22"


def test_an_empty_table_is_its_heading():
    file = io.StringIO()
    Terminal(file=file).table(("name", "n"), [])
    assert file.getvalue() == "name  n\n"


def test_what_is_unknown_is_a_dash():
    file = io.StringIO()
    Terminal(file=file).fields({"name": "alice", "consent": None})
    assert file.getvalue() == "name     alice\nconsent  -\n"
