"""Keys on their way: from the frontends' lists to this replica's, and from those of dead replicas.

<queue>                                 pushed by frontends
<prefix>bridge:processing:<replica>     taken by that replica, not yet dealt with
<prefix>bridge:alive:<replica>          there as long as it lives
<prefix>bridge:replicas                 names of those that may have taken any
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Inbox"]


_NO_LIST = object()


class Inbox:
    """What one replica has taken. A key leaves a list only for another, or when it is `done`."""

    def __init__(
        self, client: redis.Redis, *, queues: Sequence[str], prefix: str, replica: str
    ) -> None:
        """client: its timeout is longer than any `wait`."""
        self._redis = client
        self._queues = queues
        self._replica = replica
        self._prefix = f"{prefix}bridge:"
        self._mine = self._processing(replica)
        self._busiest = queues[0]

    def beat(self, alive_s: float) -> None:
        """Be known to live for so many seconds."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._alive(self._replica), 1, px=int(1000 * alive_s))
        pipe.sadd(f"{self._prefix}replicas", self._replica)  # after it: see `rescue`
        with mapped_broker_errors():
            pipe.execute()

    def take(self) -> list[str]:
        """Take the oldest key of each queue; return all that this replica holds, oldest first.

        Read from the list, not from the answers: it may hold more, after a crash or a lost answer.
        """
        pipe = self._redis.pipeline(transaction=False)
        for queue in self._queues:
            pipe.lmove(queue, self._mine, "RIGHT", "LEFT")
        pipe.lrange(self._mine, 0, -1)
        with mapped_broker_errors():
            *moved, held = map(_unless_no_list, pipe.execute(raise_on_error=False))
        lists = {q: key for q, key in zip(self._queues, moved, strict=True) if key is not _NO_LIST}
        busy = [queue for queue, key in lists.items() if key is not None]
        if busy:
            self._busiest = busy[-1]
        elif self._busiest not in lists:
            self._busiest = next(iter(lists), self._busiest)
        return list(dict.fromkeys(reversed(held)))

    def wait(self, seconds: float) -> None:
        """Wait for a key on the queue that had one last, and take it.

        Redis can wait for several lists, but then moves nothing: a key would be lost with the
        process that popped it. So the other queues are looked at only when this is over.
        """
        with mapped_broker_errors():
            self._redis.blmove(self._busiest, self._mine, seconds, "RIGHT", "LEFT")  # type: ignore[arg-type]  # it takes fractions

    def done(self, key: str) -> None:
        """Let go of a key, however often it was pushed: that is one job."""
        with mapped_broker_errors():
            self._redis.lrem(self._mine, 0, key)

    def rescue(self) -> int:
        """Take over what dead replicas had taken; return how many keys that were."""
        rescued = 0
        with mapped_broker_errors():
            names: Any = self._redis.smembers(f"{self._prefix}replicas")
            for name in names - {self._replica}:
                if self._redis.exists(self._alive(name)):
                    continue
                while self._redis.lmove(self._processing(name), self._mine, "RIGHT", "LEFT"):
                    rescued += 1
                self._redis.srem(f"{self._prefix}replicas", name)
                if self._redis.exists(self._alive(name)):  # it was started again meanwhile
                    self._redis.sadd(f"{self._prefix}replicas", name)
        return rescued

    def leave(self) -> None:
        """Let the others have at once what is left."""
        with mapped_broker_errors():
            self._redis.expire(self._alive(self._replica), 0)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _processing(self, replica: str) -> str:
        return f"{self._prefix}processing:{replica}"

    def _alive(self, replica: str) -> str:
        return f"{self._prefix}alive:{replica}"


def _unless_no_list(answer: Any) -> Any:
    """Return an answer; `_NO_LIST` if the key is none: nobody can have pushed to it.

    Raises what the server has refused for another reason.
    """
    if isinstance(answer, redis.ResponseError) and "WRONGTYPE" in str(answer):
        return _NO_LIST
    if isinstance(answer, Exception):
        raise answer
    return answer
