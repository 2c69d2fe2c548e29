"""The broker's users of a trial of the chart: `python -m tests.chart.trial_users` writes them."""

from __future__ import annotations

from pathlib import Path

from kiosk_tasks.bridge.events import queue_names
from kiosk_tasks.broker_users import BrokerKeys, broker_users

__all__ = ["FILE", "trial_users"]

FILE = Path(__file__).parents[2] / "helm/kiosk-tasks/files/trial-users.acl"


def trial_users() -> str:
    """Return the ACL file with {component} where the hash of its password belongs."""
    keys = BrokerKeys("kiosk:", "kiosk:v1:", old_queues=queue_names())
    users = [user.line(f"{{{user.component}}}") for user in broker_users(keys)]
    return "\n".join(["user default off resetpass resetkeys resetchannels -@all", *users]) + "\n"


if __name__ == "__main__":
    FILE.write_text(trial_users(), "utf-8")
