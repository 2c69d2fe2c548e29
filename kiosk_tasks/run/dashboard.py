"""What `celery -A kiosk_tasks flower` runs with: never open, every queue shown, all sentinels.

Flower asks its Celery application to import its modules once it has read its own options, and
before it listens: that is when this steps in. Flower is pinned, and tests ask a real one.
"""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import urlsplit

import click
from celery import signals

from kiosk_tasks.settings import Settings, is_loopback, through_sentinels, urls_of

__all__ = ["connect", "open_to_network"]

_USER = "kiosk"


def connect() -> None:
    """Connect the handler to Celery's signal."""
    signals.import_modules.connect(_prepare)


def open_to_network(address: str, login: str | None) -> bool:
    """Tell whether Flower would be open to the network, with no login."""
    return not login and not is_loopback(address)


def _prepare(**_: Any) -> None:
    """Step in, if the command that runs is Flower's."""
    command = click.get_current_context(silent=True)
    if command is None or command.info_name != "flower":
        return
    from flower.views import BaseHandler
    from tornado.options import options

    settings = Settings.load()
    _close(options, settings)
    BaseHandler.get_active_queue_names = _queue_names
    if through_sentinels(settings.broker_url):
        _ask_every_sentinel(settings)


def _close(options: Any, settings: Settings) -> None:
    """Give Flower the address and the login of our settings, where its own options have none."""
    options.address = options.address or settings.flower_address
    if options.basic_auth or options.auth:
        return
    login = settings.flower_auth.get_secret_value() if settings.flower_auth else None
    if not options.unix_socket and open_to_network(options.address, login):
        where = options.address or "every address"
        cure = "Set KIOSK_FLOWER_AUTH=user:password, or --address=127.0.0.1."
        click.echo(f"kiosk: Flower at {where} would be open to the network. {cure}", err=True)
        raise SystemExit(3)  # an exception would be logged with its trace first
    if login is None:
        login = f"{_USER}:{secrets.token_hex(16)}"
        click.echo(f"Flower's user:password, for this start: {login}", err=True)
    options.basic_auth = [login]


def _ask_every_sentinel(settings: Settings) -> None:
    """Let Flower's page of queues know all sentinels, where it would ask the first only."""
    from flower.utils import broker

    others = [urlsplit(url) for url in urls_of(settings.broker_url)[1:]]

    class EverySentinel(broker.RedisSentinel):  # type: ignore[misc]  # Flower has no types
        def _get_redis_client(self, *options: Any) -> Any:
            client = super()._get_redis_client(*options)
            known = client.connection_pool.sentinel_manager
            known.sentinels += [
                type(known.sentinels[0])(host=at.hostname, port=at.port, **known.sentinel_kwargs)
                for at in others
            ]
            return client

    broker.RedisSentinel = EverySentinel


def _queue_names(page: Any) -> list[str]:
    """Return all queues, where Flower would leave out those that no worker consumes just now.

    These are the ones for which a scaler that reads `/api/queues/length` must start a worker.
    """
    declared = {queue.name for queue in page.capp.conf.task_queues}
    consumed = {
        queue["name"]
        for worker in page.application.workers.values()
        for queue in worker.get("active_queues", ())
    }
    return sorted(declared | consumed)
