"""The engine: one model and its calibration, shared by every session."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from streamsv.audio import AudioFormat
from streamsv.encoder import Encoder
from streamsv.engine.config import EngineConfig
from streamsv.engine.enrollment import EnrollmentSession
from streamsv.engine.verification import VerificationSession
from streamsv.scoring.calibration import Calibration
from streamsv.scoring.takeover import TakeoverModel
from streamsv.voiceprints import Voiceprint


def bundled(name: str) -> Path:
    """The path of a file that is packaged in ``streamsv/models``."""
    return Path(str(resources.files("streamsv.models"))) / name


class Engine:
    """Model, calibration and configuration: immutable, shared by any number of sessions.

    Without a takeover model, which lies beside a model as ``NAME.takeover.npz``, no
    ``speaker_changed`` is given.

    Sessions of one engine may run in different threads, each session in one at a time.
    """

    def __init__(
        self,
        encoder: Encoder,
        calibration: Calibration,
        config: EngineConfig | None = None,
        takeover: TakeoverModel | None = None,
    ) -> None:
        calibration.check_fingerprint(encoder.fingerprint)
        calibration.check_model_file(encoder.file_sha256)
        if takeover is not None:
            takeover.check_fingerprint(encoder.fingerprint)
        self.encoder = encoder
        self.takeover = takeover
        self.calibration = calibration
        self.config = config or EngineConfig()

    @classmethod
    def load(cls, config: EngineConfig | None = None) -> Engine:
        """Load the model and the calibration that ``config`` names, by default the bundled ones.

        Raises ModelLoadError, ConfigError or ModelMismatch, each with what to do.
        """
        config = config or EngineConfig()
        model = Path(config.model) if config.model else bundled("default.onnx")
        if config.calibration:
            calibration = Path(config.calibration)
        elif config.model:
            calibration = model.parent / f"{model.stem}.calibration.json"
        else:
            calibration = bundled("default.calibration.json")
        watch = model.with_suffix(".takeover.npz")
        takeover = TakeoverModel.load(watch) if watch.is_file() else None
        return cls(Encoder(model), Calibration.load(calibration), config, takeover)

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint, which every voiceprint of it carries."""
        return self.encoder.fingerprint

    def verify(
        self,
        voiceprints: Voiceprint | Sequence[Voiceprint],
        audio: AudioFormat | None = None,
    ) -> VerificationSession:
        """A session that decides each claimed voiceprint separately.

        ``audio`` is the format of the bytes to come (default: s16le, 16 kHz, mono). Raises
        ModelMismatch for a voiceprint of another model, ConfigError for what is no voiceprint, a
        name say, and UnsupportedAudio for what is no AudioFormat.
        """
        claimed = [voiceprints] if isinstance(voiceprints, Voiceprint) else voiceprints
        return VerificationSession(
            self.encoder,
            self.calibration,
            self.config,
            claimed,
            audio or AudioFormat(),
            takeover=self.takeover,
        )

    def identify(
        self, voiceprints: Sequence[Voiceprint], audio: AudioFormat | None = None
    ) -> VerificationSession:
        """A session that makes one decision among all voiceprints; nobody is an answer."""
        return VerificationSession(
            self.encoder,
            self.calibration,
            self.config,
            voiceprints,
            audio or AudioFormat(),
            mode="identify",
            takeover=self.takeover,
        )

    def enroll(
        self, speaker: str, audio: AudioFormat | None = None, force: bool = False
    ) -> EnrollmentSession:
        """A session that makes a voiceprint of ``speaker``; see :class:`EnrollmentSession`."""
        return EnrollmentSession(
            self.encoder, self.config, speaker, audio or AudioFormat(), force=force
        )
