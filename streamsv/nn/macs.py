"""What a forward pass costs, in multiply-adds, counted as the papers of the field count it.

Counted are matrix products and convolutions: linear layers, convolutions of any grouping, matmul,
einsum, attention products, recurrent layers. Not counted are activations, normalizations, pooling,
interpolation and everything else elementwise. So Heo et al. 2025 (SV-Mixer, Table I) count, except
that they leave out the two products of attention scores and attention values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import PackedSequence
from torch.utils.flop_counter import FlopCounterMode

from streamsv.nn.config import HOP_SAMPLES
from streamsv.nn.products import as_exported


def count_macs(module: nn.Module, *inputs: Any) -> int:
    """Multiply-adds of ``module(*inputs)`` in evaluation mode, exact.

    The pass is really run, once, without gradients; the module is left as it was. On torch's meta
    device it takes neither time nor memory: build module and inputs under ``torch.device("meta")``.
    A convolution written as a sum of shifted elementwise products counts nothing: see
    :func:`macs_per_hop` for a student.
    """
    was_training = [(part, part.training) for part in module.modules()]
    counter = FlopCounterMode(display=False)
    recurrent = [
        _RecurrentCount(part, counter) for part in module.modules() if isinstance(part, nn.RNNBase)
    ]
    module.eval()
    try:
        # Fused attention kernels hide their products from some releases of torch's counter.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            module(*inputs)
    finally:
        for part, training in was_training:
            part.training = training
        for layer in recurrent:
            layer.remove()
    flops: int = counter.get_total_flops()
    return flops // 2 + sum(layer.missed for layer in recurrent)


def macs_per_hop(student: nn.Module) -> int:
    """Multiply-adds of a causal student's hop of 80 ms, front end included, as it is exported.

    The exported graph writes every convolution as one, and one product more at the full rate than
    the training's path has (:mod:`streamsv.nn.products`).
    """
    with as_exported():
        return count_macs(student, torch.zeros(1, HOP_SAMPLES))


class _RecurrentCount:
    """Multiply-adds of a recurrent layer that a fused kernel hides from torch's counter.

    Each row of the input (a frame of a sequence) meets every weight matrix of the layer once.
    """

    def __init__(self, layer: nn.RNNBase, counter: FlopCounterMode) -> None:
        self.missed = 0
        self._counter = counter
        self._seen_before = 0
        self._hooks = [
            layer.register_forward_pre_hook(self._enter),
            layer.register_forward_hook(self._leave),
        ]

    def remove(self) -> None:
        """Take the hooks off the layer."""
        for hook in self._hooks:
            hook.remove()

    def _enter(self, _layer: nn.Module, _inputs: tuple[Any, ...]) -> None:
        self._seen_before = self._counter.get_total_flops()

    def _leave(self, layer: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        frames: Tensor = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
        rows = frames.numel() // frames.shape[-1]
        weights = sum(matrix.numel() for matrix in layer.parameters() if matrix.dim() == 2)
        seen = (self._counter.get_total_flops() - self._seen_before) // 2
        self.missed += rows * weights - seen
