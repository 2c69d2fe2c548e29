"""Shifts the wall clock of the process by FAULT_CLOCK_SKEW seconds; monotonic clocks are true."""

import datetime
import os
import time

_SKEW_S = float(os.environ["FAULT_CLOCK_SKEW"])
_time, _time_ns = time.time, time.time_ns
_datetime = datetime.datetime


class _Meta(type):
    """Lets true datetimes pass for skewed ones."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _datetime)


class _Skewed(_datetime, metaclass=_Meta):
    """A datetime whose `now` is off."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _datetime:
        return _datetime.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> _datetime:
        return _datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)


time.time = lambda: _time() + _SKEW_S
time.time_ns = lambda: _time_ns() + int(_SKEW_S * 1e9)
datetime.datetime = _Skewed
