package openwire;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

import javax.jms.DeliveryMode;
import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.ResourceAllocationException;
import javax.jms.Session;
import javax.jms.Topic;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ConsumerId;
import org.apache.activemq.command.ConsumerInfo;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.Response;
import org.apache.activemq.command.SessionInfo;

/**
 * OW-58 to OW-69. Destinations with policies have names of their own: PRIO.>, IDLQ.>, LIMIT.> (1 MB), NOSPACE.>
 * (1 MB, refusing), PENDING.> (topics, ten pending), RETRO.> (topics, last image).
 */
final class Policies extends Scenario {
    @Line("OW-58")
    void exclusiveConsumerTakesAllAndIsFollowed() throws Exception {
        String name = unique();
        Queue exclusive = new ActiveMQQueue(name + "?consumer.exclusive=true");
        Session s = auto(connect());
        MessageConsumer first = auto(connect()).createConsumer(exclusive);
        MessageConsumer second = auto(connect()).createConsumer(exclusive);
        MessageConsumer ordinary = auto(connect()).createConsumer(new ActiveMQQueue(name));
        Queue q = new ActiveMQQueue(name);
        send(s, q, "1", "2", "3", "4");
        expectTexts(first, "1", "2", "3", "4");
        expectNone(second);
        expectNone(ordinary);
        first.close();
        send(s, q, "5", "6");
        expectTexts(second, "5", "6");
        expectNone(ordinary);
        second.close();
        send(s, q, "7");
        expectTexts(ordinary, "7");
    }

    @Line("OW-59")
    void higherPriorityConsumerFirst() throws Exception {
        String name = unique();
        Session s = auto(connect());
        Queue q = new ActiveMQQueue(name);
        MessageConsumer low = client(connect("jms.prefetchPolicy.all=5")).createConsumer(new ActiveMQQueue(name + "?consumer.priority=0"));
        MessageConsumer high = client(connect("jms.prefetchPolicy.all=5")).createConsumer(new ActiveMQQueue(name + "?consumer.priority=5"));
        send(s, q, "1", "2", "3");
        expectTexts(high, "1", "2", "3");
        expectNone(low);
        // Its window is full: what is over goes to the other. Both
        // acknowledge nothing, and DELIVERED may have widened the first.
        for (int i = 4; i <= 14; i++) {
            send(s, q, "" + i);
        }
        next(low);
    }

