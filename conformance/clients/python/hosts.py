"""A publisher and a consumer that know several hosts and recover as pika's
documentation says: a loop around the connection, which takes the first host
that serves.

Arguments: HOST:PORT,HOST:PORT,... and what names begin with. Standard output
tells what happens and standard input takes commands, one a line, as
conformance/cluster/hosts.go says.
"""

import os
import queue
import random
import sys
import threading
import traceback

import pika
from pika.exceptions import AMQPError, NackError, UnroutableError

NUMBERS, NEWS = sys.argv[2] + ".numbers", sys.argv[2] + ".news"
HOSTS = [
    pika.ConnectionParameters(host, int(port), heartbeat=10, socket_timeout=5)
    for host, port in (address.split(":") for address in sys.argv[1].split(","))
]
PERSISTENT = pika.BasicProperties(delivery_mode=2)

commands = queue.Queue()  # of the publisher
ending = threading.Event()
printing = threading.Lock()


def event(*words):
    with printing:
        print(*words, flush=True)


def recovering(role, setup, work):
    """Calls work with one connection after another until it returns without an error."""
    while True:
        try:
            conn = pika.BlockingConnection(random.sample(HOSTS, len(HOSTS)))
            ch = setup(conn)
            event("connected", role, conn._impl.params.host)
            work(conn, ch)
            conn.close()
            return
        except (AMQPError, OSError):
            ending.wait(0.2)


def declare(ch):
    ch.exchange_declare(NUMBERS, "direct", durable=True)
    ch.queue_declare(NUMBERS, durable=True)
    ch.queue_bind(NUMBERS, NUMBERS, "number")


class Publisher:
    """Numbers are published one by one, each until it is confirmed."""

    def __init__(self):
        self.number = 1
        self.command = None  # under way

    def setup(self, conn):
        ch = conn.channel()
        declare(ch)
        ch.confirm_delivery()
        return ch

    def work(self, _, ch):
        while self.command != "stop":
            self.obey(ch)
            event("sent", self.number)
            try:
                ch.basic_publish(NUMBERS, "number", str(self.number), PERSISTENT, mandatory=True)
            except NackError:
                continue
            except UnroutableError:
                event("returned", self.number)
            event("confirmed", self.number)
            self.number += 1
        event("stopped")

    def obey(self, ch):
        """Takes a command if there is one. It is kept until it has been carried out."""
        try:
            self.command = self.command or commands.get_nowait()
        except queue.Empty:
            return
        if self.command != "stop":
            ch.basic_publish(NEWS, "", self.command.removeprefix("news "))
            self.command = None


def consumer(conn):
    """The newest number is never acknowledged before the end, so that one is always in flight."""
    ch = conn.channel()
    declare(ch)
    ch.exchange_declare(NEWS, "fanout")
    news = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(news, NEWS)
    ch.basic_qos(prefetch_count=50)
    newest = 0

    def number(_, method, properties, body):
        nonlocal newest
        event("again" if method.redelivered else "got", body.decode())
        if newest:
            ch.basic_ack(newest, multiple=True)
        newest = method.delivery_tag

    ch.add_on_cancel_callback(lambda frame: event("cancelled", frame.method.consumer_tag))
    ch.basic_consume(NUMBERS, number)
    ch.basic_consume(news, lambda _, method, properties, body: event("news", body.decode()), auto_ack=True)
    return ch


def consume(conn, ch):
    while not ending.is_set():
        conn.process_data_events(0.1)
    ch.basic_ack(0, multiple=True)  # 0: all


def guarded(work, *args):
    try:
        work(*args)
    except BaseException:  # the test must hear of it
        traceback.print_exc()
        os._exit(1)


publisher = Publisher()
threads = [
    threading.Thread(target=guarded, args=(recovering, "consumer", consumer, consume), daemon=True),
    threading.Thread(target=guarded, args=(recovering, "publisher", publisher.setup, publisher.work), daemon=True),
]
threads[0].start()
threads[1].start()
for line in sys.stdin:
    if line.strip() == "quit":
        ending.set()
        for thread in threads:
            thread.join(60)
        sys.exit(any(thread.is_alive() for thread in threads))
    commands.put(line.strip())
os._exit(1)  # who started this program is gone
