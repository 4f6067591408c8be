"""States that are a line of frames are given by their new frames alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from streamsv.nn.rolling import roll


def graph_of(
    length: int, start: int, axis: int = 1, step: int = 1, end: int = 1 << 40
) -> onnx.GraphProto:
    """next.left = (state.left, relu(pcm))[start:end:step], and a sum over all of it."""
    given = [
        helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["batch", 4, 3]),
        helper.make_tensor_value_info("state.left", TensorProto.FLOAT, ["batch", length, 3]),
    ]
    wanted = [
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("next.left", TensorProto.FLOAT, ["batch", length, 3]),
    ]
    constants = {"start": start, "end": end, "axis": axis, "step": step}
    nodes = [
        helper.make_node("Relu", ["pcm"], ["frames"]),
        helper.make_node("Concat", ["state.left", "frames"], ["joined"], axis=1),
        helper.make_node("Slice", ["joined", "start", "end", "axis", "step"], ["next.left"]),
        helper.make_node("ReduceSum", ["joined", "one"], ["sum"], keepdims=0),
    ]
    weights = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in {**constants, "one": 1}.items()
    ]
    return helper.make_graph(nodes, "hop", given, wanted, weights)


def run(graph: onnx.GraphProto, pcm: np.ndarray, left: np.ndarray) -> dict[str, np.ndarray]:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pcm": pcm, "state.left": left}), strict=True))


def test_the_graph_gives_the_new_frames_and_all_else_as_before() -> None:
    generator = np.random.default_rng(0)
    pcm = generator.normal(size=(2, 4, 3)).astype(np.float32)
    left = generator.normal(size=(2, 8, 3)).astype(np.float32)
    whole, rolled = graph_of(8, 4), graph_of(8, 4)
    assert roll(rolled) == {"left": 4}
    before, after = run(whole, pcm, left), run(rolled, pcm, left)
    assert np.array_equal(before["sum"], after["sum"])
    assert after["next.left"].shape == (2, 4, 3)
    assert np.array_equal(
        np.concatenate([left[:, 4:], after["next.left"]], axis=1), before["next.left"]
    )


@pytest.mark.parametrize(
    ("length", "start"),
    [(6, 4), (4, 4), (2, 4), (8, -8)],
)
def test_what_does_not_move_up_in_whole_pieces_is_left_as_it_is(length: int, start: int) -> None:
    graph = graph_of(length, start)
    before = graph.SerializeToString()
    assert roll(graph) == {}
    assert graph.SerializeToString() == before


def test_a_cut_in_another_direction_or_with_steps_or_an_end_is_left_as_it_is() -> None:
    assert roll(graph_of(8, 4, end=12)) == {}
    assert roll(graph_of(8, 1, axis=2)) == {}
    assert roll(graph_of(8, 4, step=2)) == {}
