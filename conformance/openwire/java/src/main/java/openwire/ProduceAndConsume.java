package openwire;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;

import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.ObjectMessage;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.StreamMessage;
import javax.jms.TextMessage;
import javax.jms.Topic;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQSession;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ConsumerId;
import org.apache.activemq.command.ConsumerInfo;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.MessageAck;
import org.apache.activemq.command.MessageDispatch;
import org.apache.activemq.command.MessageId;
import org.apache.activemq.command.ProducerAck;
import org.apache.activemq.command.Response;
import org.apache.activemq.command.SessionInfo;

/** OW-16 to OW-34. */
final class ProduceAndConsume extends Scenario {
    @Line(value = "OW-16", alone = true)
    void persistentSendSurvivesAKillRightAfterItReturns() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        for (int round = 0; round < 2; round++) {
            ActiveMQConnection c = connect();
            send(auto(c), q, "round " + round, "last of " + round);
            Broker.kill();
            quietly(c::close);
            Broker.start();
        }
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        expectTexts(consumer, "round 0", "last of 0", "round 1", "last of 1");
        expectNone(consumer);
    }

    @Line(value = "OW-17", alone = true)
    void nonPersistentDoNotHoldUpPersistentOnes() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = auto(c);
        sendMany(s, q, "np ", 2000);
        send(s, q, "persistent");
        Broker.restart();
        quietly(c::close);
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        // Whether the others survive is the broker's choice.
        String last = null;
        for (Message m; (m = consumer.receive(last == null ? PATIENCE : SILENCE)) != null; ) {
            if (text(m).equals("persistent")) {
                last = text(m);
            }
        }
        equal("persistent", last, "the persistent message after a kill");
    }

    @Line(value = "OW-18", limit = 180)
    void hundredThousandInOrderMixed() throws Exception {
        int n = Integer.parseInt(Broker.env("FIFO_MESSAGES", "100000"));
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection pc = connect("jms.useAsyncSend=true", "jms.watchTopicAdvisories=false", "jms.producerWindowSize=1048576");
        ActiveMQConnection cc = connect("jms.watchTopicAdvisories=false", "jms.optimizeAcknowledge=true");
        Session ps = auto(pc);
        MessageConsumer consumer = auto(cc).createConsumer(q);
        Thread producer = new Thread(() -> quietly(() -> {
            MessageProducer p = ps.createProducer(q);
            for (int i = 0; i < n; i++) {
                Message m = ps.createMessage();
                m.setIntProperty("n", i);
                p.send(m, i % 3 == 0 ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT, 4, 0);
            }
        }));
        producer.start();
        for (int i = 0; i < n; i++) {
            equal(i, next(consumer).getIntProperty("n"), "message in its place");
        }
        producer.join();
    }

    @Line("OW-18")
    void orderOfEachProducerAmongSeveral() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        int producers = 4;
        int n = 500;
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        for (int k = 0; k < producers; k++) {
            Session s = auto(connect());
            String prefix = k + " ";
            Thread t = new Thread(() -> quietly(() -> sendMany(s, q, prefix, n)));
            t.start();
        }
        int[] expected = new int[producers];
        for (int i = 0; i < producers * n; i++) {
            String[] f = nextText(consumer).split(" ");
            int k = Integer.parseInt(f[0]);
            equal(expected[k]++, Integer.parseInt(f[1]), "place of a message of producer " + k);
        }
    }

    @Line("OW-19")
    void twoConsumersShareWithPrefetchOne() throws Exception {
        ActiveMQConnection c = connect("jms.prefetchPolicy.queuePrefetch=1");
        Queue q = new ActiveMQQueue(unique());
        Session one = auto(c);
        Session two = auto(c);
        MessageConsumer first = one.createConsumer(q);
        MessageConsumer second = two.createConsumer(q);
        sendMany(auto(connect()), q, "", 100);
        Set<String> all = new HashSet<>();
        for (int i = 0; i < 50; i++) {
            check(all.add(nextText(first)), "a message twice");
            check(all.add(nextText(second)), "a message twice");
        }
        equal(100, all.size(), "messages seen");
    }

    @Line("OW-19")
    void prefetchThousandTakesThousand() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        sendMany(auto(connect("jms.alwaysSyncSend=true")), q, "", 1002);
        AtomicInteger dispatched = new AtomicInteger();
        ActiveMQConnection c = connect("jms.watchTopicAdvisories=false");
        c.addTransportListener(new Commands(MessageDispatch.class, dispatched));
        MessageConsumer greedy = auto(c).createConsumer(q);
        eventually("1000 dispatched", () -> dispatched.get() >= 1000, () -> "seen " + dispatched);
        MessageConsumer other = auto(connect()).createConsumer(q);
        expectTexts(other, "1000", "1001");
        expectNone(other);
        equal(1000, dispatched.get(), "dispatched to the first");
        expectTexts(greedy, "0");
    }

    @Line("OW-20")
    void windowIsWidenedByDeliveredAcks() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.prefetchPolicy.queuePrefetch=4", "jms.watchTopicAdvisories=false");
        AtomicInteger dispatched = new AtomicInteger();
        c.addTransportListener(new Commands(MessageDispatch.class, dispatched));
        Session s = client(c);
        MessageConsumer consumer = s.createConsumer(q);
        sendMany(auto(connect()), q, "", 20);
        eventually("four dispatched", () -> dispatched.get() >= 4);
        pause(SILENCE);
        equal(4, dispatched.get(), "dispatched before anything was taken");
        expectTexts(consumer, "0", "1");
        eventually("the window moves on", () -> dispatched.get() >= 5, () -> "dispatched " + dispatched);
        expectTexts(consumer, "2", "3", "4");
        for (int i = 5; i < 20; i++) {
            expectTexts(consumer, "" + i);
        }
        c.close();
        expectDepth(q, 20); // nothing was acknowledged
    }

    @Line("OW-21")
    void autoAcknowledgeEmptiesTheQueue() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = auto(c);
        send(s, q, "a", "b");
        expectTexts(s.createConsumer(q), "a", "b");
        c.close();
        expectDepth(q, 0);
    }

    @Line("OW-21")
    void throwingListenerGetsTheMessageAgain() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.redeliveryPolicy.initialRedeliveryDelay=50");
        Session s = auto(c);
        List<Message> seen = new ArrayList<>();
        s.createConsumer(q).setMessageListener(m -> {
            synchronized (seen) {
                seen.add(m);
                if (seen.size() == 1) {
                    throw new IllegalStateException("the application fails");
                }
            }
        });
        send(auto(connect()), q, "again");
        eventually("a second delivery", () -> {
            synchronized (seen) {
                return seen.size() == 2;
            }
        });
        Message second = seen.get(1);
        equal("again", text(second), "text");
        check(second.getJMSRedelivered(), "not marked redelivered");
        equal(2, second.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
        expectDepth(q, 0);
    }

    @Line("OW-22")
    void acknowledgeOfTheLastCoversAll() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = client(c);
        send(s, q, "1", "2", "3", "4", "5");
        MessageConsumer consumer = s.createConsumer(q);
        expectTexts(consumer, "1", "2");
        next(consumer).acknowledge();
        expectTexts(consumer, "4");
        s.recover();
        Message four = next(consumer);
        equal("4", text(four), "first after recover");
        check(four.getJMSRedelivered(), "4 is not marked redelivered");
        Message five = next(consumer);
        equal("5", text(five), "second after recover");
        five.acknowledge();
        c.close();
        expectDepth(q, 0);
    }

    @Line("OW-22")
    void recoverRedeliversInOrder() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.redeliveryPolicy.initialRedeliveryDelay=0");
        Session s = client(c);
        send(s, q, "1", "2", "3");
        MessageConsumer consumer = s.createConsumer(q);
        expectTexts(consumer, "1", "2", "3");
        s.recover();
        for (String want : new String[] {"1", "2", "3"}) {
            Message m = next(consumer);
            equal(want, text(m), "after recover");
            check(m.getJMSRedelivered(), want + " is not marked redelivered");
            equal(2, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount of " + want);
        }
        c.close();
        expectDepth(q, 3);
    }

    @Line("OW-23")
    void individualAcknowledge() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session s = c.createSession(false, ActiveMQSession.INDIVIDUAL_ACKNOWLEDGE);
        send(s, q, "1", "2", "3");
        MessageConsumer consumer = s.createConsumer(q);
        expectTexts(consumer, "1");
        next(consumer).acknowledge();
        expectTexts(consumer, "3");
        c.close();
        MessageConsumer rest = auto(connect()).createConsumer(q);
        expectTexts(rest, "1", "3");
        expectNone(rest);
    }

    @Line("OW-24")
    void dupsOkLosesNothing() throws Exception {
        for (ActiveMQDestination d : new ActiveMQDestination[] {
                ActiveMQDestination.createDestination(unique(), ActiveMQDestination.QUEUE_TYPE),
                ActiveMQDestination.createDestination(unique(), ActiveMQDestination.TOPIC_TYPE)}) {
            ActiveMQConnection c = connect("jms.prefetchPolicy.all=10");
            Session s = c.createSession(false, Session.DUPS_OK_ACKNOWLEDGE);
            MessageConsumer consumer = s.createConsumer(d);
            sendMany(auto(connect()), d, "", 107);
            for (int i = 0; i < 107; i++) {
                expectTexts(consumer, "" + i);
            }
            c.close();
            if (d.isQueue()) {
                expectDepth((Queue) d, 0);
            }
        }
    }

    @Line("OW-25")
    void optimizedAcknowledgeFlushesAtClose() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.optimizeAcknowledge=true", "jms.optimizeAcknowledgeTimeOut=0", "jms.prefetchPolicy.queuePrefetch=10");
        Session s = auto(c);
        sendMany(s, q, "", 53);
        MessageConsumer consumer = s.createConsumer(q);
        for (int i = 0; i < 53; i++) {
            expectTexts(consumer, "" + i);
        }
        consumer.close();
        c.close();
        expectDepth(q, 0);
    }

    @Line("OW-26")
    void acknowledgementOfAnUnknownRangeIsRefused() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        send(auto(connect()), q, "1", "2");
        Raw raw = later(new Raw());
        ConnectionId id = raw.login(Broker.USER, Broker.PASSWORD);
        SessionInfo session = Raw.session(id);
        raw.write(session);
        ConsumerInfo info = new ConsumerInfo(new ConsumerId(session.getSessionId(), 1));
        info.setDestination(q);
        info.setPrefetchSize(10);
        raw.request(info);
        MessageDispatch one = raw.await(MessageDispatch.class);
        MessageDispatch two = raw.await(MessageDispatch.class);
        MessageId unknown = new MessageId("ID:nobody-1-1-1:1:1:1:9");
        MessageAck wrong = new MessageAck(two, MessageAck.STANDARD_ACK_TYPE, 1);
        wrong.setFirstMessageId(unknown);
        wrong.setLastMessageId(unknown);
        expectUnmatched(raw.request(wrong));
        MessageAck wrongCount = new MessageAck(two, MessageAck.STANDARD_ACK_TYPE, 7);
        wrongCount.setFirstMessageId(one.getMessage().getMessageId());
        expectUnmatched(raw.request(wrongCount));
        expectDepth(q, 2);
        MessageAck right = new MessageAck(two, MessageAck.STANDARD_ACK_TYPE, 2);
        right.setFirstMessageId(one.getMessage().getMessageId());
        Response r = raw.request(right);
        check(!(r instanceof ExceptionResponse), "the right one is refused: " + r);
        raw.close();
        expectDepth(q, 0);
    }

    private static void expectUnmatched(Response r) {
        check(r instanceof ExceptionResponse, "accepted");
        String text = String.valueOf(((ExceptionResponse) r).getException());
        check(text.toLowerCase().contains("unmatched acknowledge"), text);
    }

    @Line("OW-27")
    void pulling() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.prefetchPolicy.all=0", "jms.watchTopicAdvisories=false");
        AtomicInteger dispatched = new AtomicInteger();
        Session s = auto(c);
        MessageConsumer consumer = s.createConsumer(q);
        check(consumer.receiveNoWait() == null, "a message from an empty queue");
        check(consumer.receive(200) == null, "a message from an empty queue");
        Session ps = auto(connect());
        send(ps, q, "1", "2", "3", "4");
        c.addTransportListener(new Commands(MessageDispatch.class, dispatched));
        expectTexts(consumer, "1");
        eventually("one is dispatched by one pull", () -> dispatched.get() == 1, () -> dispatched + " were");
        equal("2", text(consumer.receiveNoWait()), "receiveNoWait");
        MessageConsumer other = auto(connect()).createConsumer(q);
        expectTexts(other, "3", "4"); // nothing was prefetched
        other.close();
        Thread late = new Thread(() -> quietly(() -> {
            pause(300);
            send(ps, q, "late");
        }));
        late.start();
        equal("late", text(consumer.receive()), "receive() that waits for ever");
        check(consumer.receiveNoWait() == null, "a message from an empty queue");
        late.join();
    }

    @Line("OW-28")
    void closingConsumerGivesBackInOrder() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session ps = auto(connect());
        sendMany(ps, q, "", 1000);
        ActiveMQConnection c = connect("jms.watchTopicAdvisories=false");
        AtomicInteger dispatched = new AtomicInteger();
        c.addTransportListener(new Commands(MessageDispatch.class, dispatched));
        Session s = client(c);
        MessageConsumer consumer = s.createConsumer(q);
        eventually("all prefetched", () -> dispatched.get() == 1000, () -> "dispatched " + dispatched);
        expectTexts(consumer, "0", "1", "2");
        consumer.close();
        s.close();
        MessageConsumer after = auto(connect()).createConsumer(q);
        for (int i = 0; i < 1000; i++) {
            Message m = next(after);
            equal("" + i, text(m), "order");
            equal(i < 3, m.getJMSRedelivered(), "redelivered of " + i);
            equal(i < 3 ? 2 : 1, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount of " + i);
        }
        expectNone(after);
    }

    @Line("OW-29")
    void bodiesRoundTrip() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        MessageConsumer consumer = s.createConsumer(q);
        String[] texts = {"", "plain", "\u00e9 \ud83d\ude00 \u0000 end", "x".repeat(70_000), "\u20ac".repeat(30_000)};
        for (String text : texts) {
            p.send(s.createTextMessage(text));
            equal(text, nextText(consumer), "text of " + text.length());
        }
        p.send(s.createTextMessage());
        equal(null, nextText(consumer), "null text");
        p.send(s.createMessage());
        check(!(next(consumer) instanceof TextMessage), "a message without body became a text");

        BytesMessage bytes = s.createBytesMessage();
        p.send(bytes);
        equal(0L, ((BytesMessage) next(consumer)).getBodyLength(), "empty bytes");
        bytes = s.createBytesMessage();
        bytes.writeBoolean(true);
        bytes.writeByte((byte) -7);
        bytes.writeShort((short) -300);
        bytes.writeChar('\u00e9');
        bytes.writeInt(1 << 30);
        bytes.writeLong(Long.MIN_VALUE);
        bytes.writeFloat(1.5f);
        bytes.writeDouble(-2.25);
        bytes.writeUTF("utf \ud83d\ude00");
        bytes.writeBytes(new byte[100_000]);
        p.send(bytes);
        BytesMessage gb = (BytesMessage) next(consumer);
        check(gb.readBoolean() && gb.readByte() == -7 && gb.readShort() == -300 && gb.readChar() == '\u00e9'
                && gb.readInt() == 1 << 30 && gb.readLong() == Long.MIN_VALUE && gb.readFloat() == 1.5f
                && gb.readDouble() == -2.25 && gb.readUTF().equals("utf \ud83d\ude00"), "bytes");
        equal(100_000, gb.readBytes(new byte[200_000]), "rest of the bytes");

        MapMessage map = s.createMapMessage();
        map.setBoolean("z", true);
        map.setByte("b", (byte) 1);
        map.setShort("s", (short) 2);
        map.setChar("c", '\ufffd');
        map.setInt("i", 3);
        map.setLong("l", 4);
        map.setFloat("f", 5.5f);
        map.setDouble("d", 6.5);
        map.setString("t", "text \u20ac");
        map.setString("null", null);
        map.setBytes("x", new byte[] {1, 2});
        map.setString("\u00e9 name", "n");
        p.send(map);
        MapMessage gm = (MapMessage) next(consumer);
        check(gm.getBoolean("z") && gm.getByte("b") == 1 && gm.getShort("s") == 2 && gm.getChar("c") == '\ufffd'
                && gm.getInt("i") == 3 && gm.getLong("l") == 4 && gm.getFloat("f") == 5.5f && gm.getDouble("d") == 6.5
                && gm.getString("t").equals("text \u20ac") && gm.itemExists("null") && gm.getString("null") == null
                && gm.getBytes("x").length == 2 && gm.getString("\u00e9 name").equals("n"), "map");

        StreamMessage stream = s.createStreamMessage();
        stream.writeBoolean(false);
        stream.writeByte((byte) 1);
        stream.writeShort((short) 2);
        stream.writeChar('c');
        stream.writeInt(3);
        stream.writeLong(4);
        stream.writeFloat(5);
        stream.writeDouble(6);
        stream.writeString("s");
        stream.writeString(null);
        stream.writeBytes(new byte[] {9});
        p.send(stream);
        StreamMessage gs = (StreamMessage) next(consumer);
        check(!gs.readBoolean() && gs.readByte() == 1 && gs.readShort() == 2 && gs.readChar() == 'c' && gs.readInt() == 3
                && gs.readLong() == 4 && gs.readFloat() == 5 && gs.readDouble() == 6 && gs.readString().equals("s")
                && gs.readString() == null && gs.readBytes(new byte[4]) == 1, "stream");

        p.send(s.createObjectMessage(Long.valueOf(77)));
        equal(77L, ((ObjectMessage) next(consumer)).getObject(), "object");
    }

    @Line("OW-29")
    void largeMessagesRoundTrip() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        byte[] body = new byte[12 << 20];
        for (int i = 0; i < body.length; i += 997) {
            body[i] = (byte) i;
        }
        MessageConsumer consumer = s.createConsumer(q);
        for (int mode : new int[] {DeliveryMode.PERSISTENT, DeliveryMode.NON_PERSISTENT}) {
            BytesMessage m = s.createBytesMessage();
            m.writeBytes(body);
            s.createProducer(q).send(m, mode, 4, 0);
            BytesMessage g = (BytesMessage) next(consumer);
            byte[] got = new byte[(int) g.getBodyLength()];
            g.readBytes(got);
            check(Arrays.equals(body, got), "12 MB changed on the way");
        }
    }

    /** Stock clients write NUL and emoji in properties and maps as modified UTF-8 and read them as UTF-8, so those are not here. */
    @Line("OW-29")
    void propertiesRoundTrip() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect("jms.copyMessageOnSend=false"));
        Message m = s.createMessage();
        m.setBooleanProperty("z", true);
        m.setByteProperty("b", (byte) -1);
        m.setShortProperty("s", (short) -2);
        m.setIntProperty("i", -3);
        m.setLongProperty("l", -4);
        m.setFloatProperty("f", 1.25f);
        m.setDoubleProperty("d", 2.5);
        m.setStringProperty("t", "\u20ac \u4e2d");
        m.setStringProperty("empty", "");
        m.setStringProperty("null", null);
        m.setStringProperty("long", "p".repeat(9000));
        s.createProducer(q).send(m);
        Message g = next(s.createConsumer(q));
        equal(true, g.getObjectProperty("z"), "boolean");
        equal((byte) -1, g.getObjectProperty("b"), "byte");
        equal((short) -2, g.getObjectProperty("s"), "short");
        equal(-3, g.getObjectProperty("i"), "int");
        equal(-4L, g.getObjectProperty("l"), "long");
        equal(1.25f, g.getObjectProperty("f"), "float");
        equal(2.5, g.getObjectProperty("d"), "double");
        equal("\u20ac \u4e2d", g.getObjectProperty("t"), "string");
        equal("", g.getObjectProperty("empty"), "empty string");
        equal(null, g.getObjectProperty("null"), "null");
        equal("p".repeat(9000), g.getObjectProperty("long"), "long string");
        var sent = ((ActiveMQMessage) m).getMarshalledProperties();
        var got = ((ActiveMQMessage) g).getMarshalledProperties();
        check(Arrays.equals(sent.data, sent.offset, sent.offset + sent.length, got.data, got.offset, got.offset + got.length), "the marshalled properties changed");
    }

    @Line("OW-30")
    void compressedMessagesAreReadable() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect("jms.useCompression=true"));
        MessageProducer p = s.createProducer(q);
        String text = "compress me \u00e9\ud83d\ude00 ".repeat(500);
        p.send(s.createTextMessage(text));
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(new byte[10_000]);
        p.send(bytes);
        MapMessage map = s.createMapMessage();
        map.setString("k", "k \u20ac ".repeat(500));
        p.send(map);
        StreamMessage stream = s.createStreamMessage();
        stream.writeString(text);
        p.send(stream);
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        TextMessage t = (TextMessage) next(consumer);
        check(((ActiveMQMessage) t).isCompressed(), "the flag is lost");
        equal(text, t.getText(), "text");
        equal(10_000L, ((BytesMessage) next(consumer)).getBodyLength(), "bytes");
        equal("k \u20ac ".repeat(500), ((MapMessage) next(consumer)).getString("k"), "map");
        equal(text, ((StreamMessage) next(consumer)).readString(), "stream");
    }

    @Line("OW-31")
    void headersArePreserved() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        Topic reply = s.createTopic("reply.here");
        Message m = s.createTextMessage("x");
        m.setJMSReplyTo(reply);
        m.setJMSCorrelationID("corr \u00e9 \ud83d\ude00");
        m.setJMSType("a.type");
        p.send(m, DeliveryMode.NON_PERSISTENT, 7, 60_000);
        Message g = next(s.createConsumer(q));
        equal(reply, g.getJMSReplyTo(), "JMSReplyTo");
        equal("corr \u00e9 \ud83d\ude00", g.getJMSCorrelationID(), "JMSCorrelationID");
        equal("a.type", g.getJMSType(), "JMSType");
        equal(7, g.getJMSPriority(), "JMSPriority");
        equal(m.getJMSExpiration(), g.getJMSExpiration(), "JMSExpiration");
        equal(m.getJMSTimestamp(), g.getJMSTimestamp(), "JMSTimestamp");
        equal(m.getJMSMessageID(), g.getJMSMessageID(), "JMSMessageID");
        equal(DeliveryMode.NON_PERSISTENT, g.getJMSDeliveryMode(), "JMSDeliveryMode");
        equal(q, g.getJMSDestination(), "JMSDestination");
        check(!g.getJMSRedelivered(), "redelivered at first");
        equal(1, g.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
        equal(null, g.getStringProperty("JMSXUserID"), "JMSXUserID");
    }

    @Line("OW-31")
    void ownMessageIdsAndGroupsAreKept() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        Message m = s.createTextMessage("x");
        m.setStringProperty("JMSXGroupID", "group \u00e9");
        m.setIntProperty("JMSXGroupSeq", 3);
        s.createProducer(q).send(m);
        Message g = next(s.createConsumer(q));
        equal("group \u00e9", g.getStringProperty("JMSXGroupID"), "JMSXGroupID");
        equal(3, g.getIntProperty("JMSXGroupSeq"), "JMSXGroupSeq");
    }

    @Line("OW-32")
    void producerWindowDoesNotStall() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.useAsyncSend=true", "jms.producerWindowSize=1000", "jms.watchTopicAdvisories=false");
        AtomicInteger acks = new AtomicInteger();
        c.addTransportListener(new Commands(ProducerAck.class, acks));
        Session s = auto(c);
        MessageProducer p = s.createProducer(q);
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        for (int i = 0; i < 10_000; i++) {
            p.send(s.createMessage());
        }
        eventually("an acknowledgement for each", () -> acks.get() >= 10_000, () -> acks + " seen");
        pause(SILENCE);
        equal(10_000, acks.get(), "ProducerAck");
    }

    @Line("OW-32")
    void producerAckForPersistentAndComposite() throws Exception {
        String a = unique();
        ActiveMQConnection c = connect("jms.useAsyncSend=true", "jms.producerWindowSize=1000");
        Session s = auto(c);
        MessageProducer p = s.createProducer(new ActiveMQQueue(a + "," + a + ".second"));
        for (int i = 0; i < 200; i++) {
            p.send(s.createTextMessage("" + i));
        }
        expectDepth(new ActiveMQQueue(a), 200);
        expectDepth(new ActiveMQQueue(a + ".second"), 200);
    }

    @Line("OW-33")
    void compositeSendReachesAll() throws Exception {
        String a = unique();
        String b = unique();
        String t = unique();
        Session s = auto(connect());
        MessageConsumer onTopic = s.createConsumer(s.createTopic(t));
        Queue composite = s.createQueue(a + "," + b + ",topic://" + t);
        send(s, composite, "to all");
        MessageConsumer onA = s.createConsumer(s.createQueue(a));
        MessageConsumer onB = s.createConsumer(s.createQueue(b));
        for (MessageConsumer consumer : new MessageConsumer[] {onA, onB, onTopic}) {
            Message m = next(consumer);
            equal("to all", text(m), "text");
            ActiveMQDestination original = ((ActiveMQMessage) m).getOriginalDestination();
            check(original != null && original.isComposite(), "originalDestination: " + original);
            check(!((ActiveMQMessage) m).getDestination().isComposite(), "destination: " + m.getJMSDestination());
            expectNone(consumer);
        }
    }

    @Line("OW-33")
    void compositeConsumerReadsAll() throws Exception {
        String a = unique();
        String b = unique();
        Session s = auto(connect());
        MessageConsumer both = s.createConsumer(s.createQueue(a + "," + b));
        send(s, s.createQueue(a), "from a");
        equal("from a", nextText(both), "text");
        send(s, s.createQueue(b), "from b");
        equal("from b", nextText(both), "text");
    }

    @Line("OW-34")
    void anonymousProducer() throws Exception {
        Session s = auto(connect());
        MessageProducer p = s.createProducer(null);
        String base = unique();
        for (int i = 0; i < 20; i++) {
            p.send(s.createQueue(base + "." + i), s.createTextMessage("" + i));
        }
        for (int i = 0; i < 20; i++) {
            MessageConsumer consumer = s.createConsumer(s.createQueue(base + "." + i));
            expectTexts(consumer, "" + i);
            consumer.close();
        }
    }
}
