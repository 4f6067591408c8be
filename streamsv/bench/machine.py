"""The machine that a figure was measured on, and the memory this process holds."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamsv import __version__
from streamsv.bench.matrix import MatrixRates, matrix_rates
from streamsv.engine import session

_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Machine:
    """What a figure depends on besides the code.

    Fields
    ------
    processor: its name, None where the system does not tell.
    cores: logical processors of the machine.
    is_compiled: whether sessions run as machine code, which an installation has to ask for
        (docs/adr/0017); ``compiled`` in JSON.
    matrix_rates: of matrix products on one thread; None where not measured.
    """

    processor: str | None
    cores: int | None
    system: str
    python: str
    numpy: str
    onnxruntime: str
    streamsv: str
    is_compiled: bool
    matrix_rates: MatrixRates | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields; the rates as ``matrix_gflops`` and ``matrix_int8_gops``."""
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        rates, is_compiled = fields.pop("matrix_rates"), fields.pop("is_compiled")
        return fields | {
            "compiled": is_compiled,
            "matrix_gflops": rates and rates.float32,
            "matrix_int8_gops": rates and rates.int8,
        }


def this_machine() -> Machine:
    """Describe this machine; takes about half a second, to measure its matrix rates."""
    return Machine(
        processor=next(_processor_names(), None),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        numpy=importlib.metadata.version("numpy"),
        onnxruntime=importlib.metadata.version("onnxruntime"),
        streamsv=__version__,
        is_compiled=session.__file__.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)),
        matrix_rates=matrix_rates(),
    )


def resident_mb() -> float | None:
    """Memory of this process in RAM, in MiB.

    The current amount where there is /proc, else the most so far, else None.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
    except (OSError, ValueError, IndexError):
        return _most_resident_mb()


def _most_resident_mb() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / _MIB if sys.platform == "darwin" else most / 1024


def _processor_names() -> Iterator[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            yield value.strip()
    if platform.processor():
        yield platform.processor()
