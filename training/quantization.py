"""Products of 8-bit integers in place of float32: ``python -m training quantize``.

Static: every scale is fixed here, from what the float32 network hears of the training voices, so
that what one caller says changes nothing of another's score in the same batch. The weights of each
output channel have a scale of their own and 7 bits, of which no processor's 16-bit sums overflow;
so all processors get the same integers. Inputs of products are rounded to 8 bits, their sums and
all else, states included, stay float32. The front end's Fourier and mel matrices are left as they
are: a spectrum spans more than 8 bits.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from streamsv.encoder import Encoder
from streamsv.errors import ConfigError
from streamsv.nn.export import Exported
from training.config import TrainConfig
from training.feed import Feed
from training.networks import make_network

Floats = NDArray[np.float32]

PRECISION = "int8"

_LEAST_RESIDUAL_WEIGHTS = 32_768
_EVERY = 3
_BATCHES = 4
_BATCH, _HOPS = 64, 38


class _Heard(CalibrationDataReader):  # type: ignore[misc]
    """The network's inputs at every third hop of some batches of speech."""

    def __init__(self, encoder: Encoder, batches: Iterable[Floats]) -> None:
        self.hops = 0
        self._feeds = self._listen(encoder, batches)

    @staticmethod
    def _listen(encoder: Encoder, batches: Iterable[Floats]) -> Iterator[dict[str, Floats]]:
        hop = encoder.hop_samples
        for pcm in batches:
            state = encoder.initial_state(len(pcm))
            for number in range(pcm.shape[1] // hop):
                part = np.ascontiguousarray(pcm[:, number * hop : (number + 1) * hop])
                if number % _EVERY == 0:
                    yield {"pcm": part, **{f"state.{name}": state[name] for name in state}}
                _, state = encoder.step(part, state)

    def get_next(self) -> dict[str, Floats] | None:
        found = next(self._feeds, None)
        self.hops += found is not None
        return found


def quantize(source: Path, output: Path, batches: Iterable[Floats]) -> Exported:
    """Write the exported network ``source`` to ``output`` with products of 8-bit integers.

    ``batches`` are float32 (batch, samples), 16 kHz, in [-1, 1], speech as the network will hear
    it; the largest values met there are the largest that a product can take in. The fingerprint
    is another one, for embeddings differ in the third digit; the float32 network's stands in the
    metadata as ``streamsv.float32_fingerprint``.

    Raises ConfigError for a network that is quantized already, or without speech.
    """
    encoder = Encoder(source)
    if encoder.precision != "float32":
        raise ConfigError(
            f"{source} is in {encoder.precision} already; export the float32 network first.",
            encoder.precision,
        )
    model = onnx.load(str(source))
    weights = {each.name: each for each in model.graph.initializer}
    _free_residuals(model.graph, weights)
    chosen = [node for node in model.graph.node if _is_product(node, weights)]
    with tempfile.TemporaryDirectory() as folder:
        freed, written = Path(folder) / "freed.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, str(freed))
        _write(freed, written, _Heard(encoder, batches), [node.name for node in chosen])
        quantized = onnx.load(str(written))
    _keep_what_is_no_number(quantized.graph)
    fingerprint = _describe(quantized, encoder, _macs(model, chosen, weights))
    onnx.save(quantized, str(output))
    return Exported(output, fingerprint)


def quantize_trained(config: TrainConfig, path: Path) -> Exported:
    """:func:`quantize` the network at ``path`` in place, by damaged speech of training voices."""
    import torch

    torch.set_num_threads(config.threads)  # the last digits of a scale depend on it
    network = make_network(config.network, config.model, config.paper)
    feed = Feed(config, network, torch.device("cpu"))

    def batches() -> Iterator[Floats]:
        for number in range(_BATCHES):
            batch, generator = feed.source.draw(0x7FFF0000 + number, _BATCH, _HOPS)
            yield feed.augment(batch.pcm, generator).numpy().astype(np.float32)

    return quantize(path, path, batches())


def _is_product(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Whether a node is a product of the student's weights with a bias of their own or none."""
    constants = all(name in weights for name in node.input[1:])
    return node.op_type == "Gemm" and constants and not node.input[1].startswith("head.")


def _free_residuals(graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]) -> None:
    """Add a residual after its product, as integers cannot begin from it; not to small products."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        is_residual = (
            node.op_type == "Gemm" and len(node.input) > 2 and node.input[2] not in weights
        )
        if not is_residual or np.prod(weights[node.input[1]].dims) < _LEAST_RESIDUAL_WEIGHTS:
            continue
        residual, total = node.input[2], node.output[0]
        del node.input[2]
        node.output[0] = f"{total}.product"
        nodes.append(
            onnx.helper.make_node("Add", [residual, node.output[0]], [total], f"{node.name}.add")
        )
    del graph.node[:]
    graph.node.extend(nodes)


def _keep_what_is_no_number(graph: onnx.GraphProto) -> None:
    """Let sound that is no number come out as no number, which rounding to integers would hide.

    Adds sum(pcm) - sum(pcm) to the embedding: 0, or nan for a hop with nan or infinity in it.
    """
    for node in graph.node:
        node.output[:] = ["rounded" if name == "embedding" else name for name in node.output]
    axes = onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    graph.node.extend(
        [
            onnx.helper.make_node("Constant", [], ["samples"], "samples", value=axes),
            onnx.helper.make_node("ReduceSum", ["pcm", "samples"], ["sum"], "sum", keepdims=1),
            onnx.helper.make_node("Sub", ["sum", "sum"], ["nothing"], "nothing"),
            onnx.helper.make_node("Add", ["rounded", "nothing"], ["embedding"], "embedding"),
        ]
    )


def _write(source: Path, output: Path, heard: _Heard, names: Sequence[str]) -> None:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice on how else to prepare a graph
    try:
        quantize_static(
            str(source),
            str(output),
            heard,
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=list(names),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
    except ValueError as error:
        if heard.hops:
            raise
        raise ConfigError("There was no speech to set the scales by.", None) from error
    finally:
        logging.disable(before)


def _macs(
    model: onnx.ModelProto, chosen: Sequence[onnx.NodeProto], weights: dict[str, onnx.TensorProto]
) -> int:
    """Multiply-adds of the products ``chosen`` in one hop of one stream."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [node.input[0] for node in chosen]
    for name in sorted(set(names) - {value.name for value in watched.graph.output}):
        watched.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {
        value.name: np.ones(
            [size if isinstance(size, int) else 1 for size in value.shape], np.float32
        )
        for value in session.get_inputs()
    }
    found = dict(zip(names, session.run(names, feeds), strict=True))
    return sum(
        len(found[node.input[0]]) * int(np.prod(weights[node.input[1]].dims)) for node in chosen
    )


def _describe(model: onnx.ModelProto, encoder: Encoder, macs: int) -> str:
    """Everything that the float32 network said of itself, but for what is another now.

    Returns the fingerprint: of the float32 network's, the integers and their scales.
    """
    digest = hashlib.sha256(f"{PRECISION}{encoder.fingerprint}".encode())
    for each in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        if each.name.startswith("head."):
            continue
        digest.update(each.name.encode())
        digest.update(onnx.numpy_helper.to_array(each).tobytes())
    changed = {
        "streamsv.fingerprint": digest.hexdigest(),
        "streamsv.float32_fingerprint": encoder.fingerprint,
        "streamsv.precision": PRECISION,
        "streamsv.card": json.dumps({**encoder.card, "int8_macs_per_hop": macs}, sort_keys=True),
    }
    onnx.helper.set_model_props(model, {**encoder.metadata, **changed})
    model.doc_string = ""
    return digest.hexdigest()
