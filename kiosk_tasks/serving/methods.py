"""Which bytes of gRPC go to which method of `PredictionService`."""

from __future__ import annotations

from typing import Any

import grpc

from kiosk_tasks.serving.protos import get_model_metadata_pb2
from kiosk_tasks.serving.services import PredictionService
from kiosk_tasks.serving.wire import read_request

__all__ = ["add_prediction_service"]


def add_prediction_service(service: PredictionService, server: Any) -> None:
    """Let a gRPC server answer as TensorFlow Serving's PredictionService.

    In place of the generated code, by which the pixels of a prediction would pass through protobuf.
    """
    metadata = get_model_metadata_pb2
    unary = grpc.unary_unary_rpc_method_handler
    methods = {
        "Predict": unary(service.Predict, request_deserializer=read_request),
        "GetModelMetadata": unary(
            service.GetModelMetadata,
            request_deserializer=metadata.GetModelMetadataRequest.FromString,
            response_serializer=metadata.GetModelMetadataResponse.SerializeToString,
        ),
        "Classify": unary(service.Classify),
        "Regress": unary(service.Regress),
        "MultiInference": unary(service.MultiInference),
    }
    name = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
