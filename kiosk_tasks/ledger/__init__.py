"""The job records: what became of every job. Redis hashes, changed by compare-and-set only.

ledger.py    Ledger: submit, claim, write, release, finish
records.py   what a record says
pulse.py     a running job's sign of life
reporter.py  a running job's progress
lost.py      what the reaper asks
listing.py   the newest jobs
owner.py     who submits, and how many they may have open
numbers.py   how many jobs are where; tallies.py  how long things take, roughly
reservations.py  the right to be the only one for a while
scripts/     the changes, in Lua
"""

from kiosk_tasks.ledger.ledger import Ending, Ledger
from kiosk_tasks.ledger.listing import Page, newest
from kiosk_tasks.ledger.lost import LostJobs, Waiting
from kiosk_tasks.ledger.owner import NotEnded, Owner, TooManyJobs
from kiosk_tasks.ledger.pulse import Heart, Pulse
from kiosk_tasks.ledger.records import Claim, Record
from kiosk_tasks.ledger.reporter import LedgerReporter
from kiosk_tasks.ledger.reservations import Reservation
from kiosk_tasks.ledger.tallies import Tallies

__all__ = [
    "Claim",
    "Ending",
    "Heart",
    "Ledger",
    "LedgerReporter",
    "LostJobs",
    "NotEnded",
    "Owner",
    "Page",
    "Pulse",
    "Record",
    "Reservation",
    "Tallies",
    "TooManyJobs",
    "Waiting",
    "newest",
]
