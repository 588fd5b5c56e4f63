"""The main chapters of the AMQP checklist, walked through with pika.

AMQP_URL names the broker. Prints one line; exits 1 when a chapter failed.
"""

import os
import sys
import time
import traceback
import uuid

import pika
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

PARAMETERS = pika.URLParameters(os.environ["AMQP_URL"])
WAIT = 20  # seconds for anything that must happen


def name(what):
    return f"py.{what}.{uuid.uuid4().hex[:12]}"


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


class World:
    """One connection and one channel, closed with the chapter."""

    def __init__(self):
        self.conn = pika.BlockingConnection(PARAMETERS)
        self.ch = self.conn.channel()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.conn.is_open:
            self.conn.close()

    def queue(self, **arguments):
        q = name("q")
        self.ch.queue_declare(q, exclusive=True, arguments=arguments or None)
        return q

    def send(self, key, *bodies, exchange="", **properties):
        """Publishes on a confirming channel of its own and waits."""
        ch = self.conn.channel()
        ch.confirm_delivery()
        for body in bodies:
            ch.basic_publish(exchange, key, body, pika.BasicProperties(**properties))
        ch.close()

    def get(self, q, ack=True):
        """Polls a queue until it offers a message."""
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            method, properties, body = self.ch.basic_get(q, auto_ack=ack)
            if method:
                return method, properties, body
            self.conn.process_data_events(0.01)
        raise AssertionError(f"no message in {q}")

    def empty(self, q):
        check(self.ch.basic_get(q, auto_ack=True)[0], None, f"{q} is empty")

    def closed(self, code, operation):
        """operation must end its channel with that code."""
        ch = self.conn.channel()
        try:
            operation(ch)
            self.conn.process_data_events(1)
            ch.queue_declare("", exclusive=True)  # surfaces an asynchronous close
        except ChannelClosedByBroker as reply:
            check(reply.reply_code, code, reply.reply_text)
            return reply.reply_text
        raise AssertionError(f"channel not closed, want {code}")


def declare(w):
    q = w.queue()
    check(w.ch.queue_declare(q, passive=True).method.message_count, 0, "messages")
    generated = w.ch.queue_declare("", exclusive=True).method.queue
    check(generated.startswith("amq.gen-"), True, generated)
    text = w.closed(404, lambda ch: ch.queue_declare("py.none", passive=True))
    check(text, "NOT_FOUND - no queue 'py.none' in vhost '/'", "reply text")
    w.closed(406, lambda ch: ch.queue_declare(q, exclusive=True, arguments={"x-message-ttl": 5}))
    w.closed(403, lambda ch: ch.exchange_declare("amq.mine", "direct"))
    with World() as other:
        other.closed(405, lambda ch: ch.queue_declare(q, passive=True))
    w.ch.queue_delete("py.none")


def confirms(w):
    q = w.queue()
    w.ch.confirm_delivery()
    for i in range(50):
        w.ch.basic_publish("", q, str(i), pika.BasicProperties(delivery_mode=2), mandatory=True)
    check(w.ch.queue_declare(q, passive=True).method.message_count, 50, "messages")
    limited = w.queue(**{"x-max-length": 1, "x-overflow": "reject-publish"})
    w.ch.basic_publish("", limited, "fits")
    try:
        w.ch.basic_publish("", limited, "too many")
    except NackError:
        return
    raise AssertionError("publish over the limit was not nacked")


def returns(w):
    w.ch.confirm_delivery()
    try:
        w.ch.basic_publish("amq.direct", name("nowhere"), "lost?", mandatory=True)
    except UnroutableError as error:
        check(error.messages[0].method.reply_code, 312, "reply code")
        check(error.messages[0].body, b"lost?", "returned body")
        return
    raise AssertionError("mandatory message not returned")


def consume(w):
    q = w.queue()
    w.send(q, "1", "2", "3", "4")
    w.ch.basic_qos(prefetch_count=2)
    got = []
    for method, _, body in w.ch.consume(q, inactivity_timeout=WAIT):
        check(method is not None, True, "delivery in time")
        got.append((body, method.redelivered))
        if len(got) == 1:
            w.ch.basic_nack(method.delivery_tag, requeue=True)
        elif len(got) == 3:
            w.ch.basic_reject(method.delivery_tag, requeue=False)
        else:
            w.ch.basic_ack(method.delivery_tag)
        if len(got) == 5:
            break
    w.ch.cancel()
    check(sorted(got), [(b"1", False), (b"1", True), (b"2", False), (b"3", False), (b"4", False)], "deliveries")
    w.empty(q)
    w.closed(406, lambda ch: ch.basic_ack(99))


