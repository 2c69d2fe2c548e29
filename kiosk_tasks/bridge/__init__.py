"""The old Kiosk's Redis events become jobs: what its frontends push, `kiosk bridge` submits.

A frontend writes a hash `<queue>:<file name>:<uuid>` and pushes its key onto the list `<queue>`,
which is named after a job type. The bridge moves the key to a list of its own, submits the job
under an id that follows from the key, and lets go of the key. Each step can be done twice without
harm, so a bridge may die between any two. The job's record is mirrored into the hash, which the
frontend polls; so both are in one database, the ledger's.

`input_keys` and `events` read what a frontend wrote, `inbox` and `orphans` find it, `bridge` acts.
"""

from kiosk_tasks.bridge.bridge import Bridge, make_bridge
from kiosk_tasks.bridge.events import job_id_of

__all__ = ["Bridge", "job_id_of", "make_bridge"]
