package openwire;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;

import javax.jms.DeliveryMode;
import javax.jms.InvalidDestinationException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TransactionRolledBackException;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;
import org.apache.activemq.command.BrokerInfo;
import org.apache.activemq.command.ConnectionControl;
import org.apache.activemq.transport.failover.FailoverTransport;

/** OW-70 to OW-72 and OW-75: the client's failover transport, and coming and going. */
final class Failover extends Scenario {
    private static final int KILLS = Integer.parseInt(Broker.env("FAILOVER_KILLS", "2"));

    @Line(value = "OW-70", alone = true, limit = 300)
    void producersAndConsumersLiveThroughKills() throws Exception {
        int producers = 8;
        int consumers = 4;
        Queue consumed = new ActiveMQQueue(unique());
        Queue kept = new ActiveMQQueue(unique());
        AtomicBoolean stop = new AtomicBoolean();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        int[] sent = new int[producers];
        List<Thread> senders = new ArrayList<>();
        for (int k = 0; k < producers; k++) {
            ActiveMQConnection c = connectTo(failover());
            Session s = auto(c);
            int id = k;
            Thread t = new Thread(() -> {
                try {
                    MessageProducer p = s.createProducer(null);
                    for (int i = 0; !stop.get(); i++) {
                        p.send(kept, s.createTextMessage(id + " " + i));
                        p.send(consumed, s.createTextMessage(id + " " + i));
                        sent[id] = i + 1;
                    }
                } catch (Throwable e) {
                    failure.compareAndSet(null, e);
                }
            });
            senders.add(t);
        }
        Set<String> got = ConcurrentHashMap.newKeySet();
        AtomicInteger received = new AtomicInteger();
        for (int k = 0; k < consumers; k++) {
            Session s = client(connectTo(failover("jms.prefetchPolicy.queuePrefetch=50")));
            AtomicInteger n = new AtomicInteger();
            s.createConsumer(consumed).setMessageListener(m -> {
                try {
                    got.add(text(m));
                    received.incrementAndGet();
                    if (n.incrementAndGet() % 5 == 0) {
                        m.acknowledge();
                    }
                } catch (Throwable e) {
                    failure.compareAndSet(null, e);
                }
            });
        }
        ActiveMQConnection temporary = connectTo(failover());
        Session ts = auto(temporary);
        TemporaryQueue temp = ts.createTemporaryQueue();
        MessageConsumer onTemp = ts.createConsumer(temp);
        senders.forEach(Thread::start);
        for (int kill = 0; kill < KILLS; kill++) {
            int before = received.get();
            eventually("traffic", () -> received.get() > before + 300, () -> received + " received, " + failure.get());
            Broker.kill();
            pause(200);
            Broker.start();
        }
        int before = received.get();
        eventually("traffic after the last kill", () -> received.get() > before + 100, () -> received + " received, " + failure.get());
        stop.set(true);
        for (Thread t : senders) {
            t.join(60_000);
            check(!t.isAlive(), "a producer hangs");
        }
        if (failure.get() != null) {
            throw new AssertionError("a client failed", failure.get());
        }
        Set<String> want = new HashSet<>();
        for (int k = 0; k < producers; k++) {
            for (int i = 0; i < sent[k]; i++) {
                want.add(k + " " + i);
            }
        }
        eventually("everything was received", () -> got.containsAll(want), () -> {
            Set<String> missing = new HashSet<>(want);
            missing.removeAll(got);
            return missing.size() + " of " + want.size() + " missing: " + missing.stream().limit(10).toList();
        });
        // Nobody read the other queue meanwhile: each message is there once.
        Map<String, Integer> times = new HashMap<>();
        MessageConsumer drain = auto(connectTo(failover())).createConsumer(kept);
        int[] last = new int[producers];
        for (int i = 0; i < want.size(); i++) {
            String text = nextText(drain);
            times.merge(text, 1, Integer::sum);
            String[] f = text.split(" ");
            int k = Integer.parseInt(f[0]);
            equal(last[k]++, Integer.parseInt(f[1]), "order of producer " + k);
        }
        Message more = drain.receive(SILENCE);
        check(more == null, "more than was sent: " + more);
        equal(want, times.keySet(), "messages kept");
        // The temporary queue moved with its connection.
        Session rs = auto(connectTo(failover()));
        eventually("the replier knows the temporary queue", () -> {
            try {
                send(rs, temp, "still here");
                return true;
            } catch (InvalidDestinationException e) {
                return false; // it has not heard yet
            }
        });
        expectTexts(onTemp, "still here");
    }

