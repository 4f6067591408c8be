"""evaluate reads a set, prints a table, and writes the report."""

from __future__ import annotations

import json
import sys

import onnx
import pytest
from onnx import TensorProto, helper


def write_encoder(path):
    """An encoder over filterbanks whose embedding is the largest value of each band."""
    feats = helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["batch", "frames", 80])
    given = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 80])
    peak = helper.make_node("ReduceMax", ["feats"], ["embedding"], axes=[1], keepdims=0)
    graph = helper.make_graph([peak], "encoder", [feats], [given])
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


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
    *_, heading, first, second, last, note, calls, written = said.out.splitlines()
    assert "tests left out" in heading
    assert heading.endswith("min Cllr")
    assert [line.split()[0] for line in (first, second, last)] == ["1", "3", "all"]
    assert note.startswith("No 95 % intervals: they need 10 speakers")
    assert calls.startswith("Whole calls: ")
    assert "% false accepts (promised " in calls
    assert written == f"Wrote the results to {out}."
    assert "1 enrollment, of which" in said.out


def test_several_sets_and_a_rival_make_one_report_with_a_page(call, voices, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in voices.iterdir():
        (copy / file.name).symlink_to(file.resolve())
    rival = tmp_path / "peaks.onnx"
    write_encoder(rival)
    out, page = tmp_path / "results.json", tmp_path / "page.html"
    options = ("--at", "1,3", "--resamples", "20", "--json", out, "--report", page)
    said = call("evaluate", voices, copy, *options, "--rival", rival)
    assert (said.code, said.err) == (0, "")
    report = json.loads(out.read_text())
    assert [each["set"] for each in report["sets"]] == [voices.name, "copy"]
    assert report["set"] == "pooled"
    assert [each["name"] for each in report["rivals"]] == ["peaks"]
    assert report["measured_at"].endswith("+00:00")
    counts = [(row["targets"], row["impostors"]) for row in report["rivals"][0]["results"]]
    assert counts == [(row["targets"], row["impostors"]) for row in report["results"]]
    assert "The same samples and trials by peaks" in said.out
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_two_sets_of_one_name_are_refused_before_the_work(call, voices):
    said = call("evaluate", voices, voices)
    assert said.code == 4
    assert "Two sets are named" in said.err


def test_plots_without_matplotlib_say_what_to_install(call, voices, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    said = call("evaluate", voices, "--plots", tmp_path / "plots")
    assert said.code == 4
    assert "pip install 'streamsv[report]'" in said.err


def test_a_rival_that_is_none_is_refused_before_the_work(call, voices):
    said = call("evaluate", voices, "--rival", "titanet")
    assert said.code == 4
    assert "use resemblyzer" in said.err


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
