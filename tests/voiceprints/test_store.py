import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamsv.errors import ConfigError, StoreError, UnknownSpeaker, VoiceprintExists
from streamsv.voiceprints import Consent, Voiceprint, VoiceprintStore

Make = Callable[..., Voiceprint]

CONSENT = Consent("2025-01-31", "Alice Example", "Telephone banking")


@pytest.mark.parametrize("consent", [None, CONSENT])
@pytest.mark.parametrize("dimension", [1, 192, 8192])
def test_what_was_added_comes_back_bit_for_bit_after_opening_again(
    path: Path, make: Make, dimension: int, consent: Consent | None
) -> None:
    voiceprint = make(dimension=dimension, consent=consent, channel="telephone")
    with VoiceprintStore(path) as store:
        store.add(voiceprint)
    with VoiceprintStore(path) as store:
        back = store.get("alice")

    assert back == voiceprint
    assert back.embedding.tobytes() == voiceprint.embedding.tobytes()


def test_negative_zero_seconds_come_back_as_zero(store: VoiceprintStore, make: Make) -> None:
    store.add(make(net_speech_s=-0.0))
    assert str(store.get("alice").net_speech_s) == "0.0"


def test_second_voiceprint_of_a_speaker_is_refused_and_changes_nothing(
    store: VoiceprintStore, make: Make
) -> None:
    store.add(make(seed=1))

    with pytest.raises(VoiceprintExists, match="Replace it, delete it first, or") as caught:
        store.add(make(seed=2))
    assert caught.value.value == "alice"
    assert "2025-01-31T09:30:00Z" in caught.value.message
    assert store.get("alice") == make(seed=1)


def test_replacing_leaves_only_the_new_voiceprint_and_its_consent(
    store: VoiceprintStore, make: Make
) -> None:
    store.replace(make(seed=1, consent=CONSENT))
    assert store.get("alice") == make(seed=1, consent=CONSENT)
    store.replace(make(seed=2, dimension=64))
    assert store.all() == [make(seed=2, dimension=64)]


def test_failed_replacement_keeps_the_old_voiceprint(
    store: VoiceprintStore, path: Path, make: Make
) -> None:
    store.add(make(seed=1, consent=CONSENT))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON consents BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    other.close()

    with pytest.raises(StoreError):
        store.replace(make(seed=2, consent=CONSENT))
    assert store.get("alice") == make(seed=1, consent=CONSENT)
    store.replace(make(seed=3))
    assert store.get("alice") == make(seed=3)


def test_summaries_are_sorted_by_speaker_and_hold_no_embedding(
    store: VoiceprintStore, make: Make
) -> None:
    voiceprints = [make("carol", 1), make("alice", 2, consent=CONSENT), make("Bob", 3)]
    for voiceprint in voiceprints:
        store.add(voiceprint)

    summaries = store.list()
    assert [each.speaker for each in summaries] == ["Bob", "alice", "carol"]
    assert summaries == [voiceprints[i].summary() for i in (2, 1, 0)]
    assert not any(hasattr(each, "embedding") for each in summaries)


def test_voiceprints_of_one_model_can_be_taken_alone(store: VoiceprintStore, make: Make) -> None:
    ours = [make("alice", fingerprint="model-a"), make("carol", fingerprint="model-a")]
    theirs = make("bob", fingerprint="model-b")
    for voiceprint in (*ours, theirs):
        store.add(voiceprint)

    assert store.all() == [ours[0], theirs, ours[1]]
    assert store.all(fingerprint="model-a") == ours
    assert store.all("model-c") == []


def test_unknown_speaker_is_told_of_similar_names_or_of_those_that_exist(
    store: VoiceprintStore, make: Make
) -> None:
    def message(speaker: str) -> str:
        with pytest.raises(UnknownSpeaker) as caught:
            store.get(speaker)
        assert caught.value.value == speaker
        return caught.value.message

    assert "The store is empty." in message("alice")
    for speaker in ("Alicia", "alina", "bob"):
        store.add(make(speaker))
    assert "Did you mean 'Alicia' or 'alina'?" in message("alicja")
    assert "The store holds 'Alicia', 'alina', 'bob'." in message("zzz")
    for i in range(10):
        store.add(make(f"speaker-{i}"))
    assert message("speaker-x").count("'speaker-") == 1 + 5
    assert "The store holds 'Alicia', 'alina', 'bob', 'speaker-0', 'speaker-1' and more." in (
        message("zzz")
    )


@pytest.mark.parametrize("call", ["get", "delete", "export"])
def test_every_call_about_one_speaker_knows_who_is_unknown(
    store: VoiceprintStore, make: Make, call: str
) -> None:
    store.add(make("alice"))

    with pytest.raises(UnknownSpeaker, match="'alice'"):
        getattr(store, call)("alise")
    with pytest.raises(ConfigError, match="speaker must be"):
        getattr(store, call)("a\ud800")
    assert store.all() == [make("alice")]


def test_deleted_speaker_can_be_enrolled_again(store: VoiceprintStore, make: Make) -> None:
    store.add(make(seed=1, consent=CONSENT))
    store.add(make("bob"))
    store.delete("alice")

    assert store.all() == [make("bob")]
    store.add(make(seed=2))
    assert store.get("alice") == make(seed=2)


def test_export_moves_a_voiceprint_to_another_store(
    store: VoiceprintStore, tmp_path: Path, make: Make
) -> None:
    store.add(make(consent=CONSENT))
    data = store.export("alice")

    with VoiceprintStore(tmp_path / "other.db") as other:
        assert other.import_(data) == make(consent=CONSENT)
        assert other.import_(data, speaker="alice-2") == make("alice-2", consent=CONSENT)
        assert other.all() == [make(consent=CONSENT), make("alice-2", consent=CONSENT)]


