"""Is this the voice that was enrolled? One stream against one or many voiceprints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamsv.audio import AudioFormat, Levels
from streamsv.encoder import Encoder
from streamsv.engine.config import EngineConfig, QualityConfig
from streamsv.engine.session import Session
from streamsv.engine.stream import QueuedHop
from streamsv.errors import ConfigError, UnknownSpeaker
from streamsv.events import (
    DecisionMade,
    Event,
    Quality,
    QualityWarning,
    Reason,
    Score,
    ScoreUpdated,
    SessionEnded,
    Verdict,
)
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.policy import ThresholdPolicy
from streamsv.scoring.similarity import cosine
from streamsv.voiceprints import Voiceprint

Floats = NDArray[np.float32]


class QualityWatch:
    """Turns levels into warnings, each given again only after a while."""

    def __init__(self, config: QualityConfig) -> None:
        self._config = config
        self._quiet_until: dict[Quality, float] = {}

    def look(self, levels: Levels, at_s: float) -> list[Event]:
        """The warnings that are due at ``at_s``."""
        config = self._config
        found: list[tuple[Quality, str]] = []
        if levels.clipped_fraction > config.max_clipped_fraction:
            share = f"{100 * levels.clipped_fraction:.0f} % of the last second is clipped"
            found.append((Quality.CLIPPED, f"{share}; lower the input level."))
        if levels.snr_db is not None and levels.snr_db < config.min_snr_db:
            heard = f"Speech is only {levels.snr_db:.0f} dB above the noise"
            found.append((Quality.NOISY, f"{heard}; move closer to the microphone."))
        if levels.speech_dbfs is not None and levels.speech_dbfs < config.min_speech_dbfs:
            heard = f"Speech is at {levels.speech_dbfs:.0f} dBFS"
            found.append((Quality.TOO_QUIET, f"{heard}; raise the input level."))
        due = [(q, text) for q, text in found if at_s >= self._quiet_until.get(q, 0.0)]
        for quality, _ in due:
            self._quiet_until[quality] = at_s + config.repeat_s
        return [QualityWarning(at_s, quality, text) for quality, text in due]


class VerificationSession(Session):
    """One stream against voiceprints; see :class:`~streamsv.engine.session.Session` for its calls.

    In ``verify`` mode each claimed voiceprint gets a decision of its own. In ``identify`` mode
    there is one decision among all of them, and "nobody" (speaker ``None``, verdict ``reject``)
    is an answer. A decision is made once; scores go on after it.
    """

    def __init__(
        self,
        encoder: Encoder,
        calibration: Calibration,
        config: EngineConfig,
        voiceprints: Sequence[Voiceprint],
        audio: AudioFormat,
        mode: str = "verify",
    ) -> None:
        if mode not in ("verify", "identify"):
            raise ConfigError(f"mode is {mode!r}; allowed are verify and identify.", mode)
        if not voiceprints:
            raise UnknownSpeaker("There is no voiceprint to compare with; enroll somebody first.")
        for voiceprint in voiceprints:
            voiceprint.check_fingerprint(encoder.fingerprint)
        speakers = tuple(voiceprint.speaker for voiceprint in voiceprints)
        if len(set(speakers)) < len(speakers):
            raise ConfigError("The same speaker is claimed twice.", ", ".join(speakers))
        super().__init__(encoder, config, audio, mode, speakers)
        self._mode = mode
        self._speakers = speakers
        self._embeddings = np.stack([voiceprint.embedding for voiceprint in voiceprints])
        self._calibration = calibration
        self._quality = QualityWatch(config.quality)
        self._policy = ThresholdPolicy(
            config.decision, len(speakers) if mode == "identify" else 1
        )
        self._verdicts: dict[str | None, Verdict] = {}
        self._hops_scored = 0
        self._latest: dict[str, Score] = {}

    @property
    def verdicts(self) -> dict[str | None, Verdict]:
        """The decisions made so far, by speaker (``None``: nobody)."""
        return dict(self._verdicts)

    def _scored(self, hop: QueuedHop, embedding: Floats) -> list[Event]:
        self._hops_scored += 1
        events = self._quality.look(hop.levels, hop.at_s)
        if self._hops_scored % self._config.update_every_hops:
            return events
        scores = self._scores(embedding, hop.net_speech_s)
        self._latest = {score.speaker: score for score in scores}
        shown = scores
        if self._mode == "identify":
            ranked = sorted(scores, key=lambda score: -score.llr)
            shown = tuple(ranked[: self._config.candidates_shown])
        events.append(
            ScoreUpdated(
                hop.at_s,
                hop.net_speech_s,
                shown,
                hop.levels.snr_db,
                self.audio.channel,
            )
        )
        return [*events, *self._decisions(hop)]

    def _scores(self, embedding: Floats, net_speech_s: float) -> tuple[Score, ...]:
        cosines = cosine(embedding, self._embeddings)
        llrs = self._calibration.llr(cosines, net_speech_s, self.audio.channel)
        return tuple(
            Score(speaker, float(c), None, float(llr))
            for speaker, c, llr in zip(self._speakers, cosines, llrs, strict=True)
        )

    def _decisions(self, hop: QueuedHop) -> list[Event]:
        events: list[Event] = []
        for score in self._undecided():
            found = self._policy.look(score.llr, hop.net_speech_s)
            if found is not None:
                events.append(self._decide(score, *found, hop.at_s, hop.net_speech_s))
        return events

    def _undecided(self) -> list[Score]:
        """The scores that still want a decision: each speaker's, or the best one of all."""
        if self._mode == "identify":
            if self._verdicts or not self._latest:
                return []
            return [max(self._latest.values(), key=lambda score: score.llr)]
        return [score for speaker, score in self._latest.items() if speaker not in self._verdicts]

    def _decide(
        self, score: Score, verdict: Verdict, reason: Reason, at_s: float, net_speech_s: float
    ) -> DecisionMade:
        is_somebody = self._mode == "verify" or verdict is Verdict.ACCEPT
        speaker = score.speaker if is_somebody else None
        self._verdicts[speaker] = verdict
        promised = self._policy.promised_error_rate
        return DecisionMade(at_s, speaker, verdict, reason, promised, net_speech_s, score)

    def _ending(self) -> list[Event]:
        at_s, net_speech_s = self._stream.at_s, self._stream.net_speech_s
        verdict, reason = self._policy.at_end(net_speech_s)
        events: list[Event] = []
        waiting = self._undecided()
        for score in waiting:
            events.append(self._decide(score, verdict, reason, at_s, net_speech_s))
        if not self._latest:
            silent = self._speakers if self._mode == "verify" else (None,)
            for speaker in silent:
                self._verdicts[speaker] = verdict
                decision = DecisionMade(at_s, speaker, verdict, reason, None, net_speech_s, None)
                events.append(decision)
        return [*events, SessionEnded(at_s, net_speech_s)]
