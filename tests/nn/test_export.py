from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

import streamsv
from streamsv.encoder import Encoder
from streamsv.errors import ModelLoadError, ModelMismatch
from streamsv.nn.config import HOP_SAMPLES, ModelConfig
from streamsv.nn.export import FORMAT_VERSION, LICENSE, export, fingerprint
from streamsv.nn.frontend import SAMPLE_RATE, LogMel
from streamsv.nn.guard import HeadConfig, SpeechHead, digest, load_head, save_head
from streamsv.nn.student import Student

BUNDLED = Path(streamsv.__file__).parent / "models" / "default.onnx"

DEFAULT = ModelConfig(
    mels=40,
    dim=64,
    depth=2,
    summary_dim=16,
    channel_hidden=40,
    half_rate_hidden=24,
    group_groups=64,
    pooling_dim=96,
    attention_dim=16,
    embedding=48,
)
XI = dataclasses.replace(
    DEFAULT,
    memory="toeplitz",
    activation="gelu",
    channel_groups=4,
    group_groups=8,
    pooling="xi",
)
GELU = dataclasses.replace(DEFAULT, activation="gelu", memory="none", token_kernels=(5, 2))
LOCAL = dataclasses.replace(
    DEFAULT, front_end="waveform", waveform_channels=16, memory="none", half_rate_hidden=0
)
MINUTE_HOPS = 60 * SAMPLE_RATE // HOP_SAMPLES


@dataclasses.dataclass(frozen=True)
class Pair:
    """A student and the file that it was exported to."""

    student: Student
    path: Path
    fingerprint: str
    encoder: Encoder


def random_student(config: ModelConfig) -> Student:
    """Every weight and statistic random, so that none can go missing unnoticed."""
    torch.manual_seed(0)
    student = Student(config).eval()
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    for module in student.modules():
        if isinstance(module, LogMel):
            module.set_statistics(
                torch.randn_like(module.mean) - 5, torch.rand_like(module.scale) + 1
            )
    return student


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ModelConfig], Pair]:
    """Exports a random student, once a configuration."""
    pairs: dict[ModelConfig, Pair] = {}

    def of(config: ModelConfig) -> Pair:
        if config not in pairs:
            path = tmp_path_factory.mktemp("exported") / "model.onnx"
            student = random_student(config)
            written = export(student, path, {"trained_by": "a test", "hours": 3})
            pairs[config] = Pair(student, written.path, written.fingerprint, Encoder(path))
        return pairs[config]

    return of


@pytest.fixture(
    scope="module", params=[DEFAULT, XI, GELU, LOCAL], ids=["default", "xi", "gelu", "local"]
)
def pair(request: pytest.FixtureRequest, exported: Callable[[ModelConfig], Pair]) -> Pair:
    return exported(request.param)


def loop(pcm: NDArray[np.float32], hops: int) -> NDArray[np.float32]:
    """(hops, hop) samples: the clip again and again."""
    return np.resize(pcm, hops * HOP_SAMPLES).reshape(hops, HOP_SAMPLES)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3, 17])
def test_torch_and_onnxruntime_agree_step_by_step_for_any_batch(pair: Pair, batch: int) -> None:
    state = pair.student.init_state(batch)
    arrays = pair.encoder.initial_state(batch)
    for _ in range(4):
        pcm = torch.randn(batch, HOP_SAMPLES) * 0.1
        expected, state = pair.student.step(pcm, state)
        embedding, arrays = pair.encoder.step(pcm.numpy(), arrays)
        np.testing.assert_allclose(embedding, expected[:, 0].numpy(), rtol=0, atol=1e-5)
        assert arrays.keys() == state.keys()
        for name, tensor in state.items():
            np.testing.assert_allclose(
                arrays[name], tensor.numpy(), rtol=1e-4, atol=1e-4, err_msg=name
            )


@torch.no_grad()
def test_torch_and_onnxruntime_agree_after_a_minute_of_speech(pair: Pair, clips: Any) -> None:
    hops = loop(clips.pcm("voice_a_call"), MINUTE_HOPS)
    expected = pair.student(torch.from_numpy(hops.reshape(1, -1)))[0].numpy()
    state = pair.encoder.initial_state()
    for hop, pcm in enumerate(hops):
        embedding, state = pair.encoder.step(pcm[None], state)
        assert np.abs(embedding[0] - expected[hop]).max() < 1e-4


