"""Keys: shown once, stored hashed, refused once revoked, in the real SQLite file."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from streamsv.errors import AuthenticationError, ConfigError, StoreError
from streamsv.server.keys import KeyStore


@pytest.fixture
def keys(tmp_path: Path):
    with KeyStore(tmp_path / "private" / "keys.db") as opened:
        yield opened


def test_a_key_is_known_by_what_was_shown_once(keys: KeyStore) -> None:
    made = keys.create(["verify", "enroll"], "door")
    found = keys.check(made.key)
    assert found.id == made.record.id
    assert found.scopes == ("enroll", "verify")
    assert keys.list()[0].name == "door"


def test_no_file_holds_a_key(keys: KeyStore) -> None:
    made = keys.create(["admin"])
    keys.check(made.key)
    secret = made.key.split("_", 2)[2]
    for file in keys.path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()
    assert secret not in repr(made)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_the_file_is_private(keys: KeyStore) -> None:
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "wrong", ["", "ssv", "ssv__", "Bearer", "ssv_0123_x", "\ud800", "k" * 9999]
)
def test_what_is_no_key_is_refused_without_being_repeated(keys: KeyStore, wrong: str) -> None:
    keys.create(["verify"])
    with pytest.raises(AuthenticationError) as refused:
        keys.check(wrong)
    assert refused.value.value is None
    assert len(wrong) < 10 or wrong not in refused.value.message


def test_a_key_with_one_character_changed_or_added_is_refused(keys: KeyStore) -> None:
    key = keys.create(["verify"]).key
    last = "A" if key[-1] != "A" else "B"
    for wrong in (key[:-1] + last, key[:-1], key + "A", key.upper()):
        with pytest.raises(AuthenticationError):
            keys.check(wrong)


def test_a_key_that_is_revoked_elsewhere_is_refused_from_then_on(keys: KeyStore) -> None:
    made = keys.create(["verify"])
    keys.check(made.key)
    with KeyStore(keys.path) as elsewhere:
        first = elsewhere.revoke(made.record.id)
        assert elsewhere.revoke(made.record.id) == first
    with pytest.raises(AuthenticationError):
        keys.check(made.key)
    assert not keys.is_good(made.record.id)
    assert not keys.is_empty()


def test_a_key_is_good_for_every_thread_until_it_is_revoked_in_mid_use(keys: KeyStore) -> None:
    made = keys.create(["verify"])
    revoked = threading.Event()
    late: list[str] = []
    refusals = []

    def use() -> None:
        while True:
            was_revoked = revoked.is_set()
            try:
                keys.check(made.key)
            except AuthenticationError:
                refusals.append(1)
                return
            if was_revoked:
                late.append("accepted after it was revoked")
                return

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    keys.revoke(made.record.id)
    revoked.set()
    for thread in threads:
        thread.join(10)
    assert late == []
    assert len(refusals) == 8


def test_the_last_use_is_noted(keys: KeyStore) -> None:
    made = keys.create(["verify"])
    assert keys.list()[0].last_used_at is None
    keys.check(made.key)
    assert keys.list()[0].last_used_at is not None


@pytest.mark.parametrize("scopes", [[], ["everything"], ["verify", "root"]])
def test_a_key_needs_known_scopes(keys: KeyStore, scopes: list[str]) -> None:
    with pytest.raises(ConfigError, match="scopes of: enroll, verify, admin"):
        keys.create(scopes)
    assert keys.is_empty()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE things (id)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="not a file of keys"):
        KeyStore(path)
    assert path.read_bytes() == before


def test_a_record_never_has_the_key(keys: KeyStore) -> None:
    made = keys.create(["verify"])
    assert made.key not in map(str, dataclasses.asdict(made.record).values())
