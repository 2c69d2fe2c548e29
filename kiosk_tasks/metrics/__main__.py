"""`python -m kiosk_tasks.metrics`: the exporter on its own; `kiosk exporter` becomes this.

The command line loads every job type, to learn their queues; this does not, and is half as large.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading

from kiosk_tasks.errors import KioskError, UserError
from kiosk_tasks.metrics.server import Exporter
from kiosk_tasks.metrics.source import source_of
from kiosk_tasks.redaction import hide, redact_logs
from kiosk_tasks.settings import Settings

__all__ = ["main"]

log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kiosk_tasks.metrics", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9540)
    parser.add_argument("--queue", action="append", default=[], help="name of a queue; repeat it")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    redact_logs(logging.getLogger())
    try:
        _serve(given.address, given.port, given.queue)
    except KioskError as exc:
        sys.stderr.write(hide(f"kiosk: {exc}\n"))
        return 2 if isinstance(exc, UserError) else 3
    return 0


def _serve(address: str, port: int, queues: list[str]) -> None:
    source = source_of(Settings.load(), queues)
    with Exporter(source, address=address, port=port) as exporter:
        for number in (signal.SIGTERM, signal.SIGINT):
            # from a thread: this one is inside serve_forever, which would wait for itself
            signal.signal(
                number, lambda *_: threading.Thread(target=exporter.shutdown, daemon=True).start()
            )
        log.info("serving url=%s queues=%s", exporter.url, ",".join(queues))
        exporter.serve_forever()
    source.close()


if __name__ == "__main__":
    sys.exit(main())
