"""What ``pip install`` brings: the whole program, its model and its clips, and no torch."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import streamsv

ROOT = Path(__file__).resolve().parents[2]

NEEDED = (
    "streamsv/py.typed",
    "streamsv/clips/LICENSE.txt",
    "streamsv/clips/voice_a_enroll.opus",
    "streamsv/clips/voice_a_call.opus",
    "streamsv/clips/voice_b_call.opus",
    "streamsv/clips/voice_c_call.opus",
    "streamsv/evaluation/page/style.css",
    "streamsv/models/default.onnx",
    "streamsv/models/default.calibration.json",
    "streamsv/models/default.takeover.npz",
    "streamsv/models/CARD.md",
)
"""What an installed copy reads at run time besides its own code."""

BROUGHT = {
    "numpy",
    "onnxruntime",
    "webrtcvad-wheels",
    "soxr",
    "soundfile",
    "sounddevice",
    "websockets",
    "pyyaml",
    "typer",
    "rich",
}


def project() -> dict[str, Any]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, Any] = content["project"]
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}


def test_an_installation_brings_what_it_needs_and_no_torch() -> None:
    assert names(project()["dependencies"]) == BROUGHT


def test_torch_comes_with_the_extra_for_training() -> None:
    extras = project()["optional-dependencies"]
    assert {"torch", "torchaudio", "onnx", "onnxscript"} <= names(extras["train"])
    assert {"torch", "onnx"} & names(extras["serve"]) == set()
    assert "streamsv[serve,train]" in extras["dev"]


def test_the_version_is_one() -> None:
    assert project()["version"] == streamsv.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(streamsv.__version__)}\]", changes, re.MULTILINE)


@pytest.mark.parametrize("name", NEEDED)
def test_what_an_installed_copy_needs_is_inside_the_package(name: str) -> None:
    assert (ROOT / name).is_file()


def test_the_code_has_its_license_and_the_model_its_own() -> None:
    assert project()["license"] == "Apache-2.0 AND CC-BY-SA-4.0 AND CC-BY-4.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    card = (ROOT / "streamsv/models/CARD.md").read_text(encoding="utf-8")
    assert "CC BY-SA 4.0" in card
    encoder = streamsv.Engine.load().encoder
    assert encoder.license == "CC-BY-SA-4.0"


def test_the_calibration_and_the_card_are_of_the_model_that_is_bundled() -> None:
    engine = streamsv.Engine.load()
    content = json.loads((ROOT / "streamsv/models/default.calibration.json").read_text("utf-8"))
    assert content["fingerprint"] == engine.fingerprint
    card = (ROOT / "streamsv/models/CARD.md").read_text(encoding="utf-8")
    assert engine.fingerprint[:12] in card


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    for module, package in (("build", "build"), ("hatchling", "hatchling")):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {package}: python -m pip install {package}")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
    built = subprocess.run(
        [*command, str(tmp_path), str(ROOT)], check=False, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"streamsv-{streamsv.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "streamsv").rglob("*.py")
        if "__pycache__" not in path.parts
    }
    assert modules | set(NEEDED) <= files
    outside = [name for name in files if not name.startswith(("streamsv/", "streamsv-"))]
    assert outside == []
    licenses = {name.partition(".dist-info/licenses/")[2] for name in files}
    assert set(project()["license-files"]) <= licenses
