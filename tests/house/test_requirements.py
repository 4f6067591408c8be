"""Where a system package is required, a test that skips for want of it has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = """
[pytest]
markers =
    needs_portaudio: needs the PortAudio library
"""

SUITE = """
import pytest

@pytest.fixture
def card():
    pytest.skip("needs PortAudio: install it")

@pytest.mark.needs_portaudio
def test_fixture_skips(card): ...

@pytest.mark.needs_portaudio
@pytest.mark.skipif(True, reason="needs PortAudio: install it")
def test_mark_skips(): ...

@pytest.mark.needs_portaudio
def test_body_skips():
    pytest.skip("needs PortAudio: install it")

@pytest.mark.skip(reason="for another reason")
def test_other_skips(): ...

@pytest.mark.needs_portaudio
@pytest.mark.xfail(reason="known")
def test_known_failure():
    raise AssertionError
"""


def outcome(folder: Path, required: str | None) -> str:
    """What pytest prints about a suite with this project's conftest."""
    (folder / "pytest.ini").write_text(SETTINGS)
    (folder / "test_suite.py").write_text(SUITE)
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    environment = {k: v for k, v in os.environ.items() if k != "STREAMSV_CI_REQUIRES"}
    if required is not None:
        environment["STREAMSV_CI_REQUIRES"] = required
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rfs", "-p", "no:cacheprovider", str(folder)],
        env=environment,
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    ).stdout


def test_a_missing_system_package_skips_its_tests(tmp_path: Path) -> None:
    found = outcome(tmp_path, None)
    assert "4 skipped, 1 xfailed" in found
    assert "needs PortAudio: install it" in found


def test_a_missing_system_package_that_is_required_fails_its_tests(tmp_path: Path) -> None:
    found = outcome(tmp_path, "portaudio,pulseaudio")
    assert "1 failed, 1 skipped, 1 xfailed, 2 errors" in found
    assert "needs_portaudio is required here, but" in found


@pytest.mark.parametrize("name", ["portaudio", "pulseaudio", "chromium"])
def test_what_ci_requires_are_markers_of_this_project(name: str) -> None:
    assert f'"needs_{name}:' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert name in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
