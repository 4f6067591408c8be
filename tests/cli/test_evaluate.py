"""evaluate reads a set, prints a table, and writes the report."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def voices(clips, tmp_path_factory):
    """A set of three voices: two calls of A, one of B and one of C."""
    folder = tmp_path_factory.mktemp("voices")
    streams = ["stream\tpath\tspeaker\tsession\tsample_rate\tseconds\tsex\tchannel"]
    for name in ("voice_a_enroll", "voice_a_call", "voice_b_call", "voice_c_call"):
        (folder / f"{name}.opus").symlink_to(clips.path(name))
        seconds = len(clips.pcm(name)) / 16_000
        row = (name, f"{name}.opus", name[6], name, "16000", f"{seconds:.2f}", "", "wideband")
        streams.append("\t".join(row))
    (folder / "streams.tsv").write_text("\n".join(streams) + "\n")
    trials = ["enroll\ttest\ttarget"]
    for test, target in (("voice_a_call", 1), ("voice_b_call", 0), ("voice_c_call", 0)):
        trials.append(f"voice_a_enroll\t{test}\t{target}")
    (folder / "trials.tsv").write_text("\n".join(trials) + "\n")
    return folder


def test_the_report_is_written_and_a_table_printed(call, voices, tmp_path):
    out = tmp_path / "report.json"
    said = call("evaluate", voices, "--at", "1,3", "--json", out, "--resamples", "20")
    assert (said.code, said.err) == (0, "")
    report = json.loads(out.read_text())
    assert {"set", "model", "score", "gate", "results"} <= set(report)
    assert [row["net_speech_s"] for row in report["results"]] == [1.0, 3.0, None]
    assert (report["results"][0]["targets"], report["results"][0]["impostors"]) == (1, 2)
    assert "3 speakers, 3 trials" in said.out
    *_, heading, first, second, last, note, written = said.out.splitlines()
    assert "tests left out" in heading
    assert heading.endswith("min Cllr")
    assert [line.split()[0] for line in (first, second, last)] == ["1", "3", "all"]
    assert note.startswith("No 95 % intervals: they need 10 speakers")
    assert written == f"Wrote the report to {out}."
    assert "1 enrollment, of which" in said.out


def test_the_report_goes_to_standard_output_alone(call, voices):
    options = ("--at", "2", "--json", "-", "--resamples", "5", "--channel", "telephone")
    said = call("evaluate", voices, *options, "--score", "llr")
    report = json.loads(said.out)
    assert (report["channel"], report["score"]) == ("telephone", "llr")


def test_a_report_that_cannot_be_written_is_noticed_before_the_work(call, voices, tmp_path):
    for out in (tmp_path, tmp_path / "no" / "where.json"):
        said = call("evaluate", voices, "--json", out)
        assert (said.code, said.error["code"]) == (4, "config")


def test_a_folder_without_tables_is_a_sentence(call, tmp_path):
    said = call("evaluate", tmp_path)
    assert said.code == 4
    assert "streams.tsv" in said.err
