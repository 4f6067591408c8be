from __future__ import annotations

import pytest
import torch

from training.muon import Muon, MuonWithAdamW, is_matrix, orthogonalized


@pytest.mark.parametrize("shape", [(48, 48), (24, 80), (80, 24), (3, 32, 20)])
def test_singular_values_end_near_one_and_directions_are_kept(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    left, values, right = torch.linalg.svd(orthogonalized(x), full_matrices=False)
    assert values.min() > 0.5
    assert values.max() < 1.3
    ours = left @ right
    left, _, right = torch.linalg.svd(x, full_matrices=False)
    assert torch.allclose(ours, left @ right, atol=1e-3)


def test_each_matrix_of_a_stack_is_orthogonalized_by_itself():
    x = torch.randn(3, 20, 32, generator=torch.Generator().manual_seed(1))
    x[1] *= 1000
    alone = torch.stack([orthogonalized(matrix) for matrix in x])
    assert torch.allclose(orthogonalized(x), alone, atol=1e-5)


def test_filters_and_biases_are_no_matrices():
    assert is_matrix(torch.zeros(32, 256))
    assert is_matrix(torch.zeros(4, 64, 64))
    assert not is_matrix(torch.zeros(7, 256))
    assert not is_matrix(torch.zeros(256))


def test_a_step_has_the_size_of_the_rate_whatever_the_gradient():
    sizes = []
    for scale in (1e-4, 1.0, 1e4):
        weight = torch.nn.Parameter(torch.zeros(40, 60))
        optimizer = Muon([weight], lr=0.01, weight_decay=0.0)
        noise = torch.randn(40, 60, generator=torch.Generator().manual_seed(2))
        weight.grad = scale * noise
        optimizer.step()
        sizes.append(weight.detach().square().mean().sqrt().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=0.01)
    assert sizes[0] == pytest.approx(0.01 * 0.2, rel=0.35)


def test_both_optimizers_together_solve_a_regression():
    generator = torch.Generator().manual_seed(3)
    wanted, shift = torch.randn(20, 20, generator=generator), torch.randn(20, generator=generator)
    x = torch.randn(256, 20, generator=generator)
    y = x @ wanted + shift
    weight = torch.nn.Parameter(torch.zeros(20, 20))
    bias = torch.nn.Parameter(torch.zeros(20))
    optimizer = MuonWithAdamW([weight, bias], lr=0.05, weight_decay=0.0)
    losses = []
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 - step / 400)
        optimizer.zero_grad()
        loss = (x @ weight + bias - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
