from __future__ import annotations

import pytest
import torch

from streamsv.nn.config import ModelConfig
from streamsv.nn.mixer import ChannelMLP, HalfRate, TokenMixing


@pytest.mark.parametrize("activation", ["gelu", "mfm"])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_of_a_channel_mlp_never_see_each_other(groups: int, activation: str) -> None:
    mlp = ChannelMLP(12, 18, groups, activation)
    x = torch.randn(4, 5, 12).requires_grad_()
    y = mlp(x).reshape(4, 5, groups, -1)
    for group in range(groups):
        (gradient,) = torch.autograd.grad(y[:, :, group].sum(), x, retain_graph=True)
        seen = gradient.reshape(4, 5, groups, -1).abs().sum(dim=(0, 1, 3)) > 0
        assert seen.tolist() == [other == group for other in range(groups)]


@torch.no_grad()
def test_max_feature_map_keeps_the_larger_of_two_halves() -> None:
    mlp = ChannelMLP(6, 8, 1, "mfm")
    x = torch.randn(2, 3, 6)
    first, second = mlp.inward(x)[..., :8], mlp.inward(x)[..., 8:]
    expected = mlp.outward(torch.where(first > second, first, second))
    torch.testing.assert_close(mlp(x), expected)


@torch.no_grad()
def test_the_half_rate_branch_holds_each_pair_for_the_two_frames_after_its_first() -> None:
    layer = HalfRate(ModelConfig(dim=8, group_groups=8))
    x = torch.randn(1, 6, 8)
    y = layer(x)
    slow = layer.mlp((x[:, ::2] + x[:, 1::2]) / 2)
    torch.testing.assert_close(y[:, 0], layer.mlp.outward.bias[None])
    torch.testing.assert_close(y[:, 1:5], slow[:, :2].repeat_interleave(2, dim=1))
    torch.testing.assert_close(y[:, 5], slow[:, 2])


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu", "mfm"])
def test_the_local_part_is_two_convolutions_over_one_left_padding(activation: str) -> None:
    config = ModelConfig(dim=8, group_groups=8, memory="none", activation=activation)
    layer = TokenMixing(config)
    for weight in layer.parameters():
        weight.normal_()
    x = torch.randn(2, 9, 8)
    y = torch.nn.functional.pad(layer.norm(x).transpose(1, 2), (8, 0))
    for conv in (layer.wide, layer.narrow):
        y = torch.nn.functional.conv1d(y, conv.weight.t()[:, None], conv.bias, groups=8)
        y = layer.activation(y) if conv is layer.wide else y
    torch.testing.assert_close(layer(x), x + y.transpose(1, 2), rtol=1e-4, atol=1e-4)
