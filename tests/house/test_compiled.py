"""What the build can compile, and that a checkout never runs compiled code by accident."""

from __future__ import annotations

import ast
import importlib.machinery
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def chosen() -> set[str]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = content["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    assert hook["enable-by-default"] is False
    return set(hook["include"])


def bases(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {base.id for each in classes for base in each.bases if isinstance(base, ast.Name)}


def classes_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_what_is_compiled_exists() -> None:
    assert [name for name in chosen() if not (ROOT / name).is_file()] == []


def test_no_class_that_is_not_compiled_inherits_from_one_that_is() -> None:
    """Such a class cannot be made, and nothing says so before somebody tries."""
    compiled = {name for file in chosen() for name in classes_in(ROOT / file)}
    assert "Session" in compiled
    interpreted = [
        path
        for path in (ROOT / "streamsv").rglob("*.py")
        if path.relative_to(ROOT).as_posix() not in chosen()
    ]
    assert {path.name: found for path in interpreted if (found := bases(path) & compiled)} == {}


def test_no_compiled_module_lies_beside_its_source() -> None:
    """It would be run in place of the source, whatever is edited there."""
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    left = [path for path in (ROOT / "streamsv").rglob("*") if path.name.endswith(suffixes)]
    assert left == [], "delete them, and build with `python -m build`, which leaves none"
