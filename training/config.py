"""The training configuration: one YAML file, checked key by key."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from streamsv.config import load
from streamsv.errors import ConfigError
from streamsv.nn.config import ModelConfig
from streamsv.nn.paper import PaperConfig


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is {value}; it must be at least {least}.", value)


def _among(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(allowed)}.", value)


@dataclasses.dataclass(frozen=True, slots=True)
class DataConfig:
    """What is heard. Paths are relative to the working directory; an empty ``sounds`` is none.

    ``source_weights`` says how often a source is drawn, against 1 for a source not named; the
    longest matching prefix counts. ``speeds`` are playback speeds, each a voice of its own;
    ``warps`` are (pitch, formants) factors of a vocoder, each a voice of its own as well.

    ``stream`` takes crops straight from the files, for sets that no cache could hold; the teacher
    then hears each crop as it comes, and no more of its clip. ``warps`` are for a cache only.
    ``gate`` sends those crops through the engine's gate.
    ``corpora`` are sets as published, name to folder, in place of the table ``clips``; see
    :mod:`training.corpora`. ``sound_corpora`` likewise in place of ``sounds``; with
    ``preload_sounds`` false, noises are read from disk when they are wanted.
    """

    clips: str = "../shared/data/train/train.tsv"
    sounds: str = "../shared/data/noise/noise.tsv"
    cache: str = "cache"
    speeds: tuple[float, ...] = (1.0, 0.88, 1.14)
    warps: tuple[tuple[float, float], ...] = ()
    stream: bool = False
    gate: bool = True
    corpora: dict[str, str] = dataclasses.field(default_factory=dict)
    sound_corpora: dict[str, str] = dataclasses.field(default_factory=dict)
    preload_sounds: bool = True
    source_weights: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.speeds and not self.warps:
            raise ConfigError("data.speeds is empty; the speed as recorded is [1.0].", None)
        for speed in self.speeds:
            if not 0.25 <= speed <= 4.0:
                raise ConfigError(f"data.speeds has {speed}; allowed are 0.25 to 4.", speed)


@dataclasses.dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who is imitated: see :func:`training.teachers.load_teacher` for what ``path`` may hold.

    ``layers`` are the hidden layers of a WavLM that are targets, -1 being the last. An empty
    ``path`` is no teacher, for runs on labels alone.
    """

    path: str = "../shared/data/teacher/campplus.onnx"
    layers: tuple[int, ...] = (-1,)


@dataclasses.dataclass(frozen=True, slots=True)
class AugmentConfig:
    """How often (a probability) and how badly the student's copy is damaged.

    Signal-to-noise ratios in dB, drawn evenly between the two bounds. ``gain_control`` and
    ``packet_loss`` are what a call adds; ``gsm`` and ``adpcm`` codecs (GSM 06.10, G.721) at 8 kHz,
    ``simulated_rooms`` how many rooms pyroomacoustics makes beside the recorded ones.
    """

    room: float = 0.3
    noise: float = 0.5
    noise_snr_db: tuple[float, float] = (3.0, 25.0)
    babble: float = 0.15
    babble_snr_db: tuple[float, float] = (8.0, 20.0)
    equalizer: float = 0.5
    telephone: float = 0.4
    clipping: float = 0.05
    gain_control: float = 0.0
    packet_loss: float = 0.0
    gsm: float = 0.0
    adpcm: float = 0.0
    simulated_rooms: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the losses; 0 leaves one out.

    Against the teacher's embedding (:mod:`training.losses`, :mod:`training.relations`):
    ``embedding`` cosine, ``posterior`` soft speaker posteriors, ``decoupled`` the same with
    emphasized non-targets, ``relational`` the cosines between voices. Against its frames
    (:mod:`training.frame_losses`), through heads that are discarded: ``frames`` Huber in units of
    the teacher's spread, ``hidden`` mean squared error of the last of ``teacher.layers``,
    ``layers`` DistilHuBERT's heads on all of them. Against labels
    (:mod:`training.speaker_loss`): ``speaker`` AAM-softmax.

    ``prefixes`` hops of each crop are judged: its last, and others drawn evenly in the logarithm of
    time from ``min_prefix_hops`` on; or, where ``prefix_points_s`` is not empty, those after so
    many seconds and the last. They are weighted by (length / crop) to the power of
    ``prefix_emphasis``: above 0 late answers count more, below 0 early ones. ``posterior_scale``
    sharpens the speaker posteriors; ``frame_delay`` is how many frames of 20 ms later the student
    may give a teacher frame. The losses against the teacher are multiplied by a factor that goes
    from 1 to ``kd_final`` over the run, by ``kd_schedule``.
    """

    embedding: float = 1.0
    posterior: float = 0.5
    frames: float = 0.5
    prefixes: int = 8
    min_prefix_hops: int = 5
    prefix_points_s: tuple[float, ...] = ()
    posterior_scale: float = 20.0
    frame_delay: int = 2
    speaker_share: float = 0.5
    decoupled: float = 0.0
    non_target_weight: float = 2.0
    relational: float = 0.0
    relational_queue: int = 0
    hidden: float = 0.0
    layers: float = 0.0
    layer_cosine: float = 1.0
    speaker: float = 0.0
    margin: float = 0.2
    scale: float = 30.0
    hard_classes: int = 5
    hard_margin: float = 0.1
    sub_centers: int = 1
    balance_classes: bool = False
    prefix_emphasis: float = 0.0
    kd_schedule: str = "constant"
    kd_final: float = 1.0

    def __post_init__(self) -> None:
        _among("loss.kd_schedule", self.kd_schedule, ("constant", "linear", "cosine"))
        _at_least("loss.prefixes", self.prefixes, 1)
        _at_least("loss.min_prefix_hops", self.min_prefix_hops, 1)
        for seconds in self.prefix_points_s:
            _at_least("loss.prefix_points_s", seconds, 0.08)
        _at_least("loss.sub_centers", self.sub_centers, 1)
        _at_least("loss.relational_queue", self.relational_queue, 0)

    def wants_frames(self) -> bool:
        """Whether any loss needs the teacher's frames."""
        return max(self.frames, self.hidden, self.layers) > 0

    def wants_embeddings(self) -> bool:
        """Whether any loss needs the teacher's embedding."""
        return max(self.embedding, self.posterior, self.decoupled, self.relational) > 0


