"""The queues as values of the Helm chart."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from kiosk_tasks.deploy.queues import DeployedQueue

__all__ = ["helm_values"]


def helm_values(queues: Iterable[DeployedQueue]) -> str:
    """Return the chart's `queues:`; the workers of each follow from it.

    What else a queue may have (replicas, resources, …) is not known of job types: Helm merges it in
    from an installation's own values.
    """
    values = {
        queue.name: {"jobTypes": list(queue.job_types), "timeLimitSeconds": queue.time_limit_s}
        for queue in queues
    }
    return yaml.safe_dump({"queues": values}, sort_keys=True, default_flow_style=None, width=100)