    @Line(value = "OW-70", alone = true, limit = 120)
    void lostAnswersDoNotDuplicateSends() throws Exception {
        // The broker stays; the socket goes while answers are under way.
        Proxy proxy = later(new Proxy());
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connectTo("failover:(" + proxy.url() + ")?initialReconnectDelay=10&maxReconnectDelay=100&jms.watchTopicAdvisories=false");
        Session s = auto(c);
        AtomicReference<Throwable> failure = new AtomicReference<>();
        AtomicBoolean stop = new AtomicBoolean();
        int[] sent = new int[1];
        Thread t = new Thread(() -> {
            try {
                MessageProducer p = s.createProducer(q);
                for (; !stop.get(); sent[0]++) {
                    p.send(s.createTextMessage("" + sent[0]));
                }
            } catch (Throwable e) {
                failure.set(e);
            }
        });
        t.start();
        for (int cut = 0; cut < 10; cut++) {
            int before = sent[0];
            eventually("sends", () -> sent[0] > before + 20, () -> "after cut " + cutText(failure.get()));
            // Half of them lose the client's side first, so that the broker
            // has what it will not be able to answer.
            if (cut % 2 == 0) {
                proxy.freeze();
            } else {
                proxy.cut();
            }
        }
        stop.set(true);
        t.join(60_000);
        check(!t.isAlive() && failure.get() == null, "the producer hangs or failed: " + failure.get());
        MessageConsumer drain = auto(connect()).createConsumer(q);
        for (int i = 0; i < sent[0]; i++) {
            equal("" + i, nextText(drain), "each once and in order");
        }
        expectNone(drain);
    }

    private static String cutText(Throwable e) {
        return e == null ? "" : e.toString();
    }

