import contextlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamsv.errors import ConfigError, StoreError
from streamsv.voiceprints import Voiceprint, VoiceprintStore
from streamsv.voiceprints.database import APPLICATION_ID, SCHEMA_VERSION, Database

Make = Callable[..., Voiceprint]

posix_only = pytest.mark.skipif(os.name == "nt", reason="file modes and fork are of POSIX")
UNPRIVILEGED = 65534


@contextlib.contextmanager
def other_connection(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    yield connection
    connection.close()


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


@posix_only
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_user_can_read_any_file_of_the_store(
    tmp_path: Path, make: Make, umask: int
) -> None:
    before = os.umask(umask)
    try:
        path = tmp_path / "a" / "b" / "voiceprints.db"
        with VoiceprintStore(path) as store:
            store.add(make())
            modes = {each.name: mode(each) for each in path.parent.iterdir()}
            assert modes == {
                "voiceprints.db": "0o600",
                "voiceprints.db-wal": "0o600",
                "voiceprints.db-shm": "0o600",
            }
            assert mode(tmp_path / "a") == mode(tmp_path / "a" / "b") == "0o700"
    finally:
        os.umask(before)


@posix_only
def test_file_is_private_from_its_first_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "chmod", lambda path, mode: None)
    before = os.umask(0)
    try:
        VoiceprintStore(path).close()
    finally:
        os.umask(before)
    assert mode(path) == "0o600"


@posix_only
def test_modes_that_the_owner_has_set_are_left_alone(path: Path, make: Make) -> None:
    path.parent.mkdir(mode=0o750)
    VoiceprintStore(path).close()
    path.chmod(0o640)
    with VoiceprintStore(path) as store:
        store.add(make())
        assert {mode(each) for each in path.parent.iterdir()} == {"0o640"}
    assert mode(path.parent) == "0o750"


@posix_only
def test_empty_file_becomes_a_private_store(path: Path, make: Make) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    with VoiceprintStore(path) as store:
        store.add(make())
        assert {mode(each) for each in path.parent.iterdir()} == {"0o600"}


@posix_only
def test_link_to_a_store_that_is_not_there_yet_makes_a_private_store(
    path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with VoiceprintStore(link) as store:
        assert store.path == path.resolve()
    assert mode(path) == "0o600"
    assert link.is_symlink()


def test_connection_is_durable_and_erases(path: Path) -> None:
    database = Database(path, busy_timeout_s=1.5)
    with database.using() as connection:
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in (
                "journal_mode",
                "secure_delete",
                "foreign_keys",
                "synchronous",
                "temp_store",
                "busy_timeout",
                "user_version",
                "application_id",
            )
        }
    database.close()
    assert settings == {
        "journal_mode": "wal",
        "secure_delete": 1,
        "foreign_keys": 1,
        "synchronous": 2,
        "temp_store": 2,
        "busy_timeout": 1500,
        "user_version": SCHEMA_VERSION,
        "application_id": APPLICATION_ID,
    }


@pytest.mark.parametrize("busy_timeout_s", [-1, float("nan"), 10_000])
def test_busy_timeout_must_be_a_time(path: Path, busy_timeout_s: float) -> None:
    with pytest.raises(ConfigError, match="busy_timeout_s"):
        VoiceprintStore(path, busy_timeout_s=busy_timeout_s)


def test_store_of_a_newer_streamsv_asks_for_an_upgrade(path: Path, make: Make) -> None:
    with VoiceprintStore(path) as store:
        store.add(make())
    with other_connection(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()

    with pytest.raises(StoreError, match=r"has schema 2, .* up to 1\. Upgrade streamsv"):
        VoiceprintStore(path)
    assert path.read_bytes() == before


def test_file_that_is_no_database_is_refused_and_kept(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"RIFF, not a database" * 100)

    with pytest.raises(StoreError, match="is not a voiceprint store"):
        VoiceprintStore(path)
    assert path.read_bytes() == b"RIFF, not a database" * 100


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE songs (title TEXT)", "PRAGMA user_version = 3", "PRAGMA application_id = 5"],
)
def test_database_of_another_program_is_refused_and_kept(path: Path, statement: str) -> None:
    path.parent.mkdir()
    with other_connection(path) as connection:
        connection.execute(statement)
    before = (path.read_bytes(), mode(path))

    with pytest.raises(StoreError, match="database of another program"):
        VoiceprintStore(path)
    assert (path.read_bytes(), mode(path)) == before
    assert list(path.parent.iterdir()) == [path]


