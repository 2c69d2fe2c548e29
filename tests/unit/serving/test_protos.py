"""The message modules load without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = "from kiosk_tasks.serving import protos\n"
USE = """
proto = protos.tensor_pb2.TensorProto(dtype=1, tensor_content=b"abcd")
assert protos.predict_pb2.PredictRequest(inputs={"x": proto}).inputs["x"].dtype == 1
"""


def run(code: str, *path: Path) -> None:
    """Run the code in a process of its own, with folders before the usual path."""
    known = [*map(str, path), str(Path.cwd()), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known))}
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_tensorflow_is_not_imported() -> None:
    run(
        "import sys, threading\n"
        f"threads = [threading.Thread(target=exec, args=({LOAD!r}, {{}})) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        f"{LOAD}{USE}"
        "assert 'tensorflow' not in sys.modules\n"
        "assert not any(m.startswith('tensorflow.python') for m in sys.modules)\n"
        "import kiosk_tasks.serving.client\n"
        "assert 'tensorflow' not in sys.modules\n"
    )


def test_a_folder_of_messages_alone_is_enough(tmp_path: Path) -> None:
    import importlib.util

    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None
    installed = Path(next(iter(spec.submodule_search_locations or [])))
    for file in installed.rglob("*_pb2.py"):
        copy = tmp_path / "tensorflow" / file.relative_to(installed)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise RuntimeError('was run')\n")
    run(LOAD + USE + f"assert {str(tmp_path)!r} in protos.tensor_pb2.__file__", tmp_path)
    (tmp_path / "tensorflow" / "__init__.py").unlink()
    # Without __init__ a regular package elsewhere on the path would win, so only it may be there.
    code = (
        "import sys, importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        f"only = lambda n, p=None, t=None: find(n, [{str(tmp_path)!r}] "
        "if n == 'tensorflow' else p, t)\n"
        "m.PathFinder.find_spec = staticmethod(only)\n"
    )
    run(code + LOAD + USE + f"assert {str(tmp_path)!r} in protos.tensor_pb2.__file__")


def test_missing_messages_are_said_in_a_sentence() -> None:
    code = (
        "import importlib.util as u\n"
        "u.find_spec = lambda name: None\n"
        "try:\n"
        "    from kiosk_tasks.serving import protos\n"
        "except ImportError as exc:\n"
        "    assert 'Install tensorflow' in str(exc)\n"
        "else:\n"
        "    raise SystemExit('it loaded')\n"
    )
    run(code)
