"""How many workers a queue may have, and how soon its work should be done."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from kiosk_tasks.scaling.law import Policy
from kiosk_tasks.settings.names import names

__all__ = ["QueueScaling", "Scaling"]


class QueueScaling(BaseModel):
    """What is different for one queue; None takes the setting for all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int | None = Field(None, ge=0)
    max: int | None = Field(None, ge=1)
    slots: int | None = Field(None, ge=1)
    drain: float | None = Field(None, gt=0)


class Scaling(BaseModel):
    """Targets and bounds of the scaling law."""

    target_drain_s: float = Field(
        10.0,
        gt=0,
        validation_alias=names("TARGET_DRAIN"),
        description="In how many seconds the workers of a queue should have done all that is "
        "open on it.",
    )
    worker_slots: int = Field(
        1,
        gt=0,
        validation_alias=names("WORKER_SLOTS"),
        description="Jobs that one worker does at once: its `-c`.",
    )
    min_workers: int = Field(
        0,
        ge=0,
        validation_alias=names("MIN_WORKERS"),
        description="Fewest workers of a queue; 0 lets all go when it is empty.",
    )
    max_workers: int = Field(
        10,
        gt=0,
        validation_alias=names("MAX_WORKERS"),
        description="Most workers of a queue.",
    )
    scaling: dict[str, QueueScaling] = Field(
        default_factory=dict,
        validation_alias=names("SCALING"),
        description='What is different for a queue: {"track": {"min": 0, "max": 4, "slots": 1, '
        '"drain": 300}}.',
    )
    scale_down_window_s: float = Field(
        120.0,
        ge=0,
        validation_alias=names("SCALE_DOWN_WINDOW"),
        description="For how many seconds workers stay after they were last wanted.",
    )
    model_drain_s: float = Field(
        300.0,
        gt=0,
        validation_alias=names("MODEL_DRAIN"),
        description="In how many seconds the model servers should have made all predictions that "
        "open jobs need.",
    )
    max_model_servers: int = Field(
        1,
        gt=0,
        validation_alias=names("MAX_MODEL_SERVERS"),
        description="Most model servers.",
    )

    autoscaled: bool = Field(
        False,
        validation_alias=names("AUTOSCALED"),
        description="Whether workers are started as jobs come, so that a queue without any is as "
        "it should be; `kiosk up --autoscale` says so itself.",
    )

    @model_validator(mode="after")
    def _agree(self) -> Scaling:
        for queue in ("", *self.scaling):
            policy = self._bounds(queue)
            if policy[0] > policy[1]:
                where = f" of the queue {queue}" if queue else ""
                raise ValueError(
                    f"at least {policy[0]} and at most {policy[1]} workers{where} contradict each "
                    "other; raise KIOSK_MAX_WORKERS or lower KIOSK_MIN_WORKERS."
                )
        return self

    def policy(self, queue: str) -> Policy:
        """Return what is wanted of a queue's workers."""
        least, most = self._bounds(queue)
        own = self.scaling.get(queue, QueueScaling())
        return Policy(
            target_drain_s=own.drain or self.target_drain_s,
            slots=own.slots or self.worker_slots,
            least=least,
            most=most,
        )

    def _bounds(self, queue: str) -> tuple[int, int]:
        own = self.scaling.get(queue, QueueScaling())
        least = self.min_workers if own.min is None else own.min
        return least, own.max or self.max_workers
