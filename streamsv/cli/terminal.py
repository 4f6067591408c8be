"""The terminal that the commands print to."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

try:
    import termios
except ImportError:  # Windows, whose consoles do not echo ^C
    termios = None  # type: ignore[assignment]


class Terminal(Console):
    """A Rich console that leaves a closed pipe to the caller instead of exiting with 1."""

    def on_broken_pipe(self) -> None:
        """Called by Rich while it handles a BrokenPipeError."""
        raise BrokenPipeError

    @property
    def is_live(self) -> bool:
        """Whether a picture can be redrawn in place, and a person is likely to watch it.

        Asks the file itself: ``FORCE_COLOR`` makes Rich take a log file for a terminal.
        """
        is_unicode = self.encoding.lower().startswith("utf")
        return self.file.isatty() and is_unicode and not self.is_dumb_terminal

    def say(self, text: str | Text = "", style: str | None = None) -> None:
        """Print ``text`` literally; a line is wrapped only where somebody looks at it."""
        shown = Text(text) if isinstance(text, str) else text
        self.print(shown, style=style, soft_wrap=not self.file.isatty(), highlight=False)

    def fields(self, fields: Mapping[str, Any]) -> None:
        """Print each field on a line of its own, names aligned; what is unknown is ``-``.

        A value that is one word (a fingerprint, a path) is never cut in two: it can be copied.
        """
        width = max(map(len, fields))
        for name, value in fields.items():
            shown = "-" if value is None else str(value)
            line = Text(f"{name:<{width}}  {shown}")
            self.print(line, soft_wrap=" " not in shown or not self.file.isatty(), highlight=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; for a log or a pipe as wide as it is, without cutting anything."""
        if not self.file.isatty():
            widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
            for row in (columns, *rows):
                cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                self.say("  ".join(cells).rstrip())
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(columns):
            table.add_column(column, overflow="fold" if index == 0 else "ellipsis")
        for row in rows:
            table.add_row(*map(Text, row))
        self.print(table)


def output() -> Terminal:
    """Standard output as it is now."""
    return Terminal(file=sys.stdout)


def errors() -> Terminal:
    """Standard error as it is now."""
    return Terminal(file=sys.stderr)


@contextlib.contextmanager
def without_echo() -> Iterator[None]:
    """Keys do not show, not even ``^C``: they would shift a picture that is redrawn in place."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(descriptor, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[float, float, str], None]]:
    """A bar on standard error, if it is a terminal; call it with what is done, in all, and now."""
    console = errors()
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True, disable=not console.is_live) as bar:
        task = bar.add_task("", total=None)

        def advance(done: float, total: float, label: str) -> None:
            bar.update(task, completed=done, total=total, description=label)

        yield advance


def write_json(fields: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """One JSON object as one line on standard output or ``stream``, at once, however long it is."""
    stream = stream or sys.stdout
    stream.write(json.dumps(fields, allow_nan=False) + "\n")
    stream.flush()


def prepare_streams() -> None:
    """Make sure that printing never fails for want of a stream or of a character in its encoding.

    A daemon may run the program with its output closed; Python then has no stream at all.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # It stays open as long as the process: it stands for a standard stream.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def abandon_output() -> None:
    """Send what is still buffered nowhere: nobody reads, and the interpreter flushes at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
