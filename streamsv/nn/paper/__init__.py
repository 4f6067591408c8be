"""The paper's own student, which is not causal: an offline reference beside the streaming network.

Heo, Shin, Lim, Koo, Kim, Son and Yu, "SV-Mixer: Replacing the Transformer Encoder with Lightweight
MLPs for Self-Supervised Model Compression in Speaker Verification" (ASRU 2025, arXiv 2509.14136),
in the dimensions of the authors' release. It hears whole clips of one fixed length and stands
outside the streaming contract; it tells what causality costs.
"""

from __future__ import annotations

from streamsv.nn.paper.config import PaperConfig
from streamsv.nn.paper.student import PaperStudent

__all__ = ["PaperConfig", "PaperStudent"]
