import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamsv.voiceprints
from streamsv.voiceprints import Voiceprint, VoiceprintStore

SOURCES = Path(streamsv.voiceprints.__file__).parents[2]


@pytest.fixture(scope="session")
def make() -> Callable[..., Voiceprint]:
    """Make a voiceprint; equal arguments give equal voiceprints."""

    def make(
        speaker: str = "alice", seed: int = 0, dimension: int = 192, **rest: Any
    ) -> Voiceprint:
        fields: dict[str, Any] = {
            "embedding": np.random.default_rng(seed).standard_normal(dimension),
            "fingerprint": "model-a",
            "net_speech_s": 12.5 + seed,
            "recordings": 3,
            "channel": "wideband",
            "created_at": "2025-01-31T09:30:00Z",
            "updated_at": "2025-02-01T10:00:00+00:00",
        }
        return Voiceprint(speaker=speaker, **(fields | rest))

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "voiceprints.db"


@pytest.fixture
def store(path: Path) -> Iterator[VoiceprintStore]:
    with VoiceprintStore(path, busy_timeout_s=0.3) as store:
        yield store


@pytest.fixture
def start_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a second Python process that can import this streamsv."""
    running = []

    def start(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(SOURCES)},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        with process:
            process.kill()


@pytest.fixture
def files_of(tmp_path: Path) -> Callable[[Path], dict[str, bytes]]:
    """Read every file beside a store, by name.

    Another process copies them first: opening and closing the database here would drop the locks
    that the stores of this process hold on it.
    """
    code = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"

    def files_of(path: Path) -> dict[str, bytes]:
        copy = tmp_path / "copy"
        subprocess.run([sys.executable, "-ISc", code, path.parent, copy], check=True)
        files = {each.name: each.read_bytes() for each in copy.iterdir()}
        shutil.rmtree(copy)
        return files

    return files_of
