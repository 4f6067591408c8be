import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsv.errors import StoreError
from streamsv.voiceprints import Voiceprint, VoiceprintStore

Make = Callable[..., Voiceprint]
FilesOf = Callable[[Path], dict[str, bytes]]

SLICE = 16


def traces(voiceprint: Voiceprint, files: dict[str, bytes]) -> set[str]:
    """The files that hold the embedding, or any 16 bytes of it in a row."""
    secret = voiceprint.embedding.tobytes()
    slices = [secret[i : i + SLICE] for i in range(len(secret) - SLICE + 1)]
    return {name for name, data in files.items() if any(each in data for each in slices)}


def pending(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM erasures").fetchone()
    connection.close()
    return int(count)


def test_deleted_embedding_is_in_no_file_of_the_store(
    store: VoiceprintStore, path: Path, make: Make, files_of: FilesOf
) -> None:
    alice, bob = make("alice", 1), make("bob", 2)
    store.add(bob)
    store.add(alice)
    files = files_of(path)
    assert set(files) == {"voiceprints.db", "voiceprints.db-wal", "voiceprints.db-shm"}
    assert alice.embedding.tobytes() in files["voiceprints.db-wal"]
    store.delete("alice")

    files = files_of(path)
    assert traces(alice, files) == set()
    assert not any(b"alice" in data for data in files.values())
    assert bob.embedding.tobytes() in files["voiceprints.db"]
    assert store.all() == [bob]


def test_deletion_erases_what_has_reached_the_main_file_too(
    path: Path, make: Make, files_of: FilesOf
) -> None:
    alice = make("alice", 1, dimension=1200)
    with VoiceprintStore(path) as store:
        store.add(alice)
    assert traces(alice, files_of(path)) == {"voiceprints.db"}
    with VoiceprintStore(path) as store:
        store.delete("alice")
        assert traces(alice, files_of(path)) == set()
    assert traces(alice, files_of(path)) == set()


def test_deletion_erases_every_earlier_embedding_of_the_speaker(
    store: VoiceprintStore, path: Path, make: Make, files_of: FilesOf
) -> None:
    history = [make("alice", seed, dimension=d) for seed, d in enumerate((192, 256, 64, 1200))]
    for voiceprint in history:
        store.replace(voiceprint)
    store.add(make("bob", 9))
    assert traces(history[0], files_of(path)) != set()
    store.delete("alice")

    files = files_of(path)
    assert [traces(each, files) for each in history] == [set()] * len(history)


def test_pages_split_and_merged_before_a_deletion_keep_no_copy(
    path: Path, make: Make, files_of: FilesOf
) -> None:
    rng = random.Random(2)  # a history that leaves copies behind where the file is not rebuilt
    living: dict[str, Voiceprint] = {}
    dead: list[Voiceprint] = []
    with VoiceprintStore(path) as store:
        for step in range(60):
            name = f"speaker-{rng.randrange(25)}"
            voiceprint = make(name, step, dimension=rng.choice([64, 192, 256]))
            if name in living:
                dead.append(living[name])
            store.replace(voiceprint)
            living[name] = voiceprint
        for name in rng.sample(sorted(living), 5):
            store.delete(name)
            dead.append(living.pop(name))

        files = files_of(path)
        assert [traces(each, files) for each in dead] == [set()] * len(dead)
        assert store.all() == [living[name] for name in sorted(living)]


def test_open_connections_that_have_read_do_not_keep_the_embedding(
    store: VoiceprintStore, path: Path, make: Make, files_of: FilesOf, start_python: Any
) -> None:
    alice = make("alice", 1)
    store.add(alice)
    code = """
import sys, time
from streamsv.voiceprints import VoiceprintStore
with VoiceprintStore(sys.argv[1]) as store:
    print(store.get("alice").speaker, flush=True)
    time.sleep(60)
"""
    process = start_python(code, path)
    assert process.stdout.readline() == "alice\n"
    with VoiceprintStore(path) as other:
        assert other.get("alice") == alice
        store.delete("alice")
        assert traces(alice, files_of(path)) == set()
        assert other.list() == []


def test_reader_of_an_older_state_delays_the_erasure_and_the_error_says_so(
    store: VoiceprintStore, path: Path, make: Make, files_of: FilesOf
) -> None:
    alice = make("alice", 1)
    store.add(alice)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM voiceprints").fetchone()

    with pytest.raises(StoreError, match=r"is deleted, but bytes .* erase_deleted\(\)"):
        store.delete("alice")
    assert store.list() == []
    assert traces(alice, files_of(path)) != set()
    with VoiceprintStore(path, busy_timeout_s=600) as opened_without_waiting:
        assert opened_without_waiting.list() == []
    with pytest.raises(StoreError, match="is not erased yet"):
        store.erase_deleted()
    reader.execute("COMMIT")
    store.erase_deleted()
    assert traces(alice, files_of(path)) == set()
    assert pending(path) == 0
    reader.close()


def test_blocked_erasure_is_finished_by_the_next_deletion(
    store: VoiceprintStore, path: Path, make: Make, files_of: FilesOf
) -> None:
    alice, bob = make("alice", 1), make("bob", 2)
    store.add(alice)
    store.add(bob)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM voiceprints").fetchone()
    with pytest.raises(StoreError):
        store.delete("alice")
    reader.close()
    store.delete("bob")

    files = files_of(path)
    assert traces(alice, files) == traces(bob, files) == set()
    assert pending(path) == 0


def test_writer_in_the_way_delays_the_erasure_too(
    store: VoiceprintStore, path: Path, make: Make, files_of: FilesOf
) -> None:
    alice = make("alice", 1)
    store.add(alice)
    writer = sqlite3.connect(path, isolation_level=None)

    def write_meanwhile(statement: str) -> None:
        if statement == "VACUUM":
            writer.execute("BEGIN IMMEDIATE")

    with store._database.using() as connection:
        connection.set_trace_callback(write_meanwhile)
    with pytest.raises(StoreError, match="is deleted, but bytes of it may remain"):
        store.delete("alice")
    with store._database.using() as connection:
        connection.set_trace_callback(None)
    assert traces(alice, files_of(path)) != set()
    writer.close()
    store.erase_deleted()
    assert traces(alice, files_of(path)) == set()


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("moment", ["VACUUM", "PRAGMA wal_checkpoint", "DELETE FROM erasures"])
def test_erasure_killed_half_way_is_finished_by_the_next_opening(
    path: Path, make: Make, files_of: FilesOf, start_python: Any, moment: str
) -> None:
    alice, bob = make("alice", 1), make("bob", 2)
    with VoiceprintStore(path) as store:
        store.add(alice)
        store.add(bob)
    code = """
import os, signal, sys
from streamsv.voiceprints import VoiceprintStore

def kill(statement):
    if statement.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

store = VoiceprintStore(sys.argv[1])
with store._database.using() as connection:
    connection.set_trace_callback(kill)
store.delete("alice")
"""
    process = start_python(code, path, moment)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (-9, "")

    with VoiceprintStore(path) as store:
        assert traces(alice, files_of(path)) == set()
        assert store.all() == [bob]
    assert pending(path) == 0


@pytest.mark.skipif(os.name == "nt", reason="file sizes cannot be limited")
def test_erasure_for_which_there_is_no_room_is_finished_when_there_is(
    path: Path, make: Make, files_of: FilesOf, start_python: Any
) -> None:
    voiceprints = [make(f"speaker-{i:02}", seed=i) for i in range(80)]
    with VoiceprintStore(path) as store:
        for voiceprint in voiceprints:
            store.add(voiceprint)
    code = """
import os, resource, sys
from streamsv.errors import StoreError
from streamsv.voiceprints import VoiceprintStore

store = VoiceprintStore(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
try:
    store.delete("speaker-07")
except StoreError as error:
    print(error.message)
print(len(store.list()), len(VoiceprintStore(sys.argv[1]).list()), flush=True)
os._exit(0)
"""
    output, errors = start_python(code, path).communicate()
    assert errors == ""
    message, counts = output.splitlines()
    assert "'speaker-07' is deleted, but bytes of it may remain" in message
    assert "the disk failed" in message
    assert counts == "79 79"
    deleted = voiceprints.pop(7)
    assert traces(deleted, files_of(path)) != set()

    with VoiceprintStore(path) as store:
        assert traces(deleted, files_of(path)) == set()
        assert store.all() == voiceprints


def test_search_for_traces_finds_a_slice_anywhere(make: Make) -> None:
    voiceprint = make()
    secret = voiceprint.embedding.tobytes()
    assert traces(voiceprint, {"a": b"x" + secret[101 : 101 + SLICE] + b"y", "b": b""}) == {"a"}
    assert traces(voiceprint, {"a": secret[101 : 100 + SLICE]}) == set()
    assert np.unique(voiceprint.embedding).size == voiceprint.dimension
