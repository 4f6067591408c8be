"""Commands that have commands of their own, such as ``streamsv model``."""

from __future__ import annotations

from typing import Any

import typer

from streamsv.cli.exits import UsageError


class MissingCommand(UsageError):  # type: ignore[misc]
    """A group was named without one of its commands."""


def need_command(context: typer.Context) -> None:
    """Raise MissingCommand, with the group's commands, unless one of them was named."""
    if context.invoked_subcommand is None:
        group: Any = context.command
        raise MissingCommand(f"Name a command: {', '.join(group.commands)}.", ctx=context)
