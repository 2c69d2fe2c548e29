"""The job records: what became of every job. Redis hashes, changed by compare-and-set only.

ledger.py    Ledger: submit, claim, write, release, finish
records.py   what a record says
pulse.py     a running job's sign of life
reporter.py  a running job's progress
lost.py      what the reaper asks
scripts/     the changes, in Lua
"""

from kiosk_tasks.ledger.ledger import Ending, Ledger
from kiosk_tasks.ledger.lost import LostJobs, Waiting
from kiosk_tasks.ledger.pulse import Heart, Pulse
from kiosk_tasks.ledger.records import Claim, Record
from kiosk_tasks.ledger.reporter import LedgerReporter

__all__ = [
    "Claim",
    "Ending",
    "Heart",
    "Ledger",
    "LedgerReporter",
    "LostJobs",
    "Pulse",
    "Record",
    "Waiting",
]
