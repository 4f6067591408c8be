"""API keys: who may call the server, kept in one SQLite file beside the voiceprints.

A key is ``ssv_<id>_<secret>``. The id finds its row and may be shown anywhere; the secret is 256
random bits. Only the SHA-256 of the whole key is stored: what is random to 256 bits cannot be
guessed from its hash, so the slow hashes that passwords need would cost time and add nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from streamsv.errors import AuthenticationError, ConfigError, StoreError
from streamsv.voiceprints import default_store_path

SCOPES = ("enroll", "verify", "admin")
"""What a key may be for; ``admin`` includes the other two."""

FILE_NAME = "keys.db"
PREFIX = "ssv"
APPLICATION_ID = 0x5353564B  # "SSVK", in the header of the file
SCHEMA_VERSION = 1

_ID_BYTES = 6
_SECRET_BYTES = 32
_MOST_KEY_CHARACTERS = 256
_MOST_NAME_CHARACTERS = 128
_LAST_USED_EVERY_S = 60.0
_BUSY_TIMEOUT_S = 5.0
_NO_DIGEST = bytes(32)
_REFUSED = "The API key is not known or was revoked. Check it, or ask for a new one."

_SCHEMA = (
    """CREATE TABLE keys (
        id TEXT PRIMARY KEY NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        digest BLOB NOT NULL,
        created_at TEXT NOT NULL,
        last_used_at TEXT,
        revoked_at TEXT)""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known about a key, without the key. Times are ISO 8601, UTC.

    ``last_used_at`` is right to a minute; ``revoked_at`` is ``None`` while the key is good.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: str
    last_used_at: str | None
    revoked_at: str | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: the only moment at which ``key`` can be seen."""

    key: str = field(repr=False)
    record: KeyRecord


def default_keys_path() -> Path:
    """The file of keys beside the default store of voiceprints. Nothing is created."""
    return default_store_path().with_name(FILE_NAME)


class KeyStore:
    """The keys of a server. Threads share it; several processes may open the same file.

    Every check reads the file, so a key that is revoked elsewhere is refused from then on.

    Parameters
    ----------
    path:
        The file. It is created with mode 0600, its missing directories with 0700.

    Raises
    ------
    StoreError
        If the file cannot be opened or is something else. Every method may raise it, too.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        self._marked_at: dict[str, float] = {}
        self._connection: sqlite3.Connection | None = None
        with self._explaining():
            self._create_file()
            self._connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S
            )
            try:
                self._prepare(self._connection)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def create(self, scopes: Iterable[str], name: str = "") -> NewKey:
        """Make a key with ``scopes``; ``name`` says for people what it is for.

        Raises ConfigError for no scope, an unknown one, or a name that cannot be printed.
        """
        asked = set(scopes)
        unknown = sorted(asked - set(SCOPES))
        if unknown or not asked:
            named = unknown[0] if unknown else None
            raise ConfigError(f"A key has one or more scopes of: {', '.join(SCOPES)}.", named)
        if len(name) > _MOST_NAME_CHARACTERS or not (name.isprintable() and name == name.strip()):
            raise ConfigError(
                f"A key's name is at most {_MOST_NAME_CHARACTERS} printable characters, without a "
                "space at either end.",
                name,
            )
        key_id = secrets.token_hex(_ID_BYTES)
        key = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        ordered = tuple(scope for scope in SCOPES if scope in asked)
        record = KeyRecord(key_id, name, ordered, _now(), None, None)
        with self._using() as connection:
            connection.execute(
                "INSERT INTO keys (id, name, scopes, digest, created_at) VALUES (?, ?, ?, ?, ?)",
                (key_id, name, " ".join(ordered), _digest(key), record.created_at),
            )
        return NewKey(key, record)

    def list(self) -> list[KeyRecord]:
        """Every key that was ever made, revoked ones too, oldest first."""
        with self._using() as connection:
            rows = connection.execute(
                "SELECT id, name, scopes, created_at, last_used_at, revoked_at FROM keys "
                "ORDER BY created_at, id"
            ).fetchall()
        return [_record(row) for row in rows]

    def revoke(self, key_id: str) -> KeyRecord:
        """Refuse a key from now on. A second time changes nothing.

        Raises ConfigError if there is no key of that id.
        """
        with self._using() as connection:
            connection.execute(
                "UPDATE keys SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?",
                (_now(), key_id),
            )
            row = connection.execute(
                "SELECT id, name, scopes, created_at, last_used_at, revoked_at FROM keys "
                "WHERE id = ?",
                (key_id,),
            ).fetchone()
        if row is None:
            raise ConfigError(
                f"There is no key with the id {key_id!r}. `streamsv keys list` shows them.", key_id
            )
        return _record(row)

    def is_empty(self) -> bool:
        """Whether no key was ever made. Revoked keys count: revoking the last opens nothing."""
        with self._using() as connection:
            return connection.execute("SELECT 1 FROM keys LIMIT 1").fetchone() is None

    def is_good(self, key_id: str) -> bool:
        """Whether there is a key of that id that was not revoked."""
        with self._using() as connection:
            found = connection.execute(
                "SELECT 1 FROM keys WHERE id = ? AND revoked_at IS NULL", (key_id,)
            ).fetchone()
        return found is not None

    def check(self, key: str) -> KeyRecord:
        """Whose key this is. The comparison takes as long whatever is wrong with the key.

        Raises AuthenticationError if it is not known or was revoked; no error holds the key.
        """
        parts = key.split("_", 2)
        key_id = parts[1] if len(parts) == 3 and len(key) <= _MOST_KEY_CHARACTERS else ""
        with self._using() as connection:
            row = connection.execute(
                "SELECT id, name, scopes, created_at, last_used_at, revoked_at, digest "
                "FROM keys WHERE id = ?",
                (key_id,),
            ).fetchone()
            stored = _NO_DIGEST if row is None else bytes(row[6])
            is_right = hmac.compare_digest(stored, _digest(key[:_MOST_KEY_CHARACTERS]))
            if row is None or not is_right or row[5] is not None:
                raise AuthenticationError(_REFUSED)
            self._mark_used(connection, key_id)
        return _record(row[:6])

    def _mark_used(self, connection: sqlite3.Connection, key_id: str) -> None:
        now = time.monotonic()
        if now - self._marked_at.get(key_id, -_LAST_USED_EVERY_S) < _LAST_USED_EVERY_S:
            return
        self._marked_at[key_id] = now
        # A key is no less right because its last use cannot be noted, on a full disk say.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("UPDATE keys SET last_used_at = ? WHERE id = ?", (_now(), key_id))

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explaining():
            if self._connection is None:
                raise StoreError(f"The keys {self.path} are closed. Open them again.")
            yield self._connection

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The keys {self.path} cannot be used: {error}. Check the file and its directory, "
                "or choose another place.",
                str(self.path),
            ) from error

    def _create_file(self) -> None:
        missing = [each for each in self.path.parents if not each.exists()]
        for directory in reversed(missing):
            directory.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            (application_id,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if application_id == APPLICATION_ID and version <= SCHEMA_VERSION:
                connection.execute("COMMIT")
                return
            if application_id or version or tables:
                newer = ", made by a newer streamsv" if application_id == APPLICATION_ID else ""
                raise StoreError(
                    f"{self.path} is not a file of keys that this streamsv reads{newer}. Choose "
                    "another path; nothing was changed.",
                    str(self.path),
                )
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _record(row: tuple[str, str, str, str, str | None, str | None]) -> KeyRecord:
    key_id, name, scopes, created_at, last_used_at, revoked_at = row
    return KeyRecord(key_id, name, tuple(scopes.split()), created_at, last_used_at, revoked_at)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