    @Line("OW-60")
    void groupsStickToAConsumer() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection ca = connect("jms.prefetchPolicy.all=1");
        ActiveMQConnection cb = connect("jms.prefetchPolicy.all=1");
        Session sa = auto(ca);
        MessageConsumer a = sa.createConsumer(q);
        MessageConsumer b = auto(cb).createConsumer(q);
        Session s = auto(connect());
        // The first of a group goes to either; the rest follows.
        grouped(s, q, "x", 0, "x1");
        MessageConsumer owner = null;
        Message first = null;
        for (long end = System.nanoTime() + PATIENCE * 1_000_000; first == null && System.nanoTime() < end; ) {
            for (MessageConsumer c : new MessageConsumer[] {a, b}) {
                if (first == null && (first = c.receive(50)) != null) {
                    owner = c;
                }
            }
        }
        check(first != null, "no message");
        check(first.getBooleanProperty("JMSXGroupFirstForConsumer"), "JMSXGroupFirstForConsumer is not set on the first");
        MessageConsumer other = owner == a ? b : a;
        for (int i = 2; i <= 6; i++) {
            grouped(s, q, "x", 0, "x" + i);
        }
        for (int i = 2; i <= 6; i++) {
            Message m = next(owner);
            equal("x" + i, text(m), "group x");
            check(!m.propertyExists("JMSXGroupFirstForConsumer") || !m.getBooleanProperty("JMSXGroupFirstForConsumer"), "first again: " + text(m));
        }
        expectNone(other);
        owner.close();
        grouped(s, q, "x", 0, "x7");
        Message moved = next(other);
        equal("x7", text(moved), "after the owner left");
        check(moved.getBooleanProperty("JMSXGroupFirstForConsumer"), "JMSXGroupFirstForConsumer is not set for the new owner");
    }

    @Line("OW-60")
    void groupSequenceMinusOneClosesTheGroup() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer a = auto(connect("jms.prefetchPolicy.all=10")).createConsumer(q);
        Session s = auto(connect());
        grouped(s, q, "y", 0, "1");
        check(next(a).getBooleanProperty("JMSXGroupFirstForConsumer"), "first of the group");
        grouped(s, q, "y", 0, "2");
        check(!flagged(next(a)), "second of the group is flagged first");
        grouped(s, q, "y", -1, "3");
        equal("3", nextText(a), "the closing message");
        grouped(s, q, "y", 0, "4");
        check(flagged(next(a)), "the reopened group does not begin anew");
    }

    private static boolean flagged(Message m) throws JMSException {
        return m.propertyExists("JMSXGroupFirstForConsumer") && m.getBooleanProperty("JMSXGroupFirstForConsumer");
    }

    private static void grouped(Session s, Queue q, String group, int sequence, String text) throws JMSException {
        Message m = s.createTextMessage(text);
        m.setStringProperty("JMSXGroupID", group);
        if (sequence != 0) {
            m.setIntProperty("JMSXGroupSeq", sequence);
        }
        MessageProducer p = s.createProducer(q);
        p.send(m);
        p.close();
    }

    @Line("OW-60")
    void groupsSpreadOverConsumers() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer a = auto(connect()).createConsumer(q);
        MessageConsumer b = auto(connect()).createConsumer(q);
        Session s = auto(connect());
        for (int i = 0; i < 400; i++) {
            grouped(s, q, "g" + i % 20, 0, i % 20 + " " + i);
        }
        Map<String, Integer> owner = new HashMap<>();
        Map<String, Integer> last = new HashMap<>();
        int[] taken = new int[2];
        for (int seen = 0; seen < 400; ) {
            int before = seen;
            for (int k = 0; k < 2; k++) {
                for (Message m; (m = (k == 0 ? a : b).receive(100)) != null; seen++) {
                    String[] f = text(m).split(" ");
                    equal(k, owner.computeIfAbsent(f[0], g -> -1) == -1 ? k : owner.get(f[0]), "owner of group " + f[0]);
                    owner.put(f[0], k);
                    check(Integer.parseInt(f[1]) > last.getOrDefault(f[0], -1), "order within group " + f[0]);
                    last.put(f[0], Integer.parseInt(f[1]));
                    taken[k]++;
                }
            }
            check(seen > before, "only " + seen + " messages came");
        }
        check(taken[0] > 0 && taken[1] > 0, "all groups went to one consumer");
    }

    @Line(value = "OW-61", limit = 120)
    void expiredMessagesOfAnIdleQueue() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        Message keep = s.createTextMessage("persistent");
        keep.setStringProperty("mark", q.getPhysicalName());
        p.send(keep, DeliveryMode.PERSISTENT, 4, 500);
        long expiration = keep.getJMSExpiration();
        Message drop = s.createTextMessage("non-persistent");
        drop.setStringProperty("mark", q.getPhysicalName());
        p.send(drop, DeliveryMode.NON_PERSISTENT, 4, 500);
        // Nobody looks at the queue.
        MessageConsumer dlq = s.createConsumer(s.createQueue("ActiveMQ.DLQ"), "mark = '" + q.getPhysicalName() + "'");
        Message dead = dlq.receive(60_000);
        check(dead != null, "nothing in ActiveMQ.DLQ within a minute");
        equal("persistent", text(dead), "text");
        equal(0L, dead.getJMSExpiration(), "JMSExpiration of the dead letter");
        equal(expiration, dead.getLongProperty("originalExpiration"), "originalExpiration");
        equal(q, ((ActiveMQMessage) dead).getOriginalDestination(), "originalDestination");
        expectNone(dlq);
        expectDepth(q, 0);
    }

    @Line("OW-61")
    void expiredMessageIsNotDelivered() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        p.send(s.createTextMessage("short"), DeliveryMode.NON_PERSISTENT, 4, 50);
        p.send(s.createTextMessage("long"), DeliveryMode.NON_PERSISTENT, 4, 600_000);
        pause(100);
        MessageConsumer consumer = s.createConsumer(q);
        expectTexts(consumer, "long");
        expectNone(consumer);
    }

    @Line("OW-62")
    void prioritizedQueueOrdersByPriority() throws Exception {
        Queue q = new ActiveMQQueue(unique("PRIO."));
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        int[] sent = {0, 4, 9, 5, 9, 0, 1};
        for (int i = 0; i < sent.length; i++) {
            p.send(s.createTextMessage(sent[i] + " " + i), DeliveryMode.PERSISTENT, sent[i], 0);
        }
        // Without a prefetch the client has nothing to reorder.
        MessageConsumer consumer = auto(connect("jms.prefetchPolicy.all=0")).createConsumer(q);
        expectTexts(consumer, "9 2", "9 4", "5 3", "4 1", "1 6", "0 0", "0 5");
    }

    @Line("OW-62")
    void withoutThePolicyPriorityDoesNotOrder() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        int[] sent = {0, 9, 4};
        for (int priority : sent) {
            p.send(s.createTextMessage("" + priority), DeliveryMode.PERSISTENT, priority, 0);
        }
        expectTexts(s.createConsumer(q), "0", "9", "4");
    }

    @Line("OW-63")
    void delayedMessage() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(q);
        Message m = s.createTextMessage("delayed");
        m.setLongProperty("AMQ_SCHEDULED_DELAY", 1000);
        s.createProducer(q).send(m);
        expectNone(consumer);
        Message got = next(consumer);
        equal("delayed", text(got), "text");
        check(!got.propertyExists("AMQ_SCHEDULED_DELAY"), "AMQ_SCHEDULED_DELAY is still there");
        check(got.getStringProperty("scheduledJobId") != null, "no scheduledJobId");
        equal(m.getJMSMessageID(), got.getJMSMessageID(), "JMSMessageID");
    }

    @Line("OW-63")
    void repeatedMessage() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(q);
        Message m = s.createTextMessage("again and again");
        m.setLongProperty("AMQ_SCHEDULED_DELAY", 200);
        m.setLongProperty("AMQ_SCHEDULED_PERIOD", 200);
        m.setIntProperty("AMQ_SCHEDULED_REPEAT", 3);
        s.createProducer(q).send(m);
        Set<String> ids = new HashSet<>();
        for (int i = 0; i < 4; i++) {
            Message got = next(consumer);
            equal("again and again", text(got), "text");
            check(ids.add(got.getJMSMessageID()), "one JMSMessageID twice");
        }
        pause(400);
        expectNone(consumer);
    }

    @Line(value = "OW-63", limit = 150)
    void cronMessage() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(q);
        Message m = s.createTextMessage("every minute");
        m.setStringProperty("AMQ_SCHEDULED_CRON", "* * * * *");
        s.createProducer(q).send(m);
        expectNone(consumer);
        Message got = consumer.receive(75_000);
        check(got != null, "nothing within 75 s");
        equal("every minute", text(got), "text");
        check(got.getStringProperty("scheduledJobId") != null, "no scheduledJobId");
    }

    @Line(value = "OW-63", alone = true)
    void scheduledMessageSurvivesAKill() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = auto(c);
        Message m = s.createTextMessage("after the kill");
        m.setLongProperty("AMQ_SCHEDULED_DELAY", 4000);
        s.createProducer(q).send(m);
        Broker.restart();
        quietly(c::close);
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        Message got = next(consumer);
        equal("after the kill", text(got), "text");
        check(got.getStringProperty("scheduledJobId") != null, "no scheduledJobId");
        expectNone(consumer);
    }

    @Line("OW-63")
    void scheduledToATopicForWhoeverSubscribesBeforeItIsDue() throws Exception {
        Session s = auto(connect());
        for (int delay = 2000; ; delay *= 2) {
            Topic topic = new ActiveMQTopic(unique());
            MessageConsumer early = s.createConsumer(topic);
            MessageProducer p = s.createProducer(topic);
            long due = System.currentTimeMillis() + delay;
            Message m = s.createTextMessage("once");
            m.setLongProperty("AMQ_SCHEDULED_DELAY", delay);
            p.send(m);
            m = s.createTextMessage("again");
            m.setLongProperty("AMQ_SCHEDULED_DELAY", delay + 500);
            m.setLongProperty("AMQ_SCHEDULED_PERIOD", 300);
            m.setIntProperty("AMQ_SCHEDULED_REPEAT", 1);
            p.send(m);
            early.close();
            MessageConsumer late = s.createConsumer(topic);
            if (System.currentTimeMillis() >= due) {
                continue; // a busy machine
            }
            Message got = next(late);
            equal("once", text(got), "text");
            check(got.getStringProperty("scheduledJobId") != null, "no scheduledJobId");
            expectTexts(late, "again", "again");
            expectNone(late);
            return;
        }
    }

    @Line(value = "OW-63", alone = true)
    void scheduledToATopicSurvivesAKillWithoutAnySubscriber() throws Exception {
        for (int delay = 4000; ; delay *= 2) {
            Topic topic = new ActiveMQTopic(unique());
            ActiveMQConnection c = connect();
            Session s = auto(c);
            Message m = s.createTextMessage("after the kill");
            m.setLongProperty("AMQ_SCHEDULED_DELAY", delay);
            long due = System.currentTimeMillis() + delay;
            s.createProducer(topic).send(m);
            Broker.restart();
            quietly(c::close);
            MessageConsumer consumer = auto(connect()).createConsumer(topic);
            if (System.currentTimeMillis() >= due) {
                continue; // a busy machine
            }
            Message got = next(consumer);
            equal("after the kill", text(got), "text");
            expectNone(consumer);
            return;
        }
    }

    @Line("OW-63")
    void rolledBackScheduleNeverFires() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session tx = transacted(connect());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        MessageProducer p = tx.createProducer(q);
        for (String text : new String[] {"no", "yes"}) {
            Message m = tx.createTextMessage(text);
            m.setLongProperty("AMQ_SCHEDULED_DELAY", 300);
            p.send(m);
            if (text.equals("no")) {
                tx.rollback();
            } else {
                tx.commit();
            }
        }
        expectTexts(consumer, "yes");
        expectNone(consumer);
    }

    @Line("OW-64")
    void individualDeadLetterQueues() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique("IDLQ."));
        ActiveMQConnection c = connect("jms.redeliveryPolicy.maximumRedeliveries=0");
        Session tx = transacted(c);
        send(tx, q, "poison");
        tx.commit();
        expectTexts(tx.createConsumer(q), "poison");
        tx.rollback();
        Session s = auto(connect());
        Message dead = next(s.createConsumer(s.createQueue("ActiveMQ.DLQ.Queue." + q.getPhysicalName())));
        equal("poison", text(dead), "text");
    }

    @Line("OW-65")
    void fullQueueHoldsUpTheProducerOnly() throws Exception {
        Queue q = new ActiveMQQueue(unique("LIMIT."));
        Queue other = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.alwaysSyncSend=true");
        MessageConsumer besides = auto(c).createConsumer(other);
        Session s = auto(c);
        MessageProducer p = s.createProducer(q);
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        CountDownLatch done = new CountDownLatch(1);
        List<Exception> failures = new ArrayList<>();
        int[] sent = new int[1];
        String kilobytes = "x".repeat(100_000);
        int n = 30;
        Thread producer = new Thread(() -> {
            try {
                for (; sent[0] < n; sent[0]++) {
                    p.send(s.createTextMessage(kilobytes));
                }
            } catch (Exception e) {
                failures.add(e);
            }
            done.countDown();
        });
        producer.start();
        check(!done.await(2, TimeUnit.SECONDS), "3 MB fit into a queue of 1 MB: " + failures);
        // A consumer on the same connection goes on.
        send(auto(connect()), other, "besides");
        expectTexts(besides, "besides");
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        for (int i = 0; i < n; i++) {
            next(consumer);
        }
        check(done.await(PATIENCE, TimeUnit.MILLISECONDS), "the producer does not resume");
        check(failures.isEmpty(), "the producer failed: " + failures);
    }

    @Line("OW-65")
    void fullQueueMayRefuse() throws Exception {
        Queue q = new ActiveMQQueue(unique("NOSPACE."));
        ActiveMQConnection c = connect();
        Session s = auto(c);
        MessageProducer p = s.createProducer(q);
        refused(ResourceAllocationException.class, () -> {
            for (int i = 0; i < 30; i++) {
                p.send(s.createTextMessage("x".repeat(100_000)));
            }
        });
        send(s, new ActiveMQQueue(unique()), "the connection is usable");
    }

    @Line("OW-66")
    void slowTopicConsumerLosesTheOldest() throws Exception {
        Topic t = new ActiveMQTopic(unique("PENDING."));
        MessageConsumer slow = auto(connect("jms.prefetchPolicy.topicPrefetch=1")).createConsumer(t);
        MessageConsumer fast = auto(connect()).createConsumer(t);
        Session s = auto(connect());
        sendMany(s, t, "", 200);
        for (int i = 0; i < 200; i++) {
            expectTexts(fast, "" + i);
        }
        List<Integer> got = new ArrayList<>();
        for (Message m; (m = slow.receive(1000)) != null; ) {
            got.add(Integer.valueOf(text(m)));
        }
        check(got.size() >= 10 && got.size() < 50, "the slow one got " + got);
        equal(199, got.get(got.size() - 1), "its last message");
        equal(198, got.get(got.size() - 2), "its last but one");
    }

    @Line("OW-67")
    void retroactiveConsumerGetsTheLastImage() throws Exception {
        String name = unique("RETRO.");
        Topic t = new ActiveMQTopic(name);
        Session s = auto(connect());
        send(s, t, "older", "last");
        MessageConsumer retro = auto(connect()).createConsumer(new ActiveMQTopic(name + "?consumer.retroactive=true"));
        MessageConsumer plain = auto(connect()).createConsumer(t);
        expectTexts(retro, "last");
        expectNone(plain);
        send(s, t, "next");
        expectTexts(retro, "next");
        expectTexts(plain, "next");
    }

    /** Whoever sends them, messages are kept for whoever asks; those of a transaction once it is committed. */
    @Line("OW-67")
    void retroactiveConsumersOfBothProtocols() throws Exception {
        String name = unique("RETRO.");
        ActiveMQTopic retro = new ActiveMQTopic(name + "?consumer.retroactive=true");
        Stomp stomp = later(new Stomp());
        stomp.send("SEND", "by STOMP".getBytes(), "destination:/topic/" + name, "amq-msg-type:text", "receipt:1");
        equal("RECEIPT", stomp.read().command(), "answer to SEND");
        expectTexts(auto(connect()).createConsumer(retro), "by STOMP");
        Session t = transacted(connect());
        MessageProducer p = t.createProducer(new ActiveMQTopic(name));
        p.send(t.createTextMessage("undone"));
        t.rollback();
        p.send(t.createTextMessage("by JMS"));
        MessageConsumer early = auto(connect()).createConsumer(retro);
        expectTexts(early, "by STOMP");
        t.commit();
        expectTexts(early, "by JMS");
        stomp.subscribe("/topic/" + name, "activemq.retroactive:true");
        equal("by JMS", stomp.read().text(), "what STOMP gets at once");
        send(auto(connect()), new ActiveMQTopic(name), "next");
        equal("next", stomp.read().text(), "what STOMP gets then");
        expectTexts(early, "next");
        expectNone(early);
    }

    @Line("OW-68")
    void destinationsAreDestroyedOnlyWithoutConsumers() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = auto(c);
        send(s, q, "1", "2");
        MessageConsumer consumer = s.createConsumer(q);
        refused(JMSException.class, () -> c.destroyDestination(q));
        consumer.close();
        c.destroyDestination(q);
        expectDepth(q, 0);
        ActiveMQTopic t = new ActiveMQTopic(unique());
        MessageConsumer onTopic = s.createConsumer(t);
        refused(JMSException.class, () -> c.destroyDestination((ActiveMQDestination) t));
        onTopic.close();
        c.destroyDestination(t);
    }

    private static final Pattern SELECTOR = Pattern.compile("\\{\"selector\":\"(.*?)\",\"result\":\"(\\w+)\".*}");

    /** Selector to TRUE, FALSE, INVALID or RUNTIME_ERROR. */
    private static Map<String, String> selectors() throws Exception {
        Map<String, String> all = new LinkedHashMap<>();
        for (String line : Files.readAllLines(Path.of(Broker.address("VECTORS")))) {
            Matcher m = SELECTOR.matcher(line);
            if (m.matches()) {
                all.put(unescape(m.group(1)), m.group(2));
            }
        }
        return all;
    }

    private static String unescape(String json) {
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < json.length(); i++) {
            char c = json.charAt(i);
            if (c != '\\') {
                b.append(c);
                continue;
            }
            switch (c = json.charAt(++i)) {
                case 'n' -> b.append('\n');
                case 't' -> b.append('\t');
                case 'u' -> {
                    b.append((char) Integer.parseInt(json.substring(i + 1, i + 5), 16));
                    i += 4;
                }
                default -> b.append(c);
            }
        }
        return b.toString();
    }

    /** The vectors whose outcome is about how Java promotes numbers; ours compares by value. */
    private static final Set<String> ASYMMETRIC = Set.of("i = b", "i = sh", "l = b");

    @Line("OW-69")
    void selectorVectors() throws Exception {
        Session s = auto(connect("jms.watchTopicAdvisories=false"));
        Topic t = new ActiveMQTopic(unique());
        Map<String, MessageConsumer> consumers = new LinkedHashMap<>();
        Map<String, String> wanted = new LinkedHashMap<>();
        selectors().forEach((selector, result) -> {
            // What the broker fills in cannot be chosen by a client; what
            // cannot be evaluated fails the sender on ActiveMQ.
            if ((Broker.is("activemq") && result.equals("RUNTIME_ERROR")) || result.equals("INVALID") || ASYMMETRIC.contains(selector) || selector.matches(
                    "(?s).*JMS(DeliveryMode|Timestamp|MessageID|Destination|Redelivered|XDeliveryCount|Expiration|ReplyTo|XUserID|XProducerTXID|ActiveMQ).*")) {
                return;
            }
            try {
                consumers.put(selector, s.createConsumer(t, selector));
                wanted.put(selector, result);
            } catch (JMSException e) {
                throw new AssertionError("refused: " + selector, e);
            }
        });
        MessageConsumer sentinel = s.createConsumer(t);
        Message m = s.createMessage();
        m.setStringProperty("s", "red");
        m.setIntProperty("i", 5);
        m.setLongProperty("l", 5);
        m.setByteProperty("b", (byte) 5);
        m.setShortProperty("sh", (short) 5);
        m.setFloatProperty("f", 5);
        m.setDoubleProperty("d", 5.5);
        m.setStringProperty("n5", "5");
        m.setBooleanProperty("t", true);
        m.setBooleanProperty("fa", false);
        m.setStringProperty("us", "a_b");
        m.setStringProperty("pc", "a%b");
        m.setStringProperty("nl", "a\nb");
        m.setStringProperty("empty", "");
        m.setStringProperty("quote", "it's");
        m.setStringProperty("$d", "x");
        m.setStringProperty("_u", "x");
        m.setJMSType("T1");
        m.setJMSCorrelationID("c1");
        m.setStringProperty("JMSXGroupID", "g");
        m.setIntProperty("JMSXGroupSeq", 2);
        MessageProducer p = s.createProducer(t);
        p.send(m, DeliveryMode.PERSISTENT, 7, 0);
        Message end = s.createTextMessage("end");
        p.send(end);
        next(sentinel);
        next(sentinel); // the broker has matched both
        List<String> wrong = new ArrayList<>();
        for (Map.Entry<String, MessageConsumer> e : consumers.entrySet()) {
            boolean expected = wanted.get(e.getKey()).equals("TRUE");
            Message got = e.getValue().receive(expected ? 2000 : 1);
            boolean matched = got != null && !text2(got).equals("end");
            if (matched != expected) {
                wrong.add(e.getKey() + " is " + matched);
            }
        }
        check(wrong.isEmpty(), wrong.size() + " of " + consumers.size() + ": " + wrong);
        check(consumers.size() > 100, "only " + consumers.size() + " vectors");
    }

    private static String text2(Message m) throws JMSException {
        return m instanceof javax.jms.TextMessage t ? t.getText() : "";
    }

    @Line("OW-69")
    void selectorsOnWhatTheBrokerKnows() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        Message m = s.createTextMessage("x");
        MessageProducer p = s.createProducer(q);
        p.send(m, DeliveryMode.PERSISTENT, 7, 600_000);
        String[] holds = {
            "JMSDeliveryMode = 'PERSISTENT'", "JMSPriority = 7", "JMSTimestamp = " + m.getJMSTimestamp(),
            "JMSMessageID = '" + m.getJMSMessageID() + "'", "JMSDestination = '" + q + "'", "JMSExpiration = " + m.getJMSExpiration(),
            "JMSRedelivered = FALSE", "JMSReplyTo IS NULL", "JMSCorrelationID IS NULL", "JMSXUserID IS NULL",
        };
        for (String selector : holds) {
            var e = s.createBrowser(q, selector).getEnumeration();
            check(e.hasMoreElements(), selector + " does not hold");
        }
        for (String selector : new String[] {"JMSDeliveryMode = 'NON_PERSISTENT'", "JMSPriority < 7", "JMSReplyTo = 'queue://x'"}) {
            check(!s.createBrowser(q, selector).getEnumeration().hasMoreElements(), selector + " holds");
        }
    }

    @Line("OW-69")
    void selectorsSeeEarlierDeliveries() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        send(s, q, "twice", "once", "never");
        String[][] failures = {{"JMSXDeliveryCount = 1", "twice"}, {"JMSXDeliveryCount = 2", "twice"}, {"JMSXDeliveryCount = 1", "once"}};
        for (String[] x : failures) {
            ActiveMQConnection c = connect("jms.prefetchPolicy.queuePrefetch=0");
            expectTexts(client(c).createConsumer(q, x[0]), x[1]);
            c.close();
        }
        expectDepth(q, 3);
        String[][] chosen = {
            {"JMSRedelivered = FALSE", "never"}, {"JMSXDeliveryCount > 2", "twice"},
            {"JMSRedelivered = TRUE AND JMSXDeliveryCount BETWEEN 2 AND 2", "once"},
        };
        for (String[] x : chosen) {
            List<Message> seen = new ArrayList<>();
            for (var e = s.createBrowser(q, x[0]).getEnumeration(); e.hasMoreElements(); ) {
                seen.add((Message) e.nextElement());
            }
            check(seen.size() == 1 && text(seen.get(0)).equals(x[1]), "browser of " + x[0] + ": " + seen);
        }
        for (String[] x : chosen) {
            MessageConsumer reader = auto(connect()).createConsumer(q, x[0]);
            expectTexts(reader, x[1]);
            expectNone(reader);
        }
    }

    /** What a subscription to a topic wants is decided when a message arrives: it does not lose it by failing. */
    @Line("OW-69")
    void durableSubscriberKeepsWhatItOnceWanted() throws Exception {
        Topic t = new ActiveMQTopic(unique());
        String id = unique();
        ActiveMQConnection c = identified(id);
        MessageConsumer first = client(c).createDurableSubscriber(t, "d", "JMSRedelivered = FALSE", false);
        send(auto(connect()), t, "once");
        expectTexts(first, "once");
        c.close();
        c = identified(id);
        Message again = next(auto(c).createDurableSubscriber(t, "d", "JMSRedelivered = FALSE", false));
        check(again.getJMSRedelivered() && text(again).equals("once"), "again: " + again);
    }

    private ActiveMQConnection identified(String clientId) throws JMSException {
        ActiveMQConnection c = (ActiveMQConnection) factory(url()).createConnection();
        later(c::close);
        c.setClientID(clientId);
        c.start();
        return c;
    }

    @Line("OW-69")
    void selectorSkipsWithoutBlockingOthers() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        for (int i = 0; i < 1000; i++) {
            Message m = s.createTextMessage("" + i);
            m.setIntProperty("n", i);
            p.send(m);
        }
        MessageConsumer far = auto(connect()).createConsumer(q, "n = 150");
        expectTexts(far, "150");
        MessageConsumer even = auto(connect()).createConsumer(q, "n % 2 = 0");
        MessageConsumer odd = auto(connect()).createConsumer(q, "n % 2 = 1");
        for (int i = 0; i < 1000; i++) {
            if (i != 150) {
                expectTexts(i % 2 == 0 ? even : odd, "" + i);
            }
        }
    }

    @Line(value = "OW-69", raw = true)
    void invalidSelectorsOfRawClientsAreRefused() throws Exception {
        Raw raw = later(new Raw());
        ConnectionId id = raw.login(Broker.USER, Broker.PASSWORD);
        SessionInfo session = Raw.session(id);
        raw.write(session);
        List<String> all = new ArrayList<>();
        selectors().forEach((selector, result) -> {
            // An empty selector on the wire is none.
            if (result.equals("INVALID") && !selector.isBlank()) {
                all.add(selector);
            }
        });
        check(all.size() > 10, "only " + all.size() + " invalid vectors");
        int n = 0;
        for (String selector : all) {
            ConsumerInfo info = new ConsumerInfo(new ConsumerId(session.getSessionId(), ++n));
            info.setDestination(new ActiveMQQueue(unique()));
            info.setSelector(selector);
            info.setPrefetchSize(1);
            Response r = raw.request(info);
            check(r instanceof ExceptionResponse, "accepted: " + selector);
            Throwable e = ((ExceptionResponse) r).getException();
            check(e instanceof InvalidSelectorException, selector + ": " + e);
        }
    }
}
