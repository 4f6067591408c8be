"""Where the program starts: what fails before there is a command line has an exit code, too.

Only the standard library is imported up here. The codes are those of
:class:`streamsv.cli.exits.ExitCode`, which needs more than that.
"""

from __future__ import annotations

import contextlib
import sys

INTERNAL = 70
INTERRUPTED = 130


def run() -> None:
    """The console entry point. An uncaught error would exit with 1, which is a verdict."""
    try:
        from streamsv.cli.main import main

        code = int(main(sys.argv[1:]))
    except KeyboardInterrupt:
        _say("Interrupted.")
        code = INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - whatever an import raises, SystemExit included
        _say(
            f"Error: streamsv cannot start: {type(error).__name__}: {error}. Install it again, or "
            "report this."
        )
        code = INTERNAL
    sys.exit(code)


def _say(sentence: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{sentence}\n")
