from __future__ import annotations

import pytest
import torch
from torch import nn

from training.distributed import World
from training.normalization import RunningStatistics


@pytest.fixture
def norm():
    torch.manual_seed(0)
    return nn.BatchNorm1d(3, momentum=0.25)


def moved(norm, portions, is_taken=True):
    statistics = RunningStatistics(nn.Sequential(norm), World(0, 1, torch.device("cpu")))
    for portion in portions:
        with statistics.portion():
            norm(portion).sum().backward()
    statistics.step(is_taken)
    return norm.running_mean, norm.running_var, int(norm.num_batches_tracked)


def test_one_portion_moves_them_as_batchnorm_does(norm):
    x = torch.randn(8, 3) + 2
    expected = nn.BatchNorm1d(3, momentum=0.25)
    expected(x)
    mean, var, count = moved(norm, [x])
    assert torch.allclose(mean, expected.running_mean)
    assert torch.allclose(var, expected.running_var)
    assert count == 1


def test_portions_count_alike_in_any_order(norm):
    portions = [torch.randn(8, 3) + place for place in range(3)]
    mean, var, count = moved(norm, portions)
    each = torch.stack([portion.mean(dim=0) for portion in portions])
    spread = torch.stack([portion.var(dim=0) for portion in portions])
    assert torch.allclose(mean, 0.25 * each.mean(dim=0), atol=1e-6)
    assert torch.allclose(var, 0.75 + 0.25 * spread.mean(dim=0), atol=1e-6)
    assert count == 1


def test_a_step_that_is_skipped_leaves_them_as_they_were(norm):
    mean, var, count = moved(norm, [torch.full((4, 3), torch.nan)], is_taken=False)
    assert torch.equal(mean, torch.zeros(3))
    assert torch.equal(var, torch.ones(3))
    assert count == 0
    assert torch.allclose(moved(norm, [torch.ones(4, 3)])[0], torch.full((3,), 0.25))
