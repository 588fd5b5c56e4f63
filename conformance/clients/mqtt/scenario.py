"""The main chapters of the MQTT checklist with Paho's Python client, over TCP and
WebSocket. MQTT_HOST, MQTT_PORT and MQTT_WS_PORT name the broker, which admits
clients without a user name. Closes with "paho Python: N passed, N failed"."""

import os
import queue
import sys
import threading
import traceback

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST = os.environ.get("MQTT_HOST", "127.0.0.1")
PORTS = {"tcp": int(os.environ["MQTT_PORT"]), "websockets": int(os.environ["MQTT_WS_PORT"])}
PATIENCE = 20
names = iter(range(1 << 30))


def unique(prefix):
    return "%s-%d-%d" % (prefix, os.getpid(), next(names))


class Client:
    """A connected client whose events wait in queues."""

    def __init__(self, transport, version, client_id=None, clean=True, expiry=None, will=None, user=None, props=None, fails=False):
        kwargs = {} if version == 5 else {"clean_session": clean}
        self.c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id or unique("py"), protocol=version, transport=transport, **kwargs)
        self.connected, self.messages, self.acks, self.subs, self.gone = (queue.Queue() for _ in range(5))
        self.c.on_connect = lambda c, u, flags, reason, props: self.connected.put((flags, reason, props))
        self.c.on_message = lambda c, u, m: self.messages.put(m)
        self.c.on_publish = lambda c, u, mid, reason, props: self.acks.put(reason)
        self.c.on_subscribe = lambda c, u, mid, reasons, props: self.subs.put(reasons)
        self.c.on_unsubscribe = lambda c, u, mid, reasons, props: self.subs.put(reasons)
        self.c.on_disconnect = lambda c, u, flags, reason, props: self.gone.put(reason)
        if transport == "websockets":
            self.c.ws_set_options(path="/mqtt")
        if will:
            self.c.will_set(**will)
        if user:
            self.c.username_pw_set(*user)
        if version == 5:
            p = props or Properties(PacketTypes.CONNECT)
            if expiry:
                p.SessionExpiryInterval = expiry
            self.c.connect(HOST, PORTS[transport], clean_start=clean, properties=p)
        else:
            self.c.connect(HOST, PORTS[transport])
        self.c.loop_start()
        self.flags, self.reason, self.props = self.connected.get(timeout=PATIENCE)
        assert fails or self.reason == 0, self.reason

    def subscribe(self, *args, **kwargs):
        self.c.subscribe(*args, **kwargs)
        return self.subs.get(timeout=PATIENCE)

    def unsubscribe(self, topic):
        self.c.unsubscribe(topic)
        return self.subs.get(timeout=PATIENCE)

    def publish(self, *args, **kwargs):
        self.c.publish(*args, **kwargs)
        return self.acks.get(timeout=PATIENCE)

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def close(self):
        self.c.disconnect()
        self.gone.get(timeout=PATIENCE)
        self.c.loop_stop()


def qos(t, v):
    c = Client(t, v)
    for sub in range(3):
        topic = unique("qos")
        c.subscribe(topic, sub)
        for pub in range(3):
            c.publish(topic, "%d" % pub, pub)
            m = c.next()
            assert m.payload == b"%d" % pub and m.qos == min(pub, sub), (m.payload, m.qos)
    c.close()


def retained(t, v):
    root = unique("keep")
    c = Client(t, v)
    for name in ("a", "a/b", "c"):
        c.publish(root + "/" + name, name, 1, True)
    c.publish(root + "/c", "", 1, True)
    late = Client(t, v)
    late.subscribe(root + "/#", 1)
    got = sorted((m.payload, m.retain) for m in (late.next(), late.next()))
    assert got == [(b"a", True), (b"a/b", True)], got
    c.close(), late.close()


def session(t, v):
    name, topic = unique("session"), unique("session")
    first = Client(t, v, name, clean=False, expiry=100)
    assert not first.flags.session_present
    first.subscribe(topic, 2)
    first.close()
    pub = Client(t, v)
    for i in range(20):
        pub.publish(topic, str(i), 1 if i < 10 else 2)
    again = Client(t, v, name, clean=False, expiry=100)
    assert again.flags.session_present
    assert [again.next().payload for _ in range(20)] == [b"%d" % i for i in range(20)]
    pub.close(), again.close()


def will(t, v):
    topic = unique("will")
    watch = Client(t, v)
    watch.subscribe(topic, 1)
    name = unique("same")
    lost = Client(t, v, name, will={"topic": topic, "payload": "gone", "qos": 1})
    lost.c.on_disconnect = None
    winner = Client(t, v, name)
    assert watch.next().payload == b"gone"
    lost.c.loop_stop(), watch.close(), winner.close()


