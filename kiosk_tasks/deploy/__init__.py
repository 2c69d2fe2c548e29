"""What a deployment has to know of the job types, derived from them: nobody writes it by hand.

queues.py    the queues, and what runs on each
helm.py      them as values of the Helm chart
compose.py   them as worker services of Docker Compose
marks.py     the part of a file that is made by us, between two marks
secrets.py   passwords and the files in which containers find them
bucket.py    the bucket, where nobody has made it; it loads the SDK, so it is imported where needed
"""

from __future__ import annotations

from kiosk_tasks.deploy.compose import compose_file, compose_services, composed_workers
from kiosk_tasks.deploy.helm import helm_values
from kiosk_tasks.deploy.marks import made_part, with_made_part
from kiosk_tasks.deploy.queues import DeployedQueue, deployed_queues
from kiosk_tasks.deploy.secrets import write_secrets

__all__ = [
    "DeployedQueue",
    "compose_file",
    "compose_services",
    "composed_workers",
    "deployed_queues",
    "helm_values",
    "made_part",
    "with_made_part",
    "write_secrets",
]
