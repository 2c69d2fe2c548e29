"""While jobs are worked on the web service goes first."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from kiosk_tasks.stack.process import Part, Running
from tests.conftest import wait_for


def test_a_part_that_steps_back_does_so_with_all_that_it_starts(tmp_path: Path) -> None:
    log, ours = tmp_path / "log", os.nice(0)
    program = (
        "import os, subprocess, sys, time\n"
        "end = time.monotonic() + 20\n"
        "while os.nice(0) != 7 and time.monotonic() < end: time.sleep(0.01)\n"
        'ask = \'import os; print(os.nice(0), open("/proc/self/autogroup").read() '
        'if os.path.exists("/proc/self/autogroup") else "nice 7")\'\n'
        "subprocess.run([sys.executable, '-c', ask])\n"
    )
    part = Part("p", (sys.executable, "-c", program), {}, log, lambda: True, nice=7)
    running = Running(part)
    said = wait_for(log.read_text)
    running.stop(lambda: False)
    assert said.startswith("7 ")
    assert "nice 7" in said
    assert os.nice(0) == ours
