"""The application that the worker and the scenario share."""

import os

from celery import Celery

PREFIX = os.environ["CELERY_PREFIX"]

app = Celery("conformance", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    task_default_queue=PREFIX + ".tasks",
    task_default_exchange=PREFIX + ".tasks",
    task_default_routing_key=PREFIX + ".tasks",
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=2,
    worker_pool="threads",
    worker_enable_remote_control=True,
    event_queue_prefix=PREFIX + ".event",
    broker_connection_retry_on_startup=True,
)


@app.task
def add(x, y):
    return x + y


@app.task(bind=True, max_retries=3)
def flaky(self):
    """Fails twice, then tells how often it ran."""
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task
def echo(blob):
    return blob
