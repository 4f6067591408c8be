"""voiceprints lists, shows, deletes, exports and imports what is in the store."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest


def test_list_names_everybody_in_text_and_in_json(call, material):
    text = call("voiceprints", "list")
    assert text.code == 0
    assert text.out.splitlines()[0].split() == ["speaker", "speech", "rec.", "channel", "updated"]
    assert text.out.splitlines()[1].startswith("alice")
    (alice,) = call("voiceprints", "list", "--json").objects
    assert (alice["type"], alice["speaker"], alice["recordings"]) == ("voiceprint", "alice", 1)


def test_an_empty_store_says_how_to_enroll(call, material):
    assert call("voiceprints", "delete", "alice").code == 0
    said = call("voiceprints", "list")
    assert said.code == 0
    assert "Nobody is enrolled yet" in said.out
    assert call("voiceprints", "list", "--json").out == ""


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "alice", "a.wav"],
        ["identify", "a.wav"],
        ["voiceprints", "list"],
        ["voiceprints", "show", "alice"],
        ["voiceprints", "delete", "alice"],
        ["voiceprints", "export", "alice", "-"],
    ],
    ids=" ".join,
)
def test_a_mistyped_store_is_named_and_nothing_is_created(
    call, material, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(material.folder)
    store = tmp_path / "mistyped" / "store.db"
    said = call(*command, "--store", store)
    assert said.code == 4
    assert f"There is no store at {store}. Check --store or STREAMSV_HOME" in said.err
    assert not store.parent.exists()


def test_enroll_and_import_create_the_store(call, material, tmp_path):
    assert call("enroll", "bob", material.b, "--store", tmp_path / "one" / "store.db").code == 0
    exported = tmp_path / "alice.json"
    assert call("voiceprints", "export", "alice", exported).code == 0
    other = tmp_path / "two" / "store.db"
    assert call("voiceprints", "import", exported, "--store", other).code == 0


def test_show_tells_everything_but_the_embedding(call, material):
    said = call("voiceprints", "show", "alice")
    assert said.code == 0
    assert "fingerprint" in said.out
    assert "embedding" not in said.out
    (alice,) = call("voiceprints", "show", "alice", "--json").objects
    assert alice["consent"] is None
    assert "embedding" not in alice


def test_delete_deletes_and_a_second_time_says_that_there_is_none(call, material):
    assert call("voiceprints", "delete", "alice").code == 0
    said = call("voiceprints", "delete", "alice", "--json")
    assert (said.code, said.error["code"]) == (4, "unknown_speaker")


def test_an_export_is_private_and_comes_back_under_another_name(call, material, tmp_path):
    file = tmp_path / "alice.json"
    assert call("voiceprints", "export", "alice", file).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = call("voiceprints", "import", file, "--as", "alice2", "--json")
    assert said.objects == [{"type": "voiceprint_imported", "speaker": "alice2"}]
    assert call("voiceprints", "show", "alice2").code == 0


def test_export_and_import_overwrite_only_when_told_to(call, material, tmp_path):
    file = tmp_path / "alice.json"
    file.write_text("mine")
    said = call("voiceprints", "export", "alice", file)
    assert (said.code, file.read_text()) == (4, "mine")
    assert "--replace" in said.err
    assert call("voiceprints", "export", "alice", file, "--replace").code == 0
    taken = call("voiceprints", "import", file)
    assert taken.code == 4
    assert "Pass --replace" in taken.err
    assert call("voiceprints", "import", file, "--replace").code == 0


def test_an_export_over_a_public_file_is_private_and_leaves_nothing_beside_it(
    call, material, tmp_path
):
    file = tmp_path / "alice.json"
    file.write_text("public")
    file.chmod(0o644)
    link = tmp_path / "link.json"
    link.symlink_to(file)
    assert call("voiceprints", "export", "alice", link, "--replace").code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(tmp_path.glob("*.json")) == [file, link]
    assert list(tmp_path.glob(".*")) == []
    assert link.is_symlink()
    assert call("voiceprints", "import", file, "--replace").code == 0


def test_an_export_that_fails_keeps_the_file_that_was_there(call, material, tmp_path, monkeypatch):
    file = tmp_path / "alice.json"
    file.write_text("mine")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    said = call("voiceprints", "export", "alice", file, "--replace")
    assert said.code == 4
    assert "cannot be written: No space left on device." in said.err
    assert file.read_text() == "mine"
    assert list(tmp_path.glob(".*")) == []


def test_an_export_replaces_no_pipe_and_no_device(call, material, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = call("voiceprints", "export", "alice", pipe, "--replace")
    assert said.code == 4
    assert "is not a file" in said.err
    assert pipe.is_fifo()


def test_a_name_outside_the_encoding_of_the_output_is_exported_whole(spawn, material, tmp_path):
    assert spawn("enroll", "Zoë", material.b).code == 0
    file = tmp_path / "piped"
    with file.open("wb") as target:
        ascii_only = {"PYTHONIOENCODING": "ascii"}
        assert spawn("voiceprints", "export", "Zoë", "-", stdout=target, env=ascii_only).code == 0
    assert spawn("voiceprints", "import", file, "--replace").code == 0


def test_a_voiceprint_goes_from_store_to_store_through_a_pipe(spawn, material, tmp_path):
    exported = spawn("voiceprints", "export", "alice", "-")
    assert exported.code == 0
    file = tmp_path / "piped"
    file.write_text(exported.out)
    with file.open() as source:
        other = tmp_path / "other.db"
        said = spawn("voiceprints", "import", "-", "--store", other, stdin=source)
    assert (said.code, said.out) == (0, "Stored the voiceprint of alice.\n")


@pytest.mark.parametrize("content", ["", "{}", "not a voiceprint"])
def test_what_is_no_voiceprint_is_not_imported(call, material, tmp_path, content):
    file = tmp_path / "file"
    file.write_text(content)
    said = call("voiceprints", "import", file, "--json")
    assert (said.code, said.error["code"]) == (4, "store")


def test_an_import_from_a_closed_standard_input_is_a_sentence(call, material, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    said = call("voiceprints", "import", "-")
    assert said.code == 4
    assert said.err.startswith("Error: Standard input is closed. Pipe a voiceprint file in")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_an_import_never_reads_much_more_than_a_voiceprint_file_may_have(spawn, call, material):
    said = call("voiceprints", "import", "/dev/zero")
    assert said.code == 4
    assert "too many for a voiceprint file" in said.err
    with Path("/dev/zero").open("rb") as source:
        assert spawn("voiceprints", "import", "-", stdin=source).code == 4


def test_a_folder_is_neither_exported_to_nor_imported_from(call, material, tmp_path):
    assert call("voiceprints", "export", "alice", tmp_path, "--replace").code == 4
    assert call("voiceprints", "import", tmp_path).code == 4
    assert call("voiceprints", "export", "alice", tmp_path / "no" / "where").code == 4


def test_a_name_with_markup_is_printed_as_it_is(call, material):
    assert call("enroll", "[red]x[/]", material.b).code == 0
    assert "[red]x[/]" in call("voiceprints", "list").out


def test_a_narrow_terminal_still_shows_whole_names(watch, material):
    said = watch("voiceprints", "list", columns=60, rows=20)
    assert said.code == 0
    assert "alice" in said.out
