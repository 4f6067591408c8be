from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from streamsv.nn.macs import count_macs
from streamsv.nn.paper.mixer import (
    GroupChannelMixing,
    LocalGlobalMixing,
    MultiScaleMixing,
    SVMixerBlock,
)

DIM, FRAMES, GROUPS = 16, 21, 4


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def reached(module: nn.Module, frame: int) -> list[int]:
    """Input frames on which an output frame of a channels-first module depends."""
    x = torch.randn(1, DIM, FRAMES, requires_grad=True)
    module(x)[0, :, frame].sum().backward()
    assert isinstance(x.grad, Tensor)
    return torch.nonzero(x.grad[0].abs().sum(dim=0)).flatten().tolist()


def small_block() -> SVMixerBlock:
    return SVMixerBlock(DIM, FRAMES, GROUPS, token_hidden=4 * FRAMES)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("token_norm", 2_048),
        ("local_global.local.0", 8_192),
        ("local_global.local.2", 4_096),
        ("local_global.token_mlp", 178_353),
        ("channel_norm", 2_048),
        ("multi_scale.half_rate", 1_053_696),
        ("multi_scale.full_rate", 1_053_696),
        ("group_channel.0", 394_240),
        ("group_channel.2", 1_049_600),
        ("", 3_745_969),
    ],
)
def test_every_part_of_the_block_has_the_paper_s_size(part: str, expected: int) -> None:
    with torch.device("meta"):
        assert parameters(SVMixerBlock().get_submodule(part)) == expected


def test_every_part_of_the_block_has_the_paper_s_cost() -> None:
    with torch.device("meta"):
        block, u = SVMixerBlock(), torch.zeros(1, 1024, 149)
        halved = torch.zeros(1, 1024, 74)
    assert count_macs(block.local_global.token_mlp, u) == 1024 * 2 * 149 * 596
    assert count_macs(block.local_global.local, u) == 149 * 1024 * (7 + 3)
    assert count_macs(block.multi_scale.half_rate, halved) == 74 * 1_048_576
    assert count_macs(block.multi_scale.full_rate, u) == 149 * 1_048_576
    assert count_macs(block.group_channel, u) == 149 * (393_216 + 1_048_576)
    whole = count_macs(block, u.transpose(1, 2))
    assert round(whole / 1e6, 2) == 632.06


def test_the_mlp_mixer_row_of_the_paper_is_counted_by_the_same_rule() -> None:
    with torch.device("meta"):
        tokens = nn.Sequential(nn.Linear(149, 596), nn.GELU(), nn.Linear(596, 149))
        channels = nn.Sequential(nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 1024))
        x = torch.zeros(1, 149, 1024)
    cost = count_macs(tokens, x.transpose(1, 2)) + count_macs(channels, x)
    assert round(cost / 1e9, 2) == 1.43


def test_a_block_keeps_the_shape_of_its_frames() -> None:
    assert small_block()(torch.randn(3, FRAMES, DIM)).shape == (3, FRAMES, DIM)


def test_local_global_mixing_hears_every_frame() -> None:
    assert reached(LocalGlobalMixing(DIM, FRAMES, 4 * FRAMES), frame=0) == list(range(FRAMES))


def test_the_local_branch_hears_four_frames_to_each_side() -> None:
    mixing = LocalGlobalMixing(DIM, FRAMES, 4 * FRAMES)
    assert reached(mixing.local, frame=10) == list(range(6, 15))


def test_the_token_mlp_is_shared_by_channels_and_tied_to_its_number_of_frames() -> None:
    mixing = LocalGlobalMixing(DIM, 149, 596)
    first, _, second = mixing.token_mlp
    assert (first.weight.shape, second.weight.shape) == ((596, 149), (149, 596))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        mixing(torch.zeros(1, DIM, 150))


def test_multi_scale_mixing_hears_the_next_pair_of_frames() -> None:
    assert reached(MultiScaleMixing(DIM, GROUPS, 4), frame=9) == [8, 9, 10, 11]


def test_the_last_odd_frame_is_heard_by_the_full_rate_only() -> None:
    mixing = MultiScaleMixing(DIM, GROUPS, 4)
    mixing.full_rate = nn.Identity()
    assert reached(mixing, frame=FRAMES - 1) == [FRAMES - 3, FRAMES - 2, FRAMES - 1]
    x = torch.randn(1, DIM, FRAMES)
    other = x.clone()
    other[:, :, -1] += 1
    torch.testing.assert_close((mixing(other) - mixing(x))[:, :, :-1], torch.zeros(1, DIM, 20))
    torch.testing.assert_close((mixing(other) - mixing(x))[:, :, -1], torch.ones(1, DIM))


def test_group_channel_mixing_hears_one_frame_to_each_side() -> None:
    assert reached(GroupChannelMixing(DIM, GROUPS), frame=10) == [9, 10, 11]


def test_channels_of_different_groups_meet_in_the_dense_mix_only() -> None:
    mixing = GroupChannelMixing(DIM, GROUPS)
    x = torch.randn(1, DIM, FRAMES, requires_grad=True)
    mixing[0](x)[0, 0].sum().backward(retain_graph=True)
    assert x.grad is not None
    assert torch.nonzero(x.grad[0].abs().sum(dim=1)).flatten().tolist() == [0, 1, 2, 3]
    x.grad = None
    mixing(x)[0, 0].sum().backward()
    assert (x.grad[0].abs().sum(dim=1) > 0).all()


def test_a_block_adds_to_its_input_and_so_passes_it_when_its_mixing_is_silent() -> None:
    block = small_block().eval()
    for silent in (block.local_global.local[2], block.local_global.token_mlp[2]):
        nn.init.zeros_(silent.weight)
        nn.init.zeros_(silent.bias)
    nn.init.zeros_(block.group_channel[2].weight)
    nn.init.zeros_(block.group_channel[2].bias)
    x = torch.randn(2, FRAMES, DIM)
    assert torch.equal(block(x), x)


def test_an_output_frame_of_a_block_depends_on_later_frames() -> None:
    x = torch.randn(1, FRAMES, DIM, requires_grad=True)
    small_block().eval()(x)[0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(dim=1) > 0).all()
