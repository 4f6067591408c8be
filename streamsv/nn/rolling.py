"""States that are a line of frames: the exported graph gives the new ones, the runtime the rest.

A convolution keeps its last inputs: the next state is the state without its oldest frames, and the
new ones after it. Cutting that out of the frames of a hop copies what lies in the runtime's memory
already. So the graph gives the new frames alone, and its metadata say of which states, and how many
frames they are; only of those whose length is a multiple of it, so that whole pieces move up.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

_LEAST_PIECES = 2
_THE_END = 2**31 - 1


def roll(graph: onnx.GraphProto) -> dict[str, int]:
    """Let ``graph`` give new frames where it can; returns how many, by the name of the state.

    ``next.<name>`` then has that many frames in place of the state's. A state is left as it is
    unless its next is the end of (state, frames) from exactly as many frames on.
    """
    makers = {name: node for node in graph.node for name in node.output}
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    lengths = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in graph.input
        if len(value.type.tensor_type.shape.dim) > 2
    }
    rolled: dict[str, int] = {}
    for output in graph.output:
        name = output.name.removeprefix("next.")
        length = lengths.get(f"state.{name}", 0)
        found = _new_frames(output.name, f"state.{name}", makers, constants)
        if found is None:
            continue
        frames, count = found
        if length % count or length // count < _LEAST_PIECES:
            continue
        slicing = makers.pop(output.name)
        graph.node.remove(slicing)
        _rename(graph, frames, output.name)
        output.type.tensor_type.shape.dim[1].dim_value = count
        rolled[name] = count
    return rolled


def _new_frames(
    output: str,
    state: str,
    makers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, np.ndarray],
) -> tuple[str, int] | None:
    """What is joined to ``state`` before ``output`` is cut out of it, and how many frames."""
    slicing = makers.get(output)
    if slicing is None or slicing.op_type != "Slice" or len(slicing.input) < 4:
        return None
    joined = makers.get(slicing.input[0])
    start, end, axes, *steps = (constants.get(name) for name in slicing.input[1:])
    is_cut = start is not None and axes is not None and axes.tolist() == [1] and start[0] > 0
    is_to_the_end = end is not None and end[0] >= _THE_END
    is_dense = all(step is not None and step.tolist() == [1] for step in steps)
    if not (is_cut and is_dense and is_to_the_end) or joined is None or joined.op_type != "Concat":
        return None
    axis = {each.name: each.i for each in joined.attribute}.get("axis")
    if axis != 1 or len(joined.input) != 2 or joined.input[0] != state:
        return None
    frames = joined.input[1]
    return (frames, int(start[0])) if start is not None and frames in makers else None


def _rename(graph: onnx.GraphProto, name: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if each == name else each for each in node.input]
        node.output[:] = [new if each == name else each for each in node.output]
    for value in list(graph.value_info):
        if value.name == name:
            graph.value_info.remove(value)
