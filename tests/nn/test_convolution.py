from __future__ import annotations

import pytest
import torch

from streamsv.nn.convolution import DepthwiseConv, GroupedConv, GroupedLinear, StridedConv


@torch.no_grad()
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_grouped_linear_layer_is_a_block_diagonal_matrix(groups: int) -> None:
    layer = GroupedLinear(8, 12, groups)
    layer.bias.normal_()
    x = torch.randn(2, 3, 8)
    matrix = torch.zeros(8, 12)
    for group, block in enumerate(layer.weight):
        height, width = block.shape
        matrix[group * height : (group + 1) * height, group * width : (group + 1) * width] = block
    torch.testing.assert_close(layer(x), x @ matrix + layer.bias)


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_a_depthwise_convolution_is_torchs_own_over_left_padding(kernel: int) -> None:
    layer = DepthwiseConv(6, kernel)
    layer.bias.normal_()
    x = torch.randn(2, 11, 6)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (kernel - 1, 0))
    expected = torch.nn.functional.conv1d(padded, layer.weight.t()[:, None], layer.bias, groups=6)
    torch.testing.assert_close(layer(x), expected.transpose(1, 2), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_grouped_convolution_is_torchs_own_over_left_padding() -> None:
    layer = GroupedConv(6, kernel=3, groups=2)
    layer.linear.bias.normal_()
    x = torch.randn(2, 11, 6)
    taps = layer.linear.weight.reshape(2, 3, 3, 3).permute(0, 3, 2, 1).reshape(6, 3, 3)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (2, 0))
    expected = torch.nn.functional.conv1d(padded, taps, layer.linear.bias, groups=2)
    torch.testing.assert_close(layer(x), expected.transpose(1, 2), rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "stride"), [(10, 5), (4, 2), (3, 2), (2, 2), (3, 1)])
def test_a_strided_convolution_is_torchs_own_over_left_padding(kernel: int, stride: int) -> None:
    layer = StridedConv(5, 7, kernel, stride)
    x = torch.randn(2, 6 * stride, 5)
    taps = layer.linear.weight.reshape(7, kernel, 5).transpose(1, 2)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (kernel - stride, 0))
    expected = torch.nn.functional.conv1d(padded, taps, layer.linear.bias, stride=stride)
    torch.testing.assert_close(layer(x), expected.transpose(1, 2), rtol=1e-5, atol=1e-6)
