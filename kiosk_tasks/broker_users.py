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

_CONNECT = "hello auth select ping client|setinfo client|setname time"
_SCRIPTS = "evalsha script|load script|exists multi exec discard watch unwatch"
_LEDGER = (
    "hget hmget hgetall hvals hlen hset hdel hincrby exists expire rpush lrange sadd scard "
    "smembers zadd zcard zscore zmscore zrem zrange zrevrange zrangebyscore "
    "zrevrangebyscore zremrangebyscore"
)
"""What the job records and their scripts need."""
_MESSAGES = (
    "lpush rpush llen sadd srem smembers exists pexpire set get publish "
    "hget hset hdel zadd zrem zrange zrangebyscore"
)
"""What Celery needs to send, to ask workers, and to give back what dead workers held."""
_TAKE = "brpop rpop del"
_RESULTS = "get mget set setex expire subscribe unsubscribe publish"
_LISTEN = "psubscribe punsubscribe"
_MIRROR = "hset hget hgetall hexists expire"
"""What a job's record does to the hash that an old client polls."""
_OLD_QUEUE = "blmove lmove rpoplpush brpoplpush lrem llen lrange lpush rpush exists hdel " + _MIRROR
_COUNT = (
    "llen hlen scard zcard zcount zscore zrange exists type ttl info "
    "multi exec discard eval latency|latest"
)
"""Among them what redis_exporter asks; a script may do no more than its user."""
_READ = "hget hgetall hvals smembers"
_SUMS = ("lanes", "load", "pace", "submitted", "ended", "reaper", "tallies")
"""What the ledger has counted; nothing of any one job."""


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
    submit = _submit(names)
    mirror = Grant(_MIRROR, tuple(f"{queue}:*" for queue in names.old_queues))
    replies = Grant(_TAKE, _answers(names))
    reaper_queue = Grant(_TAKE, (*_answers(names), f"{names.messages}reaper*"))
    work = Grant(f"{submit.commands} {_TAKE} {_LISTEN}", submit.keys, _all_channels(names))
    watch = Grant(f"{submit.commands} {_LISTEN}", submit.keys, _all_channels(names))
    return (
        User(
            "client", "whoever submits jobs: web, command line, scripts", submit, (replies, mirror)
        ),
        User("worker", "Celery workers", work, (mirror,)),
        User("reaper", "what sends lost jobs again", watch, (reaper_queue, mirror)),
        User(
            "bridge",
            "what takes over the old Kiosk's jobs",
            Grant(f"{submit.commands} scan type", submit.keys, submit.channels),
            (replies, _old_kiosk(names)),
        ),
        User("flower", "the dashboard", _dashboard(names), (replies,)),
        User(
            "exporter",
            "metrics and autoscalers; reads counts only",
            _read_only(names),
            (Grant(_READ, tuple(f"%R~{names.records}{name}" for name in _SUMS)),),
        ),
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


def _submit(names: BrokerKeys) -> Grant:
    return Grant(
        f"{_CONNECT} {_SCRIPTS} {_LEDGER} {_MESSAGES} {_RESULTS}",
        (f"{names.records}*",),
        (_channel(names, "celery.pidbox"), _results(names)),
    )


def _dashboard(names: BrokerKeys) -> Grant:
    return Grant(
        f"{_CONNECT} {_SCRIPTS} {_MESSAGES} {_LISTEN}",
        (f"{names.messages}*",),
        (_channel(names, "celery.pidbox"), _channel(names, "celeryev/*")),
    )


def _read_only(names: BrokerKeys) -> Grant:
    return Grant(f"{_CONNECT} {_COUNT}", (f"%R~{names.records}*",))


def _old_kiosk(names: BrokerKeys) -> Grant:
    """Take entries off the frontends' lists, and write the hashes that the frontends poll."""
    keys = (
        key for queue in names.old_queues for key in (queue, f"{queue}:*", f"processing-{queue}:*")
    )
    return Grant(_OLD_QUEUE, (f"{names.records}bridge:*", *keys))


def _answers(names: BrokerKeys) -> tuple[str, ...]:
    """Return the keys that whoever asks workers takes and removes: never those of jobs."""
    own = ("*.reply.celery.pidbox*", "celery-task-meta-*", "celeryev.*", "unacked_mutex")
    return tuple(f"{names.messages}{key}" for key in (*own, "_kombu.binding*"))


def _results(names: BrokerKeys) -> str:
    return f"{names.messages}celery-task-meta-*"


def _all_channels(names: BrokerKeys) -> tuple[str, ...]:
    exchanges = ("celery.pidbox", "celeryev/*", "celeryev/worker.*")
    return (*(_channel(names, exchange) for exchange in exchanges), _results(names))


def _channel(names: BrokerKeys, exchange: str) -> str:
    """Return the channel of an exchange; PSUBSCRIBE must be granted in exactly these words."""
    return f"{names.messages}/{names.database}.{exchange}"
