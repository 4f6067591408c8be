"""WavLM (Chen et al. 2022): hidden states of chosen layers, 50 a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsv.errors import ConfigError, ModelLoadError
from training.teachers.heard import Heard
from training.teachers.wavlm_format import (
    WavLMShape,
    Weights,
    is_hugging_face,
    read_hugging_face,
    read_microsoft,
)

PIPELINES = ("WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")


def _torchaudio() -> Any:
    """The package, which refuses in several ways to load beside another release of torch."""
    try:
        import torchaudio
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelLoadError(
            f"A WavLM teacher needs torchaudio of the same release as torch: {error}", "torchaudio"
        ) from error
    return torchaudio


def build(shape: WavLMShape) -> nn.Module:
    """The WavLM of torchaudio in a shape, untrained, without dropout."""
    network: nn.Module = _torchaudio().models.wavlm_model(
        extractor_mode=shape.extractor_mode,
        extractor_conv_layer_config=list(shape.conv_layers),
        extractor_conv_bias=shape.conv_bias,
        encoder_embed_dim=shape.dim,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=shape.position_kernel,
        encoder_pos_conv_groups=shape.position_groups,
        encoder_num_layers=shape.layers,
        encoder_num_heads=shape.heads,
        encoder_num_buckets=shape.buckets,
        encoder_max_distance=shape.max_distance,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=shape.hidden,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=shape.norm_first,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    return network


class WavLMTeacher:
    """A frozen WavLM.

    ``layers`` counts Transformer layers from 1, -1 being the last. The last layer of a network
    that normalizes first (Large) is given after the final norm, as its own forward pass does;
    layers before it are given as they leave their block.
    """

    def __init__(
        self, network: nn.Module, normalize: bool, layers: Sequence[int], name: str
    ) -> None:
        self.name = name
        frozen: Any = network.eval().requires_grad_(False)
        self._network, self._normalize = frozen, normalize
        transformer = frozen.encoder.transformer
        depth = len(transformer.layers)
        for layer in layers:
            if not (1 <= layer <= depth or layer == -1):
                raise ConfigError(
                    f"teacher.layers has {layer}; {name} has layers 1 to {depth}, -1 is the last.",
                    layer,
                )
        self._layers = [depth if layer == -1 else layer for layer in layers]
        # torchaudio's Transformer holds the opposite of the block's own setting for WavLM.
        self._normed_last = depth if not transformer.layer_norm_first else 0

    @classmethod
    def from_checkpoint(cls, path: Path, layers: Sequence[int]) -> WavLMTeacher:
        """From Microsoft's file or Hugging Face's folder.

        Raises ModelLoadError when weights are missing or do not fit their own configuration.
        """
        reader = read_hugging_face if is_hugging_face(path) else read_microsoft
        shape, weights = reader(path)
        network = build(shape)
        _load(network, weights, path)
        return cls(network, shape.normalize, layers, path.stem)

    @classmethod
    def from_pipeline(cls, name: str, layers: Sequence[int]) -> WavLMTeacher:
        """From torchaudio's pipelines (``WAVLM_BASE``, ``WAVLM_BASE_PLUS``, ``WAVLM_LARGE``).

        The weights are downloaded once, into torch's cache.
        """
        torchaudio = _torchaudio()
        if name not in PIPELINES:
            raise ConfigError(
                f"torchaudio has no teacher {name}; it has {', '.join(PIPELINES)}.", name
            )
        bundle = getattr(torchaudio.pipelines, name)
        try:
            model: Any = bundle.get_model()
        except OSError as error:
            raise ModelLoadError(
                f"The weights of {name} cannot be downloaded ({error}). Fetch a checkpoint "
                "elsewhere and set teacher.path to it.",
                name,
            ) from error
        network = getattr(model, "model", model)
        return cls(network, name == "WAVLM_LARGE", layers, name.lower())

    def to(self, device: torch.device) -> WavLMTeacher:
        """Move the network; returns the teacher itself."""
        self._network.to(device)
        return self

    def hear(self, pcm: Tensor) -> Heard:
        """(batch, samples) -> no embedding, the chosen layers (batch, frames, features)."""
        pcm = pcm.to(next(self._network.parameters()).device)
        with torch.inference_mode():
            if self._normalize:
                pcm = F.layer_norm(pcm, pcm.shape[1:])
            states, _ = self._network.extract_features(pcm, num_layers=max(self._layers))
            found = [states[layer - 1] for layer in self._layers]
            if self._normed_last in self._layers:
                norm = self._network.encoder.transformer.layer_norm
                place = self._layers.index(self._normed_last)
                found[place] = norm(found[place])
        return Heard(None, tuple(state.clone() for state in found))


def _load(network: nn.Module, weights: Weights, path: Path) -> None:
    wanted = network.state_dict()
    if missing := sorted(set(wanted) - set(weights)):
        raise ModelLoadError(f"{path} lacks the weight {missing[0]}.", missing[0])
    if strange := sorted(set(weights) - set(wanted)):
        raise ModelLoadError(f"{path} has a weight too many: {strange[0]}.", strange[0])
    for name, tensor in weights.items():
        if tensor.shape != wanted[name].shape:
            raise ModelLoadError(
                f"{path}: {name} is {tuple(tensor.shape)}, its configuration asks for "
                f"{tuple(wanted[name].shape)}.",
                name,
            )
    network.load_state_dict(weights)
