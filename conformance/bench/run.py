#!/usr/bin/env python3
"""Reproduces the tables of docs/performance.md.

Every table is the median, lowest and highest of several rounds in which the
candidates take turns, because machines are shared and drift: only ratios of one
run mean anything. Needs nothing but Python, a hermod binary and, for the
comparison, an installed RabbitMQ server (AMQP) and Debian's package activemq
(OpenWire), which get their own names, ports and folders and are stopped by
their process ids.
"""

import argparse
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

PERSISTENT = ["--durable", "--persistent", "--confirm", "1000", "--ack", "manual", "--multiple", "10", "--prefetch", "1000"]
CONFIRM = ["--durable", "--persistent", "--publish-only"]


class Hermod:
    """A fresh broker over an empty folder, or over what is in it."""

    name = "hermod"

    def __init__(self, a, keep=False, protocol="amqp", extra=()):
        self.a, self.port = a, a.port
        self.dir = os.path.join(a.dir, "hermod")
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        self.log = open(os.path.join(a.dir, "hermod.log"), "a")
        self.process = subprocess.Popen(
            [a.bin, "serve", "--data-dir", self.dir, "--set", "listeners.%s.address=127.0.0.1:%d" % (protocol, self.port)] + off(a.bin, protocol)
            + ["--set", "log.level=warn"] + list(extra), stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.pid = self.process.pid

    def ready(self):
        for line in self.process.stdout:
            if "ready" in line:
                return self
        sys.exit("hermod did not start, see hermod.log")

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.process.wait()
        self.log.close()


def off(binary, protocol):
    """Switches every listener but one off, whichever there are."""
    keys = subprocess.run([binary, "serve", "--print-config"], capture_output=True, text=True).stdout.split("\n")
    keys = [k.split("=")[0].split(":")[0].split(" ")[0] for k in keys]
    return [x for k in keys if k.startswith("listeners.") and k.endswith("address") and k != "listeners.%s.address" % protocol
            for x in ("--set", k + "=off")]


class Rabbit:
    """One RabbitMQ server for the whole run."""

    name = "rabbitmq"

    def __init__(self, a, server):
        self.port = a.port + 1
        home = os.path.join(a.dir, "rabbitmq")
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        for name, text in (("plugins", "[].\n"), ("rabbitmq.conf", "vm_memory_high_watermark.relative = 0.4\n")):
            with open(os.path.join(home, name), "w") as f:
                f.write(text)
        self.env = dict(os.environ, HOME=home, RABBITMQ_NODENAME="hermodbench@localhost", RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
                        RABBITMQ_NODE_PORT=str(self.port), RABBITMQ_DIST_PORT=str(a.port + 2), ERL_EPMD_ADDRESS="127.0.0.1",
                        RABBITMQ_MNESIA_BASE=home, RABBITMQ_LOG_BASE=home, RABBITMQ_PID_FILE=os.path.join(home, "pid"),
                        RABBITMQ_CONFIG_FILE=os.path.join(home, "rabbitmq.conf"),
                        RABBITMQ_ENABLED_PLUGINS_FILE=os.path.join(home, "plugins"))
        self.process = subprocess.Popen([server], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        connect(self.port, 120).close()
        with open(os.path.join(home, "pid")) as f:
            self.pid = int(f.read())

    def ready(self):
        return self

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        self.process.wait()


ACTIVEMQ = "/usr/share/activemq/lib"
ACTIVEMQ_XML = """<beans xmlns="http://www.springframework.org/schema/beans" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
  http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" brokerName="bench" dataDirectory="%s">
    <persistenceAdapter><kahaDB directory="%s/kahadb"%s/></persistenceAdapter>
    <transportConnectors><transportConnector name="openwire" uri="tcp://127.0.0.1:%d"/></transportConnectors>
  </broker>
</beans>
"""


class ActiveMQ:
    """A fresh ActiveMQ broker, as Debian's package configures it."""

    name = "activemq"
    storing = ""

    def __init__(self, a):
        self.port = a.port + 1
        home = os.path.join(a.dir, "activemq")
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        xml = os.path.join(home, "activemq.xml")
        with open(xml, "w") as f:
            f.write(ACTIVEMQ_XML % (home, home, self.storing, self.port))
        self.log = open(os.path.join(home, "log"), "w")
        self.process = subprocess.Popen(
            ["java", "-Xmx1g", "-cp", a.activemq + "/*:" + a.activemq + "/optional/*", "-Dactivemq.home=/usr/share/activemq",
             "-Dactivemq.base=" + home, "-Dactivemq.data=" + home, "org.apache.activemq.console.Main", "start", "xbean:file:" + xml],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        connect(self.port, 120).close()

    def ready(self):
        return self

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class StoringActiveMQ(ActiveMQ):
    """One that stores messages even if they are acknowledged before they reach the disk, as hermod does."""

    name = "activemq that stores every message"
    storing = ' concurrentStoreAndDispatchQueues="false"'


def connect(port, patience=60):
    end = time.time() + patience
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            if time.time() > end:
                raise
            time.sleep(0.002)


def perf(a, *args):
    out = subprocess.run([a.bin, "perf"] + list(args) + ["--json"], capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit("perf %s: %s" % (" ".join(args), out.stderr))
    return json.loads(out.stdout)


def load(a, broker, *args):
    return perf(a, "amqp", "--host", "127.0.0.1:%d" % broker.port, "--pid", str(broker.pid), *args)


def first_message(port, queue):
    """Connects, retrying until the port is open, and consumes one message without acknowledging it."""
    nc = connect(port)
    f = nc.makefile("rb")

    def read():
        kind, _, size = struct.unpack(">BHI", f.read(7))
        return kind, f.read(size + 1)[:4]

    def short(s):
        return bytes([len(s)]) + s.encode()

    def send(channel, class_id, method, arguments):
        p = struct.pack(">HH", class_id, method) + arguments
        nc.sendall(struct.pack(">BHI", 1, channel, len(p)) + p + b"\xce")

    nc.sendall(b"AMQP\0\0\x09\x01")
    read()
    plain = b"\0guest\0guest"
    send(0, 10, 11, b"\0\0\0\0" + short("PLAIN") + struct.pack(">I", len(plain)) + plain + short("en_US"))
    read()
    send(0, 10, 31, struct.pack(">HIH", 10, 131072, 0))
    send(0, 10, 40, short("/") + b"\0\0")
    read()
    send(1, 20, 10, b"\0")
    read()
    send(1, 60, 10, struct.pack(">IHB", 0, 1, 0))
    read()
    send(1, 60, 20, b"\0\0" + short(queue) + b"\0\0\0\0\0\0")
    while True:
        kind, head = read()
        if kind == 1 and head == struct.pack(">HH", 60, 60):
            nc.close()
            return
        if kind == 1 and head == struct.pack(">HH", 20, 40):
            sys.exit("the broker closed the channel: no queue %s?" % queue)


# ---- output


def spread(values, form="%.2f"):
    return "%s (%s-%s)" % tuple(form % v for v in (statistics.median(values), min(values), max(values)))


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def note(text):
    print(time.strftime("%H:%M:%S ") + text, file=sys.stderr, flush=True)


# ---- the parts


def cpu(a, rabbit):
    """CPU per delivered message, one producer, one consumer, 1 KiB."""
    cases = {"transient, auto-ack": [], "persistent, confirmed, manual ack": PERSISTENT}
    found, relays = {}, []
    for n in range(a.rounds):
        note("cpu, round %d" % (n + 1))
        relays.append(perf(a, "relay", "--duration", a.seconds))
        for case, args in cases.items():
            for kind in (None, rabbit) if rabbit else (None,):
                b = kind or Hermod(a).ready()
                found.setdefault((case, b.name), []).append(load(a, b, "--duration", a.seconds, *args))
                if not kind:
                    b.stop()
    rows = [["relay without logic", "relay", spread([r["cost"]["broker_cpu_us_per_message"] for r in relays]),
             spread([r["rate"] / 1000 for r in relays], "%.0f"), "", spread([100 * r["cost"]["machine_busy_by_others_share"] for r in relays], "%.0f"), "1"]]
    for (case, name), runs in found.items():
        us = [r["cost"]["broker_cpu_us_per_message"] for r in runs]
        ours = [r["cost"]["broker_cpu_us_per_message"] for r in found[case, "hermod"]]
        floor = [u / r["cost"]["broker_cpu_us_per_message"] for u, r in zip(us, relays)]
        ratio = "%.1f" % statistics.median(floor)
        if name != "hermod":
            ratio += "; %.1f x hermod" % statistics.median(u / o for u, o in zip(us, ours))
        rows.append([case, name, spread(us), spread([r["deliver_rate"] / 1000 for r in runs], "%.0f"),
                     spread([r["cost"]["broker_rss_peak_bytes"] / 2**20 for r in runs], "%.0f"),
                     spread([100 * r["cost"]["machine_busy_by_others_share"] for r in runs], "%.0f"), ratio])
    table(["1 producer, 1 consumer, 1 KiB", "broker", "CPU us per message", "1,000 messages/s", "peak RSS MiB", "busy by others %", "x relay"], rows)


def confirm(a, rabbit):
    """Confirms against the disk's own rate of write + fdatasync."""
    found, raw = {}, []
    for n in range(a.rounds):
        note("confirm, round %d" % (n + 1))
        disk = perf(a, "disk", "--dir", a.dir, "--duration", "2s")
        raw.append(next(c["writes_per_second"] for c in disk["cases"] if c["file"] == "preallocated" and c["write_bytes"] == 4096))
        for window in ("1", "1000"):
            for kind in (None, rabbit) if rabbit else (None,):
                b = kind or Hermod(a).ready()
                found.setdefault((window, b.name), []).append(load(a, b, *CONFIRM, "--confirm", window, "--duration", a.seconds))
                if not kind:
                    b.stop()
    rows = [["raw write + fdatasync, 4 KiB", "disk", spread(raw, "%.0f"), "", "1"]]
    for (window, name), runs in found.items():
        rates = [r["confirm_rate"] for r in runs]
        rows.append(["window " + window, name, spread(rates, "%.0f"), spread([r["confirm_latency"]["p50_us"] for r in runs], "%.0f"),
                     "%.2f" % statistics.median(r / d for r, d in zip(rates, raw))])
    table(["persistent 1 KiB, confirmed", "broker", "per second", "p50 us", "x raw"], rows)


def backlog(a, _):
    """A queue far deeper than memory: filled, killed, stopped, drained."""
    note("backlog of %d" % a.backlog)
    b = Hermod(a).ready()
    base = load(a, b, "--duration", a.seconds, *PERSISTENT)
    fill = load(a, b, *CONFIRM, "--confirm", "1000", "--queue", "backlog", "--count", str(a.backlog))
    restart = {}
    for n in range(a.rounds):
        for name, sig in (("kill -9", signal.SIGKILL), ("clean stop", signal.SIGTERM)):
            if n == 0 and name == "kill -9":
                b.stop(sig)  # with whatever the last checkpoint did not cover
            else:
                b.ready()
                if name == "kill -9":
                    # A log to replay, as after the last write of a busy broker.
                    load(a, b, *CONFIRM, "--confirm", "1000", "--queue", "other", "--count", "150000")
                b.stop(sig)
            start = time.time()
            b = Hermod(a, keep=True)
            first_message(b.port, "backlog")
            restart.setdefault(name, []).append(time.time() - start)
    b.ready()
    drain = load(a, b, "--consume-only", "--queue", "backlog", *PERSISTENT[4:])
    b.stop()
    mib = 2**20
    table(["backlog of %d persistent messages of 1 KiB" % a.backlog, "measured"], [
        ["no backlog: delivered per second", "%.0f" % base["deliver_rate"]],
        ["fill: confirmed per second", "%.0f" % fill["confirm_rate"]],
        ["fill: RSS at the end, peak, MiB", "%.0f, %.0f" % (fill["cost"]["broker_rss_bytes"] / mib, fill["cost"]["broker_rss_peak_bytes"] / mib)],
        ["start to first delivery after kill -9, s", spread(restart["kill -9"])],
        ["start to first delivery after a clean stop, s", spread(restart["clean stop"])],
        ["drain: delivered", str(drain["messages"]["delivered"])],
        ["drain: delivered per second (x no backlog)", "%.0f (%.2f)" % (drain["deliver_rate"], drain["deliver_rate"] / base["deliver_rate"])],
        ["drain: RSS peak, MiB", "%.0f" % (drain["cost"]["broker_rss_peak_bytes"] / mib)],
        ["machine busy by others during fill, drain, %", "%.0f, %.0f" % tuple(100 * x["cost"]["machine_busy_by_others_share"] for x in (fill, drain))],
    ])


def idle(a, rabbit):
    """Connections with one channel each that do nothing."""
    found = {}
    for n in range(a.rounds):
        note("idle, round %d" % (n + 1))
        b = Hermod(a).ready()
        found.setdefault(b.name, []).append(load(a, b, "--idle", str(a.idle), "--duration", "5s"))
        b.stop()
    rows = []
    for name, runs in found.items():
        rows.append([name, str(a.idle), spread([r["broker_rss_bytes_per_connection"] / 1024 for r in runs]),
                     spread([r["broker_rss_after_bytes"] / 2**20 for r in runs], "%.0f"), spread([r["broker_cpu_us_per_open"] for r in runs], "%.0f")])
    table(["broker", "idle connections", "KiB of RSS each", "RSS MiB", "CPU us to open one"], rows)


class Mosquitto:
    """A fresh mosquitto, which keeps nothing on disk."""

    name = "mosquitto"

    def __init__(self, a):
        self.port = a.port + 1
        conf = os.path.join(a.dir, "mosquitto.conf")
        with open(conf, "w") as f:
            f.write("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 2048\npersistence false\n" % self.port)
        self.process = subprocess.Popen([a.mosquitto, "-c", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid

    def ready(self):
        connect(self.port).close()
        return self

    def stop(self):
        self.process.terminate()
        self.process.wait()


MQTT_LOADS = [
    ("QoS 0, 1 -> 1, 256 B", []),
    ("QoS 0, 1 -> 500, 16 B", ["--subscribers", "500", "--size", "16"]),
    ("QoS 0, 1 -> 500, 256 B", ["--subscribers", "500"]),
    ("QoS 1, 100 -> 100 in pairs, 256 B, 10 under way each", ["--qos", "1", "--durable", "--publishers", "100", "--subscribers", "100", "--topics", "100", "--window", "10"]),
    ("QoS 1, 100 -> 100 in pairs, 256 B, 1 under way each", ["--qos", "1", "--durable", "--publishers", "100", "--subscribers", "100", "--topics", "100", "--window", "1"]),
]


def mqtt_candidates(a):
    return [mqtt_hermod] + ([Mosquitto] if a.mosquitto else [])


def mqtt(a, _):
    """MQTT under load."""
    found = {}
    for n in range(a.rounds):
        note("mqtt, round %d" % (n + 1))
        for what, args in MQTT_LOADS:
            for make in mqtt_candidates(a):
                b = make(a).ready()
                found.setdefault((what, b.name), []).append(mqtt_perf(a, b, "--duration", a.seconds, *args))
                b.stop()
    rows = []
    for (what, name), runs in found.items():
        rows.append([what, name, spread([r["cost"]["broker_cpu_us_per_message"] for r in runs]),
                     spread([r["deliver_rate"] / 1000 for r in runs], "%.0f"),
                     spread([100 * r["cost"]["machine_busy_by_others_share"] for r in runs], "%.0f")])
    table(["load", "broker", "CPU us per delivered message", "1,000 delivered/s", "busy by others %"], rows)


def mqtt_idle(a, _):
    """MQTT connections that do nothing."""
    idle = {}
    for n in range(a.rounds):
        note("mqtt_idle, round %d" % (n + 1))
        for count, dialers in ((a.idle // 8, 16), (a.idle // 4, 16), (a.idle // 2, 16), (a.idle, 16), (a.idle // 2, 1)):
            for make in mqtt_candidates(a):
                b = make(a).ready()
                idle.setdefault((b.name, count, dialers), []).append(
                    mqtt_perf(a, b, "--idle", str(count), "--dialers", str(dialers), "--duration", "1s"))
                b.stop()
    rows = []
    for (name, count, dialers), runs in sorted(idle.items(), key=lambda x: (x[0][0], x[0][2], x[0][1])):
        rows.append([name, str(count), str(dialers), spread([r["broker_rss_bytes_per_connection"] / 1024 for r in runs]),
                     spread([r["broker_cpu_us_per_open"] for r in runs], "%.0f")])
    table(["broker", "connections", "opened at a time", "KiB of RSS each", "CPU us to open one"], rows)
    for name in sorted({k[0] for k in idle}):
        rss = {count: statistics.median(r["broker_rss_after_bytes"] for r in runs)
               for (who, count, dialers), runs in idle.items() if who == name and dialers > 1}
        low, high = min(rss), max(rss)
        print("%s: %.0f bytes for each connection beyond %d\n" % (name, (rss[high] - rss[low]) / (high - low), low))


def mqtt_sessions(a, _):
    """A restart with many durable MQTT sessions, all offline."""
    restart = {}
    note("mqtt_sessions")
    b = mqtt_hermod(a).ready()
    perf(a, "mqtt", "--host", "127.0.0.1:%d" % b.port, "--sessions", str(a.sessions), "--dialers", "64")
    for _ in range(a.rounds):
        for name, sig in (("kill -9", signal.SIGKILL), ("clean stop", signal.SIGTERM)):
            b.stop(sig)
            start = time.time()
            b = mqtt_hermod(a, keep=True).ready()
            restart.setdefault(name, []).append(time.time() - start)
    b.stop()
    table(["%d durable sessions, all offline" % a.sessions, "start to ready, s"], [[k, spread(v)] for k, v in restart.items()])


def mqtt_hermod(a, keep=False):
    return Hermod(a, keep, protocol="mqtt")


def mqtt_perf(a, b, *args):
    return perf(a, "mqtt", "--host", "127.0.0.1:%d" % b.port, "--pid", str(b.pid), *args)


def openwire(a, activemq):
    """JMS: non-persistent 1 KiB, and persistent ones of which each is answered before the next."""
    cases = {
        "transient, an ack each": ["--in-flight", "10000"],
        "persistent, synchronous, 1 producer": ["--persistent", "--sync", "--consumers", "0"],
        "persistent, synchronous, 16 producers": ["--persistent", "--sync", "--producers", "16", "--consumers", "0"],
        "the same, consumed by 4": ["--persistent", "--sync", "--producers", "16", "--consumers", "4"],
    }
    found, raw = {}, []
    for n in range(a.rounds):
        note("openwire, round %d" % (n + 1))
        for case, args in cases.items():
            disk = perf(a, "disk", "--dir", a.dir, "--duration", "1s")
            raw.append(next(c["writes_per_second"] for c in disk["cases"] if c["file"] == "preallocated" and c["write_bytes"] == 4096))
            kinds = [Hermod]
            if activemq:
                kinds += [ActiveMQ, StoringActiveMQ] if case == "the same, consumed by 4" else [ActiveMQ]
            for kind in kinds:
                b = kind(a, protocol="openwire") if kind is Hermod else kind(a)
                b.ready()
                r = perf(a, "openwire", "--host", "127.0.0.1:%d" % b.port, "--pid", str(b.pid), "--duration", a.seconds, "--warmup", "4s", *args)
                r["raw"] = raw[-1]
                found.setdefault((case, b.name), []).append(r)
                b.stop()
    rows = [["raw write + fdatasync, 4 KiB", "disk", spread(raw, "%.0f"), "", "", "", "1", ""]]
    for (case, name), runs in found.items():
        sync = case != "transient, an ack each"
        rate = "confirm_rate" if sync else "deliver_rate"
        ratio = ""
        if activemq:
            ratio = "%.1f" % statistics.median(r[rate] / max(o[rate], 1) for r, o in zip(runs, found[case, "activemq"]))
        rows.append([case, name, spread([r[rate] for r in runs], "%.0f"), spread([r["cost"]["broker_cpu_us_per_message"] for r in runs]),
                     spread([r["confirm_latency"]["p50_us"] for r in runs], "%.0f") if sync else "",
                     spread([100 * r["cost"]["machine_busy_by_others_share"] for r in runs], "%.0f"),
                     "%.2f" % statistics.median(r[rate] / r["raw"] for r in runs) if sync else "", ratio])
    table(["1 KiB", "broker", "messages/s", "CPU us per message", "response p50 us", "busy by others %", "x raw", "x activemq"], rows)


def sqs(a, _):
    """SQS with 32 clients, with and without signatures verified."""
    cases = {
        "send": ["--mode", "send"], "send, 10 a request": ["--mode", "send", "--batch", "10"],
        "send, receive, delete": ["--mode", "round"], "the same, 10 a request": ["--mode", "round", "--batch", "10"],
    }
    modes = {"verified": ["--set", "aws.access_keys=test:test:guest"], "not verified": []}
    found = {}
    for n in range(a.rounds):
        note("sqs, round %d" % (n + 1))
        for case, args in cases.items():
            for mode, extra in modes.items():
                b = Hermod(a, protocol="aws", extra=extra).ready()
                found.setdefault((case, mode), []).append(
                    perf(a, "sqs", "--host", "127.0.0.1:%d" % b.port, "--pid", str(b.pid), "--duration", a.seconds, *args))
                b.stop()
    table(["32 clients, 1 KiB", "signatures", "messages/s", "CPU us per message", "request p50 us", "busy by others %"],
          [[case, mode, spread([r["messages_per_second"] for r in runs], "%.0f"), spread([r["cost"]["broker_cpu_us_per_message"] for r in runs], "%.1f"),
            spread([r["request_latency"]["p50_us"] for r in runs], "%.0f"), spread([100 * r["cost"]["machine_busy_by_others_share"] for r in runs], "%.0f")]
           for (case, mode), runs in found.items()])


PROFILED = {  # what the compiler is to be good at: the load, and how long it takes to settle is left out
    "amqp": [["--prefetch", "1000", "--ack", "manual", "--multiple", "10"], PERSISTENT,
             ["--producers", "4", "--consumers", "4", "--prefetch", "100", "--ack", "manual"]],
    "openwire": [["--in-flight", "10000"], ["--persistent", "--sync", "--producers", "16", "--consumers", "4"]],
    "aws": [["--mode", "round"], ["--mode", "round", "--batch", "10"]],
    "mqtt": [["--qos", "1", "--publishers", "20", "--subscribers", "20", "--topics", "20"]],
    "stomp": [[]],
}


def profile(a, _):
    """Writes cmd/hermod/default.pgo, with which the go command compiles the broker."""
    profiles = []
    metrics = "127.0.0.1:%d" % (a.port + 1)
    for protocol, loads in PROFILED.items():
        for args in loads:
            note("profile of %s %s" % (protocol, " ".join(args)))
            b = Hermod(a, protocol=protocol, extra=["--set", "listeners.metrics.address=" + metrics, "--set", "listeners.metrics.pprof=true",
                                                    "--set", "aws.access_keys=test:test:guest"]).ready()
            work = subprocess.Popen([a.bin, "perf", "sqs" if protocol == "aws" else protocol, "--host", "127.0.0.1:%d" % b.port,
                                     "--warmup", "2s", "--duration", "6s"] + args, stdout=subprocess.DEVNULL)
            time.sleep(2)
            profiles.append(os.path.join(a.dir, "%d.pprof" % len(profiles)))
            urllib.request.urlretrieve("http://%s/debug/pprof/profile?seconds=6" % metrics, profiles[-1])
            if work.wait() != 0:
                sys.exit("the load failed")
            b.stop()
    with open("cmd/hermod/default.pgo", "wb") as f:
        subprocess.run(["go", "tool", "pprof", "-proto"] + profiles, stdout=f, stderr=subprocess.DEVNULL, check=True)


PARTS = {"cpu": cpu, "confirm": confirm, "backlog": backlog, "idle": idle, "openwire": openwire, "sqs": sqs, "mqtt": mqtt, "mqtt_idle": mqtt_idle, "mqtt_sessions": mqtt_sessions, "profile": profile}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="*", help="of " + ", ".join(PARTS) + "; default all that measure")
    p.add_argument("--bin", default=os.environ.get("HERMOD_BIN", "bin/hermod"))
    p.add_argument("--dir", default=".", help="folder on the disk to measure; a folder is made there and removed")
    p.add_argument("--port", type=int, default=27672, help="first of three ports")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", default="4s", help="length of one measurement")
    p.add_argument("--backlog", type=int, default=10_000_000)
    p.add_argument("--idle", type=int, default=18_900)
    p.add_argument("--sessions", type=int, default=100_000, help="durable MQTT sessions")
    p.add_argument("--mosquitto", default=shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin") or "", help="mosquitto to compare with; '' for none")
    servers = glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    p.add_argument("--rabbitmq", default=servers[-1] if servers else "", help="rabbitmq-server to compare with; '' for none")
    p.add_argument("--activemq", default=ACTIVEMQ if os.path.isdir(ACTIVEMQ) and shutil.which("java") else "",
                   help="folder of ActiveMQ's jars to compare with; '' for none")
    a = p.parse_args()
    parts = a.parts or [p for p in PARTS if p != "profile"]
    if set(parts) - set(PARTS):
        p.error("parts are " + ", ".join(PARTS))
    a.dir, a.bin = tempfile.mkdtemp(prefix="bench-", dir=os.path.abspath(a.dir)), os.path.abspath(a.bin)
    peer = None
    try:
        for part in parts:
            wanted = a.rabbitmq if part in ("cpu", "confirm") else ""
            if peer and not wanted:
                peer.stop()
                peer = None
            if wanted and not peer:
                peer = Rabbit(a, a.rabbitmq)
            PARTS[part](a, a.activemq if part == "openwire" else peer)
    finally:
        if peer:
            peer.stop()
        shutil.rmtree(a.dir, ignore_errors=True)


if __name__ == "__main__":
    main()
