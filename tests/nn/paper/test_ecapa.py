from __future__ import annotations

import pytest
import torch
from torch import nn

from streamsv.nn.macs import count_macs
from streamsv.nn.paper.config import PaperConfig
from streamsv.nn.paper.ecapa import AttentiveStatistics, EcapaTDNN, SERes2Block

SMALL = PaperConfig(
    dim=24,
    groups=4,
    back_end_channels=16,
    se_bottleneck=8,
    pooled_channels=20,
    attention_hidden=12,
    embedding=10,
)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_back_end_has_the_paper_s_size_and_cost() -> None:
    with torch.device("meta"):
        back_end = EcapaTDNN(PaperConfig())
        frames = torch.zeros(1, 149, 1024)
    assert parameters(back_end) == 9_578_560
    assert round(count_macs(back_end, frames) / 1e9, 2) == 1.28


@pytest.mark.parametrize("frames", [2, 30, 149])
def test_frames_of_any_number_become_one_embedding(frames: int) -> None:
    assert EcapaTDNN(SMALL)(torch.randn(3, frames, 24)).shape == (3, 10)


def test_a_constant_over_time_in_a_feature_has_no_effect() -> None:
    back_end = EcapaTDNN(SMALL).eval()
    frames = torch.randn(2, 40, 24)
    shifted = frames + torch.randn(24)
    torch.testing.assert_close(back_end(shifted), back_end(frames), rtol=1e-4, atol=1e-4)


def test_the_last_slice_of_channels_passes_a_res2_block_unconvolved() -> None:
    block = SERes2Block(16, dilation=2, scale=4, bottleneck=8)
    assert len(block.convs) == 3
    assert [conv[0].dilation for conv in block.convs] == [(2,)] * 3


def test_res2_slices_widen_the_view_of_a_block_step_by_step() -> None:
    block = SERes2Block(16, dilation=2, scale=4, bottleneck=8).eval()
    block.excite = nn.Identity()
    for parameter in block.parameters():
        nn.init.constant_(parameter, 0.1)
    x = torch.rand(1, 16, 31, requires_grad=True)
    block(x)[0, :, 15].sum().backward()
    assert x.grad is not None
    heard = torch.nonzero(x.grad[0].abs().sum(dim=0)).flatten().tolist()
    assert heard == list(range(9, 22, 2))


def test_attentive_statistics_under_even_attention_are_the_plain_ones() -> None:
    pooling = AttentiveStatistics(6, 4).eval()
    nn.init.zeros_(pooling.attention[4].weight)
    x = torch.randn(2, 6, 50)
    expected = torch.cat([x.mean(dim=2), x.std(dim=2, correction=0)], dim=1)
    torch.testing.assert_close(pooling(x), expected, rtol=1e-5, atol=1e-5)


def test_the_pooling_of_silence_stays_finite_with_its_gradient() -> None:
    x = torch.zeros(2, 6, 50, requires_grad=True)
    pooled = AttentiveStatistics(6, 4).eval()(x)
    pooled.sum().backward()
    assert x.grad is not None
    assert pooled.isfinite().all()
    assert x.grad.isfinite().all()
