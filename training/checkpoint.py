"""A run on disk: one checkpoint, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch

from streamsv.errors import ConfigError, ModelLoadError
from streamsv.nn.config import ModelConfig
from streamsv.nn.paper import PaperConfig
from streamsv.nn.student import Student
from training.networks import Network, make_network


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` beside ``path`` and move it there, so that a kill leaves the old one.

    A folder that is not there is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Raises ModelLoadError if it is missing or damaged."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelLoadError(f"There is no checkpoint at {path}.", str(path)) from error
    except (RuntimeError, EOFError, OSError, ValueError, UnpicklingError) as error:
        raise ModelLoadError(f"{path} is not a readable checkpoint: {error}", str(path)) from error
    if not isinstance(content, dict) or "model_config" not in content:
        raise ModelLoadError(f"{path} is not a checkpoint of streamsv's training.", str(path))
    return content


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint of this project's training."""
    try:
        load_checkpoint(path)
    except ModelLoadError:
        return False
    return True


def load_network(path: Path, with_last_layer: bool = True) -> Network:
    """The network, causal or not, with the averaged weights of a checkpoint, for evaluation.

    A last layer that was fitted afterwards (:mod:`training.discriminant`) takes the place of the
    trained one, unless ``with_last_layer`` is false.
    """
    content = load_checkpoint(path)
    kind, shape = content.get("network", "causal"), content["model_config"]
    is_paper = kind == "paper"
    network: Network = make_network(
        kind,
        ModelConfig() if is_paper else ModelConfig.from_dict(shape),
        PaperConfig.from_dict(shape) if is_paper else PaperConfig(),
    )
    try:
        changed = content.get("last_layer", {}) if with_last_layer else {}
        network.student.load_state_dict(content["average"] | changed)
    except RuntimeError as error:
        raise ConfigError(f"{path} does not fit its own configuration: {error}", None) from error
    return network.eval()


def load_student(path: Path, with_last_layer: bool = True) -> Student:
    """The causal student with the averaged weights of a checkpoint, in evaluation mode.

    ``with_last_layer`` as for :func:`load_network`. Raises ModelLoadError for a checkpoint of the
    paper's student, or of one that hears whole clips: they do not stream.
    """
    network = load_network(path, with_last_layer)
    if network.kind == "paper":
        raise ModelLoadError(f"{path} holds the paper's student, which does not stream.", str(path))
    if network.kind == "whole":
        raise ModelLoadError(
            f"{path} holds a student that hears whole clips, which does not stream.", str(path)
        )
    return cast("Student", network.student)
