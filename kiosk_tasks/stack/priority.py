"""Which of the parts goes first where all want the processor."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["step_back"]


def step_back(pid: int, nice: int) -> None:
    """Give a session's leader, and all that it will start, a lower priority; as far as possible.

    nice: 0 to 19, higher is later. Linux shares the processor between sessions first, where it
    groups them (autogroup), and then `nice` alone would only count inside the part's own.
    """
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        with suppress(OSError):
            group.write_text(str(nice))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
