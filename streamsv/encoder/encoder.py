"""The network at run time: one ONNX file, many streams."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from streamsv.errors import ModelLoadError

# Where somebody loaded onnxruntime before streamsv, what `streamsv` sets came too late for it.
ort.disable_telemetry_events()

Floats = NDArray[np.float32]
State = Mapping[str, Floats]
"""Named state arrays, batch first, as the graph names them."""

SUPPORTED_FORMATS = ("1", "2")
"""Of format 2 some states are given by their new frames alone; of format 1 none."""

_SLOWER_FUSIONS = ["SkipLayerNormFusion"]
"""Its kernel for the CPU runs element by element: ten times the sum and the norm it replaces."""


class Encoder:
    """Steps streams through an exported network; shared, immutable, safe to use from threads.

    Parameters
    ----------
    path:
        A file written by :func:`streamsv.nn.export.export`.
    threads:
        Threads inside one step. One is best for real-time streams: a hop is small, and many
        streams are better spread over processes or batches.

    Attributes
    ----------
    fingerprint:
        SHA-256 of configuration and weights; voiceprints carry it.
    dimension:
        Length of an embedding.
    hop_samples, sample_rate:
        Samples in one step, and their rate.
    precision:
        Of its matrix products: ``float32`` or ``int8``. States are float32 in either.
    rolling:
        The states that are a line of frames, and how many of them a hop makes new: the next state
        is the state without its oldest frames and the new ones after it.
    speech_head:
        Digest of the speech head, and what it was fitted on; empty for a model that has none.

    Raises
    ------
    ModelLoadError
        If the file is missing, damaged, or not such a network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not _is_file(path):
            raise ModelLoadError(
                f"There is no model at {path}. Leave the model out to use the bundled one, or "
                "give the path of a file that `python -m training export` wrote.",
                str(path),
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # In the order of the graph: onnxruntime's own order leaves the next states for the end,
        # when what they are cut from has long left the cache.
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_SLOWER_FUSIONS,
            )
        except Exception as error:  # onnxruntime's errors share no public base
            raise ModelLoadError(
                f"{path} cannot be loaded as an ONNX model: {error}", str(path)
            ) from error
        self.path = path
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._read_metadata()
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        self.state_names = [name[6:] for name in self._inputs if name.startswith("state.")]
        wanted = {"pcm", *(f"state.{name}" for name in self._initial)}
        given = {"embedding", *(f"next.{name}" for name in self._initial)}
        if set(self._inputs) != wanted or not given <= set(self._outputs):
            raise ModelLoadError(
                f"{path} names other states than its metadata; export the model again.", str(path)
            )
        self.has_precision = "log_precision" in self._outputs
        self.dimension = int(self._session.get_outputs()[self._outputs.index("embedding")].shape[1])

    def _read_metadata(self) -> None:
        version = self.metadata.get("streamsv.format", SUPPORTED_FORMATS[0])
        if version not in SUPPORTED_FORMATS:
            raise ModelLoadError(
                f"{self.path} has model format {version}; this streamsv reads "
                f"{' and '.join(SUPPORTED_FORMATS)}. Upgrade streamsv, or export the model again.",
                version,
            )
        try:
            self.fingerprint = self.metadata["streamsv.fingerprint"]
            self.precision = self.metadata.get("streamsv.precision", "float32")
            self.license = self.metadata["streamsv.license"]
            self.hop_samples = int(self.metadata["streamsv.hop_samples"])
            self.sample_rate = int(self.metadata["streamsv.sample_rate"])
            self.config: dict[str, Any] = json.loads(self.metadata["streamsv.config"])
            self.card: dict[str, Any] = json.loads(self.metadata["streamsv.card"])
            self.speech_head: dict[str, Any] = json.loads(self.metadata.get("streamsv.guard", "{}"))
            described = json.loads(self.metadata["streamsv.initial_state"])
            self._initial = {
                name: np.frombuffer(base64.b64decode(entry["float32"]), np.float32).reshape(
                    entry["shape"]
                )
                for name, entry in described.items()
            }
            rolling = json.loads(self.metadata.get("streamsv.rolling", "{}"))
            self.rolling: dict[str, int] = {name: int(rolling[name]) for name in rolling}
            for name, frames in self.rolling.items():
                if frames < 1 or len(self._initial[name]) % frames:
                    raise ValueError(f"the state {name} is no multiple of {frames} frames")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ModelLoadError(
                f"{self.path} is an ONNX file, but not a streamsv model (metadata: {error}). "
                "Export one with `python -m training export`.",
                str(self.path),
            ) from error

    @functools.cached_property
    def file_sha256(self) -> str:
        """SHA-256 of the file, 64 hex digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def state_bytes(self) -> int:
        """Bytes of state that one stream holds."""
        return sum(values.nbytes for values in self._initial.values())

    def initial_state(self, batch: int = 1) -> State:
        """The state before the first hop, for ``batch`` streams."""
        return {
            name: np.broadcast_to(values, (batch, *values.shape)).copy()
            for name, values in self._initial.items()
        }

    @functools.cached_property
    def blank(self) -> State:
        """The initial state of one stream, shared: not to be changed."""
        return self.initial_state()

    def step(self, pcm: Floats, state: State) -> tuple[Floats, State]:
        """Advance ``batch`` streams by one hop.

        Parameters
        ----------
        pcm:
            float32, shape (batch, hop_samples), 16 kHz, in [-1, 1].
        state:
            The streams' states, stacked; left as it is.

        Returns
        -------
        The unit-length embeddings of everything heard so far, (batch, dimension), and the next
        state.
        """
        feeds = {f"state.{name}": state[name] for name in self.state_names}
        feeds["pcm"] = pcm
        results = dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))
        following = {name: results[f"next.{name}"] for name in self.state_names}
        for name, frames in self.rolling.items():
            following[name] = np.concatenate([state[name][:, frames:], following[name]], axis=1)
        return results["embedding"], following

    def bound_step(
        self, pcm: Floats, state: State, embedding: Floats, following: State
    ) -> Callable[[], None]:
        """:meth:`step` over arrays that stay where they are: nothing is allocated or copied.

        Each call reads ``pcm`` and ``state`` and writes ``embedding`` and ``following``, all of
        the shapes of :meth:`step`, contiguous, and none of them in each other's memory. Of the
        states in :attr:`rolling` only the new frames are written, as many as it says.
        """
        binding = self._session.io_binding()
        kept = (pcm, state, embedding, following)
        for name, array in {"pcm": pcm, **{f"state.{n}": state[n] for n in state}}.items():
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        outputs = {"embedding": embedding, **{f"next.{n}": following[n] for n in following}}
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

        def run(_kept: object = kept) -> None:  # the binding holds addresses only
            self._session.run_with_iobinding(binding)

        return run


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False