@dataclasses.dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW with a linear warm-up and a cosine decay; with ``method`` ``muon``, Muon for the
    matrices (:mod:`training.muon`).

    From step ``sgd_after`` on, unless that is 0, SGD with Nesterov's momentum of 0.9 instead, whose
    rate falls from ``sgd_peak_rate`` to ``sgd_final_rate`` along a cosine; AdamW's has then come to
    its ``final_rate``.

    ``shapes`` are (crops, hops of 80 ms) of a batch, drawn with the probabilities
    ``shape_shares``; ``average`` the decay of the averaged weights that are exported. A step adds
    up the gradients of ``accumulate`` batches, shared out evenly to the processes of a run.
    """

    method: str = "adamw"
    steps: int = 6000
    warmup: int = 300
    peak_rate: float = 2e-3
    final_rate: float = 2e-5
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    average: float = 0.998
    shapes: tuple[tuple[int, int], ...] = ((64, 38), (24, 100))
    shape_shares: tuple[float, ...] = (0.75, 0.25)
    accumulate: int = 1
    sgd_after: int = 0
    sgd_peak_rate: float = 0.1
    sgd_final_rate: float = 1e-4

    def __post_init__(self) -> None:
        _among("optimizer.method", self.method, ("adamw", "muon"))
        _at_least("optimizer.steps", self.steps, 1)
        _at_least("optimizer.warmup", self.warmup, 0)
        _at_least("optimizer.accumulate", self.accumulate, 1)
        for crops, hops in self.shapes:
            _at_least("optimizer.shapes, crops", crops, 1)
            _at_least("optimizer.shapes, hops", hops, 1)
        if not self.shapes or len(self.shapes) != len(self.shape_shares):
            raise ConfigError(
                f"optimizer.shapes has {len(self.shapes)} entries and optimizer.shape_shares "
                f"{len(self.shape_shares)}; give each shape its share.",
                len(self.shape_shares),
            )
        if min(self.shape_shares) < 0 or sum(self.shape_shares) <= 0:
            raise ConfigError(
                "optimizer.shape_shares must be 0 or more, and not all 0.", str(self.shape_shares)
            )


@dataclasses.dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that a training run depends on.

    ``network`` is ``causal`` (``model`` has its dimensions), ``paper`` (``paper`` has them), or
    ``whole``: the causal one's twin that hears whole clips (:mod:`training.whole`).
    ``device`` is ``cpu`` or ``cuda``; ``precision`` of the student's pass ``bfloat16`` (autocast)
    or ``float32``. ``workers`` threads make that many steps' batches ahead; 0 makes them in time.
    ``start_from`` is a checkpoint whose averaged weights are the first ones.
    """

    name: str
    seed: int = 0
    run_dir: str = "runs"
    threads: int = 2
    device: str = "cpu"
    precision: str = "bfloat16"
    workers: int = 0
    compile: bool = True
    checkpoint_every: int = 200
    log_every: int = 20
    start_from: str | None = None
    network: str = "causal"
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    paper: PaperConfig = dataclasses.field(default_factory=PaperConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        _among("network", self.network, ("causal", "paper", "whole"))
        _among("device", self.device, ("cpu", "cuda"))
        _among("precision", self.precision, ("bfloat16", "float32"))
        for name, least in (
            *(("threads", 1), ("workers", 0)),
            *(("checkpoint_every", 1), ("log_every", 1)),
        ):
            _at_least(name, getattr(self, name), least)
        if self.data.stream and (self.data.warps or self.loss.relational_queue):
            name = "data.warps" if self.data.warps else "loss.relational_queue"
            raise ConfigError(
                f"{name} needs a cache; with data.stream leave it empty or 0. Playback speeds "
                "(data.speeds) work without one.",
                name,
            )
        if not (self.data.stream or self.data.gate):
            raise ConfigError(
                "data.gate is false, and a cache is always gated: set data.stream to true, or "
                "leave data.gate out.",
                self.data.gate,
            )
        if not self.teacher.path and (self.loss.wants_embeddings() or self.loss.wants_frames()):
            raise ConfigError(
                "teacher.path is empty: name a teacher, or set every loss but loss.speaker to 0.",
                None,
            )
        if self.data.stream and (self.loss.frames or self.loss.posterior or self.loss.decoupled):
            raise ConfigError(
                "data.stream has no cache to take the speakers' centers and the frames' spread "
                "from: set loss.frames, loss.posterior and loss.decoupled to 0.",
                None,
            )

    @property
    def folder(self) -> Path:
        """Where the run keeps its checkpoint, its log and its plots."""
        return Path(self.run_dir) / self.name


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration from YAML. Raises ConfigError naming file and key."""
    return load(TrainConfig, path)