def test_damaged_database_is_called_damaged(path: Path, make: Make) -> None:
    with VoiceprintStore(path) as store:
        for i in range(40):
            store.add(make(f"speaker-{i}"))
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 100] = b"\xff" * 100
    path.write_bytes(data)

    with pytest.raises(StoreError, match=r"is damaged .* Restore it from a backup"):
        VoiceprintStore(path).all()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "is a directory"),
        ("file/voiceprints.db", "cannot be created"),
        ("a\0b", "embedded null"),
    ],
)
def test_path_that_can_hold_no_file_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=sentence):
        VoiceprintStore(tmp_path / name)


def test_store_that_another_process_is_writing_is_called_locked(
    store: VoiceprintStore, path: Path, make: Make
) -> None:
    store.add(make("alice"))
    with other_connection(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"is locked: .* more than 0\.3 s") as caught:
            store.add(make("bob"))
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert store.get("alice") == make("alice")
        with VoiceprintStore(path) as other:
            assert other.all() == [make("alice")]
        writer.execute("ROLLBACK")
    store.add(make("bob"))


def test_exclusive_lock_at_opening_is_called_locked(path: Path) -> None:
    path.parent.mkdir()
    with other_connection(path) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is locked"):
            VoiceprintStore(path, busy_timeout_s=0.05)


def test_opening_waits_for_another_process_that_creates_the_store(path: Path) -> None:
    path.parent.mkdir()
    with other_connection(path) as creator:
        creator.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.1, creator.execute, ["ROLLBACK"])
        timer.start()
        VoiceprintStore(path, busy_timeout_s=30).close()
        timer.join()


def test_store_that_is_created_elsewhere_is_not_seen_half_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def create_elsewhere(statement: str) -> None:
        if statement == "PRAGMA user_version":
            monkeypatch.setattr(sqlite3, "connect", connect)
            with contextlib.suppress(StoreError):  # it may be kept waiting, and give up
                VoiceprintStore(path, busy_timeout_s=0).close()

    def connect_and_watch(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(create_elsewhere)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_watch)
    with VoiceprintStore(path) as store:
        assert store.list() == []


def test_full_disk_keeps_what_was_committed(path: Path, make: Make) -> None:
    with VoiceprintStore(path) as store:
        store.add(make("alice"))
        with store._database.using() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages + 1}").fetchone()
        with pytest.raises(StoreError, match="the disk or the quota is full"):
            store.add(make("bob", dimension=8192))
        assert store.all() == [make("alice")]
        store.add(make("carol"))
    with VoiceprintStore(path) as store:
        assert store.all() == [make("alice"), make("carol")]


# A limit on the size of a file is a disk that really refuses to write.
DISK_ERROR = """
import resource, sys
import numpy as np
from streamsv.errors import StoreError
from streamsv.voiceprints import Voiceprint, VoiceprintStore

when = "2025-01-31T09:30:00Z"
def voiceprint(n, dimension):
    return Voiceprint(f"s-{n:02}", np.arange(1.0, dimension + 1), "m", n, 1, "wideband", when, when)

store = VoiceprintStore(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
for n in range(90):
    try:
        store.add(voiceprint(n, 4000))
    except StoreError as error:
        print(error.message)
        break
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert store.all() == [voiceprint(i, 4000) for i in range(n)], "after the error"
store.add(voiceprint(n, 9))
store.delete(f"s-{n:02}")
store.close()
assert VoiceprintStore(sys.argv[1]).all() == [voiceprint(i, 4000) for i in range(n)], "opened again"
print(n)
"""


@posix_only
def test_disk_that_refuses_a_write_keeps_what_was_committed(path: Path, start_python: Any) -> None:
    process = start_python(DISK_ERROR, path)
    output, errors = process.communicate()
    assert errors == ""
    message, committed = output.splitlines()
    assert "the disk failed" in message
    assert int(committed) > 0


