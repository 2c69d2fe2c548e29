"""What the worker's main process does about a job whose child it had to give up."""

from __future__ import annotations

from functools import cache
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.worker.request import Request

from kiosk_tasks.errors import OutOfMemory, TimeLimit
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.run.ending import end_badly
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import make_ledger

__all__ = ["LinkRequest"]


class LinkRequest(Request):
    """A message in a worker's main process."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """End the job whose child was killed at the hard time limit."""
        super().on_timeout(soft, timeout)
        if not soft:
            error = TimeLimit(f"the job took longer than {timeout:g} s. Split the image.")
            end_badly(self.task.app, _ledger(), self._job_id, error)

    def on_failure(self, exc_info: Any, *args: Any, **options: Any) -> Any:
        """Take a MemoryError as any other failure: Celery would end the worker for it."""
        if isinstance(exc_info.exception, MemoryError):
            try:
                raise OutOfMemory("the worker has not enough memory for this job.")
            except OutOfMemory as exc:
                exc_info = ExceptionInfo()
                end_badly(self.task.app, _ledger(), self._job_id, exc)
        return super().on_failure(exc_info, *args, **options)

    @property
    def _job_id(self) -> str:
        fields = self.kwargs if isinstance(self.kwargs, dict) else {}
        return str(fields.get("job_id") or self.id)


@cache
def _ledger() -> Ledger:
    """Return a ledger for the main process; its children have their own."""
    return make_ledger(Settings.load())
