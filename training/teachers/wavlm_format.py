"""WavLM checkpoints as they are published, translated into torchaudio's names.

Two formats. Microsoft's: one file, a dict of ``cfg`` and ``model``, in fairseq's names (Chen et al.
2022, "WavLM"). Hugging Face's: a folder of ``config.json`` and ``pytorch_model.bin`` or
``model.safetensors``. Every weight of the network must be found; what only pre-training needs
(the mask embedding) is left out.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from streamsv.errors import ModelLoadError

Weights = dict[str, Tensor]
ConvLayer = tuple[int, int, int]
_TRANSFORMER = "encoder.transformer"


@dataclasses.dataclass(frozen=True, slots=True)
class WavLMShape:
    """What builds the network: sizes, and where it normalizes.

    ``normalize`` says whether a clip is brought to mean 0 and variance 1 before it is heard.
    """

    extractor_mode: str
    conv_layers: tuple[ConvLayer, ...]
    conv_bias: bool
    dim: int
    layers: int
    heads: int
    hidden: int
    position_kernel: int
    position_groups: int
    buckets: int
    max_distance: int
    norm_first: bool
    normalize: bool


def is_microsoft(path: Path) -> bool:
    """Whether a file is a torch archive with ``cfg`` and ``model``."""
    try:
        content = torch.load(path, map_location="meta", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, UnpicklingError):
        return False
    return isinstance(content, dict) and {"cfg", "model"} <= set(content)


def is_hugging_face(path: Path) -> bool:
    """Whether a folder holds a ``config.json`` of model type ``wavlm``."""
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "wavlm"


def read_microsoft(path: Path) -> tuple[WavLMShape, Weights]:
    """Shape and weights, in torchaudio's names, of a checkpoint in Microsoft's format."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        cfg, model = dict(content["cfg"]), dict(content["model"])
        shape = _microsoft_shape(cfg)
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise ModelLoadError(f"{path} is not a readable checkpoint: {error}", str(path)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"{path} lacks {error} of a WavLM checkpoint.", str(path)) from error
    return shape, _translated(model, _microsoft_name, {"mask_emb"}, path)


