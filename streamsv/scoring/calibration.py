"""Evidence as a log-likelihood ratio: what a cosine is worth on this channel, after this long.

A cosine of 0.5 says little after one second and much after ten, and less on a telephone or
against a voiceprint of three seconds. So

    llr = (a(t) + c(e)) cosine + b(t) + d(e),

four curves a channel, t the seconds of net speech heard and e those enrolled: linear in the
logarithm between knots and constant outside them. LLRs are natural logarithms. The slope saturates
because frames are not independent; it is fitted, not assumed (`streamsv.evaluation.evidence`).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from streamsv.config import from_mapping
from streamsv.errors import ConfigError, ModelLoadError, ModelMismatch
from streamsv.scoring.rules import StoppingRule

MIXED = "mixed"
"""The channel of a trial whose two sides were heard on different channels."""

USUAL_ENROLLED_S = 12.0
"""The enrollment at which the curves of the enrollment add nothing: what an enrollment wants."""

FORMAT = "streamsv-calibration"
VERSION = 2


_CURVES = ("slope", "offset", "enrolled_slope", "enrolled_offset")


@dataclass(frozen=True, slots=True)
class Line:
    """Slope and offset of the LLR over the cosine, at each knot; the slopes are positive.

    ``enrolled_slope`` and ``enrolled_offset`` are added for the length of the enrollment, at each
    of its knots; without knots, nothing is.
    """

    slope: tuple[float, ...]
    offset: tuple[float, ...]
    enrolled_slope: tuple[float, ...] = ()
    enrolled_offset: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """From cosine to natural-log LLR, by channel and seconds of net speech.

    Raises `ConfigError` when made from values that are not a calibration.

    Fields
    ------
    fingerprint: of the model whose cosines these are.
    knots_s: seconds of net speech, rising, above 0.
    channels: channel name -> the line at each knot.
    fitted_on: what it was fitted on, free text and numbers for the reader.
    model_sha256: of the model's file, so that a damaged copy is noticed; None: not known.
    enrolled_knots_s: seconds of net speech of the enrollment, rising, above 0; may be empty.
    rules: channel name -> when to stop; a channel without one is never decided.
    """

    fingerprint: str
    knots_s: tuple[float, ...]
    channels: Mapping[str, Line]
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    model_sha256: str | None = None
    enrolled_knots_s: tuple[float, ...] = ()
    rules: Mapping[str, StoppingRule] = field(default_factory=dict)
    _tables: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.fingerprint:
            raise ConfigError("fingerprint is empty; expected that of the model.", "")
        times = (0.0, *self.knots_s, math.inf)
        if len(times) < 3 or not all(low < high for low, high in itertools.pairwise(times)):
            raise ConfigError(
                f"knots_s must be rising seconds above 0, at least one; got {list(self.knots_s)}.",
                str(list(self.knots_s)),
            )
        enrolled = (0.0, *self.enrolled_knots_s, math.inf)
        if not all(low < high for low, high in itertools.pairwise(enrolled)):
            raise ConfigError(
                "enrolled_knots_s must be rising seconds above 0; got "
                f"{list(self.enrolled_knots_s)}.",
                str(list(self.enrolled_knots_s)),
            )
        if not self.channels:
            raise ConfigError("channels is empty; expected at least one channel.", "")
        for name, line in self.channels.items():
            for key, values, knots in (
                ("slope", line.slope, self.knots_s),
                ("offset", line.offset, self.knots_s),
                ("enrolled_slope", line.enrolled_slope, self.enrolled_knots_s),
                ("enrolled_offset", line.enrolled_offset, self.enrolled_knots_s),
            ):
                where = f"channels.{name}.{key}"
                if len(values) != len(knots):
                    raise ConfigError(
                        f"{where} has {len(values)} values; expected one for each of the "
                        f"{len(knots)} knots.",
                        len(values),
                    )
                for value in values:
                    if not math.isfinite(value) or (key == "slope" and value <= 0):
                        allowed = "above 0" if key == "slope" else "finite"
                        raise ConfigError(
                            f"{where} holds {value}; every {key} must be {allowed}.", value
                        )

    @overload
    def llr(
        self,
        cosine: float | np.floating[Any],
        net_speech_s: float,
        channel: str,
        enrolled_s: float | None = None,
    ) -> float: ...

    @overload
    def llr(
        self,
        cosine: npt.NDArray[np.floating[Any]],
        net_speech_s: float | npt.NDArray[np.floating[Any]],
        channel: str,
        enrolled_s: float | npt.NDArray[np.floating[Any]] | None = None,
    ) -> npt.NDArray[np.float64]: ...

    def llr(
        self,
        cosine: float | np.floating[Any] | npt.NDArray[np.floating[Any]],
        net_speech_s: float | npt.NDArray[np.floating[Any]],
        channel: str,
        enrolled_s: float | npt.NDArray[np.floating[Any]] | None = None,
    ) -> float | npt.NDArray[np.float64]:
        """The natural-log likelihood ratio of "same person" to "another" for ``cosine``.

        ``net_speech_s`` was heard and ``enrolled_s`` enrolled (None: `USUAL_ENROLLED_S`).
        ``cosine`` is one number, or an array of any shape, answered by float64 of that shape; the
        seconds may then be arrays that broadcast with it.

        Raises `ConfigError` for a channel that was not calibrated, or no net speech.
        """
        if not np.all(np.asarray(net_speech_s) > 0):
            raise ConfigError(
                f"net_speech_s must be above 0; got {net_speech_s}. Score after the first hop.",
                str(net_speech_s),
            )
        slope, offset = self.heard(net_speech_s, channel)
        more_slope, more_offset = self.enrolled(
            USUAL_ENROLLED_S if enrolled_s is None else enrolled_s, channel
        )
        llrs = (slope + more_slope) * np.asarray(cosine, dtype=np.float64) + offset + more_offset
        return llrs if isinstance(cosine, np.ndarray) else float(llrs)

    def heard(self, net_speech_s: npt.ArrayLike, channel: str) -> tuple[Any, Any]:
        """a(t) and b(t): float64, of the shape of ``net_speech_s``."""
        line = self._line(channel)
        at, knots = np.log(net_speech_s), np.log(self.knots_s)
        return np.interp(at, knots, line.slope), np.interp(at, knots, line.offset)

    def heard_by_hop(self, hop_s: float, channel: str) -> list[tuple[float, float]]:
        """`heard` after 0, 1, 2 ... hops; the last pair holds from there on.

        For who asks at every hop. The table is made once, and not to be changed.
        """
        key = hop_s, channel
        table: list[tuple[float, float]] | None = self._tables.get(key)
        if table is None:
            count = math.ceil(self.knots_s[-1] / hop_s) + 1
            slopes, offsets = self.heard(np.maximum(np.arange(count), 1) * hop_s, channel)
            table = list(zip(slopes.tolist(), offsets.tolist(), strict=True))
            self._tables[key] = table
        return table

    def enrolled(self, enrolled_s: npt.ArrayLike, channel: str) -> tuple[Any, Any]:
        """c(e) and d(e): float64, of the shape of ``enrolled_s``."""
        line = self._line(channel)
        if not self.enrolled_knots_s:
            return np.zeros(np.shape(enrolled_s)), np.zeros(np.shape(enrolled_s))
        at = np.log(np.maximum(enrolled_s, 1e-3))
        knots = np.log(self.enrolled_knots_s)
        return np.interp(at, knots, line.enrolled_slope), np.interp(at, knots, line.enrolled_offset)

    def _line(self, channel: str) -> Line:
        line = self.channels.get(channel)
        if line is None:
            raise ConfigError(
                f"No calibration for channel {channel!r}; there is one for "
                f"{', '.join(sorted(self.channels))}.",
                channel,
            )
        return line

    def channel_of_trial(self, enrolled_on: str, heard_on: str) -> str:
        """The channel whose line judges a trial: that of both sides, or ``mixed`` if they differ.

        Cosines across channels lie lower for everybody. A calibration without a ``mixed`` line
        judges them by the channel that is heard.
        """
        is_mixed = enrolled_on != heard_on and MIXED in self.channels
        return MIXED if is_mixed else heard_on

    def check_fingerprint(self, fingerprint: str) -> None:
        """Raise `ModelMismatch` unless this calibration is of the model with ``fingerprint``."""
        if fingerprint != self.fingerprint:
            raise ModelMismatch(
                f"The calibration was fitted on model {self.fingerprint}, the model loaded is "
                f"{fingerprint}. Use the calibration that came with it, or fit a new one.",
                fingerprint,
            )

    def check_model_file(self, sha256: str) -> None:
        """Raise `ModelLoadError` unless the model file is unknown or has this SHA-256."""
        if self.model_sha256 not in (None, sha256):
            raise ModelLoadError(
                "The model file is not the one that was calibrated, though it carries the same "
                "fingerprint: it is damaged or was changed. Install streamsv again, or export and "
                "calibrate the model again.",
                sha256,
            )

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises `ConfigError` when ``fitted_on`` has no JSON form or ``path`` cannot be written.
        """
        content = {
            "format": FORMAT,
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "model_sha256": self.model_sha256,
            "knots_s": list(self.knots_s),
            "enrolled_knots_s": list(self.enrolled_knots_s),
            "channels": {name: asdict(line) for name, line in self.channels.items()},
            "rules": {name: asdict(rule) for name, rule in self.rules.items()},
            "fitted_on": dict(self.fitted_on),
        }
        try:
            text = json.dumps(content, indent=2, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"fitted_on cannot be written as JSON: {error}.") from error
        try:
            Path(path).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}. Give another file.", str(path)
            ) from error

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote. Raises `ConfigError` that names file, key and what is allowed."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls._parsed(content)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.", str(path)) from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path} is not JSON: {error}.", str(path)) from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error.message}", error.value) from error

    @classmethod
    def _parsed(cls, content: Any) -> Calibration:
        content = _mapping(content, "the file")
        expected = {
            *("format", "version", "fingerprint", "model_sha256"),
            *("knots_s", "enrolled_knots_s", "channels", "rules", "fitted_on"),
        }
        unknown = set(content) - expected
        if unknown:
            key = min(unknown)
            raise ConfigError(
                f"unknown key {key!r}; allowed are {', '.join(sorted(expected))}.", key
            )
        for key, only in (("format", FORMAT), ("version", VERSION)):
            if content.get(key) != only:
                raise ConfigError(
                    f"{key} is {content.get(key)!r}; this release reads {only!r}.",
                    content.get(key),
                )
        fingerprint = content.get("fingerprint")
        if not isinstance(fingerprint, str):
            raise ConfigError(f"fingerprint must be a string; got {fingerprint!r}.", fingerprint)
        sha256 = content.get("model_sha256")
        if not isinstance(sha256, str | None):
            raise ConfigError(f"model_sha256 must be a string or null; got {sha256!r}.", sha256)
        channels = {}
        for name, line in _mapping(content.get("channels"), "channels").items():
            where = f"channels.{name}"
            curves = _mapping(line, where)
            if set(curves) != set(_CURVES):
                raise ConfigError(
                    f"{where} must have {', '.join(_CURVES)}; got {', '.join(sorted(curves))}.",
                    name,
                )
            channels[name] = Line(*(_numbers(curves[key], f"{where}.{key}") for key in _CURVES))
        return cls(
            fingerprint=fingerprint,
            knots_s=_numbers(content.get("knots_s"), "knots_s"),
            channels=channels,
            fitted_on=_mapping(content.get("fitted_on", {}), "fitted_on"),
            model_sha256=sha256,
            enrolled_knots_s=_numbers(content.get("enrolled_knots_s", []), "enrolled_knots_s"),
            rules={
                name: _rule(rule, f"rules.{name}")
                for name, rule in _mapping(content.get("rules", {}), "rules").items()
            },
        )


def _rule(value: Any, where: str) -> StoppingRule:
    try:
        rule: StoppingRule = from_mapping(StoppingRule, _mapping(value, where), where)
    except ConfigError as error:
        raise ConfigError(
            error.message if where in error.message else f"{where}: {error.message}", error.value
        ) from error
    return rule


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a JSON object; got {value!r}.", value)
    return value


def _numbers(value: Any, where: str) -> tuple[float, ...]:
    message = f"{where} must be a list of numbers; got {value!r}."
    if not isinstance(value, list):
        raise ConfigError(message, value)
    if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
        raise ConfigError(message, value)
    try:
        return tuple(float(item) for item in value)
    except OverflowError as error:
        raise ConfigError(message, value) from error
