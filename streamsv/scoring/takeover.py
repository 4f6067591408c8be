"""Has another voice taken over the call? The voice of the last seconds beside that of the call.

The network's attentive pooling keeps exact moments of everything heard so far. What was pooled
before a moment can be taken out again, by the pairwise update of Chan, Golub and LeVeque (1979)
read backwards, and the network's last layer makes an embedding of the rest: the voice of the last
five seconds, at the cost of one small matrix product and no second pass through the network. It is
compared with the voiceprint and with the voice of the call before that window. How alike the
windows of one voice are differs from call to call, so a share of what they were in this call so
far is taken off the mean of the two cosines; where the rest falls below a threshold, somebody else
is speaking. Share and threshold are fitted on calls spliced from two people (``python -m
training.takeover``).
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamsv.errors import ModelLoadError, ModelMismatch

Floats = NDArray[np.float32]
Moments = Mapping[str, NDArray[np.floating[Any]]]
"""``peak``, ``weight``, ``mean`` and ``spread`` of the pooling, (channels,) each: for weights
exp(e), the largest e, the sum of exp(e - peak), the weighted mean and sum of squared deviations."""

STEP_HOPS = 12
"""Hops between two looks, 0.96 s. Twice as many looks cost more and notice less: each is one more
chance for a false alarm."""

WINDOW_STEPS = 5
"""Looks to a window: 4.8 s of net speech."""

USUAL_LOOKS = 3
"""How many looks of an earlier call the usual likeness counts for, before this call has its own."""

STATE = {name: f"pool.{name}" for name in ("peak", "weight", "mean", "spread")}
"""Where the moments stand in the network's state."""

_LEAST_WEIGHT = 1e-12
_LEAST_VARIANCE = 1e-4
_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TakeoverModel:
    """What is needed to notice; fitted, and bound to one network by its fingerprint.

    Parameters
    ----------
    fingerprint:
        Of the network.
    weight, bias:
        Its last layer: (2 channels, dimension) and (dimension,).
    threshold:
        Likeness, less the share of what was usual, below which another voice speaks.
    lag_s:
        Net speech from a change to its notice, the median of the fit.
    fitted_on:
        What it was fitted on and what it measured there.
    own_share, usual:
        The share that is taken off, and the likeness of windows of one voice in the calls of the
        fit, where a call begins.
    """

    fingerprint: str
    weight: Floats
    bias: Floats
    threshold: float
    lag_s: float
    fitted_on: dict[str, Any] = dataclasses.field(default_factory=dict)
    own_share: float = 0.0
    usual: float = 0.0

    def embedding(self, now: Moments, before: Moments) -> Floats:
        """The unit-length embedding (dimension,) of what was pooled between two moments."""
        mean, variance = moments_between(now, before)
        pooled = np.concatenate([mean, np.sqrt(np.maximum(variance, _LEAST_VARIANCE))])
        pooled -= pooled.sum() / len(pooled)
        pooled /= math.sqrt(pooled.dot(pooled) / len(pooled) + _NORM_EPSILON)
        embedding: Floats = pooled.astype(np.float32).dot(self.weight)
        embedding += self.bias
        embedding /= max(math.sqrt(embedding.dot(embedding)), 1e-6)
        return embedding

    def check_fingerprint(self, fingerprint: str) -> None:
        """Raise ModelMismatch unless it was fitted on the model with ``fingerprint``."""
        if fingerprint != self.fingerprint:
            raise ModelMismatch(
                f"The takeover model was fitted on model {self.fingerprint}, the model loaded is "
                f"{fingerprint}. Fit another, or remove the file.",
                fingerprint,
            )

    def save(self, path: Path) -> None:
        """Write it as .npz, the weights in half precision."""
        described = {
            "fingerprint": self.fingerprint,
            "step_hops": STEP_HOPS,
            "threshold": self.threshold,
            "lag_s": self.lag_s,
            "own_share": self.own_share,
            "usual": self.usual,
            "fitted_on": self.fitted_on,
        }
        np.savez_compressed(
            path,
            weight=self.weight.astype(np.float16),
            bias=self.bias.astype(np.float32),
            described=np.array(json.dumps(described)),
        )

    @classmethod
    def load(cls, path: Path) -> TakeoverModel:
        """Read what `save` wrote. Raises ModelLoadError for anything else."""
        try:
            with np.load(path, allow_pickle=False) as content:
                described = json.loads(str(content["described"]))
                weight = content["weight"].astype(np.float32)
                bias = content["bias"].astype(np.float32)
            if described.get("step_hops") != STEP_HOPS:
                raise ModelLoadError(
                    f"{path} was fitted for another release of streamsv, which looked at other "
                    "times. Fit another, or remove it.",
                    str(path),
                )
            model = cls(
                str(described["fingerprint"]),
                weight,
                bias,
                float(described["threshold"]),
                float(described["lag_s"]),
                dict(described["fitted_on"]),
                float(described["own_share"]),
                float(described["usual"]),
            )
        except ModelLoadError:
            raise
        except Exception as error:  # zip, numpy and JSON errors share no base
            raise ModelLoadError(
                f"{path} cannot be read as a takeover model: {error}. Fit another, or remove it.",
                str(path),
            ) from error
        if weight.ndim != 2 or bias.shape != weight.shape[1:] or not np.isfinite(weight).all():
            raise ModelLoadError(f"{path} holds no last layer of a network.", str(path))
        return model


