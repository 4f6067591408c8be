from __future__ import annotations

import math

import pytest
import torch

from training.frame_losses import FrameHeads, distilhubert_loss, hidden_loss, huber_loss

WANTED = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
GIVEN = torch.tensor([[[1.0, 1.0], [0.0, -2.0], [0.0, 0.0]]])
VALID = torch.tensor([[True, True, False]])


def test_the_hidden_loss_by_hand():
    assert float(hidden_loss(GIVEN, WANTED, VALID)) == pytest.approx((1 / 2 + 16 / 2) / 2)


def test_the_huber_loss_by_hand():
    spread = torch.tensor([1.0, 2.0])
    by_hand = (0.5 * 0.5**2 / 2 + (2.0 - 0.5) / 2) / 2
    assert float(huber_loss(GIVEN, WANTED, VALID, spread)) == pytest.approx(by_hand)


def test_distilhubert_by_hand():
    def log_sigmoid(x):
        return -math.log1p(math.exp(-x))

    first = 1 / 2 - 0.7 * log_sigmoid(1 / math.sqrt(2))
    second = 4 / 2 - 0.7 * log_sigmoid(-1.0)
    found = distilhubert_loss(GIVEN, WANTED, VALID, 0.7)
    assert float(found) == pytest.approx((first + second) / 2, rel=1e-5)


def test_distilhubert_does_not_grow_with_the_clip():
    long, valid = GIVEN.repeat(1, 20, 1), VALID.repeat(1, 20)
    short = distilhubert_loss(GIVEN, WANTED, VALID, 1.0)
    assert float(distilhubert_loss(long, WANTED.repeat(1, 20, 1), valid, 1.0)) == pytest.approx(
        float(short), rel=1e-5
    )


def test_heads_are_there_for_the_losses_that_need_them():
    all_of_them = FrameHeads(8, (5, 6), frames=True, hidden=True, layers=True)
    x = torch.zeros(2, 3, 8)
    assert all_of_them.frames(x).shape == all_of_them.hidden(x).shape == (2, 3, 6)
    assert [head(x).shape[2] for head in all_of_them.layers] == [5, 6]
    none = FrameHeads(8, (5, 6), frames=False, hidden=False, layers=False)
    assert sum(p.numel() for p in none.parameters()) == 0


def test_the_hidden_state_is_compared_as_it_is_where_widths_agree():
    head = FrameHeads(6, (6,), frames=False, hidden=True, layers=False).hidden
    x = torch.randn(1, 2, 6)
    assert torch.equal(head(x), x)
