"""TensorFlow Serving's generated message and service modules, without TensorFlow.

`tensorflow_serving.apis` imports messages from `tensorflow.core`, and importing anything below
`tensorflow` runs TensorFlow itself: seconds, and hundreds of megabytes per process. For the time of
that import this module puts a placeholder package of that name, whose path is the installed folder,
into `sys.modules`. Only the generated modules below `tensorflow.core` remain afterwards; a real
`import tensorflow` finds and shares them. If TensorFlow is already imported nothing is replaced.

A folder `tensorflow` on the path that holds only `*_pb2` modules is enough.
Import this before starting threads that import TensorFlow: they would see the placeholder.
See docs/decisions/0003-protos.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = [
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "meta_graph_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_service_pb2_grpc",
    "saved_model_pb2",
    "tensor_pb2",
    "types_pb2",
]


@contextmanager
def _placeholder() -> Iterator[None]:
    """Let `tensorflow` be an empty package with the installed folder as its path."""
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(
            "TensorFlow's message modules are missing. Install tensorflow, tensorflow-cpu, or a "
            "folder tensorflow/ that holds its *_pb2 modules."
        )
    module = ModuleType("tensorflow")
    module.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = module
    try:
        yield
    finally:
        if sys.modules.get("tensorflow") is module:
            del sys.modules["tensorflow"]


def _load(name: str) -> Any:
    """Import one generated module; Any, since generated code carries no types."""
    return importlib.import_module(name)


# The import system runs this body once, whatever the number of threads that import it.
with _placeholder():
    get_model_metadata_pb2 = _load("tensorflow_serving.apis.get_model_metadata_pb2")
    get_model_status_pb2 = _load("tensorflow_serving.apis.get_model_status_pb2")
    model_service_pb2_grpc = _load("tensorflow_serving.apis.model_service_pb2_grpc")
    predict_pb2 = _load("tensorflow_serving.apis.predict_pb2")
    prediction_service_pb2_grpc = _load("tensorflow_serving.apis.prediction_service_pb2_grpc")
    meta_graph_pb2 = _load("tensorflow.core.protobuf.meta_graph_pb2")
    saved_model_pb2 = _load("tensorflow.core.protobuf.saved_model_pb2")
    tensor_pb2 = _load("tensorflow.core.framework.tensor_pb2")
    types_pb2 = _load("tensorflow.core.framework.types_pb2")
