"""Rebuild the bundled model's teacher: ``python -m training.teachers.campplus WEIGHTS OUTPUT``.

CAM++ (Wang et al. 2023) of 3D-Speaker as one ONNX file with two outputs: the embedding, and the
layer before pooling, which the public exports lack.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from streamsv.errors import ConfigError, ModelLoadError, StreamsvError

FEATURES = 80
DIMENSION = 192


class CamPlusPlus(nn.Module):
    """CAM++ with the layer before pooling as a second output.

    Raises ConfigError without the package ``speakerlab-slim``, which has the architecture.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            from speakerlab.models.campplus.DTDNN import CAMPPlus
        except ImportError as error:
            raise ConfigError(
                "The architecture of CAM++ is in the package speakerlab-slim, which is not here: "
                "python -m pip install --no-deps speakerlab-slim.",
                None,
            ) from error
        self.network: Any = CAMPPlus(feat_dim=FEATURES, embedding_size=DIMENSION)

    def forward(self, feats: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, frames, 80) -> embedding (batch, 192), frames (batch, frames / 2, features)."""
        x = self.network.head(feats.permute(0, 2, 1))
        frames = x
        for name, layer in self.network.xvector.named_children():
            if name == "stats":
                frames = x.permute(0, 2, 1)
            x = layer(x)
        return x, frames


def rebuild(weights: Path, output: Path) -> None:
    """Write the teacher with the ``weights`` of a ``campplus_cn_en_common.pt`` to ``output``.

    Raises ModelLoadError for a file that does not hold them.
    """
    teacher = CamPlusPlus()
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
        teacher.network.load_state_dict(content)
    except FileNotFoundError as error:
        raise ModelLoadError(f"There are no weights at {weights}.", str(weights)) from error
    except (RuntimeError, EOFError, OSError, TypeError, ValueError, UnpicklingError) as error:
        raise ModelLoadError(
            f"{weights} does not hold the weights of CAM++ with {DIMENSION} dimensions. Give the "
            "file campplus_cn_en_common.pt.",
            str(weights),
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that this network needs
        torch.onnx.export(
            teacher.eval(),
            (torch.zeros(2, 300, FEATURES),),
            str(output),
            input_names=["feats"],
            output_names=["embedding", "frames"],
            dynamic_axes={
                "feats": {0: "batch", 1: "frames"},
                "embedding": {0: "batch"},
                "frames": {0: "batch", 1: "half_frames"},
            },
            dynamo=False,
        )


def main() -> int:
    """Parse, rebuild, and turn a named error into a sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m training.teachers.campplus", description=__doc__
    )
    parser.add_argument("weights", type=Path, help="campplus_cn_en_common.pt")
    parser.add_argument("output", type=Path, help="the ONNX file to write")
    arguments = parser.parse_args()
    try:
        rebuild(arguments.weights, arguments.output)
    except StreamsvError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
