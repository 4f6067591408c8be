"""Distilling the streaming student from a teacher: prepare, train, export, calibrate.

``python -m training STAGE CONFIG`` runs a stage; ``training/README.md`` has them in order. The
only room of the project that needs torch to run.
"""

import streamsv  # noqa: F401 - first, so that onnxruntime is told to report nothing
