from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from training.losses import (
    distillation_factor,
    draw_prefixes,
    embedding_loss,
    posterior_loss,
    prefix_weights,
    prefixes_after,
)


def units(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_embedding_loss_is_zero_only_at_the_target():
    targets = units(5, 8)
    same = targets[:, None].expand(5, 3, 8)
    assert embedding_loss(same, targets) == pytest.approx(0.0, abs=1e-6)
    assert embedding_loss(-same, targets) == pytest.approx(2.0, abs=1e-6)


def test_the_posterior_loss_is_a_kl_divergence():
    targets, bank, prefixes = units(4, 8), units(6, 8, seed=1), units(4, 2, 8, seed=2)
    assert posterior_loss(targets[:, None], targets, bank, 10.0) == pytest.approx(0.0, abs=1e-6)
    p = torch.softmax(10 * targets @ bank.t(), 1)[:, None]
    q = torch.softmax(10 * prefixes @ bank.t(), 2)
    by_hand = (p * (p / q).log()).sum(2).mean()
    assert posterior_loss(prefixes, targets, bank, 10.0) == pytest.approx(float(by_hand), rel=1e-4)


def test_prefixes_reach_the_end_and_start_where_asked():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.cat([draw_prefixes(38, 8, 5, generator) for _ in range(200)])
    assert drawn.min() >= 5
    assert drawn.max() == 37
    assert (drawn == 37).sum() >= 200
    early = (drawn < math.sqrt(5 * 38)).float().mean()
    assert 0.35 < early < 0.55


def test_prefixes_may_be_points_in_time():
    assert prefixes_after((0.5, 1.0, 2.0, 3.0), 38).tolist() == [5, 11, 24, 37]
    assert prefixes_after((0.5, 1.0, 2.0, 3.0), 20).tolist() == [5, 11, 19]
    assert prefixes_after((9.0,), 20).tolist() == [19]


def test_prefixes_may_be_weighted():
    assert prefix_weights(torch.tensor([1, 3]), 4, 0.0) is None
    late = prefix_weights(torch.tensor([1, 3]), 4, 1.0)
    assert late.tolist() == pytest.approx([2 / 3, 4 / 3])
    early = prefix_weights(torch.tensor([1, 3]), 4, -1.0)
    assert early.tolist() == pytest.approx([4 / 3, 2 / 3])
    targets, prefixes = units(4, 8), units(4, 2, 8, seed=2)
    apart = [float(embedding_loss(prefixes[:, i : i + 1], targets)) for i in range(2)]
    both = float(embedding_loss(prefixes, targets, late))
    assert both == pytest.approx((2 / 3 * apart[0] + 4 / 3 * apart[1]) / 2, rel=1e-5)


def test_the_weight_of_distillation_follows_its_schedule():
    assert distillation_factor("constant", 0.2, 0.7) == 1.0
    assert [distillation_factor("linear", 0.2, x) for x in (0, 0.5, 1)] == pytest.approx(
        [1.0, 0.6, 0.2]
    )
    assert [distillation_factor("cosine", 0.2, x) for x in (0, 0.5, 1)] == pytest.approx(
        [1.0, 0.6, 0.2]
    )
    assert distillation_factor("cosine", 0.2, 0.1) > distillation_factor("linear", 0.2, 0.1)
