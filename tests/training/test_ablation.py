from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from streamsv.config import to_mapping
from streamsv.errors import ConfigError
from streamsv.nn.macs import macs_per_hop
from streamsv.nn.paper.config import PaperConfig
from training.ablation import ablate, as_markdown, variants_of
from training.networks import make_network

ROOT = Path(__file__).resolve().parents[2]
PLAN = ROOT / "configs" / "ablation" / "default.yaml"


def quiet(_line):
    pass


def test_the_variants_of_the_plan_cost_the_same(monkeypatch):
    monkeypatch.chdir(ROOT)
    variants, _ = variants_of(PLAN)
    assert len({variant.config.name for variant in variants.values()}) == len(variants)
    costs = {
        (variant.config.network, str(variant.config.model)): macs_per_hop(network.student)
        for variant in variants.values()
        for network in [make_network(variant.config.network, variant.config.model, PaperConfig())]
    }
    base = costs["causal", str(variants["base"].config.model)]
    assert max(abs(cost / base - 1) for cost in costs.values()) < 0.05


def plan_of(run_config, folder, evaluation_set, variants):
    base = folder / "base.yaml"
    base.write_text(yaml.safe_dump(to_mapping(run_config)))
    plan = folder / "plan.yaml"
    content = {
        "base": str(base),
        "steps": 2,
        "threads": 1,
        "sets": [str(evaluation_set)],
        "variants": variants,
    }
    plan.write_text(yaml.safe_dump(content))
    return plan


def test_a_plan_that_was_stopped_goes_on_with_what_is_left(
    run_config, tmp_path, bundled_set, monkeypatch
):
    plan = plan_of(run_config, tmp_path, bundled_set, {"base": {}})
    results = ablate(plan, quiet)
    said = []
    plan = plan_of(
        run_config, tmp_path, bundled_set, {"base": {}, "none": {"model": {"memory": "none"}}}
    )
    assert ablate(plan, said.append) == results
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["variant"] for row in rows] == ["base", "none"]
    assert not any(line.startswith("base:") for line in said)
    assert rows[0]["parameters"] > rows[1]["parameters"]
    for row in rows:
        whole = row["errors"]["pooled"][-1]
        assert whole["seconds"] is None
        assert 0 <= whole["low"] <= whole["eer"] <= whole["high"] <= 1


def test_rows_of_another_plan_are_refused_and_those_of_another_commit_reported(
    run_config, tmp_path, bundled_set
):
    results = ablate(plan_of(run_config, tmp_path, bundled_set, {"base": {}}), quiet)
    row = json.loads(results.read_text())
    assert row["changes"] == {}
    results.write_text(json.dumps(row | {"commit": "0123456789ab"}) + "\n")
    said = []
    ablate(plan_of(run_config, tmp_path, bundled_set, {"base": {}}), said.append)
    assert any("rows of 0123456789ab" in line for line in said)
    changed = plan_of(run_config, tmp_path, bundled_set, {"base": {"seed": 3}})
    with pytest.raises(ConfigError, match=r"asks for 2 with {'seed': 3}"):
        ablate(changed, quiet)


def test_a_change_that_no_recipe_knows_is_refused_by_name(run_config, tmp_path):
    plan = plan_of(run_config, tmp_path, tmp_path, {"bad": {"model": {"memry": "none"}}})
    with pytest.raises(ConfigError, match=r"bad: model\.memry"):
        variants_of(plan)


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("steps: 3\n")
    with pytest.raises(ConfigError, match="just the keys"):
        variants_of(file)


def test_two_processes_share_a_plan_and_every_row_says_what_it_rests_on(
    run_config, tmp_path, bundled_set
):
    names = {"base": {}, "whole clips": {"network": "whole"}, "second": {"seed": 1}}
    plan = plan_of(run_config, tmp_path, bundled_set, names)
    results = ablate(plan, quiet, 2, 2)
    assert ablate(plan, quiet, 1, 2) == results
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [row["variant"] for row in rows] == ["second", "base", "whole clips"]
    assert [row["seed"] for row in rows] == [1, run_config.seed, run_config.seed]
    assert {(row["teacher"], row["data"]) for row in rows} == {("teacher", "train.tsv")}
    assert all(row["commit"] for row in rows)


def test_the_table_has_a_line_for_each_variant_in_percent(tmp_path):
    def errors(eer):
        rates = [{"seconds": 1.0, "eer": eer, "low": eer / 2, "high": 2 * eer}]
        return [*rates, {"seconds": None, "eer": None}]

    row = {
        "variant": "base",
        "parameters": 2_098_167,
        "macs_per_s": 98_765_432,
        "errors": {"one": errors(0.1), "other": errors(0.2), "pooled": errors(0.16)},
    }
    results = tmp_path / "ablation.jsonl"
    results.write_text(json.dumps(row) + "\n")
    head, _, line = as_markdown(results).splitlines()
    assert head.startswith("| variant | parameters | multiply-adds / s | pooled, 1 s |")
    assert line == "| base | 2,098,167 | 98.8 M | 16.0 [8.0, 32.0] | - | 15.0 / - |"
    results.write_text("")
    assert as_markdown(results) == ""
