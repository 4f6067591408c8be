"""Tables from the JSON of reports, and the program that makes docs/results.md."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.tables import TABLES, each_set, error_table

ROOT = Path(__file__).resolve().parents[2]


def result(seconds: float | None, eer: float | None) -> dict[str, Any]:
    return {
        "net_speech_s": seconds,
        "targets": 30,
        "impostors": 500,
        "eer": eer,
        "eer_ci": None if eer is None else [eer / 2, eer * 2],
        "min_dcf": 0.5,
        "act_dcf": 0.625,
        "cllr": 0.31,
        "min_cllr": 0.25,
        "frr_at_far_1_percent": 0.2,
        "frr_at_far_0_1_percent": None,
    }


def report(name: str, **more: Any) -> dict[str, Any]:
    calls = {
        "targets": 30,
        "impostors": 500,
        "promised_error_rates": [0.02],
        "false_accepts": 0.01,
        "false_accepts_ci": [0.0, 0.03],
        "false_rejects": 0.1,
        "false_rejects_ci": None,
        "undecided_targets": 0.2,
        "undecided_impostors": 0.0,
        "accept_s": 3.24,
        "accept_s_p90": 8.0,
        "reject_s": None,
        "reject_s_p90": None,
    }
    results = [result(1.0, 0.2), result(None, 0.05)]
    by_sex = [{"sex": "f", "speakers": 12, "results": results}]
    shown = {"set": name, "channel": None, "results": results, "calls": calls, "by_sex": by_sex}
    return {**shown, **more}


def test_the_error_table_is_ours_beside_the_rivals_by_seconds() -> None:
    rival = {"name": "other", "results": [result(1.0, 0.25), result(None, None)]}
    table = error_table([report("calls", rivals=[rival], sets=[])])
    assert table.columns == ("set", "trials", "encoder", "1 s", "whole")
    assert table.rows == (
        ("calls", "30 / 500", "streamsv", "20.0 [10.0, 40.0]", "5.0 [2.5, 10.0]"),
        ("", "", "other", "25.0 [12.5, 50.0]", "–"),
    )


def test_an_older_file_still_makes_an_error_table() -> None:
    old = report("old")
    assert each_set(old) == [old]
    assert error_table([old]).columns == ("set", "trials", "1 s", "whole")


def test_the_sets_come_before_what_they_are_together() -> None:
    both = report("pooled", sets=[report("a"), report("b")])
    assert [each["set"] for each in each_set(both)] == ["a", "b", "pooled"]


def test_decisions_and_costs_show_what_is_unknown_as_a_dash() -> None:
    (row,) = TABLES["decisions"]([report("calls")]).rows
    assert row == (
        *("calls", "30 / 500", "2.0", "1.0 [0.0, 3.0]", "10.0", "20.0 / 0.0"),
        *("3.2 s [90 %: 8.0 s]", "–"),
    )
    assert TABLES["cost"]([report("calls")]).rows[0] == (
        *("calls", "1 s", "0.50", "0.62", "20.0", "–"),
    )


@pytest.mark.parametrize("name", list(TABLES))
def test_the_program_prints_a_table_of_files(name: str, tmp_path: Path) -> None:
    files = []
    for each in ("a", "b"):
        files.append(tmp_path / f"{each}.json")
        files[-1].write_text(json.dumps(report(each, channel="telephone")))
    printed = run(name, *map(str, files))
    head, rule, *rows = printed.stdout.splitlines()
    assert printed.returncode == 0, printed.stderr
    assert head.startswith("| set | ")
    assert set(rule) == set("|- ")
    assert {row.count("|") for row in rows} == {head.count("|")}
    assert "| b by telephone |" in printed.stdout


def test_the_program_prints_what_a_calibration_says_of_sets_left_out(tmp_path: Path) -> None:
    evidence = {"set": "calls", "channel": "telephone", "net_speech_s": 3.0, "cllr": 0.5}
    ended = {"set": "calls", "channel": "telephone", "promised_far": 0.05, "far": 0.04}
    ended |= {"far_ci": [0.03, 0.06], "impostor_speakers": 26, "accepted": 0.8, "rejected": 0.1}
    left_out = {"evidence": [{**evidence, "min_cllr": 0.4}], "calls": [{**ended, "accept_s": 1.75}]}
    file = tmp_path / "some.calibration.json"
    file.write_text(json.dumps({"fitted_on": {"left_out": left_out}}))
    printed = run("left-out", str(file))
    assert printed.returncode == 0, printed.stderr
    assert "| calls | telephone | 0.50 / 0.40 (+0.10) | – |" in printed.stdout
    assert "| calls | telephone | 5 | 4.0 [3.0, 6.0] | 26 | 80.0 | 10.0 | 1.8 s |" in printed.stdout


def test_the_program_says_how_it_is_used() -> None:
    said = run("nothing")
    assert said.returncode == 2
    assert (
        "usage: python docs/tables.py {error,calibration,cost,decisions,sex,left-out}"
        in said.stderr
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "docs" / "tables.py"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
    )


def test_the_picture_of_learning_is_drawn_from_its_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "learning.png"
    rows = ROOT / "docs" / "results" / "learning.jsonl"
    program = [sys.executable, str(ROOT / "docs" / "learning.py"), str(rows), str(target)]
    subprocess.run(program, check=True)
    assert target.read_bytes().startswith(b"\x89PNG")


def test_the_rows_of_learning_are_those_of_the_document() -> None:
    document = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for line in (ROOT / "docs" / "results" / "learning.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert " / ".join(f"{rate:.1f}" for rate in row["pooled"]) in document, row["checkpoint"]


def test_calls_that_are_heard_together_say_what_each_says_alone(tiny_set: EvaluationSet) -> None:
    program = [sys.executable, str(ROOT / "docs" / "batching.py"), str(tiny_set.folder)]
    found = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    name, calls, trials, *differ = [
        cell.strip(" `") for cell in found.strip().strip("|").split("|")
    ]
    assert (name, int(trials)) == (tiny_set.name, len(tiny_set.trials))
    assert int(calls) > 1
    assert [float(each) for each in differ[:3]] == [0, 0, 0]
    assert float(differ[3]) < 1e-3
