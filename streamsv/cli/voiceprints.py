"""``streamsv voiceprints``: what is in the store, and taking it out or putting it in."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from streamsv.cli import options, terminal
from streamsv.cli.groups import Command, Group, need_command
from streamsv.cli.options import DebugOption, JsonOption, StoreOption
from streamsv.errors import StoreError, VoiceprintExists
from streamsv.voiceprints import VoiceprintSummary
from streamsv.voiceprints.document import MAX_FILE_BYTES

voiceprints = typer.Typer(cls=Group)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The speaker's id.")]


@voiceprints.callback(invoke_without_command=True)
def _voiceprints(context: typer.Context) -> None:
    """List, show, delete, export and import voiceprints."""
    need_command(context)


@voiceprints.command("list", cls=Command)
def list_(
    store: StoreOption = None, as_json: JsonOption = False, _debug: DebugOption = False
) -> None:
    """Everybody who is enrolled."""
    with options.open_store(store) as opened:
        summaries = opened.list()
    if as_json:
        for summary in summaries:
            terminal.write_json(described("voiceprint", summary))
    elif not summaries:
        terminal.output().say("Nobody is enrolled yet. Enroll with `streamsv enroll NAME FILE`.")
    else:
        rows = [
            (s.speaker, f"{s.net_speech_s:.1f} s", str(s.recordings), s.channel, s.updated_at)
            for s in summaries
        ]
        terminal.output().table(("speaker", "speech", "rec.", "channel", "updated"), rows)


@voiceprints.command(cls=Command)
def show(
    name: NameArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Everything that is known about one voiceprint, but for the embedding itself."""
    with options.open_store(store) as opened:
        summary = opened.get(name).summary()
    fields = described("voiceprint", summary)
    if as_json:
        terminal.write_json(fields)
        return
    consent = fields.pop("consent") or {}
    shown = fields | {f"consent_{key}": value for key, value in consent.items()}
    terminal.output().fields({key: value for key, value in shown.items() if key != "type"})


@voiceprints.command(cls=Command)
def delete(
    name: NameArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Delete a voiceprint and erase its bytes from the files of the store."""
    with options.open_store(store) as opened:
        opened.delete(name)
    _done("voiceprint_deleted", name, f"Deleted the voiceprint of {name}.", as_json)


@voiceprints.command(cls=Command)
def export(
    name: NameArgument,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write; - for standard output.")
    ],
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over a file that exists.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Write a voiceprint to a file of its own. It holds the embedding: keep it as private."""
    with options.open_store(store) as opened:
        data = opened.export(name)
    if str(file) == "-":
        sys.stdout.buffer.write(data)
        return
    _write_private(file, data, replace)
    _done("voiceprint_exported", name, f"Wrote the voiceprint of {name} to {file}.", as_json)


@voiceprints.command("import", cls=Command)
def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A file that `export` wrote; - for standard input."),
    ],
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Another id for the speaker.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the speaker's present voiceprint.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Store an exported voiceprint."""
    data = _read(file)
    with options.open_store(store, may_create=True) as opened:
        try:
            stored = opened.import_(data, name, replace)
        except VoiceprintExists as error:
            raise VoiceprintExists(
                f"There is a voiceprint of {error.value!r} already. Pass --replace to replace it, "
                "or --as NAME to store this one under another name.",
                error.value,
            ) from error
    said = f"Stored the voiceprint of {stored.speaker}."
    _done("voiceprint_imported", stored.speaker, said, as_json)


def described(kind: str, summary: VoiceprintSummary) -> dict[str, Any]:
    """A summary as JSON-ready fields, ``type`` first."""
    return {"type": kind, **dataclasses.asdict(summary)}


def _done(kind: str, speaker: str, sentence: str, as_json: bool) -> None:
    if as_json:
        terminal.write_json({"type": kind, "speaker": speaker})
    else:
        terminal.output().say(sentence)


def _read(file: Path) -> bytes:
    """A voiceprint file, or standard input; never more than a byte too many."""
    if str(file) == "-" and sys.stdin is None:
        raise StoreError("Standard input is closed. Pipe a voiceprint file in, or name one.")
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}.", str(file)) from error
    if len(data) > MAX_FILE_BYTES:
        raise StoreError(
            f"{file} has more than {MAX_FILE_BYTES} bytes, too many for a voiceprint file. Give a "
            "file that streamsv has exported.",
            str(file),
        )
    return data


def _write_private(file: Path, data: bytes, replace: bool) -> None:
    """Write a file that only this user can read, from its first byte on."""
    try:
        if replace:
            _replace(file, data)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(file, flags, 0o600), "wb") as opened:
                opened.write(data)
    except FileExistsError as error:
        raise StoreError(
            f"{file} exists. Pass --replace to write over it, or give another file.", str(file)
        ) from error
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}.", str(file)) from error


def _replace(file: Path, data: bytes) -> None:
    """Put a private file where ``file`` is, or where it links to; until it is whole, keep the old.

    A device or a pipe is refused: renaming would put a file in its place.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(file.stat().st_mode):
            raise StoreError(f"{file} is not a file. Give another one, or - for standard output.")
    target = file.resolve()
    descriptor, temporary = tempfile.mkstemp(prefix=".streamsv-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
