"""What `kiosk up --autoscale` is made of: settings, the ledger, workers' remote control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module

from kiosk_tasks.jobs import task_types
from kiosk_tasks.queues import look
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.scaling import Policy
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Autoscale, Supervisor
from kiosk_tasks.stack.autoscaler import Autoscaler, Scale
from kiosk_tasks.stack.crew import Crew, Process
from kiosk_tasks.stack.parts import Plan
from kiosk_tasks.stack.remote import CeleryRemote
from kiosk_tasks.stack.workers import crew_name, crew_part
from kiosk_tasks.wiring import make_ledger

__all__ = ["LOCAL_WINDOW_S", "autoscale", "local_policies"]

LOCAL_WINDOW_S = 20.0
"""A worker is there within seconds on this machine: no machine has to be started for it. So a
worker may go sooner than the settings for a cluster say."""
_AFTER_HARD_LIMIT_S = 120.0


def autoscale(most: int, say: Callable[[str], None]) -> Autoscale:
    """Return what starts and stops the workers of a stack that runs.

    most: jobs that run at once, on all queues together.
    say: told a line for each change.
    """

    def begin(plan: Plan, supervisor: Supervisor) -> Callable[[], None]:
        settings = Settings.load()  # the stack's: this process's environment says where it is
        policies = local_policies(settings, most)
        slots = {queue: policy.slots for queue, policy in policies.items()}
        ledger = make_ledger(settings)
        crew = Crew(
            lambda queue, number: _start(plan, supervisor, queue, number, slots[queue]),
            lambda queue, number: supervisor.remove(crew_name(queue, number)),
            CeleryRemote(import_module("kiosk_tasks.run.chain").app),
            slots=slots,
            job_limit_s=max(t.seconds for t in task_types().values()) + _AFTER_HARD_LIMIT_S,
        )
        chosen = "scale_down_window_s" in settings.model_fields_set
        window_s = settings.scale_down_window_s if chosen else LOCAL_WINDOW_S
        see = partial(look, ledger, list(policies), policies.__getitem__)
        return Autoscaler(crew, see, Scale(most, slots, window_s), say).step

    return begin


def local_policies(settings: Settings, most: int) -> Mapping[str, Policy]:
    """Return the policy of each queue, within what this machine has."""
    queues = queue_names(task_types(), settings.stage_queues)
    return {queue: _within(settings.policy(queue), most) for queue in queues}


def _within(policy: Policy, most: int) -> Policy:
    slots = min(policy.slots, most)
    workers = min(policy.most, most // slots)
    return replace(policy, slots=slots, most=workers, least=min(policy.least, workers))


def _start(plan: Plan, supervisor: Supervisor, queue: str, number: int, slots: int) -> Process:
    return supervisor.add(crew_part(plan, queue, number, slots=slots))
