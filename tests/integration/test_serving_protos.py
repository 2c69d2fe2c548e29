"""The message modules get on with a real TensorFlow in the same process, in either order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROTOS = "from kiosk_tasks.serving import protos\n"
TENSORFLOW = "import tensorflow as tf\n"
CHECK = """
import sys
assert sys.modules["tensorflow"] is tf and tf.__version__
assert float(tf.reduce_sum(tf.constant([1.0, 2.0]))) == 3
request = protos.predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
assert tf.make_ndarray(request.inputs["x"]).tolist() == [1.0]
"""


@pytest.mark.parametrize("order", [PROTOS + TENSORFLOW, TENSORFLOW + PROTOS])
def test_tensorflow_works_in_the_same_process(order: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", order + CHECK],
        env={**os.environ, "PYTHONPATH": str(Path.cwd()), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
