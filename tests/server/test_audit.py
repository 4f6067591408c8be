"""The audit log: whole after whatever, rotated without a gap, and never silent."""

from __future__ import annotations

import datetime
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from streamsv.errors import ConfigError, StoreError
from streamsv.server import audit
from streamsv.server.audit import AuditLog, check, files_of, read

ROOT = Path(__file__).resolve().parents[2]


def record(log: AuditLog, speaker: str | None = "alice", outcome: str = "stored") -> None:
    log.record("enroll", key_id="k1", peer="192.0.2.1", speaker=speaker, outcome=outcome)


def test_a_record_says_who_did_what_to_whom_when_and_from_where(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.record("verify", key_id="k1", peer="::1", speaker="Zoë\n", session_id="s", outcome="ACCEPT")
    (found,) = read(log.path)
    wanted = {"action": "verify", "key_id": "k1", "peer": "::1", "speaker": "Zoë\n"}
    assert wanted.items() <= found.items()
    assert found["session_id"] == "s"
    assert datetime.datetime.fromisoformat(found["at"]).utcoffset() == datetime.timedelta(0)
    assert len(log.path.read_bytes().splitlines()) == 1
    if os.name == "posix":
        assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_a_record_that_was_changed_or_taken_out_is_noticed(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    for n in range(5):
        record(log, f"s{n}")
    assert check(log.path) == []
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert len(check(log.path)) == 1
    log.path.write_bytes(b"".join(lines).replace(b'"s1"', b'"s9"'))
    assert len(check(log.path)) == 1


def test_threads_and_processes_take_turns_and_the_chain_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    program = (
        "import sys; from streamsv.server.audit import AuditLog\n"
        "log = AuditLog(sys.argv[1])\n"
        "for n in range(20): log.record('enroll', key_id='k', peer='p', outcome=str(n))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        for _ in range(2)
    ]
    log = AuditLog(path)
    threads = [threading.Thread(target=lambda: [record(log) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(30) for process in processes] == [0, 0]
    assert len(list(read(path))) == 80
    assert check(path) == []


def test_rotation_keeps_every_record_and_the_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=65_536)
    for n in range(150):
        record(log, f"s{n}", "x" * 1000)
    assert len(files_of(log.path)) == 3
    speakers = [each["speaker"] for each in read(log.path) if each["action"] == "enroll"]
    assert speakers == [f"s{n}" for n in range(150)]
    times = [each["at"] for each in read(log.path)]
    assert times == sorted(times)
    assert {len(at) for at in times} == {len("2025-01-31T09:30:00.000Z")}
    assert check(log.path) == []


def test_what_a_kill_cut_short_does_not_spoil_what_follows(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    record(log)
    with log.path.open("ab") as file:
        file.write(b'{"at":"2025-')
    record(log, "bob")
    assert [each["speaker"] for each in read(log.path)] == ["alice", "bob"]
    (wrong,) = check(log.path)
    assert "audit.jsonl:2 is not a record" in wrong


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_every_record_that_was_reported_written_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    program = (
        "import sys; from streamsv.server.audit import AuditLog\n"
        "log = AuditLog(sys.argv[1])\n"
        "for n in range(100000):\n"
        "    log.record('enroll', key_id='k', peer='p', outcome=str(n)); print(n, flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    reported = [int(line) for line in process.stdout.read().split()]
    process.wait(10)
    process.stdout.close()
    outcomes = {each["outcome"] for each in read(path)}
    assert set(map(str, reported)) <= outcomes


def test_a_log_that_cannot_be_written_is_an_error_and_not_silence(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    log.path.unlink()
    log.path.mkdir()
    with pytest.raises(StoreError, match="Nothing is enrolled or deleted without a record"):
        record(log)
    with pytest.raises(StoreError):
        AuditLog(tmp_path)


def test_only_known_actions_are_recorded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one of: enroll"):
        AuditLog(tmp_path / "a.jsonl").record("dance", key_id="k", peer="p", outcome="x")
    assert list(read(tmp_path / "a.jsonl")) == []


def test_a_rotation_that_fails_costs_no_record_and_breaks_no_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=65_536)
    written, line_of = [], audit._line

    def full_disk(fields: dict[str, Any]) -> bytes:
        if fields["action"] == "rotate" and not written:
            written.append(fields)
            raise OSError(28, "No space left on device")
        return line_of(fields)

    monkeypatch.setattr(audit, "_line", full_disk)
    for n in range(150):
        record(log, f"s{n}", "x" * 1000)
    assert written
    speakers = [each["speaker"] for each in read(log.path) if each["action"] == "enroll"]
    assert speakers == [f"s{n}" for n in range(150)]
    assert check(log.path) == []
