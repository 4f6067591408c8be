"""The heart, sans-I/O: one engine, many sessions, no socket, no clock, no thread.

:class:`Engine` holds model, calibration and configuration; :class:`VerificationSession` and
:class:`EnrollmentSession` turn bytes into events.
"""

from streamsv.engine.config import EngineConfig, EnrollmentConfig, QualityConfig
from streamsv.engine.engine import Engine, bundled
from streamsv.engine.enrollment import EnrollmentSession
from streamsv.engine.session import Hop, Session
from streamsv.engine.verification import VerificationSession

__all__ = [
    "Engine",
    "EngineConfig",
    "EnrollmentConfig",
    "EnrollmentSession",
    "Hop",
    "QualityConfig",
    "Session",
    "VerificationSession",
    "bundled",
]
