"""``streamsv keys`` and ``streamsv audit``."""

from __future__ import annotations

from streamsv.server.audit import AuditLog
from streamsv.server.keys import KeyStore


def test_a_key_is_made_listed_and_revoked(call, tmp_path) -> None:
    file = tmp_path / "keys.db"
    made = call("keys", "create", "--scope", "enroll", "--scope", "verify", "--keys", file)
    assert made.code == 0
    key = made.out.strip()
    with KeyStore(file) as store:
        record = store.check(key)
    assert record.scopes == ("enroll", "verify")
    listed = call("keys", "list", "--keys", file, "--json")
    assert listed.objects[0]["id"] == record.id
    assert key not in listed.out
    assert call("keys", "revoke", record.id, "--keys", file).code == 0
    assert call("keys", "list", "--keys", file, "--json").objects[0]["revoked_at"]


def test_a_key_can_be_had_as_json(call, tmp_path) -> None:
    made = call("keys", "create", "--scope", "admin", "--keys", tmp_path / "k", "--json")
    (found,) = made.of_type("key_created")
    assert found["key"].startswith(f"ssv_{found['id']}_")


def test_an_unknown_scope_or_id_is_a_named_error(call, tmp_path) -> None:
    file = tmp_path / "keys.db"
    assert call("keys", "create", "--scope", "root", "--keys", file, "--json").error["code"]
    assert call("keys", "revoke", "nobody", "--keys", file).code == 4
    assert call("keys", "create", "--keys", file).code == 2


def test_the_audit_log_is_shown_and_checked(call, tmp_path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    for speaker in ("alice", "bob"):
        log.record("enroll", key_id="k", peer="::1", speaker=speaker, outcome="stored")
    shown = call("audit", "--file", log.path, "--json")
    assert [each["speaker"] for each in shown.of_type("audit_record")] == ["alice", "bob"]
    only = call("audit", "--file", log.path, "--speaker", "bob")
    assert "bob" in only.out
    assert "alice" not in only.out
    assert call("audit", "--file", log.path, "--check").code == 0
    log.path.write_bytes(log.path.read_bytes().replace(b"alice", b"mallory"))
    assert call("audit", "--file", log.path, "--check").code == 4
    assert call("audit", "--file", tmp_path / "none").code == 4
