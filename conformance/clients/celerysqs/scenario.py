"""A Celery worker on the SQS transport: tasks, many of them, retries.

AWS_ENDPOINT names the endpoint. Prints one line; exits 1 when a chapter failed.
"""

import os
import subprocess
import sys
import tempfile
import time
import traceback
import uuid

os.environ["CELERY_QUEUE"] = "celery-" + uuid.uuid4().hex[:12]
os.environ["CELERY_OUT"] = tempfile.mkdtemp()
os.environ["AWS_ENDPOINT_URL_SQS"] = os.environ["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT"]
os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1")

import boto3  # noqa: E402

from tasks import add, flaky  # noqa: E402

WAIT = 60


def result(name):
    path = os.path.join(os.environ["CELERY_OUT"], name)
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        if os.path.exists(path) and os.path.getsize(path):
            with open(path) as f:
                return f.read()
        time.sleep(0.05)
    raise AssertionError(f"no result {name}")


def task():
    add.delay(2, 3, "one")
    assert result("one") == "5"


def many():
    for i in range(100):
        add.delay(i, i, f"many-{i}")
    assert [result(f"many-{i}") for i in range(100)] == [str(2 * i) for i in range(100)]


def retries():
    flaky.delay("flaky")
    assert result("flaky") == "2"


CHAPTERS = [task, many, retries]


def main():
    boto3.client("sqs").create_queue(QueueName=os.environ["CELERY_QUEUE"])
    here = os.path.dirname(os.path.abspath(__file__))
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel=INFO", "--pool=threads", "--without-mingle", "--without-gossip"],
                              cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    failed = 0
    try:
        for chapter in CHAPTERS:
            try:
                chapter()
            except Exception:  # a chapter may fail in any way; the others still run
                failed += 1
                print(f"FAIL {chapter.__name__}", file=sys.stderr)
                traceback.print_exc()
    finally:
        worker.terminate()
        try:
            out, _ = worker.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            worker.kill()
            out, _ = worker.communicate()
        if failed:
            print(out, file=sys.stderr)
    print(f"Celery on SQS: {len(CHAPTERS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
