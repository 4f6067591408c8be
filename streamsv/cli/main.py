"""``streamsv``: the commands, and the exit code of whatever becomes of them."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

import streamsv
from streamsv.cli import terminal
from streamsv.cli.audit import audit
from streamsv.cli.bench import bench
from streamsv.cli.calibrate import calibrate
from streamsv.cli.client import client
from streamsv.cli.demo import demo
from streamsv.cli.devices import devices
from streamsv.cli.enroll import enroll
from streamsv.cli.evaluate import evaluate
from streamsv.cli.exits import ExitCode, UsageError
from streamsv.cli.groups import Command, Group, MissingCommand
from streamsv.cli.identify import identify
from streamsv.cli.keys import keys
from streamsv.cli.live import live
from streamsv.cli.model import model
from streamsv.cli.serve import serve
from streamsv.cli.verify import verify
from streamsv.cli.voiceprints import voiceprints
from streamsv.errors import StreamsvError

app = typer.Typer(
    name="streamsv",
    cls=Group,
    context_settings={"help_option_names": ["--help", "-h"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(cls=Command)(demo)
app.command(cls=Command)(enroll)
app.command(cls=Command)(verify)
app.command(cls=Command)(identify)
app.command(cls=Command)(live)
app.add_typer(voiceprints, name="voiceprints")
app.command(cls=Command)(serve)
app.command(cls=Command)(client)
app.add_typer(keys, name="keys")
app.command(cls=Command)(audit)
app.command(cls=Command)(devices)
app.command(cls=Command)(evaluate)
app.command(cls=Command)(calibrate)
app.command(cls=Command)(bench)
app.add_typer(model, name="model")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        terminal.output().say(f"streamsv {streamsv.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Is this the voice that was enrolled? An answer while the person is still speaking.

    Start with `streamsv demo`.
    """


def main(arguments: Sequence[str]) -> ExitCode:
    """Run one command. Whatever happens, the exit code says what it was, and only a verdict is 1.

    ``--json`` and ``--debug`` are looked up in the arguments themselves, because an argument that
    cannot be parsed is an error to be reported, too.
    """
    terminal.prepare_streams()
    options = [argument.partition("=")[0] for argument in arguments]
    if "--" in options:
        options = options[: options.index("--")]
    report = _Report(as_json="--json" in options, with_traceback="--debug" in options)
    try:
        code = _outcome(arguments, report)
        sys.stdout.flush()
    except BrokenPipeError:
        code = ExitCode.PIPE_CLOSED
    except OSError as error:
        with contextlib.suppress(OSError):
            report.internal(error)
        code = ExitCode.INTERNAL
    terminal.abandon_output()
    return code


def _outcome(arguments: Sequence[str], report: _Report) -> ExitCode:
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="streamsv", standalone_mode=False)
    except StreamsvError as error:
        report.named(error)
        return ExitCode.NAMED_ERROR
    except UsageError as error:
        report.usage(error)
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except SystemExit as error:
        # How click and Rich leave when a pipe is closed, inside their own help pages.
        if isinstance(error.__context__, BrokenPipeError):
            raise BrokenPipeError from error
        report.internal(error)
        return ExitCode.INTERNAL
    except Exception as error:  # noqa: BLE001 - the last handler there is: it reports
        report.internal(error)
        return ExitCode.INTERNAL
    if code == ExitCode.INTERRUPTED:
        report.interrupted()
    return ExitCode(code or 0)


class _Report:
    """Says on standard error what went wrong: a sentence for people, or one JSON object."""

    def __init__(self, as_json: bool, with_traceback: bool) -> None:
        self._as_json = as_json
        self._with_traceback = with_traceback

    def named(self, error: StreamsvError) -> None:
        self._say(error.to_dict(), error)

    def usage(self, error: Any) -> None:
        context = getattr(error, "ctx", None)
        if context is not None and not self._as_json:
            if isinstance(error, MissingCommand):
                # Rich's help goes to standard output, wherever it is asked for.
                with contextlib.redirect_stdout(sys.stderr):
                    terminal.errors().say(context.get_help())
            else:
                terminal.errors().say(context.get_usage())
                terminal.errors().say(f"Try '{context.command_path} --help'.")
        self._say(_described("usage", error.format_message()), error)

    def internal(self, error: BaseException) -> None:
        problem = f"Inside streamsv: {type(error).__name__}: {error}."
        hint = "" if self._with_traceback else " Run it again with --debug and report what it says."
        self._say(_described("internal", problem + hint), error)

    def interrupted(self) -> None:
        if self._as_json:
            self._say(_described("interrupted", "Interrupted."), None)
        else:
            terminal.errors().say("Interrupted.")

    def _say(self, fields: dict[str, Any], error: BaseException | None) -> None:
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        if self._as_json:
            debug = {"traceback": trace} if self._with_traceback else {}
            terminal.write_json(fields | debug, sys.stderr)
            return
        console = terminal.errors()
        if self._with_traceback and trace:
            console.say(trace.rstrip())
        console.say(Text.assemble(("Error: ", "bold red"), fields["message"]))


def _described(code: str, message: str) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": message, "value": None}
