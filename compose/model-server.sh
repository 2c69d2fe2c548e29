#!/bin/bash
# Starts TensorFlow Serving. The largest batch is written here and nowhere else: it must be that of
# the workers' requests, KIOSK_MAX_BATCH, and a file that is mounted cannot hold a variable.
set -eu
cat > /tmp/batching.config <<CONFIG
max_batch_size { value: $KIOSK_MAX_BATCH }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 1000 }
num_batch_threads { value: $SERVING_THREADS }
CONFIG
echo 'prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }' > /tmp/monitoring.config
exec tensorflow_model_server --port=8500 --rest_api_port=8501 \
  --model_config_file=/etc/serving/models.config --model_config_file_poll_wait_seconds=60 \
  --enable_batching --batching_parameters_file=/tmp/batching.config \
  --monitoring_config_file=/tmp/monitoring.config "$@"
