"""The report of an evaluation: its JSON, its counts, and values without data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from streamsv.encoder import Encoder
from streamsv.engine import Engine
from streamsv.errors import ConfigError
from streamsv.evaluation.heard import hear
from streamsv.evaluation.report import EvaluatedModel, EvaluationReport, evaluate, measure
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.tables import sex_table

NEVER_HEARD = 1000.0


@pytest.fixture(scope="module")
def report(engine: Engine, tiny_set: EvaluationSet) -> EvaluationReport:
    return evaluate(engine, tiny_set, [3, 1, NEVER_HEARD], resamples=200)


def test_the_json_has_its_stable_fields(engine: Engine, report: EvaluationReport) -> None:
    shown = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert shown["set"] == "tiny"
    kept = ["fingerprint", "name", "config", "seed", "teacher", "start_from", "data"]
    assert list(shown["model"]) == kept
    assert shown["model"]["fingerprint"] == engine.fingerprint
    assert shown["model"]["name"] == "default.onnx"
    assert (shown["score"], shown["channel"]) == ("cosine", None)
    assert shown["gate"]["mode"] == engine.config.gate.mode
    assert (shown["resamples"], shown["seed"]) == (200, 0)
    assert shown["streamsv_version"]
    for row in shown["results"]:
        assert list(row) == [
            "net_speech_s",
            "targets",
            "impostors",
            "left_out",
            "trials_left_out",
            "eer",
            "eer_ci",
            "min_dcf",
            "cllr",
            "min_cllr",
            "min_dcf_ci",
            "act_dcf",
            "act_dcf_ci",
            "cllr_ci",
            "calibration_loss",
            "frr_at_far_1_percent",
            "frr_at_far_1_percent_ci",
            "frr_at_far_0_1_percent",
            "frr_at_far_0_1_percent_ci",
            "missing",
        ]
    assert (shown["rivals"], shown["sets"], shown["measured_at"]) == ([], [], None)
    assert shown["config"]["gate"] == shown["gate"]


def test_the_report_says_what_the_model_was_trained_with_as_far_as_its_card_does(
    engine: Engine, report: EvaluationReport, tmp_path: Path
) -> None:
    assert report.model.config == engine.encoder.card["config"]
    assert report.model.teacher == engine.encoder.card["teacher"]
    model = onnx.load(engine.encoder.path)
    cards = [{}, {"data": {"corpora": ["a", "b"], "hours": 3.5}, "steps": 7}]
    for number, card in enumerate(cards):
        for entry in model.metadata_props:
            if entry.key == "streamsv.card":
                entry.value = json.dumps(card)
        path = tmp_path / f"{number}.onnx"
        onnx.save(model, path)
        found = EvaluatedModel.of(Encoder(path))
        assert (found.name, found.config, found.teacher) == (path.name, None, None)
        assert found.data == card.get("data")


def test_every_key_of_the_json_is_described(report: EvaluationReport) -> None:
    document = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    shown = report.to_dict()
    keys = {*shown, *shown["results"][0], *shown["calls"]}
    missing = {key for key in keys if f"`{key}`" not in document}
    assert missing == set()


def test_whole_calls_are_the_verdicts_of_the_sessions(report: EvaluationReport) -> None:
    assert (report.calls.targets, report.calls.impostors) == (3, 6)
    for rate in (report.calls.false_accepts, report.calls.undecided_targets):
        assert rate is not None
        assert 0 <= rate <= 1


def test_several_sets_are_reported_one_by_one_and_together(
    engine: Engine, tiny_set: EvaluationSet, report: EvaluationReport
) -> None:
    first = hear(engine, tiny_set, [1, 3, NEVER_HEARD])
    both = measure(engine, [first, replace(first, name="twin")], resamples=200)
    assert (both.set, [each.set for each in both.sets]) == ("pooled", ["tiny", "twin"])
    assert both.sets[0] == report
    assert (both.speakers, both.trials) == (2 * report.speakers, 2 * report.trials)
    # Twice the same trials have the same error rate.
    assert [row.eer for row in both.results] == [row.eer for row in report.results]
    with pytest.raises(ConfigError, match="Two sets are named tiny"):
        measure(engine, [first, first])


def test_each_sex_is_measured_where_both_sides_are_of_it(report: EvaluationReport) -> None:
    # Of three people two are said to be women; of the third nothing is.
    (women,) = report.by_sex
    assert (women.sex, women.speakers) == ("f", 2)
    assert [(row.targets, row.impostors) for row in women.results][-1] == (2, 2)
    table = sex_table([report.to_dict()])
    assert table.rows[0][:4] == ("tiny", "f", "2", "2 / 2")


def test_rows_rise_and_the_last_is_for_whole_streams(report: EvaluationReport) -> None:
    assert [row.net_speech_s for row in report.results] == [1.0, 3.0, NEVER_HEARD, None]


def test_every_trial_is_counted_at_every_point(report: EvaluationReport) -> None:
    assert report.trials == 9
    for row in report.results:
        assert row.targets + row.impostors + row.trials_left_out == report.trials
    counts = [(row.targets, row.impostors, row.left_out) for row in report.results]
    assert counts == [(3, 6, 0), (2, 4, 1), (0, 0, 3), (3, 6, 0)]


def test_people_and_enrollments_are_counted(report: EvaluationReport) -> None:
    assert (report.speakers, report.enrollments, report.enrollments_too_short) == (3, 3, 0)


def test_values_without_data_are_null(report: EvaluationReport) -> None:
    row = report.to_dict()["results"][2]
    values = {row[name] for name in ("eer", "eer_ci", "min_dcf", "cllr", "min_cllr")}
    assert values == {None}


def test_a_set_without_target_trials_has_counts_and_no_rates(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    impostors = make_set(tmp_path / "set", trials=[("b1", "ct"), ("c1", "bt")])
    row = evaluate(engine, impostors, []).results[0]
    assert (row.net_speech_s, row.targets, row.impostors, row.eer) == (None, 0, 2, None)


def test_rates_are_fractions_inside_their_interval(report: EvaluationReport) -> None:
    for row in report.results:
        if row.eer is None:
            continue
        assert row.eer_ci is not None
        low, high = row.eer_ci
        assert 0 <= low <= row.eer <= high <= 1
        assert row.min_dcf is not None
        assert 0 <= row.min_dcf <= 1


def test_calibration_never_beats_the_best_calibration(report: EvaluationReport) -> None:
    for row in report.results:
        if row.cllr is not None and row.min_cllr is not None:
            assert row.min_cllr <= row.cllr + 1e-12


def test_the_same_evaluation_gives_the_same_report(
    engine: Engine, tiny_set: EvaluationSet, report: EvaluationReport
) -> None:
    assert evaluate(engine, tiny_set, [1, 3, NEVER_HEARD], resamples=200) == report


def test_the_cllr_is_that_of_the_llr_whatever_score_is_chosen(
    engine: Engine, tiny_set: EvaluationSet, report: EvaluationReport
) -> None:
    by_llr = evaluate(engine, tiny_set, [1], score="llr", resamples=10)
    assert by_llr.score == "llr"
    assert [r.cllr for r in by_llr.results] == [report.results[0].cllr, report.results[3].cllr]
    # On one channel the LLR rises with the cosine, so both rank the trials alike.
    assert by_llr.results[0].eer == report.results[0].eer


def test_refused_and_too_short_enrollments_are_counted(
    engine: Engine, make_set: Any, tmp_path: Path
) -> None:
    trials = [("a1", "at"), ("b1", "at"), ("b1", "bt")]
    tiny = make_set(tmp_path / "set", trials=trials, silence=["b1"])
    found = evaluate(engine, tiny, [1], channel="telephone", resamples=10)
    assert found.channel == "telephone"
    assert (found.enrollments, found.enrollments_refused) == (2, 2)
    assert found.enrollments_too_short == 1
    assert [row.trials_left_out for row in found.results] == [2, 2]


def test_an_unknown_score_is_refused_with_those_allowed(
    engine: Engine, tiny_set: EvaluationSet
) -> None:
    with pytest.raises(ConfigError, match="cosine, normalized, llr"):
        evaluate(engine, tiny_set, [1], score="euclid")


def test_no_resamples_are_refused_before_anything_is_heard(
    engine: Engine, tiny_set: EvaluationSet
) -> None:
    heard: list[str] = []
    with pytest.raises(ConfigError, match="resamples"):
        evaluate(engine, tiny_set, [1], resamples=0, progress=lambda _d, _t, n: heard.append(n))
    assert heard == []
