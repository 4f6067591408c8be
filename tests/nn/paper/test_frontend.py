from __future__ import annotations

import pytest
import torch
from torch import nn

from streamsv.nn.macs import count_macs
from streamsv.nn.paper.config import PaperConfig
from streamsv.nn.paper.frontend import FeatureProjection, WaveformCNN


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_front_end_has_the_paper_s_size() -> None:
    with torch.device("meta"):
        assert parameters(WaveformCNN(512)) == 4_200_448
        assert parameters(FeatureProjection(512, 1024, 0.1)) == 526_336


def test_the_front_end_costs_more_than_half_of_the_five_block_system() -> None:
    with torch.device("meta"):
        cost = count_macs(WaveformCNN(512), torch.zeros(1, 48_000))
    assert round(cost / 1e9, 2) == 7.36


@pytest.mark.parametrize("frames", [2, 9, 50, 149])
def test_a_clip_of_the_config_gives_the_config_s_frames(frames: int) -> None:
    samples = PaperConfig(frames=frames).clip_samples
    assert WaveformCNN(4)(torch.randn(2, samples)).shape == (2, frames, 4)


def test_the_first_frame_hears_400_samples_but_for_the_clip_wide_norm() -> None:
    front_end = WaveformCNN(4)
    front_end.layers[1] = nn.Identity()
    pcm = torch.randn(1, 3_200, requires_grad=True)
    front_end(pcm)[0, 0].sum().backward()
    assert pcm.grad is not None
    assert pcm.grad[0].nonzero().max() == 399


def test_the_clip_wide_norm_lets_the_first_frame_depend_on_the_end_of_the_clip() -> None:
    pcm = torch.randn(1, 3_200, requires_grad=True)
    WaveformCNN(4)(pcm)[0, 0].sum().backward()
    assert pcm.grad is not None
    assert pcm.grad[0, -100:].abs().min() > 0


def test_the_first_norm_takes_out_the_level_of_the_clip() -> None:
    front_end = WaveformCNN(8)
    pcm = torch.randn(1, 3_200)
    torch.testing.assert_close(front_end(pcm), front_end(10 * pcm), rtol=1e-3, atol=1e-3)
