"""A model server that needs no TensorFlow and misbehaves when told to.

Run as a program it is a real gRPC server: PredictionService and ModelService of `kiosk_tasks`, over
one model that doubles every pixel. `ModelServer` starts, kills and restarts it on one port. What it
should do wrong stands in a file that it reads at every request.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from subprocess import Popen
from typing import Any

import grpc

from kiosk_tasks.serving.batching import Arrays, Batcher, Limits
from kiosk_tasks.serving.methods import add_prediction_service
from kiosk_tasks.serving.protos import (
    meta_graph_pb2,
    model_service_pb2_grpc,
    types_pb2,
)
from kiosk_tasks.serving.repository import NotServed
from kiosk_tasks.serving.services import ModelService, PredictionService
from kiosk_tasks.serving.versions import VersionState, VersionStatus
from tests.conftest import wait_for
from tests.faults.site import ROOT
from tests.processes import child

__all__ = ["Faults", "ModelServer"]

NAME = "Fault"
_UNAVAILABLE = 14  #: gRPC's number


@dataclass(frozen=True)
class Faults:
    """What goes wrong from now on.

    delay_s: what one run of the model takes.
    unavailable: fraction of requests that are answered with UNAVAILABLE.
    wrong_shape: replies have half of the rows.
    """

    delay_s: float = 0.01
    unavailable: float = 0.0
    wrong_shape: bool = False


class ModelServer:
    """The server's process, for the scenarios."""

    def __init__(self, folder: Path, *, port: int) -> None:
        """Start nothing yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self._port = port
        self._folder = folder
        self._life = ExitStack()
        self._process: Popen[bytes] | None = None
        self.faults()

    def faults(self, **changes: Any) -> None:
        """From now on exactly this goes wrong; nothing if nothing is given."""
        part = self._folder / "faults.part"
        part.write_text(json.dumps(asdict(Faults(**changes))))
        part.replace(self._folder / "faults.json")

    def start(self) -> None:
        """Start it; it answers when this returns."""
        ready = self._folder / "ready"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", __name__, str(self._folder), str(self._port)]
        log = self._folder / "log"
        process = self._life.enter_context(child(command, log=log, cwd=ROOT))
        self._process = process
        wait_for(lambda: ready.exists() or process.poll() is not None, what="model server is ready")
        assert process.poll() is None, log.read_text()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._life.close()

    def stop(self) -> None:
        self._life.close()

    def wait_call(self) -> None:
        """Wait until a run of the model begins."""
        before = self._runs()
        wait_for(lambda: self._runs() > before, what="a call is on")

    def _runs(self) -> int:
        file = self._folder / "runs"
        return file.stat().st_size if file.exists() else 0


class _Unavailable(Exception):
    error_code = _UNAVAILABLE


class _Doubling:
    """The model: `image` in, `doubled` out."""

    def __init__(self, folder: Path) -> None:
        self.signatures = {"serving_default": _signature()}
        self._folder = folder
        self._chance = random.Random(9)

    def can_batch(self, _: str) -> bool:
        return False

    def run(self, _: str, inputs: Arrays) -> Arrays:
        with (self._folder / "runs").open("ab") as runs:
            runs.write(b".")
        faults = Faults(**json.loads((self._folder / "faults.json").read_text()))
        time.sleep(faults.delay_s)
        if self._chance.random() < faults.unavailable:
            raise _Unavailable("as it was told")
        doubled = inputs["image"] * 2
        return {"doubled": doubled[:, ::2] if faults.wrong_shape else doubled}


class _Repository:
    """What the services ask for a model."""

    def __init__(self, model: _Doubling) -> None:
        self._model = model

    def get(self, name: str, version: int | None) -> tuple[int, _Doubling]:
        if name != NAME or version not in (None, 1):
            raise NotServed(f"Servable not found for request: {name}")
        return 1, self._model

    def status(self, name: str) -> list[VersionStatus]:
        return [VersionStatus(1, VersionState.AVAILABLE)] if name == NAME else []


def _signature() -> Any:
    definition = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    tensors: Mapping[str, Any] = {"image": definition.inputs, "doubled": definition.outputs}
    for name, side in tensors.items():
        side[name].name = f"{name}:0"
        side[name].dtype = types_pb2.DT_FLOAT
        for _ in range(4):
            side[name].tensor_shape.dim.add(size=-1)
    return definition


def _serve(folder: Path, port: int) -> None:
    stops: SimpleQueue[int] = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda number, _frame: stops.put(number))
    repository: Any = _Repository(_Doubling(folder))
    server = grpc.server(ThreadPoolExecutor(32), options=(("grpc.so_reuseport", 0),))
    prediction = PredictionService(repository, Batcher(Limits(max_wait_s=0.0, max_runs=16)))
    add_prediction_service(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(repository), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    (folder / "ready").touch()
    stops.get()
    server.stop(0).wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    _serve(arguments.folder, arguments.port)