def unsubscribe(t, v):
    topic = unique("un")
    c = Client(t, v)
    c.subscribe(topic, 1)
    c.unsubscribe(topic)
    c.publish(topic, "lost", 1)
    c.subscribe(topic, 1)
    c.publish(topic, "kept", 1)
    assert c.next().payload == b"kept"
    c.close()


def large(t, v):
    topic, body = unique("big"), os.urandom(1 << 20)
    c = Client(t, v)
    c.subscribe(topic, 1)
    c.publish(topic, body, 1)
    assert c.next().payload == body
    c.close()


def refused(t, v):
    c = Client(t, v, user=("guest", "wrong"), fails=True)
    assert c.reason.is_failure and "user" in str(c.reason).lower(), c.reason
    c.c.loop_stop()


def properties(t, v):
    topic = unique("props")
    c = Client(t, v)
    sub = Properties(PacketTypes.SUBSCRIBE)
    sub.SubscriptionIdentifier = 7
    c.subscribe(topic, options=SubscribeOptions(qos=1), properties=sub)
    p = Properties(PacketTypes.PUBLISH)
    p.ContentType, p.ResponseTopic, p.CorrelationData = "text/plain", "re/ply", b"\x01\x00\x02"
    p.MessageExpiryInterval, p.PayloadFormatIndicator = 100, 1
    p.UserProperty = [("a", "1"), ("b", "2"), ("a", "3")]
    c.publish(topic, "m", 1, properties=p)
    got = c.next().properties
    assert got.UserProperty == [("a", "1"), ("b", "2"), ("a", "3")], got.UserProperty
    assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "re/ply", b"\x01\x00\x02")
    assert got.MessageExpiryInterval > 90 and got.SubscriptionIdentifier == [7]
    c.close()


def options(t, v):
    topic = unique("options")
    c = Client(t, v)
    c.publish(topic, "kept", 1, True)
    c.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=2))
    c.publish(topic, "own", 1)
    other = Client(t, v)
    other.publish(topic, "other", 1, True)
    m = c.next()
    assert m.payload == b"other" and m.retain
    c.close(), other.close()


def shared(t, v):
    topic = unique("shared")
    members = [Client(t, v) for _ in range(3)]
    for m in members:
        m.subscribe("$share/g/" + topic, 1)
    pub = Client(t, v)
    for i in range(60):
        pub.publish(topic, str(i), 1)
    seen, lock, done = set(), threading.Lock(), threading.Event()

    def drain(m):
        while not done.is_set():
            try:
                got = m.messages.get(timeout=0.1)
            except queue.Empty:
                continue
            with lock:
                assert got.payload not in seen
                seen.add(got.payload)
                if len(seen) == 60:
                    done.set()

    for m in members:
        threading.Thread(target=drain, args=(m,), daemon=True).start()
    assert done.wait(PATIENCE), len(seen)
    for m in members + [pub]:
        m.close()


def reasons(t, v):
    c = Client(t, v)
    assert c.publish(unique("nobody"), "m", 1).value == 0x10
    assert c.publish("$SYS/broker/x", "m", 1).value == 0x87
    name = unique("same")
    old = Client(t, v, name)
    winner = Client(t, v, name)
    assert old.gone.get(timeout=PATIENCE).value == 0x8E
    old.c.loop_stop(), c.close(), winner.close()


def receive_maximum(t, v):
    topic = unique("quota")
    p = Properties(PacketTypes.CONNECT)
    p.ReceiveMaximum = 2
    c = Client(t, v, props=p)
    c.subscribe(topic, 2)
    pub = Client(t, v)
    for i in range(50):
        pub.publish(topic, str(i), 2)
    assert [c.next().payload for _ in range(50)] == [b"%d" % i for i in range(50)]
    c.close(), pub.close()


ALL, NEW = (3, 4, 5), (5,)
CHAPTERS = [(qos, ALL), (retained, ALL), (session, (4, 5)), (will, ALL), (unsubscribe, ALL), (large, ALL), (refused, ALL),
            (properties, NEW), (options, NEW), (shared, (4, 5)), (reasons, NEW), (receive_maximum, NEW)]


def main():
    passed = failed = 0
    for transport in PORTS:
        for run, versions in CHAPTERS:
            for version in versions:
                try:
                    run(transport, version)
                    passed += 1
                except Exception:
                    failed += 1
                    print("paho Python, %s, version %d, %s:" % (transport, version, run.__name__), file=sys.stderr)
                    traceback.print_exc()
    print("paho Python: %d passed, %d failed" % (passed, failed), flush=True)
    os._exit(1 if failed else 0)  # threads of failed chapters do not end


main()