@torch.no_grad()
def test_states_that_begin_with_equal_values_stay_separate_inputs(pair: Pair) -> None:
    """An exporter that merges equal tensors would wire two states to one input."""
    names = list(pair.student.init_state(1))
    graph = onnx.load(pair.path).graph
    inputs = [value.name for value in graph.input]
    consumed = {name for node in graph.node for name in node.input}
    assert inputs == ["pcm", *(f"state.{name}" for name in names)]
    filled = {name for name, tensor in pair.student.init_state(1).items() if tensor.numel()}
    assert {f"state.{name}" for name in filled} <= consumed
    outputs = [value.name for value in graph.output]
    assert len(set(outputs)) == len(outputs)
    assert [name for name in outputs if name.startswith("next.")] == [f"next.{n}" for n in names]

    state = {
        name: torch.rand_like(tensor) + 0.5 for name, tensor in pair.student.init_state(2).items()
    }
    pcm = torch.randn(2, HOP_SAMPLES) * 0.1
    expected, following = pair.student.step(pcm, state)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    embedding, stepped = pair.encoder.step(pcm.numpy(), arrays)
    np.testing.assert_allclose(embedding, expected[:, 0].numpy(), rtol=0, atol=1e-4)
    for name, tensor in following.items():
        np.testing.assert_allclose(
            stepped[name], tensor.numpy(), rtol=1e-4, atol=1e-4, err_msg=name
        )


def test_the_metadata_say_everything_that_the_runtime_needs(pair: Pair) -> None:
    encoder = pair.encoder
    assert ModelConfig.from_dict(encoder.config) == pair.student.config
    assert encoder.fingerprint == pair.fingerprint == fingerprint(pair.student)
    assert encoder.license == LICENSE
    assert encoder.card == {"trained_by": "a test", "hours": 3}
    assert (encoder.hop_samples, encoder.sample_rate) == (HOP_SAMPLES, SAMPLE_RATE)
    assert encoder.dimension == pair.student.config.embedding
    assert encoder.has_precision == (pair.student.config.pooling == "xi")
    assert encoder.metadata["streamsv.format"] == FORMAT_VERSION
    for name, tensor in pair.student.init_state(3).items():
        np.testing.assert_array_equal(encoder.initial_state(3)[name], tensor.detach().numpy())


def test_the_precision_is_an_output_of_its_own(exported: Callable[[ModelConfig], Pair]) -> None:
    outputs = {
        config.pooling: [value.name for value in onnx.load(exported(config).path).graph.output]
        for config in (DEFAULT, XI)
    }
    assert outputs["xi"][:2] == ["embedding", "log_precision"]
    assert "log_precision" not in outputs["attentive"]


def test_a_changed_weight_or_choice_is_another_fingerprint() -> None:
    student = random_student(DEFAULT)
    before = fingerprint(student)
    assert fingerprint(random_student(DEFAULT)) == before
    with torch.no_grad():
        student.embed.bias[7] += 1e-6
    assert fingerprint(student) != before
    statistics = random_student(DEFAULT)
    statistics.get_buffer("front_end.logmel.mean")[0] += 0.5
    assert fingerprint(statistics) != before
    quieter = random_student(dataclasses.replace(DEFAULT, log_floor=2e-5))
    assert fingerprint(quieter) != before