# Root may write anywhere, so a process of root becomes somebody else first.
READ_ONLY = """
import os, sys
from streamsv.errors import StoreError
from streamsv.voiceprints import VoiceprintStore
if os.geteuid() == 0:
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    VoiceprintStore(sys.argv[1]).delete("alice")
    print("deleted")
except StoreError as error:
    print(error.message)
"""


@posix_only
@pytest.mark.parametrize(
    ("content", "owner", "file_mode", "directory_mode", "sentence"),
    [
        (None, UNPRIVILEGED, 0, 0o555, "cannot be created: Permission denied. Make its directory"),
        ("store", UNPRIVILEGED, 0o600, 0o555, "cannot be opened for writing"),
        ("store", UNPRIVILEGED, 0o400, 0o755, "cannot be opened for writing"),
        ("store", UNPRIVILEGED, 0o000, 0o755, "cannot be opened for writing"),
        pytest.param(
            "nothing",
            0,
            0o666,
            0o777,
            "The file belongs to somebody else",
            marks=pytest.mark.skipif(
                not hasattr(os, "geteuid") or os.geteuid() != 0,
                reason="only root can give a file to somebody else",
            ),
        ),
    ],
)
def test_place_where_the_user_may_not_write_is_called_so(
    make: Make,
    start_python: Any,
    content: str | None,
    owner: int,
    file_mode: int,
    directory_mode: int,
    sentence: str,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "voiceprints.db"
        if content == "store":
            with VoiceprintStore(path) as store:
                store.add(make())
        elif content == "nothing":
            path.touch()
        for each in (path.parent, *path.parent.iterdir()):
            each.chmod(directory_mode if each == path.parent else file_mode)
            if os.geteuid() == 0:
                os.chown(each, owner, owner)
        output, errors = start_python(READ_ONLY, path, UNPRIVILEGED).communicate()
        path.parent.chmod(0o755)
    assert errors == ""
    assert sentence in output
    assert str(path) in output


CREATE = """
import sys
from streamsv.voiceprints import VoiceprintStore
print("ready", flush=True)
sys.stdin.read()
for n in range(int(sys.argv[2])):
    VoiceprintStore(f"{sys.argv[1]}/{n}/voiceprints.db", busy_timeout_s=30).close()
"""


def test_processes_may_create_the_same_stores_at_the_same_time(
    tmp_path: Path, start_python: Any
) -> None:
    processes = [start_python(CREATE, tmp_path / "stores", 10) for _ in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.close()
    assert [(process.wait(), process.stderr.read()) for process in processes] == [(0, "")] * 3


FORK = """
import os, sys
from streamsv.errors import StoreError
from streamsv.voiceprints import VoiceprintStore
store = VoiceprintStore(sys.argv[1])
if os.fork() == 0:
    try:
        store.list()
    except StoreError as error:
        print(error.message, flush=True)
    with VoiceprintStore(sys.argv[1]) as own:
        print(own.list(), flush=True)
    os._exit(0)
os.wait()
print(store.list())
"""


@posix_only
def test_store_does_not_cross_a_fork(path: Path, start_python: Any) -> None:
    output, errors = start_python(FORK, path).communicate()
    assert errors == ""
    message, *lists = output.splitlines()
    assert "Open it again in each process." in message
    assert lists == ["[]", "[]"]


def test_a_store_that_must_exist_is_not_created(path: Path) -> None:
    with pytest.raises(StoreError, match=r"There is no store at .*\. Check --store"):
        VoiceprintStore(path, must_exist=True)
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", b"\0"])
def test_a_reader_makes_no_store_of_an_empty_file(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    before = mode(path)
    with pytest.raises(StoreError, match="There is no store at"):
        VoiceprintStore(path, must_exist=True)
    assert (path.read_bytes(), mode(path)) == (content, before)
    assert list(path.parent.iterdir()) == [path]


def test_a_store_that_must_exist_and_does_is_opened(path: Path, make: Make) -> None:
    with VoiceprintStore(path) as store:
        store.add(make("alice"))
    with VoiceprintStore(path, must_exist=True) as store:
        assert [each.speaker for each in store.list()] == ["alice"]
