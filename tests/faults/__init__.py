"""The fault suite: what dies, and what must still hold.

Real processes on a real broker are killed, frozen, cut off and lied to while jobs run; `checker`
then holds every scenario to the same invariants, and `table` prints one row for each.

    pytest tests/faults                         all scenarios, in their small size
    pytest tests/faults -k F4                   one of them
    pytest tests/faults --fault-size nightly --fault-table faults.md
"""
