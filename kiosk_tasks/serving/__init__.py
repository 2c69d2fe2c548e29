"""Talking to TensorFlow Serving, and a small model server that speaks the same protocol.

protos       the generated message modules, loaded without TensorFlow
tensors      numpy arrays <-> TensorProto
channel      the gRPC channel: one per process, retries, unlimited messages
signatures   what a served version takes and gives, and the checks against it
client       TensorFlowServing, the adapter of `ports.ModelServer`
versions     states of a model version
repository   versions on disk -> loaded models          (model server)
batching     many small requests -> one run of a model  (model server)
savedmodel   runs a SavedModel; TensorFlow lives here   (model server)
services     the gRPC services                          (model server)
server       `python -m kiosk_tasks.serving.server`     (model server)
launch       starts that server as a child process
catalogue    which models there are, by server, folder or bucket
deployed     versions in folders
deploying    a model from a file to where servers look for it
export       the part of that with TensorFlow: `python -m kiosk_tasks.serving.export`
keras_models Keras files as SavedModels          (export)
fitness      could a job use this signature?
card         pixel size and origin, beside a version's files
"""
