"""The audit log: who enrolled, verified and deleted whom, when, from where, and what became of it.

A text file of JSON lines, only ever appended to. Each line holds ``chain``, the SHA-256 of the
line before it, so that a line that was changed or taken out later is noticed (:func:`check`).
That shows damage and clumsy hands; who may write the file may also write it anew from the start,
so ship it to another machine where that matters.

**Rotation.** When the file passes ``max_bytes`` it is renamed to ``audit.<time>.jsonl`` and a new
one goes on with the chain. Nothing is ever deleted: how long it must, and may, be kept is for
whoever runs the server to say.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from streamsv.errors import ConfigError, StoreError
from streamsv.voiceprints import default_store_path

log = logging.getLogger("streamsv.server")

FILE_NAME = "audit.jsonl"
ACTIONS = ("enroll", "verify", "identify", "delete")

_FIELDS = ("at", "action", "key_id", "peer", "speaker", "session_id", "outcome")
_FIRST_CHAIN = "0" * 64
_MOST_LINE_BYTES = 65_536
DEFAULT_MAX_BYTES = 16 * 1024 * 1024


def default_audit_path() -> Path:
    """The file beside the default store of voiceprints. Nothing is created."""
    return default_store_path().with_name(FILE_NAME)


class AuditLog:
    """Appends records; each is on the disk when :meth:`record` returns. Threads may share it.

    Several processes may append to one file: they take turns by a lock on it.

    Parameters
    ----------
    path:
        The file. It is created with mode 0600, its missing directories with 0700.
    max_bytes:
        Size at which the file is rotated.
    clock:
        The time of day.

    Raises
    ------
    StoreError
        If the file cannot be opened for appending.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        if max_bytes < _MOST_LINE_BYTES:
            raise ConfigError(f"audit.max_bytes must be at least {_MOST_LINE_BYTES}.", max_bytes)
        self.path = Path(path).expanduser()
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        with self._explaining():
            missing = [each for each in self.path.parents if not each.exists()]
            for directory in reversed(missing):
                directory.mkdir(mode=0o700, exist_ok=True)
            self._opened().close()

    def record(
        self,
        action: str,
        *,
        key_id: str,
        peer: str,
        outcome: str,
        speaker: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Append one record. It blocks until the disk has it; call it in a thread.

        ``speaker`` is the claimed or enrolled speaker, ``outcome`` one or a few words. Raises
        StoreError if it cannot be written: what should have been recorded must then not happen.
        """
        if action not in ACTIONS:
            raise ConfigError(f"An audited action is one of: {', '.join(ACTIONS)}.", action)
        at = _iso(self._clock())
        values = (at, action, key_id, peer, speaker, session_id, outcome)
        fields = dict(zip(_FIELDS, values, strict=True))
        with self._lock, self._explaining(), self._mine() as file:
            fields["chain"] = self._chain(file)
            file.write(_line(fields))
            file.flush()
            os.fsync(file.fileno())
            if file.tell() >= self._max_bytes:
                try:
                    self._rotate()
                except OSError as error:  # the record is written; the next one tries again
                    log.error("The audit log %s cannot be put aside: %s", self.path, error)

    def _chain(self, file: BinaryIO) -> str:
        """The digest of the line before the next; of an empty file's, in the one put aside last."""
        if file.seek(0, os.SEEK_END):
            return _chain_of(file)
        *aside, _ = files_of(self.path)
        if not aside:
            return _FIRST_CHAIN
        with aside[-1].open("rb") as old:
            return _chain_of(old)

    @contextlib.contextmanager
    def _mine(self) -> Iterator[BinaryIO]:
        """The present file, locked: another process may rotate it while this one waits for it."""
        while True:
            with self._opened() as file, _alone(file):
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    yield file
                    return

    def _opened(self) -> BinaryIO:
        flags = os.O_CREAT | os.O_APPEND | os.O_RDWR | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(self.path, flags, 0o600), "a+b")

    def _rotate(self) -> None:
        """Put the file aside and begin another, whose first line goes on with the chain."""
        now = self._clock().astimezone(datetime.UTC)
        stamp = now.strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.stem}.{stamp}{self.path.suffix}")
        self.path.rename(aside)
        with self._opened() as new, _alone(new):
            fields = dict.fromkeys(_FIELDS) | {"action": "rotate", "outcome": aside.name}
            fields["at"] = _iso(now)
            fields["chain"] = self._chain(new)
            new.write(_line(fields))
            new.flush()
            os.fsync(new.fileno())

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The audit log {self.path} cannot be written: {error.strerror or error}. Nothing "
                "is enrolled or deleted without a record: make it writable, or free some space.",
                str(self.path),
            ) from error


def _iso(moment: datetime.datetime) -> str:
    at = moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of an audit log, rotated files first, oldest first.

    A line that is no record (a write that was cut short) is left out; :func:`check` names it.
    Raises StoreError if the file cannot be read.
    """
    for file, _, line in _lines(path):
        fields = _parsed(line)
        if fields is not None:
            yield fields | {"file": file.name}


def check(path: Path) -> list[str]:
    """What is wrong with the chain of an audit log, a sentence each; nothing if it is whole.

    The newest lines may have been cut off without a trace: compare the last with a copy elsewhere.
    """
    wrong: list[str] = []
    before = _FIRST_CHAIN
    for file, number, line in _lines(path):
        fields = _parsed(line)
        if fields is None:
            wrong.append(f"{file.name}:{number} is not a record; a write was cut short.")
        elif fields.get("chain") != before:
            wrong.append(f"{file.name}:{number} does not follow from the line before it.")
        before = hashlib.sha256(line).hexdigest()
    return wrong


def files_of(path: Path) -> list[Path]:
    """The rotated files of an audit log, oldest first, and the present one at the end."""
    return [*sorted(path.parent.glob(f"{path.stem}.*Z{path.suffix}")), path]


def _lines(path: Path) -> Iterator[tuple[Path, int, bytes]]:
    for file in files_of(path):
        try:
            with file.open("rb") as opened:
                yield from ((file, n, line.rstrip(b"\n")) for n, line in enumerate(opened, 1))
        except OSError as error:
            raise StoreError(
                f"The audit log {file} cannot be read: {error.strerror or error}. Check its path "
                "and its mode.",
                str(file),
            ) from error


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and set(_FIELDS) <= set(fields) else None


def _line(fields: dict[str, Any]) -> bytes:
    """ASCII on one line, whatever characters a speaker's id or an address holds."""
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _chain_of(file: BinaryIO) -> str:
    """The SHA-256 of the last line; a line that was cut short is ended first."""
    size = file.seek(0, os.SEEK_END)
    if not size:
        return _FIRST_CHAIN
    file.seek(max(0, size - _MOST_LINE_BYTES))
    tail = file.read()
    file.seek(0, os.SEEK_END)
    if not tail.endswith(b"\n"):
        file.write(b"\n")
        tail += b"\n"
    return hashlib.sha256(tail[:-1].rpartition(b"\n")[2]).hexdigest()


if sys.platform == "win32":

    @contextlib.contextmanager
    def _alone(_file: BinaryIO) -> Iterator[None]:
        yield

else:
    import fcntl

    @contextlib.contextmanager
    def _alone(file: BinaryIO) -> Iterator[None]:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def about(records: Iterable[dict[str, Any]], speaker: str) -> Iterator[dict[str, Any]]:
    """The records that are about one speaker."""
    return (record for record in records if record["speaker"] == speaker)
