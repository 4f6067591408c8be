"""docs/concepts.md and docs/python.md name all there is: events, codes, errors, settings."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamsv import errors, events
from streamsv.cli.exits import ExitCode
from streamsv.engine import EngineConfig

ROOT = Path(__file__).resolve().parents[2]
CONCEPTS = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
PYTHON = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")

EVENTS = [
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, events.Event) and value is not events.Event
]
ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.StreamsvError)
]
CODES = [
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, enum.StrEnum) and value is not enum.StrEnum
]


def row_of(text: str, first: str) -> str:
    """The row of a table whose first cell is ``first`` in code font."""
    found = re.findall(rf"^\| `{re.escape(first)}` \|.*$", text, re.MULTILINE)
    assert len(found) == 1, f"{first} should have one row, and has {len(found)}"
    return str(found[0])


def in_code_font(text: str) -> set[str]:
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_every_event_has_a_row_with_all_its_fields(event: type[events.Event]) -> None:
    fields = {field.name for field in dataclasses.fields(event)} - {"at_s"}
    assert fields - in_code_font(row_of(CONCEPTS, event.type)) == set()


@pytest.mark.parametrize("codes", CODES, ids=lambda codes: codes.__name__)
def test_every_code_is_explained(codes: type[enum.StrEnum]) -> None:
    assert {str(code) for code in codes} - in_code_font(CONCEPTS) == set()


def test_every_json_line_of_the_commands_is_named() -> None:
    sources = (path.read_text(encoding="utf-8") for path in ROOT.glob("streamsv/cli/*.py"))
    written = set(re.findall(r'(?:"type": |described\(|_done\()"(\w+)"', "\n".join(sources)))
    assert {"demo_scene", "voiceprint_stored", "voiceprint_deleted", "bench"} <= written
    assert written - in_code_font(CONCEPTS) == set()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_row_with_its_code(error: type[errors.StreamsvError]) -> None:
    assert f"`{error.code}`" in row_of(CONCEPTS, error.__name__)


@pytest.mark.parametrize("code", ExitCode, ids=lambda code: code.name)
def test_every_exit_code_has_a_row(code: ExitCode) -> None:
    row_of(CONCEPTS, str(int(code)))


def settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting of a configuration by its dotted name, with its default."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


@pytest.mark.parametrize(("name", "default"), list(settings(EngineConfig())))
def test_every_setting_has_a_row_with_its_default(name: str, default: Any) -> None:
    shown = json.dumps(default) if default is None or default is True else f"{default:g}"
    cells = [cell.strip() for cell in row_of(PYTHON, name).split("|")]
    assert cells[2] == f"`{shown}`"
