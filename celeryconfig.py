"""Celery's settings; queues and routes are derived from the job types.

Installed beside the package, so that `celery -A kiosk_tasks …` works from any folder. A file of
this name in the working directory wins over it, and `CELERY_CONFIG_MODULE` over both. Figures in
the comments were measured with Celery 5.7 on Valkey 9.
"""

from kombu import Exchange, Queue

from kiosk_tasks.jobs import task_types
from kiosk_tasks.redis_clients import sentinel_options
from kiosk_tasks.run.links import ADMIT, CONTINUE, SEPARATOR, queue_names
from kiosk_tasks.run.names import REAP, REAPER_QUEUE
from kiosk_tasks.settings import Settings

_settings = Settings.load()
_longest_s = max(job_type.seconds for job_type in task_types().values())

broker_url = _settings.broker_url
result_backend = _settings.broker_url
broker_use_ssl = redis_backend_use_ssl = _settings.tls(_settings.broker_url) or None
_sentinel = sentinel_options(**_settings.way_to(_settings.broker_url))

# json only: unpickling would run code for whoever reaches the broker
task_serializer = result_serializer = event_serializer = "json"
accept_content = result_accept_content = ["json"]

# queues: a name that nobody declared is an error, not a list that nobody reads
task_queues = tuple(
    Queue(name, Exchange(name), routing_key=name)
    for name in (*queue_names(task_types(), _settings.stage_queues), REAPER_QUEUE)
)
task_default_queue = task_queues[0].name
task_create_missing_queues = False
task_routes = {
    name_or_stage: {"queue": job_type.queue, "priority": ADMIT}
    for name, job_type in task_types().items()
    for name_or_stage in (name, f"{name}.*")
} | {REAP: {"queue": REAPER_QUEUE}}

# delivery: acknowledged after the run; one message per process, so that queue lengths are honest
task_acks_late = True  # a killed worker lost 2 of 120 jobs without it, none with it
task_retry_on_worker_lost = True  # the ledger bounds it: reject_on_worker_lost has no bound
task_reject_on_worker_lost = False
task_acks_on_failure = task_acks_on_timeout = True  # a failure is final; retries are explicit
worker_consumer = "kiosk_tasks.run.consumer:Consumer"  # an unknown job type is another worker's
worker_pool = "kiosk_tasks.run.pool:TaskPool"  # one that has ended takes no messages
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_cancel_long_running_tasks_on_connection_loss = True
worker_soft_shutdown_timeout = 20
worker_enable_soft_shutdown_on_idle = True
worker_deduplicate_successful_tasks = True
worker_eta_task_limit = 100

# limits: everything ends
task_soft_time_limit = _longest_s
task_time_limit = _longest_s + 60
visibility_timeout = _settings.visibility_timeout_s  # run/visibility.py lets a job outlast it
worker_max_tasks_per_child = 200
worker_max_memory_per_child = 1_500_000  # kB
worker_proc_alive_timeout = 30  # s; scientific imports are slow on a cold disk

broker_transport_options = {
    "visibility_timeout": visibility_timeout,
    # it names the protocol: a stray worker of another release never sees these messages
    "global_keyprefix": _settings.broker_prefix,
    # a job that has begun goes before one that waits: five-stage chains run depth first
    "queue_order_strategy": "priority",
    "priority_steps": [CONTINUE, ADMIT],
    "sep": SEPARATOR,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 30,
    "health_check_interval": 25,
    "socket_keepalive": True,
    "socket_connect_timeout": 5,
    "socket_timeout": 30,
    **_sentinel,
}
task_default_priority = ADMIT
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True  # a worker outlives a broker whose memory is full
task_publish_retry_policy = {
    "max_retries": 5,
    "interval_start": 0,
    "interval_step": 0.5,
    "interval_max": 5,
}

# results: only the end of a job keeps one, for `task.delay(…).get()`
task_ignore_result = True
task_track_started = False
result_expires = 6 * 3600
result_backend_transport_options = {
    "global_keyprefix": _settings.broker_prefix,
    "visibility_timeout": visibility_timeout,
    "retry_policy": {"timeout": 10},
    **_sentinel,
}
result_extended = True
result_backend_always_retry = True
result_backend_max_retries = 20
redis_socket_timeout = 30
redis_socket_keepalive = True
redis_retry_on_timeout = True

# `celery -A kiosk_tasks beat`, where no `kiosk reap` runs; late looks are not made up for
beat_schedule = {
    REAP: {
        "task": REAP,
        "schedule": _settings.reap_every_s,
        "options": {"expires": _settings.reap_every_s},
    }
}

worker_send_task_events = True  # Flower shows tasks
task_send_sent_event = False
worker_enable_remote_control = True  # `celery inspect`, and Flower's buttons
