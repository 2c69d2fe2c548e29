"""What Prometheus and autoscalers are told of the ledger.

source.py      one look at the ledger, given up soon
collector.py   the look as Prometheus' gauges, counters and histograms
histograms.py  what workers counted (`ledger/tallies.py`), likewise
server.py      `kiosk exporter`: a small HTTP server for all that; `python -m kiosk_tasks.metrics`

Nothing here loads a job type: names of queues are given, so that the exporter stays small.
"""

from kiosk_tasks.metrics.collector import LedgerCollector
from kiosk_tasks.metrics.source import Snapshot, Source, queues_json, source_of

__all__ = ["LedgerCollector", "Snapshot", "Source", "queues_json", "source_of"]
