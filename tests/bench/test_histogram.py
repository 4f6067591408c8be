"""Percentiles out of a Prometheus histogram."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client import Histogram as Exposed

from streamsv.bench.histogram import Histogram, counter_in, histogram_in

BOUNDS = tuple(float(bound) for bound in np.arange(0.01, 1.0, 0.01))


def exposed(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_quantiles_of_what_a_server_exposes_are_those_of_what_it_observed() -> None:
    registry = CollectorRegistry()
    seen = Exposed("wait_seconds", "Waits.", buckets=BOUNDS, registry=registry)
    waits = np.random.default_rng(0).gamma(2.0, 0.1, 5000)
    for wait in waits:
        seen.observe(wait)
    found = histogram_in(exposed(registry), "wait_seconds")
    for q in (0.1, 0.5, 0.95):
        assert found.quantile(q) == pytest.approx(np.quantile(waits, q), abs=0.01)


def test_a_difference_is_what_was_observed_in_between() -> None:
    registry = CollectorRegistry()
    seen = Exposed("wait_seconds", "Waits.", buckets=BOUNDS, registry=registry)
    none = histogram_in(exposed(registry), "wait_seconds")
    for _ in range(100):
        seen.observe(0.9)
    before = histogram_in(exposed(registry), "wait_seconds")
    for _ in range(10):
        seen.observe(0.055)
    since = histogram_in(exposed(registry), "wait_seconds") - before
    assert since.counts[-1] == 10
    assert 0.05 <= since.quantile(0.99) <= 0.06
    assert (before - none).counts == before.counts
    assert before - Histogram((), ()) == before


def test_of_nothing_the_quantile_is_zero_and_above_the_last_bound_it_is_that() -> None:
    assert histogram_in("", "wait_seconds").quantile(0.99) == 0
    assert Histogram((0.1, float("inf")), (0.0, 0.0)).quantile(0.5) == 0
    assert Histogram((0.1, 0.5, float("inf")), (0.0, 1.0, 10.0)).quantile(0.99) == 0.5


def test_a_counter_is_summed_over_its_labels() -> None:
    registry = CollectorRegistry()
    counter = Counter("shed_hops", "Shed.", ["why"], registry=registry)
    counter.labels("late").inc(3)
    counter.labels("full").inc(4)
    assert counter_in(exposed(registry), "shed_hops_total") == 7
    assert counter_in(exposed(registry), "hops_total") == 0
