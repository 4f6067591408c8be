"""Imports point one way only: the corridor that the README draws is the one that the code has.

Every file is read as a syntax tree, so an import inside a function or under ``TYPE_CHECKING``
counts like one at the top.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FOUNDATION = frozenset({"errors", "events", "config"})
"""May be imported by every room; among themselves, only ``errors`` by the other two."""

CORRIDOR = (
    frozenset({"audio"}),
    frozenset({"encoder"}),
    frozenset({"scoring"}),
    frozenset({"voiceprints"}),
    frozenset({"engine"}),
    frozenset({"evaluation", "server", "client"}),
    frozenset({"bench"}),
    frozenset({"cli"}),
)
"""A room may import the foundation and what stands before it; rooms of one place are strangers."""

DATA = frozenset({"clips", "models"})
"""Rooms of data: whoever needs them may name them, and they hold no code."""

TRAINING_MAY_IMPORT = FOUNDATION | {
    "audio",
    "encoder",
    "scoring",
    "voiceprints",
    "engine",
    "evaluation",
    "nn",
}

MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "events": frozenset({"errors"}),
    "config": frozenset({"errors"}),
    **{
        room: FOUNDATION | DATA | frozenset().union(*CORRIDOR[:place])
        for place, rooms in enumerate(CORRIDOR)
        for room in rooms
    },
    **dict.fromkeys(DATA, frozenset()),
    "nn": frozenset({"errors", "config"}),
    "training": TRAINING_MAY_IMPORT | DATA,
    "front door": FOUNDATION.union(*CORRIDOR[:-3]),
    "__main__": frozenset({"cli"}),
}
"""For each room, the other rooms it may import. ``front door`` is ``streamsv/__init__.py``."""

THROUGH_THE_FRONT_DOOR = frozenset({"training"}).union(*CORRIDOR[-3:])
"""Rooms that stand outside the corridor and may use the public names as any caller does."""

AT_HOME = {
    "torch": {"nn", "training"},
    "torchaudio": {"nn", "training"},
    "onnx": {"nn", "training"},
    "onnxscript": {"nn", "training"},
    "onnxruntime": {"encoder", "training", "bench", "evaluation"},
    "webrtcvad": {"audio", "bench", "evaluation"},
    "soxr": {"audio", "training", "bench", "evaluation"},
    "soundfile": {"audio", "training", "bench", "evaluation"},
    "sounddevice": {"audio"},
    "sqlite3": {"voiceprints", "server"},
    "websockets": {"server", "client", "bench"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
}
"""Packages that only some rooms may know; the rivals in bench and evaluation bring their own."""

NEVER_IN_SESSIONS = {
    "asyncio",
    "datetime",
    "logging",
    "multiprocessing",
    "random",
    "socket",
    "subprocess",
    "threading",
    "time",
}
"""What a session that reads no clock, starts no thread and does no I/O has no use for."""


@dataclasses.dataclass(frozen=True)
class Import:
    """One import: the dotted ``name`` that it asks for, and where."""

    name: str
    file: str
    line: int

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def room(self) -> str | None:
        """The room of ours that is imported, ``front door`` for a name of streamsv itself."""
        if self.top == "training":
            return "training"
        if self.top != "streamsv":
            return None
        rest = self.name.split(".")[1:]
        return rest[0] if rest and rest[0] in MAY_IMPORT else "front door"

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def imports_of(source: str, module: str, is_package: bool = False) -> list[Import]:
    """Every import in ``source``, the text of ``module``, at any depth.

    ``from a import b`` asks for ``a.b``; relative ones are resolved; a literal given to
    ``importlib.import_module`` counts.
    """
    found: list[Import] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            here = parts[: len(parts) - node.level + is_package] if node.level else []
            base = ".".join([*here, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _is_import_call(node.func) and node.args:
            first = node.args[0]
            names = [str(first.value)] if isinstance(first, ast.Constant) else []
        else:
            continue
        found += [Import(name, module, node.lineno) for name in names]
    return found


def _is_import_call(function: ast.expr) -> bool:
    called = function.attr if isinstance(function, ast.Attribute) else None
    called = function.id if isinstance(function, ast.Name) else called
    return called in ("import_module", "__import__")


def room_of(path: Path) -> str:
    """The room that a file of ``streamsv/`` or ``training/`` stands in."""
    package, *inside = path.relative_to(ROOT).with_suffix("").parts
    if package == "training":
        return "training"
    return "front door" if inside == ["__init__"] else inside[0]


def files() -> list[Path]:
    return sorted([*ROOT.glob("streamsv/**/*.py"), *ROOT.glob("training/**/*.py")])


def imports(path: Path) -> list[Import]:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    is_package = path.name == "__init__.py"
    name = module.removesuffix(".__init__")
    return imports_of(path.read_text(encoding="utf-8"), name, is_package)


def wrong_turns(room: str, found: list[Import]) -> Iterator[str]:
    """What ``room`` imports that it may not know."""
    for each in found:
        if each.name == "streamsv.__version__":
            continue
        if each.room == "front door" and room in THROUGH_THE_FRONT_DOOR:
            continue
        if each.room is not None and each.room != room and each.room not in MAY_IMPORT[room]:
            yield f"{each}, and {room} may not know {each.room}"
        at_home = AT_HOME.get(each.top)
        if at_home is not None and room not in at_home:
            yield f"{each}, which is at home in {', '.join(sorted(at_home))}"


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_imports_only_what_its_room_may_know(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is a new room: give it a place in the table above"
    assert list(wrong_turns(room, imports(path))) == []


def test_sessions_know_no_clock_no_thread_and_no_socket() -> None:
    paths = [path for path in files() if room_of(path) in ("engine", "scoring", "encoder")]
    found = [str(each) for path in paths for each in imports(path)]
    wrong = [each for each in found if each.split()[-1].split(".")[0] in NEVER_IN_SESSIONS]
    assert paths
    assert wrong == []


def test_rooms_of_data_hold_no_code() -> None:
    for room in DATA:
        modules = list((ROOT / "streamsv" / room).glob("**/*.py"))
        assert [module.name for module in modules] == ["__init__.py"]
        body = ast.parse(modules[0].read_text(encoding="utf-8")).body
        assert all(isinstance(part, ast.Expr) for part in body), f"{modules[0]} holds code"


def test_every_room_of_the_corridor_has_a_sentence_about_itself() -> None:
    for path in files():
        if path.name == "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("audio", "import streamsv.engine"),
        ("audio", "from streamsv import engine"),
        ("audio", "from streamsv.engine.session import Session"),
        ("audio", "def late():\n    from streamsv.engine import Engine"),
        ("audio", "if TYPE_CHECKING:\n    from streamsv.engine import Engine"),
        ("audio", "from ..engine import Engine"),
        ("audio", "import importlib\nimportlib.import_module('streamsv.engine')"),
        ("engine", "from streamsv import Engine"),
        ("engine", "from streamsv.nn.config import ModelConfig"),
        ("engine", "import training.loop"),
        ("evaluation", "from streamsv.server import app"),
        ("cli", "import torch.nn"),
        ("nn", "from streamsv.audio import AudioFormat"),
        ("engine", "import sqlite3"),
    ],
)
def test_the_rule_sees_a_wrong_import_wherever_it_hides(room: str, source: str) -> None:
    found = imports_of(source, f"streamsv.{room}.module")
    assert len(list(wrong_turns(room, found))) == 1


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("engine", "from streamsv.audio import AudioFormat"),
        ("engine", "from streamsv import __version__"),
        ("cli", "import streamsv"),
        ("cli", "def late():\n    from rich.console import Console"),
        ("training", "import torch\nfrom streamsv.nn.student import Student"),
        ("engine", "from .session import Session"),
        ("engine", f"import {', '.join(sorted(sys.stdlib_module_names)[10:20])}"),
    ],
)
def test_the_rule_lets_a_right_import_pass(room: str, source: str) -> None:
    assert list(wrong_turns(room, imports_of(source, f"streamsv.{room}.module"))) == []
