"""STOMP-40: the main chapters of the STOMP checklist, walked through with stomp.py.

STOMP_ADDR is host:port of the broker. Prints one line; exits 1 when a chapter
failed.
"""

import logging
import os
import queue
import sys
import traceback
import uuid

import stomp

WAIT = 20  # seconds for anything that must happen
HOST, PORT = os.environ["STOMP_ADDR"].rsplit(":", 1)
KINDS = {"1.0": stomp.Connection10, "1.1": stomp.Connection11, "1.2": stomp.Connection12}


class Inbox(stomp.ConnectionListener):
    """Everything the broker says, by kind."""

    def __init__(self):
        self.messages, self.receipts, self.errors, self.ended = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()
        self.beats = 0

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.errors.put(frame)

    def on_disconnected(self):
        self.ended.put(True)

    def on_heartbeat(self):
        self.beats += 1


class Client:
    def __init__(self, version="1.2", user="guest", password="guest", headers=None, **options):
        self.version = version
        self.inbox = Inbox()
        if version != "1.0":
            options.setdefault("vhost", "/")
        self.conn = KINDS[version]([(HOST, int(PORT))], reconnect_attempts_max=1, **options)
        self.conn.set_listener("", self.inbox)
        self.conn.connect(user, password, wait=True, headers=headers or {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.conn.is_connected():
            self.conn.disconnect(receipt="bye")
            self.inbox.ended.get(timeout=WAIT)

    def done(self, call, *args, **headers):
        """Makes a call with a receipt and waits for it."""
        receipt = uuid.uuid4().hex
        call(*args, receipt=receipt, **headers)
        check(self.inbox.receipts.get(timeout=WAIT), receipt, "receipt")

    def subscribe(self, destination, id="1", ack="auto", **headers):
        self.done(self.conn.subscribe, destination, id=id, ack=ack, **headers)

    def send(self, destination, body, **headers):
        self.done(self.conn.send, destination, body, **headers)

    def next(self):
        return self.inbox.messages.get(timeout=WAIT)

    def nothing(self):
        """A barrier: what was on its way is here."""
        self.send("/exchange/amq.fanout", "")
        check(self.inbox.messages.qsize(), 0, "messages")

    def ack(self, frame, **options):
        self.settle(self.conn.ack, frame, **options)

    def nack(self, frame, **options):
        self.settle(self.conn.nack, frame, **options)

    def settle(self, call, frame, **options):
        if self.version == "1.2":
            call(frame.headers["ack"], **options)
        elif self.version == "1.1":
            call(frame.headers["message-id"], frame.headers["subscription"], **options)
        else:
            call(frame.headers["message-id"], **options)


def fresh(kind="queue"):
    return f"/{kind}/stomppy.{uuid.uuid4().hex[:12]}"


def check(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def versions():
    for version in KINDS:
        with Client(version) as c:
            q = fresh()
            c.subscribe(q)
            c.send(q, "größe 😀\nline")
            m = c.next()
            check((m.body, m.headers["destination"], m.headers["redelivered"]), ("größe 😀\nline", q, "false"), version)


def logins():
    for user, password in (("guest", "wrong"), ("nobody", "guest")):
        try:
            Client(user=user, password=password)
        except stomp.exception.ConnectFailedException:
            continue
        raise AssertionError(f"{user} is let in with {password}")


def headers():
    with Client() as c:
        q = fresh()
        sent = {"colon": "a:b:c", "line": "one\ntwo", "back": "a\\n", "empty": "", "correlation-id": "7", "priority": "5", "ü😀": "x"}
        c.subscribe(q)
        c.conn.send(q, "x", headers=sent)
        m = c.next()
        for name, value in sent.items():
            check(m.headers.get(name), value, name)


def bodies():
    with Client(auto_decode=False) as c:
        q = fresh()
        c.subscribe(q)
        for body in (b"", b"\x00", bytes(range(256)) * 4096):
            c.conn.send(q, body)
            m = c.next()
            got = m.body if isinstance(m.body, bytes) else (m.body or "").encode()
            check((len(got), got == body, m.headers["content-length"]), (len(body), True, str(len(body))), "body")


def acknowledgements():
    for version in KINDS:
        with Client(version) as c:
            q = fresh()
            c.subscribe(q, ack="client")
            for i in range(3):
                c.send(q, str(i))
            held = [c.next() for _ in range(3)]
            c.ack(held[1])  # and the first
            c.done(c.conn.unsubscribe, id="1")
        with Client(version) as c:
            c.subscribe(q, ack="client-individual" if version != "1.0" else "client")
            m = c.next()
            check((m.body, m.headers["redelivered"]), ("2", "true"), "what was not acknowledged")
            c.ack(m)


def refusals():
    for version in ("1.1", "1.2"):
        with Client(version) as c:
            q, dead = fresh(), fresh()
            c.subscribe(dead, id="dead")
            c.subscribe(q, ack="client-individual", **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead.split("/")[2]})
            c.send(q, "x")
            c.nack(c.next())  # comes again
            m = c.next()
            check((m.headers["subscription"], m.headers["redelivered"]), ("1", "true"), "requeued")
            c.nack(m, requeue="false")
            check(c.next().headers["subscription"], "dead", "dead letter")


def prefetch():
    with Client() as c:
        q = fresh()
        c.subscribe(q, ack="client-individual", **{"prefetch-count": "1"})
        for i in range(3):
            c.send(q, str(i))
        for i in range(3):
            m = c.next()
            c.nothing()
            check(m.body, str(i), "order")
            c.ack(m)


def transactions():
    with Client() as c:
        q = fresh()
        c.subscribe(q, ack="client-individual")
        for end in (c.conn.abort, c.conn.commit):
            tx = c.conn.begin()
            c.send(q, end.__name__, transaction=tx)
            c.nothing()
            end(tx)
        m = c.next()
        check(m.body, "commit", "committed")
        tx = c.conn.begin()
        c.ack(m, transaction=tx)
        c.conn.commit(tx)
        c.nothing()


def durable():
    for name, subscribe, unsubscribe in (
        ("RabbitMQ", {"durable": "true", "auto-delete": "false"}, {"durable": "true"}),
        ("ActiveMQ", {"activemq.subscriptionName": "s"}, {"activemq.subscriptionName": "s"}),
    ):
        topic, login = fresh("topic"), {"client-id": uuid.uuid4().hex}
        id = uuid.uuid4().hex
        with Client(headers=login) as c:
            c.subscribe(topic, id=id, **subscribe)
        with Client() as c:
            c.send(topic, name, persistent="true")
        with Client(headers=login) as c:
            c.subscribe(topic, id=id, **subscribe)
            check(c.next().body, name, "kept")
        with Client(headers=login) as c:
            c.done(c.conn.unsubscribe, id=id, destination=topic, **unsubscribe)
            c.send(topic, "gone")
            c.subscribe(topic, id=id, **subscribe)
            c.nothing()
            c.conn.unsubscribe(id)
            c.done(c.conn.unsubscribe, id=id, destination=topic, **unsubscribe)


def selectors():
    with Client() as c:
        q = fresh()
        c.subscribe(q, selector="n > 3 AND kind = 'b'")
        for n, kind in ((1, "b"), (4, "a"), (5, "b"), (10, "b")):
            c.send(q, str(n), n=str(n), kind=kind)
        check([c.next().body, c.next().body], ["5", "10"], "selected")


def replies():
    with Client() as asker, Client() as answerer:
        q = fresh()
        answerer.subscribe(q)
        asker.send(q, "ask", **{"reply-to": "/temp-queue/r", "correlation-id": "1"})
        m = answerer.next()
        answerer.send(m.headers["reply-to"], "answer", **{"correlation-id": m.headers["correlation-id"]})
        got = asker.next()
        check((got.body, got.headers["correlation-id"], got.headers["subscription"]), ("answer", "1", "/temp-queue/r"), "answer")


def topics():
    with Client() as c:
        name = fresh("topic")
        for id, pattern in (("star", ".*"), ("hash", ".#")):
            c.subscribe(name + pattern, id=id)
        c.send(name + ".a", "one")
        check({c.next().headers["subscription"] for _ in range(2)}, {"star", "hash"}, "both")
        c.send(name + ".a.b", "two")
        check(c.next().headers["subscription"], "hash", "the longer")
        c.nothing()


def lists():
    with Client() as c:
        a, b = fresh(), fresh("topic")
        c.subscribe(f"{a},{b}")
        c.send(f"{a},{b}", "x", persistent="true")
        check({c.next().headers["destination"] for _ in range(2)}, {a, b}, "destinations")
        group = f"/queue/Consumer.g.VirtualTopic.{uuid.uuid4().hex}"
        topic = "/topic/" + group.split(".", 2)[2]
        c.subscribe(group, id="2")
        c.send(topic, "virtual")
        check(c.next().body, "virtual", "virtual topic")


def errors():
    with Client() as c:
        c.conn.send("/nosuch/x", "x", receipt="r")
        e = c.inbox.errors.get(timeout=WAIT)
        check((e.headers["message"], e.headers["receipt-id"]), ("Unknown destination", "r"), "error")
        c.nothing()  # the connection is still there
        c.conn.subscribe("/queue/x", id="1")
        c.conn.subscribe("/queue/x", id="1")
        check(c.inbox.errors.get(timeout=WAIT).headers["message"], "Duplicated subscription identifier", "error")
        c.inbox.ended.get(timeout=WAIT)


def heartbeats():
    with Client(heartbeats=(1000, 1000)) as c:
        q = fresh()
        c.subscribe(q)
        for _ in range(3):
            try:
                c.inbox.ended.get(timeout=1)
                raise AssertionError("the broker hung up")
            except queue.Empty:
                pass
        if c.inbox.beats == 0:
            raise AssertionError("no heart-beat came")
        c.send(q, "alive")
        check(c.next().body, "alive", "message")


def farewell():
    with Client() as c, Client() as other:
        q = fresh()
        for i in range(100):
            c.conn.send(q, str(i))
        c.conn.disconnect(receipt="bye")
        other.subscribe(q)
        check([other.next().body for _ in range(100)], [str(i) for i in range(100)], "what was sent before")


CHAPTERS = [versions, logins, headers, bodies, acknowledgements, refusals, prefetch, transactions, durable, selectors, replies,
            topics, lists, errors, heartbeats, farewell]


def main():
    logging.disable(logging.CRITICAL)
    failed = 0
    for chapter in CHAPTERS:
        try:
            chapter()
        except Exception:  # a chapter may fail in any way; the others still run
            failed += 1
            print(f"FAIL {chapter.__name__}", file=sys.stderr)
            traceback.print_exc()
    version = ".".join(str(n) for n in stomp.__version__) if isinstance(stomp.__version__, tuple) else stomp.__version__
    print(f"stomp.py {version}: {len(CHAPTERS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
