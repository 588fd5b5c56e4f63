package openwire;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Enumeration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

import javax.jms.DeliveryMode;
import javax.jms.InvalidDestinationException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TemporaryTopic;
import javax.jms.TextMessage;
import javax.jms.Topic;
import javax.jms.TopicSubscriber;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.DestinationDoesNotExistException;
import org.apache.activemq.advisory.AdvisorySupport;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTempQueue;
import org.apache.activemq.command.ActiveMQTopic;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ConnectionInfo;
import org.apache.activemq.command.ConsumerId;
import org.apache.activemq.command.ConsumerInfo;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.MessageDispatch;
import org.apache.activemq.command.SessionInfo;

/** OW-45 to OW-57. */
final class TopicsTempBrowse extends Scenario {
    @Line("OW-45")
    void topicFansOutAndLateSubscribersGetNothing() throws Exception {
        Topic t = new ActiveMQTopic(unique());
        List<MessageConsumer> consumers = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            consumers.add(auto(connect()).createConsumer(t));
        }
        send(auto(connect()), t, "1", "2", "3");
        for (MessageConsumer c : consumers) {
            expectTexts(c, "1", "2", "3");
            expectNone(c);
        }
        expectNone(auto(connect()).createConsumer(t));
    }

    @Line("OW-45")
    void rolledBackTopicMessageIsDeliveredAgain() throws Exception {
        Topic t = new ActiveMQTopic(unique());
        Session tx = transacted(connect("jms.redeliveryPolicy.initialRedeliveryDelay=0"));
        MessageConsumer consumer = tx.createConsumer(t);
        send(auto(connect()), t, "1");
        expectTexts(consumer, "1");
        tx.rollback();
        expectTexts(consumer, "1");
        tx.commit();
    }

    private ActiveMQConnection named(String clientId) throws JMSException {
        ActiveMQConnection c = (ActiveMQConnection) factory(url()).createConnection();
        later(c::close);
        c.setClientID(clientId);
        c.start();
        return c;
    }

    @Line("OW-46")
    void durableSubscriberGetsWhatItMissed() throws Exception {
        String id = unique();
        Topic t = new ActiveMQTopic(unique());
        ActiveMQConnection c = named(id);
        Session s = auto(c);
        TopicSubscriber sub = s.createDurableSubscriber(t, "sub", "colour = 'red'", false);
        Session ps = auto(connect());
        sendColours(ps, t, 0, 6);
        expectTexts(sub, "0 red", "2 red", "4 red");
        c.close();
        sendColours(ps, t, 6, 20);
        ActiveMQConnection again = named(id);
        Session as = auto(again);
        sub = as.createDurableSubscriber(t, "sub", "colour = 'red'", false);
        for (int i = 6; i < 20; i += 2) {
            expectTexts(sub, i + " red");
        }
        expectNone(sub);
        sub.close();
        as.unsubscribe("sub");
    }

    private static void sendColours(Session s, Topic t, int from, int to) throws JMSException {
        MessageProducer p = s.createProducer(t);
        for (int i = from; i < to; i++) {
            String colour = i % 2 == 0 ? "red" : "blue";
            Message m = s.createTextMessage(i + " " + colour);
            m.setStringProperty("colour", colour);
            p.send(m);
        }
    }

    @Line(value = "OW-46", alone = true)
    void durableSubscriptionSurvivesAKill() throws Exception {
        String id = unique();
        Topic t = new ActiveMQTopic(unique());
        ActiveMQConnection c = named(id);
        auto(c).createDurableSubscriber(t, "sub");
        c.close();
        ActiveMQConnection pc = connect();
        send(auto(pc), t, "1", "2");
        Broker.restart();
        quietly(pc::close);
        send(auto(connect()), t, "3");
        expectTexts(auto(named(id)).createDurableSubscriber(t, "sub"), "1", "2", "3");
    }

    @Line("OW-46")
    void durableSubscriptionKeepsUnacknowledged() throws Exception {
        String id = unique();
        Topic t = new ActiveMQTopic(unique());
        ActiveMQConnection c = named(id);
        Session s = client(c);
        TopicSubscriber sub = s.createDurableSubscriber(t, "sub");
        send(auto(connect()), t, "1", "2", "3");
        next(sub).acknowledge();
        expectTexts(sub, "2");
        c.close();
        TopicSubscriber again = auto(named(id)).createDurableSubscriber(t, "sub");
        expectTexts(again, "2", "3");
        expectNone(again);
    }

    @Line("OW-47")
    void changedDurableSubscriptionStartsAfresh() throws Exception {
        String id = unique();
        Topic t = new ActiveMQTopic(unique());
        Topic other = new ActiveMQTopic(unique());
        ActiveMQConnection c = named(id);
        Session s = auto(c);
        s.createDurableSubscriber(t, "sub", "colour = 'red'", false).close();
        Session ps = auto(connect());
        sendColours(ps, t, 0, 4);
        TopicSubscriber sub = s.createDurableSubscriber(t, "sub", "colour = 'blue'", false);
        expectNone(sub);
        sendColours(ps, t, 4, 6);
        expectTexts(sub, "5 blue");
        sub.close();
        sendColours(ps, t, 6, 8);
        sub = s.createDurableSubscriber(other, "sub");
        expectNone(sub);
        send(ps, other, "other");
        expectTexts(sub, "other");
        sub.close();
        s.unsubscribe("sub");
    }

    @Line("OW-47")
    void durableSubscriptionsHaveOneActiveSubscriber() throws Exception {
        Topic t = new ActiveMQTopic(unique());
        ActiveMQConnection c = named(unique());
        Session s = auto(c);
        TopicSubscriber sub = s.createDurableSubscriber(t, "sub");
        Session second = auto(c);
        refused(JMSException.class, () -> second.createDurableSubscriber(t, "sub"));
        JMSException inUse = refused(JMSException.class, () -> second.unsubscribe("sub"));
        check(inUse.getMessage().contains("Durable consumer is in use"), inUse.getMessage());
        sub.close();
        s.unsubscribe("sub");
        InvalidDestinationException unknown = refused(InvalidDestinationException.class, () -> s.unsubscribe("sub"));
        check(unknown.getMessage().contains("No durable subscription exists"), unknown.getMessage());
    }

    @Line("OW-48")
    void noLocalHidesTheConnectionsOwn() throws Exception {
        Topic t = new ActiveMQTopic(unique());
        ActiveMQConnection c = named(unique());
        Session s = auto(c);
        MessageConsumer deaf = s.createConsumer(t, null, true);
        MessageConsumer durable = s.createDurableSubscriber(t, "deaf", null, true);
        MessageConsumer hears = s.createConsumer(t);
        send(s, t, "own");
        send(auto(connect()), t, "foreign");
        expectTexts(deaf, "foreign");
        expectTexts(durable, "foreign");
        expectTexts(hears, "own", "foreign");
    }

    @Line("OW-49")
    void requestAndReplyOverATemporaryQueue() throws Exception {
        Queue requests = new ActiveMQQueue(unique());
        ActiveMQConnection replier = connect();
        Session rs = auto(replier);
        MessageProducer anonymous = rs.createProducer(null);
        rs.createConsumer(requests).setMessageListener(m -> quietly(() -> {
            Message reply = rs.createTextMessage("re: " + text(m));
            reply.setJMSCorrelationID(m.getJMSMessageID());
            anonymous.send(m.getJMSReplyTo(), reply);
        }));
        ActiveMQConnection requester = connect();
        Session s = auto(requester);
        TemporaryQueue temp = s.createTemporaryQueue();
        MessageConsumer replies = s.createConsumer(temp);
        MessageProducer p = s.createProducer(requests);
        for (int i = 0; i < 50; i++) {
            Message m = s.createTextMessage("" + i);
            m.setJMSReplyTo(temp);
            p.send(m);
            Message reply = next(replies);
            equal("re: " + i, text(reply), "reply");
            equal(m.getJMSMessageID(), reply.getJMSCorrelationID(), "JMSCorrelationID");
        }
    }

    @Line("OW-49")
    void requestAndReplyOverATemporaryTopic() throws Exception {
        Session s = auto(connect());
        TemporaryTopic temp = s.createTemporaryTopic();
        MessageConsumer replies = s.createConsumer(temp);
        Session rs = auto(connect());
        eventually("the replier knows the temporary topic", () -> {
            try {
                send(rs, temp, "hello");
                return true;
            } catch (InvalidDestinationException e) {
                return false;
            }
        });
        expectTexts(replies, "hello");
    }

    @Line("OW-50")
    void deletedTemporaryQueueIsUnknownToTheReplier() throws Exception {
        ActiveMQConnection requester = connect();
        Session s = auto(requester);
        TemporaryQueue temp = s.createTemporaryQueue();
        TemporaryQueue second = s.createTemporaryQueue();
        Session rs = auto(connect());
        MessageProducer p = rs.createProducer(null);
        eventually("the replier knows both", () -> accepts(rs, p, temp) && accepts(rs, p, second));
        temp.delete();
        eventually("it knows that one is deleted", () -> !accepts(rs, p, temp));
        check(accepts(rs, p, second), "the other one is gone, too");
        requester.close();
        eventually("it knows that the other is gone with its connection", () -> !accepts(rs, p, second));
    }

    private static boolean accepts(Session s, MessageProducer p, Queue q) throws JMSException {
        try {
            p.send(q, s.createTextMessage("x"));
            return true;
        } catch (InvalidDestinationException e) {
            return false;
        } catch (DestinationDoesNotExistException e) {
            return true; // the broker said so, the client has not heard yet
        }
    }

    @Line("OW-51")
    void temporaryQueueOfBeforeIsKnown() throws Exception {
        Session s = auto(connect());
        TemporaryQueue temp = s.createTemporaryQueue();
        MessageConsumer consumer = s.createConsumer(temp);
        Session rs = auto(connect());
        MessageProducer p = rs.createProducer(null);
        eventually("a replier that connects later knows it", () -> accepts(rs, p, temp));
        expectTexts(consumer, "x");
    }

    @Line(value = "OW-52", alone = true, limit = 300)
    void thousandsOfTemporaryQueuesLeaveNothing() throws Exception {
        int n = Integer.parseInt(Broker.env("TEMP_QUEUES", "10000"));
        ActiveMQConnection watcher = connect(); // watches the advisories and never reads them
        auto(watcher);
        churnTemporaryQueues(500);
        Map<String, Long> before = Broker.usage();
        churnTemporaryQueues(n);
        eventually("memory comes back", () -> grown(before, Broker.usage(), "heap", "rss") < 16 << 20,
                () -> before + " before, now " + Broker.usage());
        send(auto(watcher), new ActiveMQQueue(unique()), "alive");
    }

    /** Growth of the first measure that both know. */
    static long grown(Map<String, Long> before, Map<String, Long> now, String... measures) {
        for (String m : measures) {
            if (before.containsKey(m) && now.containsKey(m)) {
                return now.get(m) - before.get(m);
            }
        }
        return 0;
    }

    private void churnTemporaryQueues(int n) throws Exception {
        ActiveMQConnection c = connect();
        Session s = auto(c);
        for (int i = 0; i < n; i++) {
            s.createTemporaryQueue().delete();
        }
        c.close();
    }

    @Line("OW-53")
    void consumingAnothersTemporaryQueueIsRefused() throws Exception {
        TemporaryQueue temp = auto(connect()).createTemporaryQueue();
        Session other = auto(connect());
        refused(InvalidDestinationException.class, () -> other.createConsumer(temp)); // the client itself says so
        Raw raw = later(new Raw());
        ConnectionId id = raw.login(Broker.USER, Broker.PASSWORD);
        SessionInfo session = Raw.session(id);
        raw.write(session);
        ConsumerInfo info = new ConsumerInfo(new ConsumerId(session.getSessionId(), 1));
        info.setDestination(new ActiveMQTempQueue(temp.getQueueName()));
        info.setPrefetchSize(1);
        check(raw.request(info) instanceof ExceptionResponse, "accepted");
    }

    @Line("OW-54")
    void browserSeesAllAndTakesNone() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = auto(c);
        MessageProducer p = s.createProducer(q);
        for (int i = 0; i < 300; i++) {
            Message m = s.createTextMessage("" + i);
            m.setIntProperty("n", i);
            p.send(m);
        }
        QueueBrowser all = s.createBrowser(q);
        int seen = 0;
        for (Enumeration<?> e = all.getEnumeration(); e.hasMoreElements(); ) {
            equal("" + seen++, text((Message) e.nextElement()), "browsed");
        }
        equal(300, seen, "messages browsed");
        int some = 0;
        for (Enumeration<?> e = s.createBrowser(q, "n >= 290").getEnumeration(); e.hasMoreElements(); ) {
            equal("" + (290 + some++), text((Message) e.nextElement()), "browsed with a selector");
        }
        equal(10, some, "messages browsed with a selector");
        MessageConsumer consumer = s.createConsumer(q);
        expectTexts(consumer, "0", "1");
        // A browser beside a consumer ends, too.
        for (Enumeration<?> e = all.getEnumeration(); e.hasMoreElements(); ) {
            e.nextElement();
        }
        for (int i = 2; i < 300; i++) {
            Message m = next(consumer);
            equal("" + i, text(m), "consumed");
            check(!m.getJMSRedelivered(), "browsing marked it redelivered");
        }
    }

    @Line("OW-54")
    void browserOfAnEmptyQueueEnds() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        check(!s.createBrowser(q).getEnumeration().hasMoreElements(), "something in an empty queue");
    }

    @Line("OW-55")
    void consumerAdvisoriesCount() throws Exception {
        String name = unique();
        Session s = auto(connect());
        MessageConsumer advisories = s.createConsumer(s.createTopic("ActiveMQ.Advisory.Consumer.Queue." + name));
        Queue q = s.createQueue(name);
        ActiveMQConnection other = connect();
        MessageConsumer one = auto(other).createConsumer(q);
        Message m = next(advisories);
        equal(1, m.getIntProperty("consumerCount"), "consumerCount");
        equal("Advisory", m.getJMSType(), "JMSType");
        check(((ActiveMQMessage) m).getDataStructure() instanceof ConsumerInfo, "dataStructure");
        auto(other).createConsumer(q);
        equal(2, next(advisories).getIntProperty("consumerCount"), "consumerCount");
        one.close();
        equal(1, next(advisories).getIntProperty("consumerCount"), "consumerCount after a close");
        other.close();
        equal(0, next(advisories).getIntProperty("consumerCount"), "consumerCount at the end");
    }

    @Line("OW-55")
    void connectionAdvisoryHasNoPassword() throws Exception {
        Session s = auto(connect());
        MessageConsumer advisories = s.createConsumer(s.createTopic("ActiveMQ.Advisory.Connection"));
        ActiveMQConnection other = (ActiveMQConnection) factory(url()).createConnection();
        later(other::close);
        other.setClientID(unique());
        other.start();
        while (true) {
            ActiveMQMessage m = (ActiveMQMessage) next(advisories);
            if (m.getDataStructure() instanceof ConnectionInfo info && other.getClientID().equals(info.getClientId())) {
                check(info.getPassword() == null || info.getPassword().isEmpty(), "it carries the password " + info.getPassword());
                return;
            }
        }
    }

    /** The next advisory of a consumer, which must tell of a message. */
    private static String told(MessageConsumer advisories, String what) throws Exception {
        ActiveMQMessage m = (ActiveMQMessage) advisories.receive(PATIENCE);
        check(m != null, "nobody was told: " + what);
        check(m.getDataStructure() instanceof org.apache.activemq.command.Message, what + " with " + m.getDataStructure());
        String id = ((org.apache.activemq.command.Message) m.getDataStructure()).getMessageId().toString();
        if (m.propertyExists("orignalMessageId")) { // ActiveMQ does not say it of dead letters
            equal(id, m.getStringProperty("orignalMessageId"), what);
        }
        return id;
    }

    @Line("OW-55")
    void messagesAreToldOf() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique("TOLD."));
        Session as = auto(connect());
        MessageConsumer delivered = as.createConsumer(AdvisorySupport.getMessageDeliveredAdvisoryTopic(q));
        MessageConsumer consumed = as.createConsumer(AdvisorySupport.getMessageConsumedAdvisoryTopic(q));
        MessageConsumer dead = as.createConsumer(AdvisorySupport.getMessageDLQdAdvisoryTopic(q));
        MessageConsumer unread = as.createConsumer(AdvisorySupport.getNoTopicConsumersAdvisoryTopic(new ActiveMQTopic(q.getPhysicalName())));
        ActiveMQConnection c = connect("jms.redeliveryPolicy.maximumRedeliveries=0");
        Session s = auto(c);
        MessageConsumer consumer = s.createConsumer(q);
        TextMessage sent = s.createTextMessage("x");
        s.createProducer(q).send(sent);
        equal(sent.getJMSMessageID(), told(delivered, "delivered"), "delivered");
        next(consumer);
        equal(sent.getJMSMessageID(), told(consumed, "consumed"), "consumed");
        consumer.close();
        Session t = transacted(c);
        consumer = t.createConsumer(q);
        sent = s.createTextMessage("poison");
        s.createProducer(q).send(sent);
        equal(sent.getJMSMessageID(), told(delivered, "delivered"), "delivered");
        next(consumer);
        t.rollback();
        equal(sent.getJMSMessageID(), told(dead, "dead"), "dead letter");
        equal(sent.getJMSMessageID(), told(consumed, "consumed by giving up"), "consumed");
        MessageProducer p = s.createProducer(new ActiveMQTopic(q.getPhysicalName()));
        p.send(s.createTextMessage("nobody, persistent"));
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT); // of persistent ones nobody is told
        sent = s.createTextMessage("nobody");
        p.send(sent);
        TextMessage shown = (TextMessage) unread.receive(PATIENCE); // the message itself
        equal("nobody", shown.getText(), "what nobody consumes");
        equal(sent.getJMSMessageID(), shown.getJMSMessageID(), "no consumer");
        equal(AdvisorySupport.getNoTopicConsumersAdvisoryTopic(new ActiveMQTopic(q.getPhysicalName())), shown.getJMSDestination(), "its destination");
    }

    /** Of what expires in a queue that nobody reads from, also of messages that came by STOMP. */
    @Line("OW-55")
    void expiredMessagesAreToldOf() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        Session as = auto(connect());
        MessageConsumer expired = as.createConsumer(AdvisorySupport.getExpiredMessageTopic((ActiveMQDestination) q));
        MessageConsumer dead = as.createConsumer(AdvisorySupport.getMessageDLQdAdvisoryTopic(q));
        Session s = auto(connect());
        Message[] sent = {s.createTextMessage("kept"), s.createTextMessage("dropped")};
        MessageProducer p = s.createProducer(q);
        for (int i = 0; i < 2; i++) {
            p.send(sent[i], i == 0 ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT, 4, 100);
        }
        Stomp stomp = later(new Stomp());
        stomp.send("SEND", "by STOMP".getBytes(), "destination:/queue/" + q.getPhysicalName(), "persistent:true",
                "expires:" + (System.currentTimeMillis() + 100), "receipt:1");
        equal("RECEIPT", stomp.read().command(), "answer to SEND");
        pause(200);
        expectNone(s.createConsumer(q)); // looking for one, a broker finds that they are too old
        List<String> told = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            told.add(told(expired, "expired"));
        }
        check(told.contains(sent[0].getJMSMessageID()) && told.contains(sent[1].getJMSMessageID()), "told of " + told);
        List<String> kept = List.of(told(dead, "dead letter"), told(dead, "dead letter by STOMP"));
        check(kept.contains(sent[0].getJMSMessageID()) && !kept.contains(sent[1].getJMSMessageID()), "kept: " + kept);
        expectNone(dead);
    }

    @Line("OW-55")
    void whatAStompClientRejectsIsToldOf() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        MessageConsumer dead = auto(connect()).createConsumer(AdvisorySupport.getMessageDLQdAdvisoryTopic(q));
        Session s = auto(connect());
        Message sent = s.createTextMessage("poison");
        s.createProducer(q).send(sent);
        Stomp stomp = later(new Stomp());
        stomp.send("SUBSCRIBE", new byte[0], "id:1", "destination:/queue/" + q.getPhysicalName(), "ack:client-individual");
        stomp.send("NACK", new byte[0], "id:" + stomp.read().headers().get("ack"));
        equal(sent.getJMSMessageID(), told(dead, "dead letter"), "dead letter");
    }

    @Line("OW-55")
    void discardedMessagesAreToldOf() throws Exception {
        ActiveMQTopic t = new ActiveMQTopic(unique("PENDING."));
        MessageConsumer discarded = auto(connect()).createConsumer(AdvisorySupport.getMessageDiscardedAdvisoryTopic(t));
        MessageConsumer slow = client(connect("jms.prefetchPolicy.topicPrefetch=1")).createConsumer(t);
        Session s = auto(connect());
        MessageProducer p = s.createProducer(t);
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        List<String> sent = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            Message m = s.createTextMessage("" + i);
            p.send(m);
            sent.add(m.getJMSMessageID());
        }
        String consumer = ((org.apache.activemq.ActiveMQMessageConsumer) slow).getConsumerId().toString();
        for (int n = 1; n <= 20; n++) {
            ActiveMQMessage m = (ActiveMQMessage) next(discarded);
            check(sent.contains(m.getStringProperty("orignalMessageId")), "told of " + m.getStringProperty("orignalMessageId"));
            equal(consumer, m.getStringProperty("consumerId"), "whose it was");
            equal(n, m.getIntProperty("discardedCount"), "how many there were");
        }
    }

    @Line("OW-55")
    void slowAndFastAreToldOf() throws Exception {
        ActiveMQTopic t = new ActiveMQTopic(unique("TOLD."));
        ActiveMQQueue full = new ActiveMQQueue(unique("LIMIT."));
        Session as = auto(connect());
        MessageConsumer slow = as.createConsumer(AdvisorySupport.getSlowConsumerAdvisoryTopic(t));
        MessageConsumer nearlyFull = as.createConsumer(AdvisorySupport.getFullAdvisoryTopic(full));
        MessageConsumer fast = as.createConsumer(AdvisorySupport.getFastProducerAdvisoryTopic(full));
        MessageConsumer reader = client(connect("jms.prefetchPolicy.topicPrefetch=5")).createConsumer(t);
        sendMany(auto(connect()), t, "", 30);
        ActiveMQMessage m = (ActiveMQMessage) next(slow);
        String id = ((org.apache.activemq.ActiveMQMessageConsumer) reader).getConsumerId().toString();
        equal(id, m.getStringProperty("consumerId"), "slow consumer");
        check(m.getDataStructure() instanceof ConsumerInfo, "data " + m.getDataStructure());
        ActiveMQConnection c = connect("jms.alwaysSyncSend=true");
        Thread producer = new Thread(() -> {
            try {
                sendMany(auto(c), full, "x".repeat(200_000), 10);
            } catch (JMSException ignored) {
                // the connection ends with the scenario
            }
        });
        producer.start();
        check(next(nearlyFull) != null && next(fast) != null, "not told");
        MessageConsumer drain = auto(connect()).createConsumer(full);
        for (int i = 0; i < 10; i++) {
            next(drain);
        }
        producer.join();
    }

    @Line("OW-55")
    void destinationSourceListsQueues() throws Exception {
        ActiveMQConnection c = connect();
        ActiveMQQueue before = new ActiveMQQueue(unique());
        send(auto(c), before, "x");
        var source = c.getDestinationSource();
        source.start();
        later(source::stop);
        eventually("a queue of before is listed", () -> source.getQueues().contains(before));
        ActiveMQQueue after = new ActiveMQQueue(unique());
        send(auto(c), after, "x");
        eventually("a new queue is listed", () -> source.getQueues().contains(after));
    }

    @Line("OW-56")
    void wildcardVectors() throws Exception {
        Pattern row = Pattern.compile("\\{\"pattern\":\"(.*?)\",\"name\":\"(.*?)\",\"match\":(true|false)}");
        int vectors = 0;
        Session s = auto(connect());
        MessageProducer p = s.createProducer(null);
        for (String line : Files.readAllLines(Path.of(Broker.address("VECTORS")))) {
            Matcher m = row.matcher(line);
            if (!m.matches()) {
                continue;
            }
            vectors++;
            // A prefix of our own keeps other scenarios' names out.
            String prefix = unique("W").replace('.', '-') + ".";
            String what = m.group(1) + " over " + m.group(2);
            MessageConsumer consumer = s.createConsumer(s.createTopic(prefix + m.group(1)));
            MessageConsumer exact = s.createConsumer(s.createTopic(prefix + m.group(2)));
            p.send(s.createTopic(prefix + m.group(2)), s.createTextMessage(what));
            expectTexts(exact, what);
            Message got = consumer.receive(Boolean.parseBoolean(m.group(3)) ? PATIENCE : 30);
            equal(Boolean.parseBoolean(m.group(3)), got != null, what);
            consumer.close();
            exact.close();
        }
        equal(21, vectors, "vectors");
    }

    @Line("OW-56")
    void wildcardConsumerOfQueues() throws Exception {
        String base = unique();
        Session s = auto(connect());
        send(s, s.createQueue(base + ".a"), "before");
        MessageConsumer one = s.createConsumer(s.createQueue(base + ".*"));
        expectTexts(one, "before");
        send(s, s.createQueue(base + ".b"), "after");
        Message m = next(one);
        equal("after", text(m), "text");
        equal("queue://" + base + ".b", m.getJMSDestination().toString(), "JMSDestination");
        send(s, s.createQueue(base + ".c.d"), "deeper");
        expectNone(one);
        MessageConsumer any = s.createConsumer(s.createQueue(base + ".>"));
        expectTexts(any, "deeper");
    }

    @Line("OW-57")
    void virtualTopicFeedsConsumerQueues() throws Exception {
        String topic = unique("VirtualTopic.");
        Session s = auto(connect());
        MessageConsumer a1 = auto(connect("jms.prefetchPolicy.all=1")).createConsumer(s.createQueue("Consumer.A." + topic));
        MessageConsumer a2 = auto(connect("jms.prefetchPolicy.all=1")).createConsumer(s.createQueue("Consumer.A." + topic));
        MessageConsumer b = auto(connect()).createConsumer(s.createQueue("Consumer.B." + topic));
        MessageConsumer plain = auto(connect()).createConsumer(s.createTopic(topic));
        sendMany(auto(connect()), s.createTopic(topic), "", 100);
        Message first = next(b);
        equal("0", text(first), "first of B");
        equal("queue://Consumer.B." + topic, first.getJMSDestination().toString(), "JMSDestination");
        ActiveMQDestination original = ((ActiveMQMessage) first).getOriginalDestination();
        check(original != null && original.isTopic() && original.getPhysicalName().equals(topic), "originalDestination: " + original);
        for (int i = 1; i < 100; i++) {
            expectTexts(b, "" + i);
        }
        for (int i = 0; i < 100; i++) {
            expectTexts(plain, "" + i);
        }
        // Both take from one queue; who takes how many is a matter of which acknowledgement is first.
        AtomicInteger[] each = {new AtomicInteger(), new AtomicInteger()};
        a1.setMessageListener(m -> each[0].incrementAndGet());
        a2.setMessageListener(m -> each[1].incrementAndGet());
        eventually("group A gets all", () -> each[0].get() + each[1].get() >= 100, () -> each[0] + " and " + each[1]);
        pause(SILENCE);
        equal(100, each[0].get() + each[1].get(), "messages of A");
        check(each[0].get() > 0 && each[1].get() > 0, "one member took all");
        expectNone(b);
    }

    @Line("OW-57")
    void virtualTopicQueueKeepsWhileNobodyReads() throws Exception {
        String topic = unique("VirtualTopic.");
        Session s = auto(connect());
        Queue q = s.createQueue("Consumer.A." + topic);
        s.createConsumer(q).close();
        send(s, s.createTopic(topic), "1", "2");
        expectTexts(s.createConsumer(q), "1", "2");
    }

    @Line("OW-56")
    void sendingToAWildcardReachesTheQueuesThere() throws Exception {
        String base = unique();
        Session s = auto(connect());
        MessageConsumer a = s.createConsumer(s.createQueue(base + ".a"));
        MessageConsumer b = s.createConsumer(s.createQueue(base + ".b"));
        send(s, s.createQueue(base + ".*"), "both");
        expectTexts(a, "both");
        expectTexts(b, "both");
    }

    @Line("OW-54")
    void browserDispatchEndsWithAnEmptyDispatch() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        send(auto(connect()), q, "1");
        Raw raw = later(new Raw());
        ConnectionId id = raw.login(Broker.USER, Broker.PASSWORD);
        SessionInfo session = Raw.session(id);
        raw.write(session);
        ConsumerInfo info = new ConsumerInfo(new ConsumerId(session.getSessionId(), 1));
        info.setDestination(q);
        info.setBrowser(true);
        info.setPrefetchSize(10);
        raw.request(info);
        check(raw.await(MessageDispatch.class).getMessage() != null, "no message first");
        MessageDispatch end = raw.await(MessageDispatch.class);
        check(end.getMessage() == null && end.getDestination() == null, "end marker: " + end);
    }
}
