"""The job records: what became of every job. Redis hashes, changed by compare-and-set only."""

from kiosk_tasks.ledger.records import Claim, Ledger, Record
from kiosk_tasks.ledger.reporter import LedgerReporter

__all__ = ["Claim", "Ledger", "LedgerReporter", "Record"]
