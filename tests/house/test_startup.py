"""``import streamsv`` is quick, and nothing that runs needs torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

HEAVY = {
    "torch",
    "onnxruntime",
    "numpy",
    "soxr",
    "soundfile",
    "sounddevice",
    "webrtcvad",
    "yaml",
    "rich",
    "typer",
    "websockets",
}

IMPORT_ALONE = """
import json, sys, time
before = time.perf_counter()
import streamsv
print(json.dumps({"took_s": time.perf_counter() - before, "modules": sorted(sys.modules)}))
"""

IMPORT_ALL = """
import importlib, json, sys
names = json.loads(sys.argv[1])
for name in names:
    importlib.import_module(name)
print(json.dumps({"imported": names, "modules": sorted(sys.modules)}))
"""


def in_a_fresh_python(program: str, *arguments: str) -> dict[str, Any]:
    """The JSON that ``program`` prints."""
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def test_importing_streamsv_takes_less_than_half_a_second() -> None:
    assert min(in_a_fresh_python(IMPORT_ALONE)["took_s"] for _ in range(5)) < 0.5


def test_importing_streamsv_loads_nothing_heavy() -> None:
    assert HEAVY & set(in_a_fresh_python(IMPORT_ALONE)["modules"]) == set()


def modules_that_run() -> list[str]:
    """Every module of streamsv but the network's and the ones that are programs."""
    paths = sorted((ROOT / "streamsv").glob("**/*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [
        name.removesuffix(".__init__")
        for name in names
        if not name.startswith("streamsv.nn.") and not name.endswith("__main__")
    ]


def test_nothing_but_the_network_room_loads_torch() -> None:
    found = in_a_fresh_python(IMPORT_ALL, json.dumps(modules_that_run()))
    assert "streamsv.engine.verification" in found["imported"]
    assert {"torch", "onnx", "training"} & set(found["modules"]) == set()


def test_every_public_name_is_there_when_it_is_asked_for() -> None:
    program = (
        "import json, streamsv\n"
        "missing = [name for name in streamsv.__all__ if getattr(streamsv, name, None) is None]\n"
        "unlisted = [name for name in streamsv.__all__ if name not in dir(streamsv)]\n"
        "print(json.dumps({'missing': missing, 'unlisted': unlisted}))"
    )
    assert in_a_fresh_python(program) == {"missing": [], "unlisted": []}
