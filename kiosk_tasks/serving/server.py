"""The embedded model server: `python -m kiosk_tasks.serving.server MODELS_DIR --port 8500`.

It speaks TensorFlow Serving's gRPC protocol over the same layout of SavedModels. TensorFlow lives
only in this process. Every model is loaded at start, and the port opens only then: a server that
accepts a connection is ready, and `--port-file` appears after that. Models that come later are
LOADING in `GetModelStatus` until they answer.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from kiosk_tasks.serving.batching import Batcher, Limits
from kiosk_tasks.serving.channel import UNLIMITED_MESSAGES
from kiosk_tasks.serving.methods import add_prediction_service
from kiosk_tasks.serving.protos import model_service_pb2_grpc
from kiosk_tasks.serving.repository import Repository
from kiosk_tasks.serving.savedmodel import SavedModel, load_tensorflow
from kiosk_tasks.serving.services import ModelService, PredictionService, ServedModel

__all__ = ["ServerOptions", "main", "serve"]

_log = logging.getLogger("kiosk_tasks.serving.server")

_SPARE_THREADS = 16  #: for status and metadata while the queue of predictions is full
_GRACE_S = 5.0  #: running requests may take so long when the server is told to stop


@dataclass(frozen=True)
class ServerOptions:
    """What the server serves, and where.

    models: folders of `<name>/<version>/saved_model.pb`; an earlier one hides a later one.
    port: 0 takes a free one. port_file: gets the port, as text, once the server is ready.
    poll_s: how often the folders are looked at.
    intra_threads, inter_threads: TensorFlow's threads within, and across, operations.
    typed_values: answer with `float_val` lists, as TensorFlow Serving does.
    parent_pid: stop once the parent process is no longer this one.
    """

    models: tuple[Path, ...]
    host: str = "127.0.0.1"
    port: int = 0
    port_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    poll_s: float = 1.0
    intra_threads: int = field(default_factory=lambda: min(os.cpu_count() or 1, 8))
    inter_threads: int = 2
    typed_values: bool = False
    parent_pid: int | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server from the command line; returns the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="time=%(asctime)s level=%(levelname)s %(message)s"
    )
    return serve(_parse(argv))


def serve(options: ServerOptions) -> int:
    """Serve until SIGTERM or SIGINT, then return 0; 2 if the port cannot be had.

    Must run on the main thread, since it handles the signals.
    """
    # Not an Event: a second signal while the first one's handler holds its lock would hang.
    stops: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stops.put(number))
    tensorflow = load_tensorflow(
        intra_threads=options.intra_threads, inter_threads=options.inter_threads
    )

    def load(folder: Path) -> ServedModel:
        return SavedModel(folder, tensorflow)

    repository = Repository(options.models, load, poll_s=options.poll_s)
    repository.start()
    try:
        return _answer(options, repository, stops) if stops.empty() else 0
    finally:
        repository.stop()
        for number in (signal.SIGTERM, signal.SIGINT):  # one more must not change the exit status
            signal.signal(number, signal.SIG_IGN)
        _log.info("event=stop")


def _answer(
    options: ServerOptions, repository: Repository[ServedModel], stops: SimpleQueue[int]
) -> int:
    """Open the port and answer until a signal is in `stops` or the parent is gone."""
    threads = ThreadPoolExecutor(options.limits.max_queued + _SPARE_THREADS, "grpc")
    # Without so_reuseport=0 a second server would silently share the port of the first.
    server = grpc.server(threads, options=(*UNLIMITED_MESSAGES, ("grpc.so_reuseport", 0)))
    prediction = PredictionService(
        repository, Batcher(options.limits, on_run=_log_run), typed_values=options.typed_values
    )
    add_prediction_service(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(repository), server)
    try:
        port = server.add_insecure_port(f"{options.host}:{options.port}")
    except RuntimeError as exc:
        _log.error("event=no_port host=%s port=%d error=%r", options.host, options.port, exc)
        return 2
    server.start()
    _log.info("event=ready host=%s port=%d", options.host, port)
    if options.port_file is not None:
        _write_port(options.port_file, port)
    while not _arrives(stops, within_s=1.0):
        if options.parent_pid is not None and os.getppid() != options.parent_pid:
            _log.info("event=parent_gone")
            break
    server.stop(_GRACE_S).wait()
    return 0


def _arrives(signals: SimpleQueue[int], *, within_s: float) -> bool:
    """Wait for a signal; tell whether one came."""
    try:
        signals.get(timeout=within_s)
    except Empty:
        return False
    return True


def _write_port(file: Path, port: int) -> None:
    """Write the port so that a reader sees either no file or all of it."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(f"{port}\n")
    partial.replace(file)


def _log_run(key: Hashable, requests: int, items: int, seconds: float) -> None:
    """Log one run of a model; `key` is that of `PredictionService`: name, version, and more."""
    name, version = key[:2] if isinstance(key, tuple) else (key, None)
    _log.info(
        "event=run model=%s version=%s requests=%d items=%d seconds=%.4f",
        *(name, version, requests, items, seconds),
    )


def _parse(argv: Sequence[str] | None) -> ServerOptions:
    parser = argparse.ArgumentParser(
        prog="python -m kiosk_tasks.serving.server",
        description="Serve SavedModels with TensorFlow Serving's gRPC protocol.",
    )
    add = parser.add_argument
    add("models", nargs="+", type=Path, help="folders of <name>/<version>/saved_model.pb")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free port")
    add("--port-file", type=Path, help="gets the port once the server is ready")
    add("--max-batch", type=int, default=Limits.max_items, help="most items of one run")
    add("--max-wait-ms", type=float, default=1e3 * Limits.max_wait_s, help="a batch waits so long")
    add("--max-queued", type=int, default=Limits.max_queued, help="most requests waiting")
    add("--max-runs", type=int, default=Limits.max_runs, help="runs of models at once")
    add("--poll-s", type=float, default=1.0, help="how often the folders are looked at")
    add("--intra-threads", type=int, default=min(os.cpu_count() or 1, 8))
    add("--inter-threads", type=int, default=2)
    add("--typed-values", action="store_true", help="answer with float_val, not tensor_content")
    add("--parent-pid", type=int, help="stop when this is no longer the parent process")
    given: dict[str, Any] = vars(parser.parse_args(argv))
    limits = Limits(
        max_items=given.pop("max_batch"),
        max_wait_s=given.pop("max_wait_ms") / 1e3,
        max_queued=given.pop("max_queued"),
        max_runs=given.pop("max_runs"),
    )
    models = tuple(given.pop("models"))
    for folder in models:
        if not folder.is_dir():
            parser.error(f"{folder} is not a folder.")
    return ServerOptions(models, limits=limits, **given)


if __name__ == "__main__":
    sys.exit(main())
