"""From the torch student to one self-contained ONNX file that steps hop by hop.

Inputs: ``pcm`` (batch, 1280) float32 at 16 kHz, and ``state.<name>`` for every state tensor.
Outputs: ``embedding`` (batch, dimension) of unit length, ``next.<name>``, and
``log_precision`` (batch,) where the pooling gives one. The batch axis is free. Of some states only
the new frames are given (`streamsv.nn.rolling`). The metadata carries configuration, fingerprint,
licence and the initial state, so the runtime needs nothing but the file. A speech head
(`streamsv.nn.guard`) adds the states ``guard.*``, in which its evidence is read, and leaves the
fingerprint as it is.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import ir, optimizer
from torch import Tensor, nn

from streamsv.nn.config import HOP_SAMPLES
from streamsv.nn.frontend import SAMPLE_RATE
from streamsv.nn.guard import SpeechHead, check_student, digest
from streamsv.nn.rolling import roll
from streamsv.nn.streaming import State, named, part
from streamsv.nn.student import Student

FORMAT_VERSION = "2"
LICENSE = "CC-BY-SA-4.0"
_ANY_SIZE = 1 << 30


@dataclasses.dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where, and the fingerprint that voiceprints will carry."""

    path: Path
    fingerprint: str


def fingerprint(student: Student) -> str:
    """SHA-256 of the canonical configuration and all float32 weights, in order of their names."""
    digest = hashlib.sha256(json.dumps(student.config.to_dict(), sort_keys=True).encode())
    for name, tensor in sorted(student.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


class _OneHop(nn.Module):
    """The graph's signature: PCM and a flat list of states in, embedding and states out."""

    def __init__(self, student: Student, head: SpeechHead | None, names: list[str]) -> None:
        super().__init__()
        self.student = student
        self.head = head
        self.names = names

    def forward(self, pcm: Tensor, states: list[Tensor]) -> tuple[Tensor, ...]:
        state = dict(zip(self.names, states, strict=True))
        details, following = self.student.step_details(pcm, state)
        outputs = [details.embedding[:, 0]]
        if details.log_precision is not None:
            outputs.append(details.log_precision[:, 0])
        if self.head is not None:
            heard = torch.cat([details.hidden[tap] for tap in self.head.config.taps], dim=2)
            _, guard = self.head.step(heard, part(state, "guard"))
            following |= named("guard", guard)
        return (*outputs, *(following[name] for name in self.names))


def _initial(student: Student, head: SpeechHead | None, batch: int) -> State:
    guard = {} if head is None else named("guard", head.init_state(batch))
    return student.init_state(batch) | guard


def _encoded(initial: State) -> str:
    described: dict[str, Any] = {}
    for name, tensor in initial.items():
        values = tensor[0].detach().cpu().float().contiguous()
        described[name] = {
            "shape": list(values.shape),
            "float32": base64.b64encode(values.numpy().tobytes()).decode(),
        }
    return json.dumps(described)


def export(
    student: Student, path: Path, card: Mapping[str, Any], head: SpeechHead | None = None
) -> Exported:
    """Write ``student`` to ``path``; ``card`` is kept in the metadata for people to read.

    ``student`` and ``head`` are left as they are, in their mode and on their device. Raises
    ModelMismatch for a head that was fitted to another student.
    """
    student = copy.deepcopy(student).cpu().eval()
    mark = fingerprint(student)
    if head is not None:
        check_student(head, mark)
        head = copy.deepcopy(head).cpu().eval()
    initial = {name: tensor.clone() for name, tensor in _initial(student, head, 2).items()}
    names = list(initial)
    arguments = (torch.zeros(2, HOP_SAMPLES), [initial[name] for name in names])
    batch = torch.export.Dim("batch", min=1, max=4096)
    shapes = ({0: batch}, [{0: batch} for _ in names])
    outputs = ["embedding"]
    if student.config.pooling == "xi":
        outputs.append("log_precision")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _OneHop(student, head, names),
            arguments,
            input_names=["pcm", *(f"state.{name}" for name in names)],
            output_names=[*outputs, *(f"next.{name}" for name in names)],
            dynamic_shapes=shapes,
            opset_version=18,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model: ir.Model = program.model
    # What is computed from weights alone is computed here, however large it is.
    optimizer.optimize(model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE)
    proto = ir.serde.serialize_model(model)
    metadata = {
        "streamsv.format": FORMAT_VERSION,
        "streamsv.rolling": json.dumps(roll(proto.graph), sort_keys=True),
        "streamsv.config": json.dumps(student.config.to_dict(), sort_keys=True),
        "streamsv.fingerprint": mark,
        "streamsv.license": LICENSE,
        "streamsv.hop_samples": str(HOP_SAMPLES),
        "streamsv.sample_rate": str(SAMPLE_RATE),
        "streamsv.initial_state": _encoded(_initial(student, head, 1)),
        "streamsv.card": json.dumps(dict(card), sort_keys=True),
    }
    if head is not None:
        guard = {"digest": digest(head), "fitted_on": head.fitted_on}
        metadata["streamsv.guard"] = json.dumps(guard, sort_keys=True)
    onnx.helper.set_model_props(proto, metadata)
    proto.doc_string = ""
    for node in proto.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]:
        del value.metadata_props[:]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, str(path))
    return Exported(path, mark)
