"""The store of voiceprints: one SQLite file, private to its user."""

from __future__ import annotations

import builtins
import dataclasses
import difflib
import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamsv.errors import ConfigError, NotErased, StoreError, UnknownSpeaker, VoiceprintExists
from streamsv.voiceprints.database import Database
from streamsv.voiceprints.voiceprint import Consent, Voiceprint, VoiceprintSummary, check_speaker

_FIELDS = (
    "speaker",
    "fingerprint",
    "net_speech_s",
    "recordings",
    "channel",
    "created_at",
    "updated_at",
)
_SUMMARY_COLUMNS = f"v.{', v.'.join(_FIELDS)}, c.given_at, c.given_by, c.purpose"
_TABLES = "voiceprints v LEFT JOIN consents c ON c.speaker = v.speaker"
_MAX_SUGGESTIONS = 5
_MAX_NAMES_COMPARED = 2000


class VoiceprintStore:
    """Voiceprints by speaker, kept in one file.

    A voiceprint is written whole or not at all, and is on the disk when the call returns, even if
    the process is killed a moment later. A damaged voiceprint is never handed out.

    One store may be used from several threads: they share one connection and take turns. Several
    processes may open the same file, each with a store of its own; a process that forks opens its
    store after the fork. Use it as a context manager, or call :meth:`close`.

    Parameters
    ----------
    path:
        The file (:func:`default_store_path` is the usual place). It is created with mode 0600,
        and its missing directories with 0700. The mode of a store that exists is left alone.
    busy_timeout_s:
        How long a call waits for other processes to finish before it raises.
    must_exist:
        Open only a store that is there: nothing is created, and an empty file stays empty.
    tells_names:
        Whether an UnknownSpeaker says who is there instead; not to strangers.

    Raises
    ------
    StoreError
        If the file cannot be opened, is not a store, was made by a newer streamsv, or is not there
        and ``must_exist``. Every method may raise it, too: the store is locked or closed, the disk
        is full or fails.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        busy_timeout_s: float = 5.0,
        must_exist: bool = False,
        tells_names: bool = True,
    ) -> None:
        self._tells_names = tells_names
        try:
            resolved = Path(path).expanduser().resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"{os.fspath(path)!r} is no path for a store: {error}. Give another one.",
                os.fspath(path),
            ) from error
        self._database = Database(resolved, busy_timeout_s, must_exist)

    @property
    def path(self) -> Path:
        """The file, as an absolute path."""
        return self._database.path

    def close(self) -> None:
        """Close the store. A second call does nothing."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, voiceprint: Voiceprint) -> None:
        """Store the voiceprint of a new speaker.

        Raises
        ------
        VoiceprintExists
            If the speaker has one; it is left as it is.
        """
        with self._database.writing() as connection:
            found = connection.execute(
                "SELECT created_at FROM voiceprints WHERE speaker = ?", (voiceprint.speaker,)
            ).fetchone()
            if found is not None:
                raise VoiceprintExists(
                    f"There is a voiceprint of {voiceprint.speaker!r} already, created at "
                    f"{found[0]}. Replace it, delete it first, or choose another speaker id.",
                    voiceprint.speaker,
                )
            _insert(connection, voiceprint)

    def replace(self, voiceprint: Voiceprint) -> None:
        """Store a voiceprint in place of the speaker's present one, or as the first if none is.

        The bytes of the old embedding may stay in the file, unreachable, until something is
        deleted; :meth:`delete` of this speaker erases them all.
        """
        with self._database.writing() as connection:
            connection.execute("DELETE FROM voiceprints WHERE speaker = ?", (voiceprint.speaker,))
            _insert(connection, voiceprint)

    def get(self, speaker: str) -> Voiceprint:
        """The voiceprint of a speaker.

        Raises
        ------
        UnknownSpeaker
            If there is none; the message names similar speakers, or some of those that exist.
        StoreError
            If it is damaged.
        """
        check_speaker(speaker)
        with self._database.using() as connection:
            row = connection.execute(
                f"SELECT {_SUMMARY_COLUMNS}, v.sha256, v.embedding FROM {_TABLES} "
                "WHERE v.speaker = ?",
                (speaker,),
            ).fetchone()
            if row is None:
                raise self._unknown(connection, speaker)
        return self._voiceprint(row)

    def list(
        self, after: str | None = None, limit: int | None = None
    ) -> builtins.list[VoiceprintSummary]:
        """What is known about each voiceprint, without its embedding, by speaker.

        Page by page: the first ``limit`` of those whose speaker comes ``after`` the given one.
        """
        with self._database.using() as connection:
            rows = connection.execute(
                f"SELECT {_SUMMARY_COLUMNS} FROM {_TABLES} WHERE ? IS NULL OR v.speaker > ? "
                "ORDER BY v.speaker LIMIT ?",
                (after, after, -1 if limit is None else limit),
            ).fetchall()
        return [self._summary(row) for row in rows]

    def count(self) -> int:
        """How many voiceprints there are."""
        with self._database.using() as connection:
            (found,) = connection.execute("SELECT count(*) FROM voiceprints").fetchone()
        return int(found)

    def all(self, fingerprint: str | None = None) -> builtins.list[Voiceprint]:
        """Every voiceprint, by speaker; with ``fingerprint`` those that this model made.

        Raises
        ------
        StoreError
            If one of them is damaged; the message names the speaker.
        """
        with self._database.using() as connection:
            rows = connection.execute(
                f"SELECT {_SUMMARY_COLUMNS}, v.sha256, v.embedding FROM {_TABLES} "
                "WHERE ? IS NULL OR v.fingerprint = ? ORDER BY v.speaker",
                (fingerprint, fingerprint),
            ).fetchall()
        return [self._voiceprint(row) for row in rows]

    def delete(self, speaker: str) -> None:
        """Delete a speaker's voiceprint and erase it from the files of the store.

        When this returns, no file of the store holds anything of any embedding that this speaker
        ever had. It rewrites the file, so it takes the time that copying the file takes. What lies
        beneath is not reached: freed blocks of the disk, snapshots, backups and exports.

        Raises
        ------
        UnknownSpeaker
            If there is none.
        NotErased
            If the voiceprint is deleted but not erased, most likely because another connection
            kept reading an older state for longer than the busy timeout. Its bytes may remain
            then until :meth:`erase_deleted`, another deletion or the next opening of the store
            finds the way free.
        """
        check_speaker(speaker)
        with self._database.writing() as connection:
            deleted = connection.execute("DELETE FROM voiceprints WHERE speaker = ?", (speaker,))
            if deleted.rowcount == 0:
                raise self._unknown(connection, speaker)
            connection.execute("INSERT INTO erasures DEFAULT VALUES")
        try:
            self.erase_deleted()
        except StoreError as error:
            raise NotErased(
                f"The voiceprint of {speaker!r} is deleted, but bytes of it may remain in the "
                f"files of the store. {error.message} Then call erase_deleted(); the next deletion "
                "or opening of the store does the same.",
                speaker,
            ) from error

    def erase_deleted(self) -> None:
        """Erase what an interrupted or blocked deletion has left; nothing to do otherwise.

        Raises
        ------
        StoreError
            If it cannot be done now, as for :meth:`delete`.
        """
        if not self._database.erase():
            raise StoreError(
                f"Another process is reading an older state of the store {self.path} or writing "
                "to it, so what was deleted is not erased yet. Close the store there.",
                str(self.path),
            )

    def export(self, speaker: str) -> bytes:
        """A speaker's voiceprint as a file (:meth:`Voiceprint.to_bytes`); raises as :meth:`get`."""
        return self.get(speaker).to_bytes()

    def import_(self, data: bytes, speaker: str | None = None, replace: bool = False) -> Voiceprint:
        """Store an exported voiceprint, under another id if ``speaker`` is given; what was stored.

        Raises
        ------
        StoreError
            If ``data`` is not a whole voiceprint file that this streamsv reads.
        VoiceprintExists
            If the speaker has a voiceprint and ``replace`` is false.
        """
        voiceprint = Voiceprint.from_bytes(data)
        if speaker is not None:
            voiceprint = dataclasses.replace(voiceprint, speaker=speaker)
        if replace:
            self.replace(voiceprint)
        else:
            self.add(voiceprint)
        return voiceprint

    def _summary(self, row: tuple[Any, ...]) -> VoiceprintSummary:
        *values, given_at, given_by, purpose = row
        known: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
        try:
            consent = None if given_at is None else Consent(given_at, given_by, purpose)
        except ConfigError as error:
            raise self._damaged(known["speaker"]) from error
        return VoiceprintSummary(**known, consent=consent)

    def _voiceprint(self, row: tuple[Any, ...]) -> Voiceprint:
        *summary, sha256, embedding = row
        known = self._summary(tuple(summary))
        try:
            voiceprint = Voiceprint(
                embedding=np.frombuffer(embedding, dtype="<f4"),
                **{each.name: getattr(known, each.name) for each in dataclasses.fields(known)},
            )
        except (ConfigError, TypeError, ValueError) as error:
            raise self._damaged(known.speaker) from error
        if voiceprint.digest() != sha256:
            raise self._damaged(known.speaker)
        return voiceprint

    def _unknown(self, connection: sqlite3.Connection, speaker: str) -> UnknownSpeaker:
        hint = f"{_similar_to(connection, speaker)} " if self._tells_names else ""
        return UnknownSpeaker(
            f"There is no voiceprint of {speaker!r}. {hint}Check the id, or enroll the speaker.",
            speaker,
        )

    def _damaged(self, speaker: str) -> StoreError:
        return StoreError(
            f"The voiceprint of {speaker!r} in {self.path} is damaged. Delete it and enroll again, "
            "or import an export of it.",
            speaker,
        )


