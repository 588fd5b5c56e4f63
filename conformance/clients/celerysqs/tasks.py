"""Tasks that leave their results in files."""

import os

from celery import Celery

app = Celery("tasks", broker="sqs://test:test@")
app.conf.task_default_queue = os.environ["CELERY_QUEUE"]
app.conf.broker_transport_options = {
    "region": "us-east-1", "wait_time_seconds": 2, "visibility_timeout": 30,
    "predefined_queues": {os.environ["CELERY_QUEUE"]: {
        "url": os.environ["AWS_ENDPOINT"] + "/000000000000/" + os.environ["CELERY_QUEUE"], "access_key_id": "test", "secret_access_key": "test"}},
}
app.conf.worker_enable_remote_control = False
app.conf.task_ignore_result = True


@app.task
def add(a, b, name):
    with open(os.path.join(os.environ["CELERY_OUT"], name), "w") as f:
        f.write(str(a + b))


@app.task(bind=True, max_retries=3)
def flaky(self, name):
    if self.request.retries < 2:
        raise self.retry(countdown=1)
    add(self.request.retries, 0, name)
