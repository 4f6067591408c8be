"""How well a model tells the voices of a set apart, after each amount of net speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streamsv import __version__
from streamsv.audio import GateConfig
from streamsv.encoder import Encoder
from streamsv.engine import Engine
from streamsv.errors import ConfigError
from streamsv.evaluation.heard import HeardEncoder, HeardSet, hear, pooled
from streamsv.evaluation.measures import CallResult, PointResult, measure_calls, measure_point
from streamsv.evaluation.rivals import Rival
from streamsv.evaluation.sets import EvaluationSet
from streamsv.evaluation.streaming import Progress, heard_whole


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """The model that was measured.

    Fields
    ------
    fingerprint: of its configuration and weights.
    name: of its file.
    config, seed, teacher, start_from, data: what it was trained with, as its card says; None where
        it does not.
    """

    fingerprint: str
    name: str
    config: Any = None
    seed: Any = None
    teacher: Any = None
    start_from: Any = None
    data: Any = None

    @classmethod
    def of(cls, encoder: Encoder) -> EvaluatedModel:
        """The model of ``encoder``."""
        keys = ("config", "seed", "teacher", "start_from", "data")
        trained = {key: encoder.card.get(key) for key in keys}
        return cls(encoder.fingerprint, encoder.path.name, **trained)


@dataclass(frozen=True, slots=True)
class RivalResult:
    """Another encoder on the same trials, one of ``results`` for each of ours."""

    name: str
    version: str
    results: tuple[PointResult, ...]


@dataclass(frozen=True, slots=True)
class SexResult:
    """Our encoder on the trials whose two sides are of one sex, as the set writes it."""

    sex: str
    speakers: int
    results: tuple[PointResult, ...]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was measured, on what, and how; `to_dict` is the stable JSON form.

    Fields
    ------
    set: the set's name, ``pooled`` for several together.
    score: what ``eer`` and ``min_dcf`` are of; the Cllr and ``act_dcf`` are always the LLR's.
    channel: ``telephone`` if everything was sent through 8 kHz mu-law, None if nothing was.
    results: one for each amount asked for, rising, and a last one for whole streams.
    speakers, trials: of the whole set, as far as trials name them.
    enrollments: voices enrolled.
    enrollments_refused: those that a user would have been refused; they are made by force.
    enrollments_too_short: the refused ones that not even force makes; their trials are left out.
    resamples, seed: of the intervals.
    calls: what the sessions' own verdicts came to.
    rivals: other encoders, on the same samples and trials.
    sets: when ``set`` is several, the report of each.
    config: the engine's settings.
    by_sex: one for each sex that the set names; empty where it names none.
    measured_at, commit: when, in UTC, and the commit of the code; None where nobody said.
    """

    set: str
    model: EvaluatedModel
    score: str
    gate: GateConfig
    channel: str | None
    results: tuple[PointResult, ...]
    speakers: int
    trials: int
    enrollments: int
    enrollments_refused: int
    enrollments_too_short: int
    resamples: int
    seed: int
    streamsv_version: str
    calls: CallResult
    rivals: tuple[RivalResult, ...]
    sets: tuple[EvaluationReport, ...]
    config: Mapping[str, Any]
    measured_at: str | None = None
    commit: str | None = None
    by_sex: tuple[SexResult, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields; rates are fractions, what has no data is None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def evaluate(
    engine: Engine,
    evaluation_set: EvaluationSet,
    at: Sequence[float],
    score: str = "cosine",
    channel: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
    rivals: Sequence[Rival] = (),
) -> EvaluationReport:
    """Stream one set through real sessions and measure at each of ``at`` seconds of net speech.

    See `streamsv.evaluation.heard.hear` for what is heard and raised, and
    `streamsv.scoring.intervals.speaker_intervals` for ``resamples`` and ``seed``.
    """
    _check_resamples(resamples)
    heard = hear(engine, evaluation_set, at, score, channel, rivals, progress)
    return measure(engine, [heard], score, channel, resamples, seed)


def measure(
    engine: Engine,
    heard: Sequence[HeardSet],
    score: str = "cosine",
    channel: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    measured_at: str | None = None,
    commit: str | None = None,
) -> EvaluationReport:
    """The report on one set, or on several together with that of each in ``sets``.

    ``score`` and ``channel`` are what the sets were heard with. Raises `ConfigError` for no
    resamples and for two sets of one name.
    """
    _check_resamples(resamples)
    together = heard[0] if len(heard) == 1 else pooled(heard)

    def report(of: HeardSet, parts: tuple[EvaluationReport, ...]) -> EvaluationReport:
        return EvaluationReport(
            set=of.name,
            model=EvaluatedModel.of(engine.encoder),
            score=score,
            gate=engine.config.gate,
            channel=channel,
            results=_results(of, of.ours, resamples, seed),
            **of.sizes,
            resamples=resamples,
            seed=seed,
            streamsv_version=__version__,
            calls=measure_calls(of.calls, resamples, seed),
            rivals=tuple(
                RivalResult(rival.name, rival.version, _results(of, rival, resamples, seed))
                for rival in of.rivals
            ),
            sets=parts,
            config=asdict(heard_whole(engine.config)),
            measured_at=measured_at,
            commit=commit,
            by_sex=_by_sex(of, resamples, seed),
        )

    parts = tuple(report(each, ()) for each in heard) if len(heard) > 1 else ()
    return report(together, parts)


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1; got {resamples}.", resamples)


def _results(
    heard: HeardSet, encoder: HeardEncoder, resamples: int, seed: int
) -> tuple[PointResult, ...]:
    found = []
    for point in heard.points:
        trials = encoder.trials[point]
        trials_left_out = heard.sizes["trials"] - len(trials.scores)
        counts = heard.left_out[point], trials_left_out
        found.append(measure_point(point, trials, *counts, resamples, seed))
    return tuple(found)


def _by_sex(heard: HeardSet, resamples: int, seed: int) -> tuple[SexResult, ...]:
    found = []
    whole = heard.ours.trials[None]
    for sex in sorted({each for each in whole.sex if each is not None}):
        of = {point: trials.of_sex(sex) for point, trials in heard.ours.trials.items()}
        all_of_it = len(of[None].scores)
        results = tuple(
            # Nobody counted the recordings that end before, by sex; trials left out say as much.
            measure_point(point, of[point], 0, all_of_it - len(of[point].scores), resamples, seed)
            for point in heard.points
        )
        speakers = {*of[None].enroll_speaker, *of[None].test_speaker}
        found.append(SexResult(sex, len(speakers), results))
    return tuple(found)


def _plain(value: Any) -> Any:
    """Lists for tuples and names for enums, as JSON reads them back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
