"""The broker's users, one per component, each with the least that its work needs.

`kiosk acl` prints them as Valkey's and Redis' ACL file. Commands were found by running every
component against a server that forbids all else, and are kept honest by the same test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

__all__ = ["COMPONENTS", "BrokerKeys", "Grant", "User", "acl_file", "broker_users", "user_name"]

COMPONENTS = ("client", "worker", "reaper", "bridge", "flower", "exporter", "admin")

_CONNECT = "hello auth select ping reset quit client|setinfo client|setname client|id"
_SCRIPTS = "evalsha eval script|load script|exists"
_RECORDS = (
    "exists hget hmget hset hsetnx hdel hgetall hincrby hlen expire pexpire ttl del type "
    "sadd srem smembers sismember scard "
    "zadd zrem zcard zcount zscore zrange zrevrange zrangebyscore zremrangebyscore zincrby"
)
"""What the ledger's scripts and readers call."""
_TRANSACTIONS = "multi exec discard watch unwatch"
_SEND = "lpush rpush llen lrange lpos publish sadd smembers"
_ASK_WORKERS = "sadd srem smembers exists llen pexpire publish"
_RESULTS = "get mget set setex subscribe unsubscribe publish"
_LISTEN = "psubscribe punsubscribe"
_COUNT = "llen hlen scard zcard zcount zscore zrange exists type ttl info memory|usage"


@dataclass(frozen=True)
class BrokerKeys:
    """Names on the broker: prefixes of keys and channels.

    records: what every key of ours starts with.
    messages: what Celery's keys start with.
    database: number of Celery's database; it is part of the channels' names.
    old_queues: lists that the old Kiosk's frontends write, with a hash for each entry.
    """

    records: str
    messages: str
    database: int = 0
    old_queues: Collection[str] = ()


@dataclass(frozen=True)
class Grant:
    """Commands on keys and channels, as ACL patterns; names of commands between spaces."""

    commands: str
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    @property
    def rules(self) -> str:
        """The grant in the ACL's language."""
        commands = sorted(set(self.commands.split()))
        names = ["+@all"] if commands == ["@all"] else ["-@all", *(f"+{name}" for name in commands)]
        keys = [key if key.startswith("%") else f"~{key}" for key in self.keys]
        return " ".join([*keys, *(f"&{channel}" for channel in self.channels), *names])


@dataclass(frozen=True)
class User:
    """A user: what it may do in general, and on a few keys only.

    purpose: who logs in as this user.
    """

    component: str
    purpose: str
    grant: Grant
    more: tuple[Grant, ...] = ()

    def line(self, password_hash: str) -> str:
        """Return the user's line of the ACL file."""
        selectors = "".join(f" ({grant.rules})" for grant in self.more)
        start = f"user {user_name(self.component)} on sanitize-payload #{password_hash}"
        return f"{start} resetkeys resetchannels {self.grant.rules}{selectors}"


def user_name(component: str) -> str:
    """Return the user's name on the broker."""
    return f"kiosk-{component}"


def broker_users(names: BrokerKeys) -> tuple[User, ...]:
    """Return every component's user."""
    ours, messages = f"{names.records}*", names.messages
    control, replies = _channel(names, "celery.pidbox"), f"{messages}*.reply.celery.pidbox*"
    results, events = f"{messages}celery-task-meta-*", _channel(names, "celeryev/*")
    submit = Grant(
        f"{_CONNECT} {_SCRIPTS} {_RECORDS} {_TRANSACTIONS} {_SEND} {_ASK_WORKERS} {_RESULTS}",
        (ours,),
        (control, results),
    )
    take_replies = Grant("brpop rpop del", (replies,))
    worker_events = _channel(names, "celeryev/worker.*")
    return (
        User("client", "whoever submits jobs: web, command line, scripts", submit, (take_replies,)),
        User(
            "worker",
            "Celery workers",
            Grant(
                f"{submit.commands} {_LISTEN} brpop rpop hget hdel del zrevrangebyscore rename",
                (ours,),
                (control, results, events, worker_events),
            ),
        ),
        User("reaper", "what sends lost jobs again", submit, (take_replies,)),
        User(
            "bridge",
            "what takes the old Kiosk's jobs over",
            submit,
            (take_replies, _old_kiosk(names)),
        ),
        User(
            "flower",
            "the dashboard",
            Grant(
                f"{_CONNECT} {_SCRIPTS} {_TRANSACTIONS} {_ASK_WORKERS} {_LISTEN} info",
                (f"{messages}*",),
                (control, events),
            ),
            (Grant("brpop rpop del lpush", (replies, f"{messages}celeryev*")),),
        ),
        User("exporter", "metrics and autoscalers; reads only", _read_only(names)),
        User("admin", "people: kiosk doctor, backups, ACL SETUSER", Grant("@all", ("*",), ("*",))),
    )


def acl_file(users: Collection[User], passwords: Mapping[str, str]) -> str:
    """Return the text of an ACL file: hashed passwords, and the user without a name off.

    passwords: by component.
    """
    lines = ["user default off resetpass resetkeys resetchannels -@all"]
    for user in users:
        digest = hashlib.sha256(passwords[user.component].encode()).hexdigest()
        lines.append(user.line(digest))
    return "\n".join(lines) + "\n"


def _channel(names: BrokerKeys, exchange: str) -> str:
    """Return the channel of an exchange; PSUBSCRIBE must be granted in exactly these words."""
    return f"{names.messages}/{names.database}.{exchange}"


def _read_only(names: BrokerKeys) -> Grant:
    return Grant(f"{_CONNECT} {_COUNT}", (f"%R~{names.records}*",))


def _old_kiosk(names: BrokerKeys) -> Grant:
    """Take entries off the frontends' lists, and write the hashes that the frontends poll."""
    keys = [
        key for queue in names.old_queues for key in (queue, f"{queue}:*", f"processing-{queue}:*")
    ]
    return Grant(
        "blmove lmove rpoplpush brpoplpush lrem llen lrange lpush rpush "
        "hget hmget hgetall hset hsetnx hexists hdel expire exists type scan",
        tuple(keys),
    )