    @Line(value = "OW-70", alone = true)
    void transactedConsumerOverAKill() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Queue out = new ActiveMQQueue(unique());
        int n = 300;
        ActiveMQConnection fill = connect();
        Session fs = transacted(fill);
        MessageProducer p = fs.createProducer(q);
        for (int i = 0; i < n; i++) {
            p.send(fs.createTextMessage("" + i));
        }
        fs.commit();
        ActiveMQConnection c = connectTo(failover("jms.prefetchPolicy.queuePrefetch=20", "jms.redeliveryPolicy.initialRedeliveryDelay=0",
                "jms.redeliveryPolicy.maximumRedeliveries=-1"));
        Session s = transacted(c);
        MessageConsumer consumer = s.createConsumer(q);
        MessageProducer forward = s.createProducer(out);
        AtomicInteger moved = new AtomicInteger();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Thread t = new Thread(() -> {
            try {
                while (true) {
                    Message m = consumer.receive(3000);
                    if (m == null) {
                        return;
                    }
                    try {
                        forward.send(s.createTextMessage(text(m)));
                        s.commit();
                        moved.incrementAndGet();
                    } catch (TransactionRolledBackException e) {
                        // the client says that it was rolled back, the message comes again
                    } catch (JMSException e) {
                        s.rollback();
                    }
                }
            } catch (Throwable e) {
                failure.set(e);
            }
        });
        t.start();
        eventually("some moved", () -> moved.get() > 50);
        Broker.restart();
        t.join(PATIENCE * 3);
        quietly(fill::close);
        check(!t.isAlive(), "it hangs");
        if (failure.get() != null) {
            throw new AssertionError("it failed", failure.get());
        }
        // One commit at most was in doubt.
        List<String> arrived = new ArrayList<>();
        MessageConsumer drain = auto(connect()).createConsumer(out);
        for (Message m; (m = drain.receive(arrived.size() < n ? 2000 : SILENCE)) != null; ) {
            arrived.add(text(m));
        }
        check(new HashSet<>(arrived).size() == n, "lost: " + (n - new HashSet<>(arrived).size()));
        equal(n, arrived.size(), "messages moved");
        expectDepth(q, 0);
    }

    @Line(value = "OW-70", alone = true, limit = 120)
    void durableSubscribersLoseNothingOverKills() throws Exception {
        var topic = new ActiveMQTopic(unique());
        List<List<String>> got = new ArrayList<>();
        for (int k = 0; k < 2; k++) {
            ActiveMQConnection c = (ActiveMQConnection) factory(failover()).createConnection();
            c.setCloseTimeout(3000);
            later(c::close);
            c.setClientID(unique());
            c.start();
            List<String> texts = new CopyOnWriteArrayList<>();
            got.add(texts);
            // The connection acknowledges each; a kill may repeat the last few.
            auto(c).createDurableSubscriber(topic, "sub").setMessageListener(m -> quietly(() -> {
                if (!texts.contains(text(m))) {
                    texts.add(text(m));
                }
            }));
        }
        Session s = auto(connectTo(failover()));
        MessageProducer p = s.createProducer(topic);
        int n = 0;
        for (int kill = 0; kill < 3; kill++) {
            if (kill > 0) {
                Broker.restart();
            }
            for (int i = 0; i < 100; i++) {
                p.send(s.createTextMessage("" + n++));
            }
        }
        for (List<String> texts : got) {
            eventually("all are there", () -> texts.size() == 300, () -> texts.size() + " are");
            for (int i = 0; i < 300; i++) {
                equal("" + i, texts.get(i), "place " + i);
            }
        }
    }

    @Line(value = "OW-71", alone = true, limit = 180)
    void commitInDoubtIsWholeOrNothing() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        int batch = 20;
        Map<Integer, String> outcome = new HashMap<>();
        AtomicBoolean stop = new AtomicBoolean();
        AtomicInteger commits = new AtomicInteger();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        Session s = transacted(connectTo(failover("jms.watchTopicAdvisories=false")));
        MessageProducer p = s.createProducer(q);
        Thread t = new Thread(() -> {
            try {
                for (int b = 0; !stop.get(); b++) {
                    try {
                        for (int i = 0; i < batch; i++) {
                            Message m = s.createMessage();
                            m.setIntProperty("batch", b);
                            p.send(m);
                        }
                        s.commit();
                        outcome.put(b, "committed");
                        commits.incrementAndGet();
                    } catch (TransactionRolledBackException e) {
                        outcome.put(b, "rolled back");
                    }
                }
            } catch (Throwable e) {
                failure.set(e);
            }
        });
        t.start();
        for (int kill = 0; kill < 3; kill++) {
            int before = commits.get();
            eventually("commits", () -> commits.get() > before + 10, () -> "failure: " + failure.get());
            Broker.restart();
        }
        int before = commits.get();
        eventually("commits after the last kill", () -> commits.get() > before + 3, () -> "failure: " + failure.get());
        stop.set(true);
        t.join(60_000);
        check(!t.isAlive() && failure.get() == null, "it hangs or failed: " + failure.get());
        Map<Integer, Integer> found = new HashMap<>();
        MessageConsumer drain = auto(connect()).createConsumer(q);
        for (Message m; (m = drain.receive(1000)) != null; ) {
            found.merge(m.getIntProperty("batch"), 1, Integer::sum);
        }
        outcome.forEach((b, what) -> {
            int n = found.getOrDefault(b, 0);
            // In doubt, the client itself says "rolled back" though the
            // broker may have committed: but never a part of it.
            check(n == batch || (n == 0 && what.equals("rolled back")), "batch " + b + " " + what + ": " + n + " messages");
        });
    }

    @Line("OW-72")
    void brokerIntroducesItselfAndTellsOfTheCluster() throws Exception {
        Raw raw = later(new Raw());
        raw.login(Broker.USER, Broker.PASSWORD);
        BrokerInfo info = raw.await(BrokerInfo.class);
        check(info.getBrokerName() != null && !info.getBrokerName().isEmpty(), "no broker name");
        check(info.getBrokerId() != null, "no broker id");
        ConnectionControl control = raw.await(ConnectionControl.class);
        check(!control.isClose() && !control.isExit(), "asked to leave: " + control);
    }

    @Line(value = "OW-72", alone = true, cluster = true)
    void clientOfOneNodeLearnsOfTheOthers() throws Exception {
        ActiveMQConnection c = connectTo(failover());
        FailoverTransport transport = c.getTransport().narrow(FailoverTransport.class);
        java.lang.reflect.Field updated = FailoverTransport.class.getDeclaredField("updated");
        updated.setAccessible(true);
        eventually("it is told of three nodes", () -> ((List<?>) updated.get(transport)).size() == 3, () -> updated.get(transport).toString());
        check(((List<?>) updated.get(transport)).contains(java.net.URI.create(Broker.URL)), updated.get(transport) + " without " + Broker.URL);
        Session s = auto(c);
        Queue q = new ActiveMQQueue(unique());
        MessageProducer p = s.createProducer(q);
        for (int i = 0; i < 50; i++) {
            p.send(s.createTextMessage("" + i));
        }
        Broker.kill();
        for (int i = 50; i < 100; i++) {
            p.send(s.createTextMessage("" + i));
        }
        check(!transport.getConnectedTransportURI().toString().startsWith(Broker.URL), "connected to " + transport.getConnectedTransportURI());
        MessageConsumer consumer = s.createConsumer(q);
        for (int i = 0; i < 100; i++) {
            equal("" + i, nextText(consumer), "message");
        }
        expectNone(consumer);
    }

    /** A node that hands over says so to those who need it, and stock clients of both protocols go on by themselves. */
    @Line(value = "OW-72", alone = true, cluster = true)
    void handOverIsFollowed() throws Exception {
        ActiveMQConnection c = connectTo("failover:(" + Broker.address("OPENWIRE_NODES") + ")?initialReconnectDelay=50&maxReconnectDelay=500");
        AtomicReference<JMSException> alarmed = new AtomicReference<>();
        c.setExceptionListener(alarmed::set);
        FailoverTransport transport = c.getTransport().narrow(FailoverTransport.class);
        String active = transport.getConnectedTransportURI().toString();
        ActiveMQConnection simple = connectTo(active);
        CountDownLatch told = new CountDownLatch(1);
        simple.setExceptionListener(e -> {
            if (String.valueOf(e.getMessage()).contains("another node has taken over")) {
                told.countDown();
            }
        });
        Session s = auto(c);
        Queue q = new ActiveMQQueue(unique());
        MessageProducer p = s.createProducer(q);
        MessageConsumer consumer = auto(c).createConsumer(q);
        p.send(s.createTextMessage("before"));
        expectTexts(consumer, "before");

        com.rabbitmq.client.ConnectionFactory rabbit = new com.rabbitmq.client.ConnectionFactory();
        rabbit.setNetworkRecoveryInterval(200);
        com.rabbitmq.client.Connection amqp = rabbit.newConnection(com.rabbitmq.client.Address.parseAddresses(Broker.address("AMQP_NODES")));
        later(amqp::abort);
        CountDownLatch recovered = new CountDownLatch(1);
        AtomicReference<com.rabbitmq.client.ShutdownSignalException> closed = new AtomicReference<>();
        amqp.addShutdownListener(closed::set);
        ((com.rabbitmq.client.Recoverable) amqp).addRecoveryListener(new com.rabbitmq.client.RecoveryListener() {
            @Override
            public void handleRecovery(com.rabbitmq.client.Recoverable r) {
                recovered.countDown();
            }

            @Override
            public void handleRecoveryStarted(com.rabbitmq.client.Recoverable r) {
            }
        });
        com.rabbitmq.client.Channel channel = amqp.createChannel();

        Broker.transfer();
        p.send(s.createTextMessage("after"));
        expectTexts(consumer, "after");
        check(!transport.getConnectedTransportURI().toString().equals(active), "still at " + active);
        check(alarmed.get() == null, "the application was alarmed: " + alarmed.get());
        check(told.await(PATIENCE, TimeUnit.MILLISECONDS), "a client that does not fail over was not told why it has to go");
        check(recovered.await(PATIENCE, TimeUnit.MILLISECONDS), "the AMQP client did not recover");
        check(closed.get().getReason() instanceof com.rabbitmq.client.AMQP.Connection.Close x && x.getReplyCode() == 320, "closed with " + closed.get());
        channel.confirmSelect();
        channel.basicPublish("", q.getQueueName(), com.rabbitmq.client.MessageProperties.PERSISTENT_TEXT_PLAIN, "by AMQP".getBytes());
        channel.waitForConfirmsOrDie(PATIENCE);
        expectTexts(consumer, "by AMQP");
    }

    @Line("OW-72")
    void deadMemberOfTheListIsPassedOver() throws Exception {
        Proxy gone = new Proxy();
        String dead = gone.url();
        gone.close();
        ActiveMQConnection c = connectTo("failover:(" + dead + "," + Broker.URL + ")?randomize=false&initialReconnectDelay=10");
        Session s = auto(c);
        Queue q = new ActiveMQQueue(unique());
        send(s, q, "through");
        expectTexts(s.createConsumer(q), "through");
    }

    @Line("OW-70")
    void idleSessionsAndSubscriptionsAreRestored() throws Exception {
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = connectTo("failover:(" + proxy.url() + ")?initialReconnectDelay=10");
        Session s = auto(c);
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer onQueue = s.createConsumer(q, "k = 1");
        MessageConsumer onTopic = auto(c).createConsumer(s.createTopic(q.getQueueName()));
        Session ps = auto(connect());
        for (int round = 0; round < 3; round++) {
            proxy.cut();
            int links = round + 2;
            eventually("it reconnects", () -> proxy.links.size() >= links);
            Message m = ps.createTextMessage("queue " + round);
            m.setIntProperty("k", 1);
            ps.createProducer(q).send(m);
            expectTexts(onQueue, "queue " + round);
            String text = "topic " + round;
            AtomicInteger tries = new AtomicInteger();
            // A topic has no memory: until the subscription is back there is nobody to get it.
            eventually("the topic subscription is back", () -> {
                send(ps, ps.createTopic(q.getQueueName()), text + " " + tries.incrementAndGet());
                return onTopic.receive(100) != null;
            });
            while (onTopic.receive(100) != null) {
                continue;
            }
        }
    }

    @Line("OW-70")
    void unacknowledgedMessagesOfAFailedOverConsumerAreNotLost() throws Exception {
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = connectTo("failover:(" + proxy.url() + ")?initialReconnectDelay=10");
        Session s = client(c);
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer consumer = s.createConsumer(q);
        Session ps = auto(connect());
        send(ps, q, "1", "2", "3");
        expectTexts(consumer, "1");
        proxy.cut();
        eventually("it reconnects", () -> proxy.links.size() >= 2);
        send(ps, q, "4");
        Set<String> seen = new HashSet<>();
        Message last = null;
        while (seen.size() < 4) {
            last = next(consumer);
            seen.add(text(last));
        }
        equal(Set.of("1", "2", "3", "4"), seen, "messages");
        last.acknowledge();
        c.close();
        expectDepth(q, 0);
    }

    /**
     * CHURN_SECONDS and CHURN_CONNECTIONS say how long and how many; CHURN_RATE bounds how many are opened in a second.
     * What the broker holds is printed every minute. CHURN_FAILURES allows for so many connections that end by a timeout of
     * their client's, on a machine that is too busy for these.
     */
    @Line(value = "OW-75", alone = true, raw = true, limit = 4200)
    void churnLeavesNothing() throws Exception {
        int seconds = Integer.parseInt(Broker.env("CHURN_SECONDS", "20"));
        int held = Integer.parseInt(Broker.env("CHURN_CONNECTIONS", "500"));
        Queue q = new ActiveMQQueue(unique());
        churn(q, held, 1, n -> { });
        Map<String, Long> before = settled();
        AtomicInteger opened = churn(q, held, seconds, n -> {
            if (seconds >= 120) {
                System.out.printf("churn: %d opened, the slowest in %d ms, %s, before %s%n", n, slowest.getAndSet(0), Broker.usage(), before);
            }
        });
        eventually("goroutines and memory come back", () -> {
            Map<String, Long> now = Broker.usage();
            return TopicsTempBrowse.grown(before, now, "goroutines") <= 10
                    && TopicsTempBrowse.grown(before, now, "heap", "rss") < 24 << 20
                    && TopicsTempBrowse.grown(before, now, "fds") <= 10;
        }, () -> "before " + before + ", now " + Broker.usage());
        check(opened.get() > held, "only " + opened + " connections in " + seconds + " s");
        System.out.printf("    %d connections in %d s, %d of them broken, %d held; before %s, after %s%n", opened.get(), seconds, broken.get(), held, before, Broker.usage());
    }

    /** What opening a connection took at most since this was last printed, ms. */
    private final AtomicLong slowest = new AtomicLong();

    private interface Watch {
        void look(int opened) throws Exception;
    }

    /** Usage once it no longer falls. */
    private static Map<String, Long> settled() throws Exception {
        Map<String, Long> last = Broker.usage();
        for (int i = 0; i < 20; i++) {
            pause(200);
            Map<String, Long> now = Broker.usage();
            if (TopicsTempBrowse.grown(last, now, "goroutines", "rss") >= 0) {
                return now;
            }
            last = now;
        }
        return last;
    }

    /** Holds so many connections, closing the oldest for each new one, until the time is up; then closes all. */
    private AtomicInteger churn(Queue q, int held, int seconds, Watch everyMinute) throws Exception {
        int workers = 10;
        int rate = Integer.parseInt(Broker.env("CHURN_RATE", "0"));
        AtomicInteger opened = new AtomicInteger();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        long began = System.nanoTime();
        long end = began + seconds * 1_000_000_000L;
        List<Thread> threads = new ArrayList<>();
        ActiveMQConnection reader = (ActiveMQConnection) factory(url()).createConnection();
        reader.start();
        MessageConsumer drain = auto(reader).createConsumer(q); // what is sent must not be taken for growth
        drain.setMessageListener(m -> { });
        for (int w = 0; w < workers; w++) {
            Thread t = new Thread(() -> {
                Deque<ActiveMQConnection> ring = new ArrayDeque<>();
                try {
                    while (failure.get() == null && (System.nanoTime() < end || ring.size() < held / workers)) {
                        if (rate > 0 && ring.size() == held / workers) {
                            long early = began + opened.get() * 1_000_000_000L / rate - System.nanoTime();
                            pause(Math.max(early, 0) / 1_000_000);
                        }
                        comeAndGo(ring, q, opened.incrementAndGet(), held / workers, failure);
                    }
                    while (!ring.isEmpty()) {
                        leave(ring.poll(), failure);
                    }
                } catch (Throwable e) {
                    failure.compareAndSet(null, new AssertionError("after " + opened + " connections, "
                            + (System.nanoTime() - began) / 1_000_000 + " ms", e));
                }
            });
            threads.add(t);
            t.start();
        }
        long minute = began + 60_000_000_000L;
        for (Thread t : threads) {
            while (t.isAlive()) {
                t.join(1000);
                if (System.nanoTime() > minute) {
                    minute += 60_000_000_000L;
                    everyMinute.look(opened.get());
                }
            }
        }
        if (failure.get() != null) {
            throw new AssertionError("of " + opened + " connections " + broken + " failed", failure.get());
        }
        eventually("all is read", () -> browse(q).isEmpty());
        reader.close();
        return opened;
    }

    /** Opens the nth connection, does a little with it, and closes the oldest if there are enough. */
    private void comeAndGo(Deque<ActiveMQConnection> ring, Queue q, int n, int held, AtomicReference<Throwable> failure) throws Exception {
        long born = System.nanoTime();
        ActiveMQConnection c = (ActiveMQConnection) factory(url()).createConnection();
        c.setExceptionListener(e -> broke(failure, "connection " + n + ", " + (System.nanoTime() - born) / 1_000_000 + " ms old", e));
        try {
            c.start();
            slowest.accumulateAndGet((System.nanoTime() - born) / 1_000_000, Math::max);
            use(c, q, n);
            ring.add(c);
        } catch (JMSException e) {
            broke(failure, "opening connection " + n + " after " + (System.nanoTime() - born) / 1_000_000 + " ms", e);
            quietly(c::close);
        }
        if (ring.size() > held) {
            leave(ring.poll(), failure);
        }
    }

    private void leave(ActiveMQConnection c, AtomicReference<Throwable> failure) {
        try {
            c.close();
        } catch (JMSException e) {
            broke(failure, "closing a connection", e);
        }
    }

    private final AtomicInteger broken = new AtomicInteger();

    /** Notes that a connection ended that should not, and has the churn fail if there were too many. */
    private void broke(AtomicReference<Throwable> failure, String what, Exception e) {
        System.out.println("churn: " + what + ": " + e.getMessage());
        if (broken.incrementAndGet() > Integer.parseInt(Broker.env("CHURN_FAILURES", "0"))) {
            failure.compareAndSet(null, new AssertionError(what, e));
        }
    }

    private static void use(ActiveMQConnection c, Queue q, int n) throws JMSException {
        Session s = n % 3 == 0 ? transacted(c) : auto(c);
        if (n % 2 == 0) {
            MessageProducer p = s.createProducer(q);
            p.setDeliveryMode(n % 4 == 0 ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT);
            p.send(s.createTextMessage("x"));
        }
        if (n % 5 == 0) {
            s.createTemporaryQueue();
            s.createConsumer(s.createTopic("OW.churn"));
        }
        if (n % 7 == 0) {
            s.createConsumer(q).receiveNoWait();
        }
    }
}
