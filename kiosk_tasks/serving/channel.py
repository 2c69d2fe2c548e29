"""The gRPC channel to the model server: one per process, made at first use."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from typing import Any

import grpc

from kiosk_tasks.serving.protos import model_service_pb2_grpc, prediction_service_pb2_grpc
from kiosk_tasks.serving.wire import read_reply

__all__ = ["UNLIMITED_MESSAGES", "Connection"]

UNLIMITED_MESSAGES = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {  # gRPC adds jitter of a fifth to each pause
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
}

_PREDICT = "/tensorflow.serving.PredictionService/Predict"

_OPTIONS = (
    *UNLIMITED_MESSAGES,
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A request over this size is never retried; the default, 256 KiB, is smaller than one tile.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)

#: Channels inherited by a forked child. They belong to the parent: closing them, even by garbage
#: collection, would wait for threads that do not exist in the child.
_inherited: list[Any] = []


@dataclass(frozen=True)
class _Channel:
    pid: int
    channel: Any
    prediction: Any
    model: Any
    predict: Any


class Connection:
    """Stubs on a channel made in the process that uses it; gRPC does not survive a fork."""

    def __init__(self, target: str) -> None:
        """Remember the server's `host:port`; nothing is opened yet."""
        self.target = target
        self._lock = threading.Lock()
        self._channel: _Channel | None = None

    @property
    def prediction(self) -> Any:
        """The stub of PredictionService."""
        return self._open().prediction

    @property
    def predict(self) -> Any:
        """Its method Predict, from the bytes of `write_request` to what `read_reply` returns."""
        return self._open().predict

    @property
    def model(self) -> Any:
        """The stub of ModelService."""
        return self._open().model

    def wait(self, timeout_s: float) -> bool:
        """Wait until the server accepts the connection; False if it does not in that time."""
        ready = grpc.channel_ready_future(self._open().channel)
        try:
            ready.result(timeout=max(timeout_s, 0.0))
        except grpc.FutureTimeoutError:
            return False
        finally:
            ready.cancel()
        return True

    def close(self) -> None:
        """Close the channel; the next use opens another."""
        with self._lock:
            current, self._channel = self._channel, None
        if current is not None and current.pid == os.getpid():
            current.channel.close()

    def _open(self) -> _Channel:
        current = self._channel
        if current is not None and current.pid == os.getpid():
            return current
        if current is not None:
            # The lock is the parent's too: another thread may have held it at the time of the fork.
            _inherited.append(current)
            self._lock, self._channel = threading.Lock(), None
        with self._lock:
            if self._channel is None:
                self._channel = self._connect()
            return self._channel

    def _connect(self) -> _Channel:
        channel = grpc.insecure_channel(self.target, options=_OPTIONS)
        return _Channel(
            os.getpid(),
            channel,
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
            channel.unary_unary(_PREDICT, response_deserializer=read_reply),
        )
