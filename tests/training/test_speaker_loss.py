from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from training.speaker_loss import SpeakerHead, margin_cosines


def test_the_margin_is_added_to_the_labels_angle():
    cosines = torch.tensor([[0.6, 0.1, -0.3]])
    found = margin_cosines(cosines, torch.tensor([0]), 0.2, 0, 0.0)
    assert found[0, 0] == pytest.approx(math.cos(math.acos(0.6) + 0.2), abs=1e-6)
    assert found[0, 1:].tolist() == pytest.approx([0.1, -0.3])


def test_past_the_half_turn_the_target_still_falls():
    label = torch.zeros(101, dtype=torch.int64)
    cosines = torch.stack([torch.linspace(-1, 1, 101), torch.zeros(101)], dim=1)
    found = margin_cosines(cosines, label, 0.5, 0, 0.0)[:, 0]
    assert (found.diff() > 0).all()


def test_the_hardest_wrong_classes_come_nearer():
    cosines = torch.tensor([[0.6, 0.1, 0.5, -0.3]])
    found = margin_cosines(cosines, torch.tensor([0]), 0.0, 2, 0.1)[0]
    nearer = [math.cos(math.acos(c) - 0.1) for c in (0.1, 0.5)]
    assert found.tolist() == pytest.approx([0.6, nearer[0], nearer[1], -0.3], abs=1e-5)


def test_more_hard_classes_than_there_are_is_all_of_them():
    cosines = torch.tensor([[0.6, 0.1]])
    found = margin_cosines(cosines, torch.tensor([1]), 0.0, 5, 0.1)[0]
    assert found.tolist() == pytest.approx([math.cos(math.acos(0.6) - 0.1), 0.1], abs=1e-5)


def head(classes=3, dim=4, **kinds):
    torch.manual_seed(0)
    return SpeakerHead(dim, classes, **kinds)


def test_the_nearest_sub_center_counts():
    speakers = head(sub_centers=2)
    embedding = F.normalize(torch.randn(1, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    every = embedding @ F.normalize(speakers.centers, dim=1).t()
    by_hand = [float(every[0, 2 * k : 2 * k + 2].max()) for k in range(3)]
    assert speakers.cosines(embedding)[0].tolist() == pytest.approx(by_hand)


def test_the_loss_is_a_cross_entropy_over_those_whose_speaker_is_known():
    speakers = head()
    prefixes = F.normalize(torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(2)), dim=2)
    labels = torch.tensor([1, -1, 2])
    found = speakers(prefixes, labels, 0.2, 30.0, 0, 0.0)
    losses = []
    for row, label in ((0, 1), (2, 2)):
        for z in prefixes[row]:
            logits = [float(z @ F.normalize(c, dim=0)) for c in speakers.centers]
            logits[label] = math.cos(math.acos(logits[label]) + 0.2)
            total = sum(math.exp(30 * value) for value in logits)
            losses.append(-math.log(math.exp(30 * logits[label]) / total))
    assert float(found) == pytest.approx(sum(losses) / 4, rel=1e-4)


def test_classes_and_prefixes_may_be_weighted():
    weights = torch.tensor([1.0, 3.0, 1.0])
    speakers, plain = head(class_weights=weights), head()
    z = F.normalize(torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(3)), dim=2)
    arguments = (0.2, 30.0, 2, 0.1)
    one = [float(plain(z[i : i + 1], torch.tensor([i]), *arguments)) for i in range(2)]
    both = speakers(z, torch.tensor([0, 1]), *arguments)
    assert float(both) == pytest.approx((one[0] + 3 * one[1]) / 4, rel=1e-5)
    first = plain(z, torch.tensor([0, 1]), *arguments, weights=torch.tensor([2.0, 0.0]))
    assert float(first) == pytest.approx(
        float(plain(z[:, :1], torch.tensor([0, 1]), *arguments)), rel=1e-5
    )


def test_no_known_speaker_costs_nothing_and_gives_no_nan():
    speakers = head()
    z = F.normalize(torch.randn(2, 2, 4), dim=2).requires_grad_()
    loss = speakers(z, torch.tensor([-1, -1]), 0.2, 30.0, 5, 0.1)
    loss.backward()
    assert loss == 0.0
    assert torch.isfinite(speakers.centers.grad).all()


def test_gradients_are_finite_where_an_embedding_meets_its_center():
    speakers = head()
    z = F.normalize(speakers.centers.detach(), dim=1)[:, None].clone().requires_grad_()
    speakers(z, torch.arange(3), 0.2, 30.0, 2, 0.1).backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(speakers.centers.grad).all()


def test_sub_centers_that_begin_at_one_place_part_ways():
    start = F.normalize(torch.randn(3, 8, generator=torch.Generator().manual_seed(4)), dim=1)
    speakers = SpeakerHead(8, 3, sub_centers=2, start=start)
    before = speakers.centers.detach().reshape(3, 2, 8).clone()
    assert torch.equal(before[:, 0], start)
    assert ((before[:, 1] - start).norm(dim=1) < 0.03).all()
    z = F.normalize(torch.randn(12, 1, 8, generator=torch.Generator().manual_seed(5)), dim=2)
    optimizer = torch.optim.SGD(speakers.parameters(), lr=0.1)
    speakers(z, torch.arange(3).repeat(4), 0.2, 30.0, 0, 0.0).backward()
    optimizer.step()
    moved = speakers.centers.detach().reshape(3, 2, 8) - before
    assert ((moved[:, 0] - moved[:, 1]).norm(dim=1) > 1e-3).all()
