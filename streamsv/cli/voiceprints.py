"""``streamsv voiceprints``: what is in the store, and taking it out or putting it in."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from streamsv.cli import options, terminal
from streamsv.cli.groups import Command, Group, need_command
from streamsv.cli.options import DebugOption, JsonOption, StoreOption
from streamsv.errors import StoreError, VoiceprintExists
from streamsv.voiceprints import VoiceprintSummary

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
        sys.stdout.write(data.decode())
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
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}.", str(file)) from error
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


def _write_private(file: Path, data: bytes, replace: bool) -> None:
    """Write a file that only this user can read, from its first byte on."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if replace else os.O_EXCL)
    try:
        with os.fdopen(os.open(file, flags, 0o600), "wb") as opened:
            opened.write(data)
    except FileExistsError as error:
        raise StoreError(
            f"{file} exists. Pass --replace to write over it, or give another file.", str(file)
        ) from error
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror}.", str(file)) from error