def test_import_replaces_only_when_asked(store: VoiceprintStore, make: Make) -> None:
    store.add(make(seed=1))
    data = make(seed=2).to_bytes()

    with pytest.raises(VoiceprintExists):
        store.import_(data)
    assert store.get("alice") == make(seed=1)
    store.import_(data, replace=True)
    assert store.get("alice") == make(seed=2)


def test_import_of_a_damaged_file_changes_nothing(store: VoiceprintStore, make: Make) -> None:
    store.add(make(seed=1))

    with pytest.raises(StoreError, match="damaged"):
        store.import_(make(seed=2).to_bytes()[:-9], replace=True)
    with pytest.raises(ConfigError, match="speaker must be"):
        store.import_(make(seed=2).to_bytes(), speaker="")
    assert store.all() == [make(seed=1)]


@pytest.mark.parametrize(
    "change",
    [
        "embedding = zeroblob(768)",
        "embedding = x'00'",
        "embedding = 'text'",
        "embedding = x'0000803f00000000'",
        "net_speech_s = net_speech_s + 1",
        "channel = 'radio'",
        "sha256 = ''",
    ],
)
def test_damaged_voiceprint_is_named_and_never_handed_out(
    store: VoiceprintStore, path: Path, make: Make, change: str
) -> None:
    store.add(make("alice"))
    store.add(make("bob"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"UPDATE voiceprints SET {change} WHERE speaker = 'alice'")
    other.close()

    for read in (lambda: store.get("alice"), store.all, lambda: store.export("alice")):
        with pytest.raises(StoreError, match=r"voiceprint of 'alice' .* is damaged") as caught:
            read()
        assert caught.value.value == "alice"
    assert store.get("bob") == make("bob")
    assert len(store.list()) == 2
    store.delete("alice")
    assert store.all() == [make("bob")]


def test_damaged_consent_is_named(store: VoiceprintStore, path: Path, make: Make) -> None:
    store.add(make(consent=CONSENT))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("UPDATE consents SET given_at = 'soon'")
    other.close()

    for read in (lambda: store.get("alice"), store.list):
        with pytest.raises(StoreError, match="is damaged"):
            read()


def test_closed_store_says_so(path: Path, make: Make) -> None:
    store = VoiceprintStore(path)
    store.add(make())
    store.close()
    store.close()

    for call in (store.list, lambda: store.get("alice"), lambda: store.add(make("bob"))):
        with pytest.raises(StoreError, match=r"is closed\. Open it again"):
            call()
    assert not path.with_name("voiceprints.db-wal").exists()


def test_store_tells_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VoiceprintStore("here.db") as store:
        assert store.path == (tmp_path / "here.db").resolve()
    monkeypatch.setenv("HOME", str(tmp_path))
    with VoiceprintStore("~/there.db") as store:
        assert store.path == (tmp_path / "there.db").resolve()


def test_threads_share_one_store(store: VoiceprintStore, make: Make) -> None:
    failures: list[BaseException] = []

    def enroll(thread: int) -> None:
        try:
            for i in range(5):
                name = f"speaker-{thread}-{i}"
                store.add(make(name, seed=i))
                store.replace(make(name, seed=i + 1))
                assert store.get(name) == make(name, seed=i + 1)
                assert name in {each.speaker for each in store.list()}
            store.delete(f"speaker-{thread}-0")
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=enroll, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = [make(f"speaker-{t}-{i}", seed=i + 1) for t in range(6) for i in range(1, 5)]
    assert store.all() == expected


def test_store_opened_twice_in_one_process_sees_its_own_writes(
    store: VoiceprintStore, path: Path, make: Make
) -> None:
    with VoiceprintStore(path) as other:
        other.add(make("alice"))
        store.add(make("bob"))
        assert other.all() == store.all() == [make("alice"), make("bob")]
        other.delete("bob")
    assert store.all() == [make("alice")]


ENROLL = """
import sys
import numpy as np
from streamsv.voiceprints import Voiceprint, VoiceprintStore

path, process, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
when = "2025-01-31T09:30:00Z"
print("ready", flush=True)
with VoiceprintStore(path, busy_timeout_s=20) as store:
    for i in range(count):
        embedding = np.random.default_rng(i).standard_normal(192)
        for speaker in (f"{process}-{i}", "shared"):
            store.replace(Voiceprint(speaker, embedding, process, i, 1, "wideband", when, when))
        if i % 5 == 4:
            store.delete(f"{process}-{i}")
"""


def test_processes_write_to_one_store_at_the_same_time(
    path: Path, make: Make, start_python: Callable[..., Any]
) -> None:
    writers = [start_python(ENROLL, path, name, 15) for name in ("p", "q")]
    with VoiceprintStore(path, busy_timeout_s=20) as store:
        while any(writer.poll() is None for writer in writers):
            store.all()
        for writer in writers:
            output, errors = writer.communicate()
            assert (writer.returncode, output, errors) == (0, "ready\n", "")
        speakers = {each.speaker for each in store.all()}
    kept = {f"{name}-{i}" for name in "pq" for i in range(15) if i % 5 != 4}
    assert speakers == kept | {"shared"}


def test_everybody_can_be_listed_page_by_page(store: VoiceprintStore, make: Make) -> None:
    names = ["Zoë", "alice", "bob", "carl", "émile"]
    for name in names:
        store.add(make(speaker=name))
    found: list[str] = []
    after: str | None = None
    while page := store.list(after, 2):
        found += [each.speaker for each in page]
        after = page[-1].speaker
    assert found == [each.speaker for each in store.list()] == sorted(names)
