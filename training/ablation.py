"""What each choice is worth: variants of one recipe, trained alike and judged alike.

A plan is a YAML file with ``base`` (a recipe), ``steps`` and ``threads`` of each variant, ``sets``
(evaluation sets) and ``variants`` (a name, and what it changes in the recipe). Each variant that is
finished leaves one line in ``ablation.jsonl`` of the run's folder, so a plan may be run in parts
and killed at any moment; two processes may share one, each with every other variant.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from streamsv.config import from_mapping, to_mapping
from streamsv.errors import ConfigError
from streamsv.evaluation.sets import load_set
from streamsv.nn.macs import macs_per_hop
from streamsv.nn.student import Student
from training.checkpoint import load_network
from training.config import TrainConfig, load_config
from training.devsets import error_rates
from training.loop import train
from training.protocols import commit

POINTS = (1.0, 3.0, None)
RESAMPLES = 1000
_KEYS = ("base", "steps", "threads", "sets", "variants")


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """One line of a plan: what it ``changes`` in the recipe, and the recipe so changed."""

    changes: Mapping[str, Any]
    config: TrainConfig

    def check(self, row: Mapping[str, Any], results: Path) -> None:
        """Raise ConfigError if ``row`` of ``results`` is of another variant of the same name."""
        was = (row.get("steps"), row.get("changes"))
        wanted = (self.config.optimizer.steps, self.changes)
        if was != wanted:
            raise ConfigError(
                f"{results} has a row {row['variant']} of {was[0]} steps with {was[1]}, and the "
                f"plan asks for {wanted[0]} with {wanted[1]}. Name the variant otherwise, or take "
                "the row out.",
                row["variant"],
            )


def variants_of(plan: Path) -> tuple[dict[str, Variant], list[Path]]:
    """The variants of a plan by name, and its evaluation sets.

    Raises ConfigError, naming the file, for a plan that is none, and for a change that no recipe
    could have.
    """
    try:
        content = yaml.safe_load(plan.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{plan} cannot be read as YAML: {error}", str(plan)) from error
    if not isinstance(content, dict) or set(content) != set(_KEYS):
        raise ConfigError(f"{plan} must have just the keys {', '.join(_KEYS)}.", str(plan))
    base = to_mapping(load_config(Path(content["base"])))
    base["optimizer"]["steps"] = content["steps"]
    base["threads"] = content["threads"]
    found = {}
    for name, changes in content["variants"].items():
        slug = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
        named = {"name": f"ablation/{slug}"}
        try:
            config = from_mapping(TrainConfig, _merged(base, (changes or {}) | named))
        except ConfigError as error:
            raise ConfigError(f"{plan}: {name}: {error.message}", error.value) from error
        found[name] = Variant(changes or {}, config)
    return found, [Path(folder) for folder in content["sets"]]


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        is_table = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = _merged(base[key], value) if is_table else value
    return merged


def ablate(
    plan: Path, report: Callable[[str], None] = print, part: int = 1, parts: int = 1
) -> Path:
    """Train and judge every variant that has no row yet; returns the file with the rows.

    Of ``parts`` processes this one is number ``part``, from 1; each takes its own variants.
    Rows of another commit are reported, as they may not compare. Raises ConfigError for rows of
    another plan.
    """
    variants, folders = variants_of(plan)
    sets = [load_set(folder) for folder in folders]
    first = next(iter(variants.values())).config
    results = Path(first.run_dir) / "ablation" / "ablation.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    results.touch()
    done = _rows_of(results)
    for row in done.values():
        if row["variant"] in variants:
            variants[row["variant"]].check(row, results)
    if others := {row["commit"] for row in done.values()} - {commit()}:
        report(f"{results} has rows of {', '.join(sorted(others))}; this is {commit()}.")
    for name, variant in list(variants.items())[part - 1 :: parts]:
        if name in done:
            continue
        config = variant.config
        report(f"{name}: {config.optimizer.steps} steps")
        network = load_network(train(config, report))
        student = cast("Student", network.student)
        row = {
            "variant": name,
            "plan": plan.name,
            "changes": variant.changes,
            "commit": commit(),
            "seed": config.seed,
            "teacher": Path(config.teacher.path).stem,
            "data": Path(config.data.clips).name,
            "steps": config.optimizer.steps,
            "parameters": sum(parameter.numel() for parameter in student.parameters()),
            "macs_per_s": round(12.5 * macs_per_hop(student)),
            "errors": error_rates(student, sets, POINTS, RESAMPLES),
        }
        with results.open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(row) + "\n")
        report(json.dumps(row))
    return results


def _rows_of(results: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {row["variant"]: row for row in rows}


def as_markdown(results: Path) -> str:
    """The rows of ``results`` as a table: error rates pooled over the sets, with 95 % intervals,
    and their means over the sets, in percent.
    """
    rows = list(_rows_of(results).values())
    if not rows:
        return ""
    points = [
        "whole" if found["seconds"] is None else f"{found['seconds']:g} s"
        for found in rows[0]["errors"]["pooled"]
    ]
    heads = ["variant", "parameters", "multiply-adds / s", *(f"pooled, {each}" for each in points)]
    heads.append(f"mean of sets, {' / '.join(points)}")
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        sets = [rates for name, rates in row["errors"].items() if name != "pooled"]
        means = [_mean([rates[place]["eer"] for rates in sets]) for place in range(len(points))]
        lines.append(
            [
                row["variant"],
                f"{row['parameters']:,}",
                f"{row['macs_per_s'] / 1e6:.1f} M",
                *(_with_interval(found) for found in row["errors"]["pooled"]),
                " / ".join(means),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _mean(rates: list[float | None]) -> str:
    known = [rate for rate in rates if rate is not None]
    return f"{100 * sum(known) / len(known):.1f}" if known else "-"


def _with_interval(found: Mapping[str, float | None]) -> str:
    rate, low, high = (found.get(name) for name in ("eer", "low", "high"))
    if rate is None or low is None or high is None:
        return "-"
    return f"{100 * rate:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
