"""Is the audio good enough to be judged? Warnings while there is still time to mend it."""

from __future__ import annotations

from streamsv.audio import Levels
from streamsv.engine.config import QualityConfig
from streamsv.events import Quality, QualityWarning


class QualityWatch:
    """Turns levels into warnings, each given again only after a while."""

    __slots__ = ("_config", "_quiet_until")

    def __init__(self, config: QualityConfig) -> None:
        self._config = config
        self._quiet_until: dict[Quality, float] = {}

    def look(self, levels: Levels, at_s: float, is_speech: bool = True) -> list[QualityWarning]:
        """The warnings that are due at ``at_s``, seconds of media time.

        ``is_speech`` false says that what passes the gate was heard to be something else.
        """
        found = self._found(levels, is_speech)
        if not found:
            return []
        due = [
            QualityWarning(at_s, quality, detail)
            for quality, detail in found
            if at_s >= self._quiet_until.get(quality, 0.0)
        ]
        for warning in due:
            self._quiet_until[warning.quality] = at_s + self._config.repeat_s
        return due

    def _found(self, levels: Levels, is_speech: bool) -> list[tuple[Quality, str]]:
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
        if not is_speech:
            detail = "What is heard is not like speech; turn music and machines off."
            found.append((Quality.NOT_SPEECH, detail))
        return found
