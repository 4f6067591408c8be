from __future__ import annotations

import numpy as np
import pytest
import torch

from streamsv.evaluation.sets import load_set
from streamsv.scoring.metrics import eer
from training.checkpoint import load_student
from training.devsets import HeardTrials, as_text, error_rates, running_embeddings
from training.loop import train


def quiet(_line):
    pass


@pytest.fixture(scope="module")
def recordings():
    generator = np.random.default_rng(0)
    return [
        generator.normal(0, 0.1, length).astype(np.float32) for length in (1280 * 3 + 7, 900, 6400)
    ]


def test_recordings_heard_together_are_heard_as_if_alone(run_config, recordings):
    student = load_student(train(run_config, quiet))
    together = running_embeddings(student, recordings)
    assert [len(each) for each in together] == [3, 0, 5]
    with torch.no_grad():
        alone = student(torch.from_numpy(recordings[0][: 1280 * 3])[None])[0].numpy()
    assert np.abs(together[0] - alone).max() < 1e-5


def test_error_rates_are_of_the_cosines_at_each_point(run_config, bundled_set):
    student = load_student(train(run_config, quiet))
    chosen = load_set(bundled_set)
    table = error_rates(student, [chosen], (1.0, None))
    cosines, is_target, enrolled, _ = HeardTrials(student, chosen).at(1.0)
    assert len(cosines) == len(chosen.trials) == len(enrolled)
    expected = eer(cosines[is_target], cosines[~is_target])
    assert table[chosen.name][0]["eer"] == pytest.approx(expected, abs=1e-5)
    assert table["pooled"] == table[chosen.name]
    assert as_text(table).count("\n") == 1


def test_a_point_that_nobody_reaches_has_no_error_rate(run_config, bundled_set):
    student = load_student(train(run_config, quiet))
    rows = error_rates(student, [load_set(bundled_set)], (10_000.0,))["pooled"]
    assert rows == [{"seconds": 10_000.0, "eer": None}]
    assert "-" in as_text({"pooled": rows})
