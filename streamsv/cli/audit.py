"""``streamsv audit``: who enrolled, verified and deleted whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamsv.cli import terminal
from streamsv.cli.options import DebugOption, JsonOption
from streamsv.errors import StoreError
from streamsv.server.audit import about, check, default_audit_path, read


def audit(
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Audit log. Default: beside the store."),
    ] = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", metavar="NAME", help="Only what is about NAME.")
    ] = None,
    is_checked: Annotated[
        bool, typer.Option("--check", help="Only look whether a record was changed or taken out.")
    ] = False,
    as_json: JsonOption = False,
    _debug: DebugOption = False,
) -> None:
    """Show the audit log of `streamsv serve`, oldest first, or check that it is whole."""
    path = default_audit_path() if file is None else file
    if is_checked:
        wrong = check(path)
        if wrong:
            raise StoreError(f"{wrong[0]} {len(wrong)} lines of {path} are not as they were.")
        if as_json:
            terminal.write_json({"type": "audit_checked", "file": str(path)})
        else:
            terminal.output().say("Every record follows from the one before it.")
        return
    records = read(path) if speaker is None else about(read(path), speaker)
    if as_json:
        for record in records:
            terminal.write_json({"type": "audit_record", **record})
        return
    titles = ("at", "action", "speaker", "outcome", "key", "from")
    names = ("at", "action", "speaker", "outcome", "key_id", "peer")
    rows = [tuple(str(record[name] or "") for name in names) for record in records]
    if rows:
        terminal.output().table(titles, rows)
    else:
        terminal.output().say("There is no record.")