def _insert(connection: sqlite3.Connection, voiceprint: Voiceprint) -> None:
    connection.execute(
        "INSERT INTO voiceprints (speaker, fingerprint, net_speech_s, recordings, channel, "
        "created_at, updated_at, sha256, embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            voiceprint.speaker,
            voiceprint.fingerprint,
            voiceprint.net_speech_s,
            voiceprint.recordings,
            voiceprint.channel,
            voiceprint.created_at,
            voiceprint.updated_at,
            voiceprint.digest(),
            voiceprint.embedding.astype("<f4").tobytes(),
        ),
    )
    if voiceprint.consent is not None:
        connection.execute(
            "INSERT INTO consents (speaker, given_at, given_by, purpose) VALUES (?, ?, ?, ?)",
            (voiceprint.speaker, *dataclasses.astuple(voiceprint.consent)),
        )


def _similar_to(connection: sqlite3.Connection, speaker: str) -> str:
    """A sentence about who is there."""
    rows = connection.execute(
        "SELECT speaker FROM voiceprints ORDER BY speaker LIMIT ?", (_MAX_NAMES_COMPARED,)
    ).fetchall()
    by_folded_name = {name.casefold(): name for (name,) in rows}
    similar = difflib.get_close_matches(speaker.casefold(), by_folded_name, _MAX_SUGGESTIONS)
    if similar:
        return f"Did you mean {' or '.join(repr(by_folded_name[each]) for each in similar)}?"
    if not rows:
        return "The store is empty."
    names = ", ".join(repr(name) for (name,) in rows[:_MAX_SUGGESTIONS])
    return f"The store holds {names}{' and more' if len(rows) > _MAX_SUGGESTIONS else ''}."