def test_the_graph_is_valid_and_speaks_one_operator_set(pair: Pair) -> None:
    proto = onnx.load(pair.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert all(node.domain == "" for node in proto.graph.node)
    for value in [*proto.graph.input, *proto.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_the_file_stands_alone_and_tells_nothing_of_where_it_was_made(pair: Pair) -> None:
    assert [path.name for path in pair.path.parent.iterdir()] == ["model.onnx"]
    content = pair.path.read_bytes()
    for telltale in (b".py", str(Path.home()).encode(), str(pair.path.parent).encode()):
        assert telltale not in content


def test_the_default_graph_is_shaped_for_speed(
    exported: Callable[[ModelConfig], Pair], record_property: Callable[[str, object], None]
) -> None:
    """One product for all frames of a hop with its bias or residual, max instead of erf, and the
    filters of a block as three convolutions between two reorderings of the token mixing and two
    of the channel mixing."""
    pair = exported(DEFAULT)
    operators = collections.Counter(node.op_type for node in onnx.load(pair.path).graph.node)
    record_property("operators", dict(operators))
    for slow in ("Erf", "GatherND", "Loop", "Scan", "If", "Split"):
        assert operators[slow] == 0, operators
    assert operators["Conv"] == 3 * DEFAULT.depth
    assert operators["Transpose"] == 4 * DEFAULT.depth
    in_a_block, outside, without_bias = 8, 11, 6
    assert operators["MatMul"] == without_bias
    assert operators["MatMul"] + operators["Gemm"] == in_a_block * DEFAULT.depth + outside


def test_exporting_leaves_training_as_it_was(tmp_path: Path) -> None:
    student = Student(dataclasses.replace(DEFAULT, depth=1)).train()
    export(student, tmp_path / "model.onnx", {})
    assert student.training


def test_the_waveform_front_end_is_exported_too(exported: Callable[[ModelConfig], Pair]) -> None:
    config = dataclasses.replace(
        DEFAULT, front_end="waveform", waveform_channels=16, memory="none", half_rate_hidden=0
    )
    pair = exported(config)
    pcm = torch.randn(2, 3 * HOP_SAMPLES) * 0.1
    with torch.no_grad():
        expected = pair.student(pcm).numpy()
    state = pair.encoder.initial_state(2)
    for hop in range(3):
        samples = pcm[:, hop * HOP_SAMPLES : (hop + 1) * HOP_SAMPLES].numpy()
        embedding, state = pair.encoder.step(samples, state)
        np.testing.assert_allclose(embedding, expected[:, hop], rtol=0, atol=1e-4)


def test_the_bundled_model_is_whole_and_small(clips: Any) -> None:
    encoder = Encoder(BUNDLED)
    assert BUNDLED.stat().st_size < 20_000_000
    assert encoder.state_bytes <= 256 * 1024
    assert len(bytes.fromhex(encoder.fingerprint)) == 32
    assert encoder.fingerprint == encoder.fingerprint.lower()
    assert encoder.license == LICENSE
    assert isinstance(encoder.card, dict)
    assert ModelConfig.from_dict(encoder.config).embedding == encoder.dimension
    assert (encoder.hop_samples, encoder.sample_rate) == (HOP_SAMPLES, SAMPLE_RATE)
    state = encoder.initial_state()
    for pcm in loop(clips.pcm("voice_a_call"), 25):
        embedding, state = encoder.step(pcm[None], state)
        assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)


def test_the_bundled_model_names_the_states_of_its_configuration() -> None:
    encoder = Encoder(BUNDLED)
    student = Student(ModelConfig.from_dict(encoder.config))
    expected = {name: tuple(tensor.shape) for name, tensor in student.init_state(1).items()}
    shapes = {name: array.shape for name, array in encoder.initial_state().items()}
    assert {k: v for k, v in shapes.items() if not k.startswith("guard.")} == expected


def random_head(student: Student) -> SpeechHead:
    torch.manual_seed(1)
    head = SpeechHead(HeadConfig(taps=(0, 1, 2), dim=DEFAULT.dim, measures=9, hidden=7)).eval()
    with torch.no_grad():
        for weight in head.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.3)
    head.student, head.fitted_on = fingerprint(student), {"by": "a test"}
    return head


@torch.no_grad()
def test_a_speech_head_rides_along_and_changes_nothing_else(tmp_path: Path, clips: Any) -> None:
    student = random_student(DEFAULT)
    head = random_head(student)
    pair = [
        Encoder(export(student, tmp_path / name, {}, each).path)
        for name, each in (("with.onnx", head), ("without.onnx", None))
    ]
    guarded, plain = pair
    assert guarded.fingerprint == plain.fingerprint == fingerprint(student)
    assert guarded.speech_head == {"digest": digest(head), "fitted_on": {"by": "a test"}}
    assert plain.speech_head == {}

    hops = loop(clips.pcm("voice_a_call"), 60)
    details, _ = student.step_details(torch.from_numpy(hops.reshape(1, -1)), student.init_state(1))
    whole = torch.cat([details.hidden[tap] for tap in head.config.taps], dim=2)
    expected = head(whole)[0]
    state, other = guarded.initial_state(), plain.initial_state()
    for hop, pcm in enumerate(hops):
        embedding, state = guarded.step(pcm[None], state)
        same, other = plain.step(pcm[None], other)
        np.testing.assert_allclose(embedding, same, rtol=0, atol=1e-6)
        logits, heard = state["guard.heard"][0, 0]
        assert logits / heard == pytest.approx(float(expected[hop]), abs=1e-3)
    assert set(state) - set(other) == {"guard.moments", "guard.heard"}
    assert float(expected.std()) > 0.01


def test_a_head_of_another_student_is_refused(tmp_path: Path) -> None:
    student = random_student(DEFAULT)
    head = random_head(student)
    with torch.no_grad():
        student.embed.bias[0] += 1
    with pytest.raises(ModelMismatch, match=r"training\.guard"):
        export(student, tmp_path / "model.onnx", {}, head)


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    head = random_head(random_student(DEFAULT))
    save_head(head, tmp_path / "head.pt")
    again = load_head(tmp_path / "head.pt")
    assert digest(again) == digest(head)
    assert (again.student, again.fitted_on) == (head.student, head.fitted_on)
    with torch.no_grad():
        again.draw.bias[0] += 1e-6
    assert digest(again) != digest(head)


def test_what_is_no_head_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "head.pt"
    torch.save({"weights": {}}, path)
    with pytest.raises(ModelLoadError, match=r"head\.pt"):
        load_head(path)
