"""The training configuration: one YAML file, checked key by key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from streamsv.config import load
from streamsv.nn.config import ModelConfig


@dataclasses.dataclass(frozen=True, slots=True)
class DataConfig:
    """What is heard. Paths are relative to the working directory.

    ``source_weights`` says how often a source is drawn, against 1 for a source not named; the
    longest matching prefix counts. ``speeds`` are playback speeds, each a voice of its own.
    """

    clips: str = "../shared/data/train/train.tsv"
    sounds: str = "../shared/data/noise/noise.tsv"
    cache: str = "cache"
    speeds: tuple[float, ...] = (1.0, 0.88, 1.14)
    source_weights: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who is imitated: an ONNX speaker encoder that takes Kaldi filterbanks."""

    path: str = "../shared/data/teacher/campplus.onnx"


@dataclasses.dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How often (a probability) and how badly the student's copy is damaged.

    Signal-to-noise ratios in dB, drawn evenly between the two bounds.
    """

    room: float = 0.3
    noise: float = 0.5
    noise_snr_db: tuple[float, float] = (3.0, 25.0)
    babble: float = 0.15
    babble_snr_db: tuple[float, float] = (8.0, 20.0)
    equalizer: float = 0.5
    telephone: float = 0.4
    clipping: float = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the losses; 0 leaves one out. See :mod:`training.losses`.

    ``prefixes`` random hops of each crop are judged; ``posterior_scale`` sharpens the speaker
    posteriors; ``frame_delay`` is how many frames later the student may give a teacher frame.
    """

    embedding: float = 1.0
    posterior: float = 0.5
    frames: float = 0.5
    prefixes: int = 8
    min_prefix_hops: int = 5
    posterior_scale: float = 20.0
    frame_delay: int = 2
    speaker_share: float = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and a cosine decay.

    ``shapes`` are (crops, hops of 80 ms) of a batch, drawn with the probabilities
    ``shape_shares``; ``average`` the decay of the averaged weights that are exported.
    """

    steps: int = 6000
    warmup: int = 300
    peak_rate: float = 2e-3
    final_rate: float = 2e-5
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    average: float = 0.998
    shapes: tuple[tuple[int, int], ...] = ((64, 38), (24, 100))
    shape_shares: tuple[float, ...] = (0.75, 0.25)


@dataclasses.dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that a training run depends on."""

    name: str
    seed: int = 0
    run_dir: str = "runs"
    threads: int = 2
    compile: bool = True
    checkpoint_every: int = 200
    log_every: int = 20
    start_from: str | None = None
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration from YAML. Raises ConfigError naming file and key."""
    return load(TrainConfig, path)