def moments_between(
    now: Moments, before: Moments
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted mean and variance (channels,) of the frames pooled after ``before`` up to ``now``.

    In float64: what is taken out can be much more than what stays.
    """
    peak, weight, mean, spread = (np.asarray(now[name], np.float64) for name in STATE)
    old_peak, old_weight, old_mean, old_spread = (
        np.asarray(before[name], np.float64) for name in STATE
    )
    scale = np.exp(old_peak - peak)
    old_weight = old_weight * scale
    rest = np.maximum(weight - old_weight, _LEAST_WEIGHT)
    rest_mean = (weight * mean - old_weight * old_mean) / rest
    between = (rest_mean - old_mean) ** 2 * old_weight * rest / weight
    rest_spread = np.maximum(spread - old_spread * scale - between, 0.0)
    return rest_mean, rest_spread / rest


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Look:
    hops: int
    moments: Moments
    embedding: Floats
    at_s: float
    added_to: list[OwnVoice] = dataclasses.field(default_factory=list)


class OwnVoice:
    """How alike the windows of a call were, up to the last one that ended before this begins."""

    __slots__ = ("_counted", "_latest", "looks", "total")

    def __init__(self) -> None:
        self._latest: collections.deque[float] = collections.deque()
        # Of those in the total, the last: as many as there are looks that can be taken back.
        self._counted: collections.deque[float] = collections.deque(maxlen=WINDOW_STEPS + 1)
        self.total = 0.0
        self.looks = 0

    def before_this(self, usual: float) -> float:
        """The mean likeness so far, as if `USUAL_LOOKS` of ``usual`` had come first."""
        return (self.total + USUAL_LOOKS * usual) / (self.looks + USUAL_LOOKS)

    def next_look(self) -> None:
        """A look is about to be taken: what no longer overlaps with it counts from now on."""
        if len(self._latest) == WINDOW_STEPS:
            counted = self._latest.popleft()
            self._counted.append(counted)
            self.total += counted
            self.looks += 1

    def add(self, likeness: float) -> None:
        """What this look found."""
        self._latest.append(likeness)

    def take_back(self) -> None:
        """The latest look is forgotten, and with it that another began to count."""
        self._latest.pop()
        if self._counted:
            counted = self._counted.pop()
            self._latest.appendleft(counted)
            self.total -= counted
            self.looks -= 1


@dataclasses.dataclass(slots=True, eq=False)
class _Watched:
    voiceprint: Floats
    since: int
    own: OwnVoice = dataclasses.field(default_factory=OwnVoice)


class TakeoverWatch:
    """Watches one call for the voices that were accepted in it."""

    __slots__ = ("_accepted", "_hops", "_looks", "_model")

    def __init__(self, model: TakeoverModel) -> None:
        self._model = model
        self._looks: collections.deque[_Look] = collections.deque(maxlen=WINDOW_STEPS + 1)
        self._hops = 0
        self._accepted: dict[str, _Watched | None] = {}

    def accept(self, speaker: str, voiceprint: Floats) -> None:
        """Watch for ``speaker`` from here on; ``voiceprint`` (dimension,), unit length.

        The first window begins here: what was heard before it was that speaker.
        """
        self._accepted.setdefault(speaker, _Watched(voiceprint, self._hops))

    def go_back(self, hops: int) -> None:
        """The stream goes on from where it was after ``hops``: what was heard since is undone."""
        self._hops = hops
        while self._looks and self._looks[-1].hops > hops:
            for own in self._looks.pop().added_to:
                own.take_back()

    def hear(
        self, embedding: Floats, state: Moments, at_s: float, is_speech: bool = True
    ) -> list[tuple[str, float]]:
        """One more hop: whom another voice took over from, and when, in media time.

        ``embedding`` (dimension,) is the network's, of the call so far, ``state`` its state with
        a batch of one. Each speaker is given once, and nobody while what is heard is no speech.
        """
        self._hops += 1
        if self._hops % STEP_HOPS:
            return []
        # Copies, because a batching driver writes the next step into the same arrays.
        moments = {name: np.array(state[key]).reshape(-1) for name, key in STATE.items()}
        look = _Look(self._hops, moments, embedding.copy(), at_s)
        self._looks.append(look)
        first = self._hops - WINDOW_STEPS * STEP_HOPS
        due = [(who, one) for who, one in self._accepted.items() if one and first >= one.since]
        if not due or not is_speech or len(self._looks) <= WINDOW_STEPS:
            return []
        before = self._looks[0]
        window = self._model.embedding(moments, before.moments)
        to_call = float(window @ before.embedding)
        changed = []
        for who, one in due:
            likeness = (float(window @ one.voiceprint) + to_call) / 2
            one.own.next_look()
            usual = self._model.own_share * one.own.before_this(self._model.usual)
            if likeness - usual < self._model.threshold:
                changed.append(who)
                # Never due again, and never accepted anew by the same verdict.
                self._accepted[who] = None
            one.own.add(likeness)
            look.added_to.append(one.own)
        hop_s_back = round(self._model.lag_s / (0.08 * STEP_HOPS))
        then = self._looks[max(len(self._looks) - 1 - hop_s_back, 0)]
        return [(who, then.at_s) for who in changed]
