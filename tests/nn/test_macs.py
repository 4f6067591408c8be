from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from streamsv.nn.config import HOP_FRAMES, HOP_SAMPLES, ModelConfig
from streamsv.nn.macs import count_macs, macs_per_hop
from streamsv.nn.products import is_exporting
from streamsv.nn.student import Student

BUNDLED = Path(__file__).resolve().parents[2] / "streamsv" / "models" / "default.onnx"


class Scores(nn.Module):
    def forward(self, pair: dict[str, list[Tensor]]) -> Tensor:
        left, right = pair["sides"]
        return torch.einsum("btd,bsd->bts", left, right)


def test_a_linear_layer_costs_its_weights_for_every_row() -> None:
    assert count_macs(nn.Linear(3, 4), torch.zeros(2, 5, 3)) == 2 * 5 * 3 * 4


@pytest.mark.parametrize(("groups", "expected"), [(1, 10 * 3 * 8 * 16), (8, 10 * 3 * 16)])
def test_a_convolution_costs_its_weights_for_every_output_frame(groups: int, expected: int) -> None:
    assert count_macs(nn.Conv1d(8, 16, 3, groups=groups), torch.zeros(1, 8, 12)) == expected


def test_products_without_weights_are_counted_also_inside_nested_inputs() -> None:
    pair = {"sides": [torch.zeros(2, 7, 5), torch.zeros(2, 3, 5)]}
    assert count_macs(Scores(), pair) == 2 * 7 * 3 * 5


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_recurrent_layers_cost_both_their_matrices_at_every_step(
    kind: type[nn.RNNBase], gates: int, device: str
) -> None:
    with torch.device(device):
        layer, sequence = kind(8, 16), torch.zeros(10, 2, 8)
    assert count_macs(layer, sequence) == 10 * 2 * gates * 16 * (8 + 16)


def test_a_recurrent_layer_of_two_directions_and_depths_is_counted_whole() -> None:
    layer = nn.LSTM(8, 16, num_layers=2, bidirectional=True)
    first, second = 2 * 4 * 16 * (8 + 16), 2 * 4 * 16 * (32 + 16)
    assert count_macs(nn.Sequential(nn.Linear(5, 8), layer), torch.zeros(10, 1, 5)) == 10 * (
        5 * 8 + first + second
    )


def test_activations_norms_and_pooling_cost_nothing() -> None:
    free = nn.Sequential(nn.GELU(), nn.BatchNorm1d(8), nn.AvgPool1d(2), nn.LayerNorm(6))
    assert count_macs(free, torch.zeros(1, 8, 12)) == 0


def test_a_transformer_layer_costs_what_the_paper_states_plus_its_attention_products() -> None:
    with torch.device("meta"):
        layer = nn.TransformerEncoderLayer(1024, nhead=16, dim_feedforward=2048, batch_first=True)
        x = torch.zeros(1, 149, 1024)
    attention_products = 2 * 149 * 149 * 1024
    assert round((count_macs(layer, x) - attention_products) / 1e9, 2) == 1.25


def test_a_pass_on_the_cpu_costs_what_it_costs_on_meta() -> None:
    costs = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            layer = nn.TransformerEncoderLayer(16, nhead=4, dim_feedforward=32, batch_first=True)
            costs.append(count_macs(layer, torch.zeros(1, 10, 16)))
    assert costs == [10 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 10 * 10 * 16] * 2


def test_counting_leaves_the_module_as_it_was() -> None:
    layer = nn.LSTM(4, 4)
    norm = nn.Sequential(nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4))
    norm[1].eval()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    count_macs(norm, torch.ones(2, 4, 9))
    assert [part.training for part in norm.modules()] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())
    count_macs(layer, torch.ones(2, 1, 4))
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


def test_a_pass_that_fails_leaves_the_module_as_it_was() -> None:
    module = nn.Sequential(nn.LSTM(4, 4), nn.Linear(4, 4))
    with pytest.raises(RuntimeError):
        count_macs(module, torch.ones(2, 1, 5))
    assert all(part.training for part in module.modules())
    assert not module[0]._forward_hooks


def test_a_hop_of_the_bundled_shape_costs_what_its_exported_graph_multiplies() -> None:
    graph = onnx.load(BUNDLED)
    card = json.loads({each.key: each.value for each in graph.metadata_props}["streamsv.card"])
    assert macs_per_hop(Student(ModelConfig())) == card["macs_per_hop"] == 7_897_984


def test_a_filter_for_each_channel_counts_in_a_hop_and_not_in_the_training_path() -> None:
    config = ModelConfig()
    student, hop = Student(config), torch.zeros(1, HOP_SAMPLES)
    # The kernels: 7 where the two frames before a hop count too, then 3 of the hop, and 3 of GCM.
    a_block = config.dim * (7 * (HOP_FRAMES + 2) + 3 * HOP_FRAMES + 3 * HOP_FRAMES)
    joined = (config.half_rate_hidden // 2) * config.dim * HOP_FRAMES // 2  # MFM halved the hidden
    assert macs_per_hop(student) - count_macs(student, hop) == config.depth * (a_block + joined)
    assert not is_exporting()
