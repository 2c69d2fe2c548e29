"""The command line: `kiosk run | up | submit | status | jobs | cancel | fetch | models | …`.

Exit codes: 0 all is well; 1 at least one job failed; 2 the command was not understood, or names no
image; 3 the stack, the broker or the model server is not there; 130 interrupted.
"""

from __future__ import annotations

from kiosk_tasks.cli.main import main

__all__ = ["main"]
