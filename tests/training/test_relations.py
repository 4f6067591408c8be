from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from training.losses import posterior_loss
from training.relations import decoupled_posterior_loss, relational_loss


def units(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


NONE = torch.zeros(0, 8)


def test_voices_that_stand_as_the_teacher_has_them_cost_nothing():
    targets = units(5, 8)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(9)))[0]
    turned = (targets @ turn)[:, None].expand(5, 3, 8)
    assert relational_loss(turned, targets, NONE) == pytest.approx(0.0, abs=1e-10)


def test_a_clip_alone_costs_nothing_and_gives_no_nan():
    prefixes = units(1, 2, 8, seed=1).requires_grad_()
    loss = relational_loss(prefixes, units(1, 8), NONE)
    loss.backward()
    assert float(loss) == 0.0
    assert (prefixes.grad == 0.0).all()


def test_the_relational_loss_by_hand():
    targets, prefixes, others = units(3, 8), units(3, 2, 8, seed=1), units(4, 8, seed=2)
    total = 0.0
    for p in range(2):
        for i in range(3):
            pairs = [(prefixes[j, p], targets[j]) for j in range(3) if j != i]
            pairs += [(other, other) for other in others]
            errors = [
                (float(prefixes[i, p] @ student) - float(targets[i] @ teacher)) ** 2
                for student, teacher in pairs
            ]
            total += sum(errors) / len(errors) / 6
    assert float(relational_loss(prefixes, targets, others)) == pytest.approx(total, rel=1e-5)


def test_prefixes_of_the_relational_loss_are_weighted():
    targets, prefixes = units(3, 8), units(3, 2, 8, seed=1)
    one = relational_loss(prefixes[:, :1], targets, NONE)
    both = relational_loss(prefixes, targets, NONE, torch.tensor([2.0, 0.0]))
    assert float(both) == pytest.approx(float(one), rel=1e-5)


def test_weighted_by_the_teachers_doubt_the_parts_are_the_whole_kl():
    targets, prefixes, bank = units(1, 8), units(1, 1, 8, seed=1), units(6, 8, seed=2)
    posterior = torch.softmax(10 * targets @ bank.t(), dim=1)[0]
    label = torch.tensor([2])
    doubt = float(1 - posterior[2])
    parts = decoupled_posterior_loss(prefixes, targets, bank, 10.0, label, doubt)
    whole = posterior_loss(prefixes, targets, bank, 10.0)
    assert float(parts) == pytest.approx(float(whole), rel=1e-4)


def test_the_decoupled_loss_by_hand():
    targets, prefixes, bank = units(1, 8), units(1, 1, 8, seed=1), units(4, 8, seed=2)
    p = torch.softmax(5 * targets @ bank.t(), 1)[0].double()
    q = torch.softmax(5 * prefixes[0] @ bank.t(), 1)[0].double()
    rest = [0, 2, 3]
    binary = p[1] * (p[1] / q[1]).log() + (1 - p[1]) * ((1 - p[1]) / (1 - q[1])).log()
    among_p, among_q = p[rest] / p[rest].sum(), q[rest] / q[rest].sum()
    among = (among_p * (among_p / among_q).log()).sum()
    found = decoupled_posterior_loss(prefixes, targets, bank, 5.0, torch.tensor([1]), 2.5)
    assert float(found) == pytest.approx(float(binary + 2.5 * among), rel=1e-4)


def test_an_unknown_speaker_is_taken_for_the_teachers_most_likely_one():
    targets, prefixes, bank = units(2, 8), units(2, 1, 8, seed=1), units(4, 8, seed=2)
    likely = (targets @ bank.t()).argmax(dim=1)
    known = decoupled_posterior_loss(prefixes, targets, bank, 9.0, likely, 2.0)
    unknown = decoupled_posterior_loss(prefixes, targets, bank, 9.0, -torch.ones(2).long(), 2.0)
    assert float(known) == pytest.approx(float(unknown))


def test_a_perfect_student_of_posteriors_costs_nothing_even_of_a_sure_teacher():
    targets = bank = units(6, 8)
    prefixes = targets[:, None].clone().requires_grad_()
    loss = decoupled_posterior_loss(prefixes, targets, bank, 1e3, torch.arange(6), 2.0)
    loss.backward()
    assert float(loss) == pytest.approx(0.0, abs=1e-4)
    assert torch.isfinite(prefixes.grad).all()
