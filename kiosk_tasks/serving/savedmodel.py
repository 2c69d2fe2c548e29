"""Runs a SavedModel. Only `load_tensorflow` imports TensorFlow; only the model server calls it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kiosk_tasks.serving.batching import Arrays

__all__ = ["SavedModel", "load_tensorflow"]


def load_tensorflow(*, intra_threads: int, inter_threads: int) -> Any:
    """Import TensorFlow quietly and return it.

    intra_threads: threads that share one operation. inter_threads: operations at once.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silence():
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.threading.set_intra_op_parallelism_threads(intra_threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(inter_threads)
        tensorflow.constant(0)  # starts the runtime, which has its own things to say
    return tensorflow


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what is written to standard error: TensorFlow greets whatever its log level is."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class SavedModel:
    """One loaded version."""

    def __init__(self, folder: Path, tensorflow: Any) -> None:
        """Load `<folder>/saved_model.pb`; raises what TensorFlow raises if it is damaged."""
        messages = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
        saved = messages.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        graphs = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
        if not graphs:
            raise ValueError("It has no graph with the tag serve.")
        self._tensorflow = tensorflow
        self._loaded = tensorflow.saved_model.load(str(folder), tags=["serve"])
        #: signature name -> SignatureDef, for those that can be called.
        self.signatures: Mapping[str, Any] = {
            name: definition
            for name, definition in graphs[0].signature_def.items()
            if name in self._loaded.signatures
        }

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Return all outputs of that signature. Raises what TensorFlow raises."""
        tensors = {name: self._tensorflow.constant(array) for name, array in inputs.items()}
        outputs = self._loaded.signatures[signature](**tensors)
        return {name: np.asarray(tensor) for name, tensor in outputs.items()}

    def can_batch(self, signature: str) -> bool:
        """Tell whether the first axis of every input and output is a batch of any length."""
        definition = self.signatures[signature]
        tensors = [*definition.inputs.values(), *definition.outputs.values()]
        return all(_has_free_first_axis(tensor.tensor_shape) for tensor in tensors)


def _has_free_first_axis(shape: Any) -> bool:
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1
