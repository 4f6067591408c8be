import os
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from streamsv.voiceprints import Voiceprint, VoiceprintStore

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")

ROUNDS = 6

# The same in both processes: the n-th operation is known from n alone, so the parent knows what
# the store must hold after any number of them. An embedding of 32 KiB spans nine pages, so there
# is a middle of a write to be killed in.
OPERATIONS = """
import numpy as np
from streamsv.voiceprints import Consent, Voiceprint

def speaker_of(n):
    return f"speaker-{n % 5}"

def is_deletion(n):
    return n % 7 == 6

def voiceprint_of(n):
    return Voiceprint(
        speaker=speaker_of(n),
        embedding=np.random.default_rng(n).standard_normal(8192),
        fingerprint=f"model-{n}",
        net_speech_s=n,
        recordings=n + 1,
        channel="telephone",
        created_at="2025-01-31T09:30:00Z",
        updated_at="2025-01-31T09:30:00Z",
        consent=Consent("2025-01-31", f"by {n}", "test") if n % 2 else None,
    )
"""

ENROLL = """
import sys
from streamsv.errors import UnknownSpeaker, VoiceprintExists
from streamsv.voiceprints import VoiceprintStore

store = VoiceprintStore(sys.argv[1])
n = int(sys.argv[2])
while True:
    if is_deletion(n):
        try:
            store.delete(speaker_of(n))
        except UnknownSpeaker:
            pass
    else:
        voiceprint = voiceprint_of(n)
        try:
            store.add(voiceprint)
        except VoiceprintExists:
            store.replace(voiceprint)
    print(n, flush=True)
    n += 1
"""

CREATE = """
import itertools, sys
from streamsv.voiceprints import VoiceprintStore

for n in itertools.count():
    VoiceprintStore(f"{sys.argv[1]}/{n}/voiceprints.db").close()
    print(n, flush=True)
"""

operations: dict[str, Any] = {}
exec(OPERATIONS, operations)


def expected_after(count: int) -> list[Voiceprint]:
    last = {operations["speaker_of"](n): n for n in range(count)}
    return [
        operations["voiceprint_of"](n)
        for _, n in sorted(last.items())
        if not operations["is_deletion"](n)
    ]


def killed_at_a_random_moment(process: Any, rng: random.Random) -> int:
    """Kill the process some time after its first operation; how many it had reported as done."""
    assert process.stdout.readline(), process.stderr.read()
    time.sleep(rng.uniform(0, 0.2))
    process.kill()
    rest, errors = process.stdout.read(), process.stderr.read()
    assert (process.wait(), errors) == (-9, "")
    return 1 + len(rest.splitlines())


def test_store_is_whole_whenever_an_enrollment_is_killed(path: Path, start_python: Any) -> None:
    rng = random.Random()
    done = 0
    for _ in range(ROUNDS):
        done += killed_at_a_random_moment(start_python(OPERATIONS + ENROLL, path, done), rng)
        with VoiceprintStore(path) as store:
            voiceprints = store.all()
        # Everything that was reported is there. The operation in progress is there whole or not.
        if voiceprints != expected_after(done):
            done += 1
        assert voiceprints == expected_after(done)
        _check_database(path, voiceprints)


def test_store_killed_while_it_is_created_opens_all_the_same(
    tmp_path: Path, start_python: Any
) -> None:
    rng = random.Random()
    for attempt in range(2):
        directory = tmp_path / str(attempt)
        killed_at_a_random_moment(start_python(CREATE, directory), rng)
        for path in directory.glob("*/voiceprints.db"):
            assert path.stat().st_mode & 0o777 == 0o600
            with VoiceprintStore(path) as store:
                store.add(operations["voiceprint_of"](1))
                assert store.all() == [operations["voiceprint_of"](1)]


def _check_database(path: Path, voiceprints: list[Voiceprint]) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("SELECT count(*) FROM erasures").fetchone() == (0,)
    embeddings = connection.execute("SELECT embedding FROM voiceprints ORDER BY speaker").fetchall()
    connection.close()
    assert [each for (each,) in embeddings] == [each.embedding.tobytes() for each in voiceprints]
