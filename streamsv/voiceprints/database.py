"""One SQLite connection to a store's file: opening, transactions, erasure, and what went wrong.

SQLite does the hard part: the write-ahead log with ``synchronous=FULL`` makes a transaction whole
and durable once it is committed, whatever is killed.

**Erasure.** ``secure_delete`` overwrites a deleted row where it is, but not the copies of it that
were left in unused space when a full page was split or merged earlier, and not the page images in
the log. So an erasure rebuilds the file from the rows that are alive (``VACUUM``, in memory rather
than in a temporary file) and then cuts the log to nothing (``wal_checkpoint(TRUNCATE)``). A row in
``erasures``, written in the same transaction as the deletion, says that this is still to be done;
so an erasure that is interrupted is finished later.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streamsv.errors import ConfigError, StoreError

APPLICATION_ID = 0x53545356  # "STSV", in the header of the file
SCHEMA_VERSION = 1

_SCHEMA = (
    """CREATE TABLE voiceprints (
        speaker TEXT PRIMARY KEY NOT NULL,
        fingerprint TEXT NOT NULL,
        net_speech_s REAL NOT NULL,
        recordings INTEGER NOT NULL,
        channel TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        embedding BLOB NOT NULL)""",
    """CREATE TABLE consents (
        speaker TEXT PRIMARY KEY NOT NULL REFERENCES voiceprints (speaker) ON DELETE CASCADE,
        given_at TEXT NOT NULL,
        given_by TEXT NOT NULL,
        purpose TEXT NOT NULL)""",
    "CREATE TABLE erasures (id INTEGER PRIMARY KEY AUTOINCREMENT)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


class Database:
    """The connection, shared by the threads of one process: calls take turns under a lock.

    Parameters
    ----------
    path:
        The file. It is created with mode 0600, its missing directories with 0700; SQLite gives
        the files beside it (``-wal``, ``-shm``) the mode of the file.
    busy_timeout_s:
        How long to wait for another process before giving up.
    must_exist:
        Neither create the file nor make a store of an empty one.

    Raises
    ------
    StoreError
        If the file cannot be opened, is not a store, was made by a newer streamsv, or is not there
        and ``must_exist``.
    """

    def __init__(self, path: Path, busy_timeout_s: float, must_exist: bool = False) -> None:
        if not 0 <= busy_timeout_s <= 3600:
            raise ConfigError("busy_timeout_s must be from 0 to 3600 seconds.", busy_timeout_s)
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._must_exist = must_exist
        if must_exist:
            self._find_file()
        else:
            self._create_file()
        self._connection: sqlite3.Connection | None = None
        try:
            with self._explaining():
                # Without "c" SQLite itself creates no file, not even if this one is gone by now.
                self._connection = sqlite3.connect(
                    f"{self.path.as_uri()}?mode=rw",
                    isolation_level=None,
                    check_same_thread=False,
                    uri=True,
                )
                self._prepare(self._connection)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; SQLite's errors leave as :class:`StoreError`."""
        if os.getpid() != self._process:
            raise StoreError(
                f"The store {self.path} was opened before this process was forked, and SQLite "
                "does not survive that. Open it again in each process.",
                str(self.path),
            )
        with self._lock:
            if self._connection is None:
                raise StoreError(f"The store {self.path} is closed. Open it again.", str(self.path))
            with self._explaining():
                yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is written whole when the block ends, or not at all if it raises."""
        with self.using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite itself rolls back when a disk is full
                    connection.execute("ROLLBACK")
                raise

    def erase(self, wait: bool = True) -> bool:
        """Erase what deletions have left, if anything; whether nothing is left.

        It is ``False`` if another connection stood in the way: one that writes, or one that is
        still reading a state from before the deletion. With ``wait`` it is given the busy timeout
        to finish.
        """
        with self.using() as connection:
            (last,) = connection.execute("SELECT max(id) FROM erasures").fetchone()
            if last is None:
                return True
            self._set_busy_timeout(connection, self._busy_timeout_s if wait else 0)
            try:
                connection.execute("VACUUM")
                (is_blocked, _, _) = connection.execute(
                    "PRAGMA wal_checkpoint(TRUNCATE)"
                ).fetchone()
                if not is_blocked:
                    connection.execute("DELETE FROM erasures WHERE id <= ?", (last,))
                return not is_blocked
            except sqlite3.OperationalError as error:
                if _primary_code(error) == sqlite3.SQLITE_BUSY:
                    return False
                raise
            finally:
                self._set_busy_timeout(connection, self._busy_timeout_s)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(self._sentence(error), str(self.path)) from error

    def _find_file(self) -> None:
        try:
            self._refuse_directory()
            is_there = self.path.exists()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreError(
                f"The store {self.path} cannot be read: {reason}. Make it readable for this user, "
                "or choose another one.",
                str(self.path),
            ) from error
        if not is_there:
            raise self._missing()

    def _missing(self) -> StoreError:
        return StoreError(
            f"There is no store at {self.path}. Check --store or STREAMSV_HOME, or enroll somebody "
            "first.",
            str(self.path),
        )

    def _refuse_directory(self) -> None:
        if self.path.is_dir():
            raise StoreError(
                f"{self.path} is a directory. Give the path of a file.", str(self.path)
            )

    def _create_file(self) -> None:
        try:
            missing = [each for each in self.path.parents if not each.exists()]
            for directory in reversed(missing):
                directory.mkdir(mode=0o700, exist_ok=True)
            self._refuse_directory()
            # A file that exists must not be opened here: closing it again would drop the locks that
            # another connection of this process holds on it (SQLite, "How To Corrupt An SQLite
            # Database File", on POSIX advisory locks).
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise StoreError(
                f"The store {self.path} cannot be created: {reason}. Make its directory writable "
                "for this user, or choose another place (STREAMSV_HOME sets the default).",
                str(self.path),
            ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._set_busy_timeout(connection, self._busy_timeout_s)
        for setting in (
            "secure_delete = ON",
            "foreign_keys = ON",
            "synchronous = FULL",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        # One transaction, so that a store which is being created elsewhere is not seen half made.
        connection.execute("BEGIN")
        is_empty = self._is_empty(connection)
        connection.execute("COMMIT")
        if is_empty and self._must_exist:
            raise self._missing()
        if is_empty:
            self._make_private()
        if self._switch_to_wal(connection) != "wal":
            raise StoreError(
                f"The store {self.path} lies on a file system without shared memory (a network "
                "drive?), which SQLite's write-ahead log needs. Move it to a local disk.",
                str(self.path),
            )
        if is_empty:
            with self.writing():
                if self._is_empty(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement)
        # What cannot be erased now (no room, say) stays on the list, and is no reason not to open.
        with suppress(StoreError):
            self.erase(wait=False)

    def _make_private(self) -> None:
        """Set the mode of a file that was there, but empty, before the store was opened."""
        try:
            self.path.chmod(0o600)
        except OSError as error:
            raise StoreError(
                f"The mode of {self.path} cannot be changed: {error.strerror}. The file belongs to "
                "somebody else; remove it, or choose another path.",
                str(self.path),
            ) from error

    def _switch_to_wal(self, connection: sqlite3.Connection) -> str:
        # SQLite does not wait when two connections switch at the same time, to avoid a deadlock.
        deadline_s = time.monotonic() + self._busy_timeout_s
        while True:
            try:
                return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
            except sqlite3.OperationalError as error:
                is_busy = _primary_code(error) == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() >= deadline_s:
                    raise
            time.sleep(0.01)

    def _is_empty(self, connection: sqlite3.Connection) -> bool:
        """Whether the database is yet to be filled; if it is not, it must be a store's."""
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application_id == APPLICATION_ID:
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"The store {self.path} has schema {version}, and this streamsv knows up to "
                    f"{SCHEMA_VERSION}. Upgrade streamsv; nothing was changed.",
                    version,
                )
            return False
        if application_id or version or tables:
            raise StoreError(
                f"{self.path} is the database of another program, not a voiceprint store. Choose "
                "another path; nothing was changed.",
                str(self.path),
            )
        return True

    @staticmethod
    def _set_busy_timeout(connection: sqlite3.Connection, seconds: float) -> None:
        connection.execute(f"PRAGMA busy_timeout = {math.ceil(seconds * 1000)}")

    def _sentence(self, error: sqlite3.Error) -> str:
        file = f"The store {self.path}"
        match _primary_code(error):
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return (
                    f"{file} is locked: another process has been writing to it for more than "
                    f"{self._busy_timeout_s:g} s. Try again, or end that process."
                )
            case sqlite3.SQLITE_NOTADB:
                return f"{self.path} is not a voiceprint store. Choose another path."
            case sqlite3.SQLITE_CORRUPT:
                return f"{file} is damaged ({error}). Restore it from a backup, or enroll again."
            case sqlite3.SQLITE_FULL:
                return f"{file} cannot grow: the disk or the quota is full. Free some space."
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
                return (
                    f"{file} cannot be opened for writing ({error}). Make the file and its "
                    "directory writable for this user: SQLite keeps two more files beside it."
                )
            case sqlite3.SQLITE_IOERR:
                return (
                    f"{file} cannot be read or written: the disk failed ({error}). What was "
                    "committed before is kept; check the disk, then open the store again."
                )
            case _:
                return f"{file} cannot be used: {error}. Restore it from a backup, or start anew."


def _primary_code(error: sqlite3.Error) -> int | None:
    """SQLite's result code without the extension in its upper bits, if the error has one."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
