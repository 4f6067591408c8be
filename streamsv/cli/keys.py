"""``streamsv keys``: who may call the server."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from streamsv.cli import terminal
from streamsv.cli.groups import Command, Group, need_command
from streamsv.cli.options import DebugOption, JsonOption
from streamsv.server.keys import SCOPES, KeyStore, default_keys_path

keys = typer.Typer(cls=Group)

KeysOption = Annotated[
    Path | None,
    typer.Option("--keys", metavar="FILE", help="File of keys. Default: beside this user's store."),
]


@keys.callback(invoke_without_command=True)
def _keys(context: typer.Context) -> None:
    """Create, list and revoke API keys for `streamsv serve`."""
    need_command(context)


@keys.command(cls=Command)
def create(
    scope: Annotated[
        list[str],
        typer.Option("--scope", help=f"What it is for, once or more: {', '.join(SCOPES)}."),
    ],
    name: Annotated[str, typer.Option("--name", help="What it is called, for people.")] = "",
    file: KeysOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Make a key and show it, this once. Only its hash is stored."""
    with _opened(file) as opened:
        made = opened.create(scope, name)
    if as_json:
        terminal.write_json(
            {"type": "key_created", "key": made.key, **dataclasses.asdict(made.record)}
        )
        return
    out = terminal.output()
    out.say(made.key)
    terminal.errors().say(
        f"The key {made.record.id} is for {', '.join(made.record.scopes)}. It is shown this once: "
        "keep it now."
    )


@keys.command("list", cls=Command)
def list_(
    file: KeysOption = None, as_json: JsonOption = False, _debug: DebugOption = False
) -> None:
    """Every key that was ever made, without the keys themselves."""
    with _opened(file) as opened:
        records = opened.list()
    if as_json:
        for record in records:
            terminal.write_json({"type": "key", **dataclasses.asdict(record)})
    elif not records:
        terminal.output().say("There is no key. Make one with `streamsv keys create`.")
    else:
        rows = [
            (
                record.id,
                record.name,
                " ".join(record.scopes),
                record.created_at,
                record.last_used_at or "never",
                record.revoked_at or "",
            )
            for record in records
        ]
        titles = ("id", "name", "scopes", "created", "last used", "revoked")
        terminal.output().table(titles, rows)


@keys.command(cls=Command)
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `list` shows it.")],
    file: KeysOption = None,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Refuse a key from now on. A running server notices at once, its live calls in seconds."""
    with _opened(file) as opened:
        record = opened.revoke(key_id)
    if as_json:
        terminal.write_json({"type": "key_revoked", **dataclasses.asdict(record)})
    else:
        terminal.output().say(f"The key {record.id} is revoked.")


def _opened(file: Path | None) -> KeyStore:
    return KeyStore(default_keys_path() if file is None else file)
