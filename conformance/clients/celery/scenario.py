"""A Celery worker doing real work: tasks, results, groups, ETA, retries.

More tasks with an ETA are sent than the worker may prefetch: Celery raises the
prefetch count of the live consumer for each of them, so the plain task sent
after them is only answered early when that works on this broker.

AMQP_URL names the broker. Prints one line; exits 1 when a chapter failed.
"""

import os
import subprocess
import sys
import time
import traceback
import uuid

os.environ.setdefault("CELERY_PREFIX", "celery." + uuid.uuid4().hex[:12])

import celery  # noqa: E402  (needs CELERY_PREFIX)
from celery import group  # noqa: E402

from tasks import PREFIX, add, app, echo, flaky  # noqa: E402

WAIT = 60


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def task():
    check(add.delay(2, 3).get(timeout=WAIT), 5, "result")


def many():
    check(group(add.s(i, i) for i in range(200))().get(timeout=WAIT), [2 * i for i in range(200)], "results")


def large():
    blob = "x" * 1_000_000
    check(echo.delay(blob).get(timeout=WAIT), blob, "result")


def retries():
    check(flaky.delay().get(timeout=WAIT), 2, "retries")


def eta():
    late = [add.apply_async((i, 0), countdown=20) for i in range(12)]
    began = time.monotonic()
    check(add.delay(1, 1).get(timeout=15), 2, "a plain task behind twelve with an ETA")
    if time.monotonic() - began > 15:
        raise AssertionError("the plain task waited for the ETA tasks")
    check([r.get(timeout=WAIT) for r in late], list(range(12)), "results of the ETA tasks")


def remote_control():
    replies = app.control.ping(timeout=10, limit=1)
    check(len(replies), 1, "workers that answered a ping")


CHAPTERS = [task, many, large, retries, eta, remote_control]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--loglevel=INFO", "-n", PREFIX + "@localhost"],
        cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
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
            log, _ = worker.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            worker.kill()
            log, _ = worker.communicate()
            failed += 1
            print("FAIL warm shutdown", file=sys.stderr)
        if failed:
            print(log[-5000:], file=sys.stderr)
        with app.connection_for_write() as conn:
            conn.default_channel.queue_delete(PREFIX + ".tasks")
            conn.default_channel.exchange_delete(PREFIX + ".tasks")
    print(f"celery {celery.__version__}: {len(CHAPTERS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