def read_hugging_face(folder: Path) -> tuple[WavLMShape, Weights]:
    """Shape and weights, in torchaudio's names, of a folder in Hugging Face's format."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        shape = _hugging_face_shape(config, _normalizes(folder))
        weights = _hugging_face_weights(folder)
    except (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise ModelLoadError(f"{folder} cannot be read: {error}", str(folder)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelLoadError(f"{folder} lacks {error} of a WavLM.", str(folder)) from error
    body = {name.removeprefix("wavlm."): value for name, value in weights.items()}
    inside = ("feature_extractor.", "feature_projection.", "encoder.", "masked_spec_embed")
    body = {name: value for name, value in body.items() if name.startswith(inside)}
    return shape, _translated(body, _hugging_face_name, {"masked_spec_embed"}, folder)


def _hugging_face_weights(folder: Path) -> Weights:
    if (folder / "model.safetensors").is_file():
        return dict(load_file(folder / "model.safetensors"))
    return dict(torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True))


def _normalizes(folder: Path) -> bool | None:
    preprocessor = folder / "preprocessor_config.json"
    if not preprocessor.is_file():
        return None
    return bool(json.loads(preprocessor.read_text(encoding="utf-8"))["do_normalize"])


def _microsoft_shape(cfg: Mapping[str, Any]) -> WavLMShape:
    return WavLMShape(
        extractor_mode="layer_norm" if cfg["extractor_mode"] == "layer_norm" else "group_norm",
        conv_layers=_conv_layers(cfg["conv_feature_layers"]),
        conv_bias=cfg["conv_bias"],
        dim=cfg["encoder_embed_dim"],
        layers=cfg["encoder_layers"],
        heads=cfg["encoder_attention_heads"],
        hidden=cfg["encoder_ffn_embed_dim"],
        position_kernel=cfg["conv_pos"],
        position_groups=cfg["conv_pos_groups"],
        buckets=cfg["num_buckets"],
        max_distance=cfg["max_distance"],
        norm_first=cfg["layer_norm_first"],
        normalize=cfg["normalize"],
    )


def _hugging_face_shape(config: Mapping[str, Any], normalize: bool | None) -> WavLMShape:
    mode = f"{config['feat_extract_norm']}_norm"
    sizes = zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)
    return WavLMShape(
        extractor_mode=mode,
        conv_layers=tuple(sizes),
        conv_bias=config["conv_bias"],
        dim=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        hidden=config["intermediate_size"],
        position_kernel=config["num_conv_pos_embeddings"],
        position_groups=config["num_conv_pos_embedding_groups"],
        buckets=config["num_buckets"],
        max_distance=config["max_bucket_distance"],
        norm_first=config["do_stable_layer_norm"],
        normalize=mode == "layer_norm" if normalize is None else normalize,
    )


def _conv_layers(text: str) -> tuple[ConvLayer, ...]:
    """The layers that Microsoft writes as Python, ``[(512,10,5)] + [(512,3,2)] * 4``."""

    def value(node: ast.expr) -> list[ConvLayer]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return value(node.left) + value(node.right)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            return value(node.left) * int(ast.literal_eval(node.right))
        return [(int(a), int(b), int(c)) for a, b, c in ast.literal_eval(node)]

    try:
        return tuple(value(ast.parse(text, mode="eval").body))
    except SyntaxError as error:
        raise ValueError("readable conv_feature_layers") from error


_MICROSOFT_BLOCK = {
    "self_attn.grep_a": "attention.gru_rel_pos_const",
    "self_attn.grep_linear": "attention.gru_rel_pos_linear",
    "self_attn.relative_attention_bias": "attention.rel_attn_embed",
    "self_attn.out_proj": "attention.attention.out_proj",
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn_layer_norm": "layer_norm",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
    "final_layer_norm": "final_layer_norm",
}


def _microsoft_name(name: str) -> str:
    if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.0\.(\w+)", name):
        return f"feature_extractor.conv_layers.{match[1]}.conv.{match[2]}"
    if match := re.fullmatch(r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?(\w+)", name):
        return f"feature_extractor.conv_layers.{match[1]}.layer_norm.{match[2]}"
    if match := re.fullmatch(r"layer_norm\.(\w+)", name):
        return f"encoder.feature_projection.layer_norm.{match[1]}"
    if match := re.fullmatch(r"post_extract_proj\.(\w+)", name):
        return f"encoder.feature_projection.projection.{match[1]}"
    if match := re.fullmatch(r"encoder\.pos_conv\.0\.(\S+)", name):
        return f"{_TRANSFORMER}.pos_conv_embed.conv.{_weight_norm(match[1])}"
    if match := re.fullmatch(r"encoder\.layer_norm\.(\w+)", name):
        return f"{_TRANSFORMER}.layer_norm.{match[1]}"
    if match := re.fullmatch(r"encoder\.layers\.(\d+)\.(\S+?)(\.weight|\.bias)?", name):
        inside = _MICROSOFT_BLOCK.get(match[2])
        if inside is not None:
            return f"{_TRANSFORMER}.layers.{match[1]}.{inside}{match[3] or ''}"
    raise KeyError(name)


def _hugging_face_name(name: str) -> str:
    if name.startswith("feature_extractor."):
        return name
    if name.startswith("feature_projection."):
        return f"encoder.{name}"
    if match := re.fullmatch(r"encoder\.pos_conv_embed\.conv\.(\S+)", name):
        return f"{_TRANSFORMER}.pos_conv_embed.conv.{_weight_norm(match[1])}"
    if match := re.fullmatch(r"encoder\.(layers\.\d+)\.attention\.out_proj\.(\w+)", name):
        return f"{_TRANSFORMER}.{match[1]}.attention.attention.out_proj.{match[2]}"
    if name.startswith("encoder."):
        return f"{_TRANSFORMER}.{name.removeprefix('encoder.')}"
    raise KeyError(name)


def _weight_norm(name: str) -> str:
    """Weight norm in the names of newer torch: magnitude ``original0``, direction ``original1``."""
    newer = {
        "weight_g": "parametrizations.weight.original0",
        "weight_v": "parametrizations.weight.original1",
    }
    return newer.get(name, name)


def _translated(
    weights: Mapping[str, Tensor], rename: Callable[[str], str], unused: set[str], path: Path
) -> Weights:
    """Rename every weight, and join query, key and value into one matrix, in this order."""
    named: Weights = {}
    for name, tensor in weights.items():
        if name in unused:
            continue
        try:
            named[rename(name)] = tensor.float()
        except KeyError as error:
            raise ModelLoadError(
                f"{path} has a weight that WavLM has not: {name}.", name
            ) from error
    for name in [name for name in named if ".attention.q_proj." in name]:
        parts = [name.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
        joined = name.replace(".q_proj.", ".attention.in_proj_")
        if missing := [part for part in parts if part not in named]:
            raise ModelLoadError(f"{path} lacks the weight {missing[0]}.", missing[0])
        named[joined] = torch.cat([named.pop(part) for part in parts])
    return named
