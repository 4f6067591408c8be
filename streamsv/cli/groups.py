"""Commands and groups of them as Typer makes them, but for flags in their help."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from streamsv.cli.exits import UsageError


class Command(TyperCommand):
    """A command whose help shows no type beside a flag: a flag takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, ``--help`` among them."""
        return _without_flag_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands; its own flags are shown in the same way."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, ``--help`` among them."""
        return _without_flag_types(super().get_params(ctx))


class MissingCommand(UsageError):  # type: ignore[misc]
    """A group was named without one of its commands."""


def need_command(context: typer.Context) -> None:
    """Raise MissingCommand, with the group's commands, unless one of them was named."""
    if context.invoked_subcommand is None:
        group: Any = context.command
        raise MissingCommand(f"Name a command: {', '.join(group.commands)}.", ctx=context)


def _without_flag_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