def dead_letters(w):
    dead = w.queue()
    q = w.queue(**{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
    w.send(q, "poison")
    method, _, _ = w.get(q, ack=False)
    w.ch.basic_reject(method.delivery_tag, requeue=False)
    _, properties, body = w.get(dead)
    check(body, b"poison", "dead letter")
    death = properties.headers["x-death"][0]
    check((death["queue"], death["reason"], death["count"]), (q, "rejected", 1), "x-death")


def ttl(w):
    dead = w.queue()
    target = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    w.send(w.queue(**target, **{"x-message-ttl": 50}), "queue ttl")
    check(w.get(dead)[2], b"queue ttl", "dead letter")
    w.send(w.queue(**target), "message ttl", expiration="50")
    _, properties, body = w.get(dead)
    check((body, properties.headers["x-death"][0]["reason"]), (b"message ttl", "expired"), "dead letter")


def priority(w):
    q = w.queue(**{"x-max-priority": 9})
    for p in (1, 5, 9, 5):
        w.send(q, str(p), priority=p)
    check([w.get(q)[2] for _ in range(4)], [b"9", b"5", b"5", b"1"], "order")


def exchanges(w):
    def routed(kind, bindings, key, headers=None):
        x = name(kind)
        w.ch.exchange_declare(x, kind, auto_delete=True)
        reached = []
        queues = {}
        for label, (pattern, arguments) in bindings.items():
            queues[label] = w.queue()
            w.ch.queue_bind(queues[label], x, pattern, arguments)
        w.send(key, "m", exchange=x, headers=headers)
        for label, q in queues.items():
            if w.ch.basic_get(q, auto_ack=True)[0]:
                reached.append(label)
        return sorted(reached)

    check(routed("direct", {"a": ("k", None), "b": ("other", None)}, "k"), ["a"], "direct")
    check(routed("fanout", {"a": ("k", None), "b": ("other", None)}, "k"), ["a", "b"], "fanout")
    check(routed("topic", {"a": ("x.*.z", None), "b": ("x.#", None), "c": ("*.z", None)}, "x.y.z"), ["a", "b"], "topic")
    check(
        routed("headers", {"all": ("", {"x-match": "all", "n": 1, "s": "t"}), "any": ("", {"x-match": "any", "n": 1, "s": "?"})}, "", {"n": 1, "s": "t"}),
        ["all", "any"],
        "headers",
    )


def transactions(w):
    q = w.queue()
    w.ch.tx_select()
    w.ch.basic_publish("", q, "kept")
    w.ch.tx_commit()
    w.ch.basic_publish("", q, "rolled back")
    w.ch.tx_rollback()
    check(w.get(q)[2], b"kept", "committed")
    w.empty(q)


def cancel_notification(w):
    q = name("q")
    w.ch.queue_declare(q)
    cancelled = []
    w.ch.add_on_cancel_callback(cancelled.append)
    w.ch.basic_consume(q, lambda *_: None)
    with World() as other:
        other.ch.queue_delete(q)
    deadline = time.monotonic() + WAIT
    while not cancelled and time.monotonic() < deadline:
        w.conn.process_data_events(0.1)
    check(len(cancelled), 1, "cancel notifications")


def direct_reply_to(w):
    q = w.queue()
    replies = []
    w.ch.basic_consume("amq.rabbitmq.reply-to", lambda _c, _m, p, b: replies.append((p.correlation_id, b)), auto_ack=True)
    w.ch.basic_publish("", q, "ask", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7"))
    server = w.conn.channel()
    deadline = time.monotonic() + WAIT
    ask = None
    while ask is None and time.monotonic() < deadline:
        _, ask, _ = server.basic_get(q, auto_ack=True)
    server.basic_publish("", ask.reply_to, "answer", pika.BasicProperties(correlation_id=ask.correlation_id))
    while not replies and time.monotonic() < deadline:
        w.conn.process_data_events(0.1)
    check(replies, [("7", b"answer")], "replies")


def properties(w):
    q = w.queue()
    sent = dict(
        content_type="application/json", content_encoding="gzip", delivery_mode=2, priority=3, correlation_id="c",
        reply_to="r", expiration="600000", message_id="m", timestamp=1700000000, type="t", app_id="a",
        headers={"int": -1, "long": 1 << 40, "text": "ü", "bool": True, "list": [1, "two", {"three": 3}], "none": None},
    )
    w.send(q, b"\x00\xff" * 100_000, **sent)
    _, got, body = w.get(q)
    check(len(body), 200_000, "body size")
    for key, value in sent.items():
        check(getattr(got, key), value, key)


CHAPTERS = [declare, confirms, returns, consume, dead_letters, ttl, priority, exchanges, transactions,
            cancel_notification, direct_reply_to, properties]


def main():
    failed = 0
    for chapter in CHAPTERS:
        try:
            with World() as w:
                chapter(w)
        except Exception:  # a chapter may fail in any way; the others still run
            failed += 1
            print(f"FAIL {chapter.__name__}", file=sys.stderr)
            traceback.print_exc()
    print(f"pika {pika.__version__}: {len(CHAPTERS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
