#!/usr/bin/env python3
"""Reproduces the STOMP table of docs/performance.md: CPU per delivered message.

Candidates take turns in each round, as in run.py, whose helpers it uses. Needs a
hermod binary; RabbitMQ and ActiveMQ (Debian's packages) take part if installed,
with their STOMP listeners on ports of their own, and are stopped by process id.
"""

import argparse
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import run

CASES = {
    "transient, ack:auto": [],
    "transient, ack:client": ["--ack", "client", "--prefetch", "1000"],
    "persistent, receipts, ack:client": ["--persistent", "--receipts", "--producers", "20", "--ack", "client", "--prefetch", "1000"],
}


class Hermod:
    name = "hermod"

    def __init__(self, a):
        self.port, home = a.port, os.path.join(a.dir, "hermod")
        shutil.rmtree(home, ignore_errors=True)
        self.process = subprocess.Popen(
            [a.bin, "serve", "--data-dir", home] + run.off(a.bin, "stomp")
            + ["--set", "listeners.stomp.address=127.0.0.1:%d" % self.port, "--set", "log.level=warn"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.pid = self.process.pid
        for line in self.process.stdout:
            if "ready" in line:
                return
        sys.exit("hermod did not start")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Rabbit:
    name = "RabbitMQ"

    def __init__(self, a, server):
        self.port, home = a.port + 1, os.path.join(a.dir, "rabbitmq")
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home)
        for name, text in (("plugins", "[rabbitmq_stomp].\n"),
                           ("rabbitmq.conf", "stomp.listeners.tcp.1 = 127.0.0.1:%d\n" % self.port)):
            with open(os.path.join(home, name), "w") as f:
                f.write(text)
        env = dict(os.environ, HOME=home, RABBITMQ_NODENAME="hermodstomp@localhost", RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
                   RABBITMQ_NODE_PORT=str(a.port + 2), RABBITMQ_DIST_PORT=str(a.port + 3), ERL_EPMD_ADDRESS="127.0.0.1",
                   RABBITMQ_MNESIA_BASE=home, RABBITMQ_LOG_BASE=home, RABBITMQ_PID_FILE=os.path.join(home, "pid"),
                   RABBITMQ_CONFIG_FILE=os.path.join(home, "rabbitmq.conf"), RABBITMQ_ENABLED_PLUGINS_FILE=os.path.join(home, "plugins"))
        self.process = subprocess.Popen([server], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run.connect(self.port, 120).close()
        with open(os.path.join(home, "pid")) as f:
            self.pid = int(f.read())

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        self.process.wait()


class ActiveMQ:
    name = "ActiveMQ"

    def __init__(self, a, jar):
        self.port, home = a.port + 4, os.path.join(a.dir, "activemq")
        os.makedirs(home, exist_ok=True)
        share = os.path.dirname(os.path.dirname(jar))
        path = ":".join(os.path.join(share, "lib", *d, "*") for d in ((), ("optional",)))
        self.process = subprocess.Popen(
            ["java", "-Xmx2g", "-cp", path + ":/usr/share/java/*", "-Dactivemq.data=" + home, "org.apache.activemq.console.Main", "start",
             "broker:(stomp://127.0.0.1:%d)?useJmx=false&persistent=true&dataDirectory=%s" % (self.port, home)],
            stdout=open(os.path.join(home, "log"), "w"), stderr=subprocess.STDOUT, cwd=home)
        self.pid = self.process.pid
        run.connect(self.port, 60).close()

    def stop(self):
        self.process.kill()
        self.process.wait()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--bin", default="bin/hermod")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", default="4")
    p.add_argument("--port", type=int, default=22100, help="first of five ports")
    a = p.parse_args()
    a.bin, a.dir = os.path.abspath(a.bin), tempfile.mkdtemp(prefix="hermod-stomp-")
    others = []
    server = sorted(glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"))  # the one in the path changes its user
    if server:
        others.append(Rabbit(a, server[-1]))
    if os.path.exists("/usr/share/activemq/bin/activemq.jar"):
        others.append(ActiveMQ(a, "/usr/share/activemq/bin/activemq.jar"))
    results = {}
    try:
        for n in range(a.rounds):
            for case, args in CASES.items():
                hermod = Hermod(a)
                for broker in [hermod] + others:
                    run.note("round %d, %s, %s" % (n + 1, case, broker.name))
                    r = run.perf(a, "stomp", "--host", "127.0.0.1:%d" % broker.port, "--pid", str(broker.pid), "--duration", a.seconds + "s", "--keep-queues", *args)
                    results.setdefault((case, broker.name), []).append(r)
                hermod.stop()
    finally:
        for broker in others:
            broker.stop()
        shutil.rmtree(a.dir, ignore_errors=True)
    rows = []
    for (case, name), list_ in results.items():
        cost = [r["cost"]["broker_cpu_us_per_message"] for r in list_]
        own = [r["cost"]["broker_cpu_us_per_message"] for r in results[(case, "hermod")]]
        rows.append(["%s, %s" % (name, case), run.spread(cost), run.spread([r["deliver_rate"] / 1000 for r in list_], "%.0f"),
                     "1" if name == "hermod" else "%.1f x hermod" % sorted(c / o for c, o in zip(cost, own))[len(cost) // 2]])
    run.table(["%d rounds of %s s" % (a.rounds, a.seconds), "CPU us per message", "1,000 messages/s", "ratio in the same round"], rows)


if __name__ == "__main__":
    main()
