"""The app of Celery and its one task, set for speed as its documentation advises.

Early acknowledgement (the default), no limit on what a worker reads ahead, no events, no rate limits, no gossip (said
on the worker's command line, like the addresses); results go to Redis and are pushed to the submitter by its
publish/subscribe, not polled.
"""

from celery import Celery  # type: ignore[import-not-found]  # lives in an environment of its own

app = Celery("peers")
app.conf.update(
    worker_prefetch_multiplier=0,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    task_send_sent_event=False,
    task_acks_late=False,
    task_track_started=False,
    broker_connection_retry_on_startup=True,
    result_expires=60,  # so that a long run does not fill the memory of Redis
)


@app.task(name="noop")
def noop() -> None:
    """What every task does."""
