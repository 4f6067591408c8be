"""How the command line is tested: in this process by its exit code, and as a program of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import select
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from streamsv.cli.main import main

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "streamsv.cli"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [found for found in self.objects if found["type"] == kind]

    @property
    def error(self) -> dict[str, Any]:
        """Standard error, which must be one JSON object."""
        (line,) = self.err.splitlines()
        return json.loads(line)


@pytest.fixture
def call(capsys) -> Callable[..., Outcome]:
    """Runs a command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(int(code), *capsys.readouterr())

    return run


def environment(**more: str) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    return plain | {"PYTHONPATH": str(ROOT), **more}


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Starts a command as a program of its own."""
    started = []

    def popen(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        env = environment(**options.pop("env", {}))
        command = [*PROGRAM, *map(str, arguments)]
        started.append(subprocess.Popen(command, text=True, env=env, **options))
        return started[-1]

    yield popen
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def spawn(start) -> Callable[..., Outcome]:
    """Runs a command as a program of its own, to its end."""

    def run(*arguments: object, **options: Any) -> Outcome:
        process = start(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return Outcome(process.returncode, out or "", err or "")

    return run


@pytest.fixture
def watch() -> Callable[..., Outcome]:
    """Runs a command in a terminal of its own; ``out`` is everything written to it."""

    def run(*arguments: object, columns: int = 80, rows: int = 24, **env: str) -> Outcome:
        ours, theirs = pty.openpty()
        size = f"stty cols {columns} rows {rows}; exec " + " ".join(
            f"'{part}'" for part in (*PROGRAM, *arguments)
        )
        full = environment(TERM="xterm", **env)
        process = subprocess.Popen(
            ["/bin/sh", "-c", size], stdin=theirs, stdout=theirs, stderr=theirs, env=full
        )
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:
                break
            if not part:
                break
            written += part
        os.close(ours)
        return Outcome(process.wait(timeout=60), written.decode(), "")

    return run


@dataclasses.dataclass(frozen=True)
class Material:
    """Short recordings, and configurations whose verdict no model can change."""

    folder: Path
    store: Path
    a: Path
    b: Path
    silence: Path
    accepts: Path
    rejects: Path
    hesitates: Path


@pytest.fixture(scope="session")
def _material(clips, tmp_path_factory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    pcm = clips.pcm("voice_a_enroll")
    soundfile.write(folder / "enroll.wav", pcm[: 8 * 16_000], 16_000)
    soundfile.write(folder / "a.wav", clips.pcm("voice_a_call")[: 6 * 16_000], 16_000)
    soundfile.write(folder / "b.wav", clips.pcm("voice_b_call")[: 8 * 16_000], 16_000)
    soundfile.write(folder / "silence.wav", 0 * pcm[:32_000], 16_000)
    for name, accept, reject in (
        ("accepts", -1000, -2000),
        ("rejects", 2000, 1000),
        ("hesitates", 2000, -2000),
    ):
        text = f"decision: {{accept_llr: {accept}, reject_llr: {reject}, min_net_speech_s: 3.0}}\n"
        (folder / f"{name}.yaml").write_text(text)
    store = folder / "store.db"
    assert main(["enroll", "alice", str(folder / "enroll.wav"), "--store", str(store)]) == 0
    configs = [folder / f"{name}.yaml" for name in ("accepts", "rejects", "hesitates")]
    sounds = [folder / f"{name}.wav" for name in ("a", "b", "silence")]
    return Material(folder, store, *sounds, *configs)


@pytest.fixture
def material(_material, tmp_path, monkeypatch) -> Material:
    """As above, with a store of the test's own in which alice is enrolled; it is the default."""
    home = tmp_path / "home"
    home.mkdir()
    store = home / "voiceprints.db"
    shutil.copy(_material.store, store)
    monkeypatch.setenv("STREAMSV_HOME", str(home))
    return dataclasses.replace(_material, store=store)
