"""What the exit code of ``streamsv`` says. Nothing but a verdict ever exits with 1."""

from __future__ import annotations

import enum
from typing import Any

import typer

from streamsv.events import Verdict

UsageError: Any = typer.BadParameter.__mro__[1]
"""Click's UsageError, the base of BadParameter. Recent releases of Typer bring a copy of click
along and older ones import it, so that it cannot be imported by one name."""


class ExitCode(enum.IntEnum):
    """The exit codes, stable.

    ``PIPE_CLOSED`` is what a shell reports for a program that SIGPIPE ended: whoever read the
    output stopped reading, so it is neither a verdict nor an error.
    """

    ACCEPT = 0
    REJECT = 1
    USAGE = 2
    UNDECIDED = 3
    NAMED_ERROR = 4
    INTERNAL = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


_OF_VERDICT = {
    Verdict.ACCEPT: ExitCode.ACCEPT,
    Verdict.REJECT: ExitCode.REJECT,
    Verdict.UNDECIDED: ExitCode.UNDECIDED,
}


def of_verdict(verdict: Verdict) -> ExitCode:
    """The exit code that says ``verdict``; for ``identify``, accept is somebody, reject nobody."""
    return _OF_VERDICT[verdict]
