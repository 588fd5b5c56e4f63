package openwire;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

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
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;

/** Lines of the checklist of STOMP that JMS has a part in, in the dialect of ActiveMQ. */
final class StompAndJms extends Scenario {
    private static final String TEXT = "caf\u00e9 \ud83d\ude00 \u4e2d";

    private static byte[] utf8(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    private Stomp stomp(String... headers) throws Exception {
        return later(new Stomp(headers));
    }

    @Line("STOMP-33")
    void groupsStickAcrossProtocols() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        String to = "destination:/queue/" + q.getQueueName();
        Session s = auto(connect());
        MessageConsumer jms = s.createConsumer(q);
        Stomp reader = stomp();
        Stomp writer = stomp();
        reader.subscribe("/queue/" + q.getQueueName());
        // Both protocols send to the same groups, in turn.
        MessageProducer producer = s.createProducer(q);
        final int groups = 6;
        final int each = 6;
        for (int i = 0; i < each; i++) {
            for (int g = 0; g < groups; g++) {
                if (i % 2 == 0) {
                    writer.send("SEND", utf8(g + "." + i), to, "JMSXGroupID:g" + g, "receipt:r");
                    equal("RECEIPT", writer.read().command(), "answer to SEND");
                } else {
                    TextMessage m = s.createTextMessage(g + "." + i);
                    m.setStringProperty("JMSXGroupID", "g" + g);
                    producer.send(m);
                }
            }
        }
        writer.send("SEND", utf8("end"), to, "JMSXGroupID:g0");
        Map<String, List<String>> got = new HashMap<>();
        for (Message m; (m = jms.receive(1000)) != null; ) {
            String group = m.getStringProperty("JMSXGroupID");
            got.computeIfAbsent(group + " jms", k -> new ArrayList<>()).add(text(m));
        }
        int left = groups * each + 1 - got.values().stream().mapToInt(List::size).sum();
        for (; left > 0; left--) {
            Stomp.Frame f = reader.read();
            got.computeIfAbsent(f.headers().get("JMSXGroupID") + " stomp", k -> new ArrayList<>()).add(f.text());
        }
        equal(groups, got.size(), "groups, each with one consumer: " + got);
        check(got.keySet().stream().anyMatch(k -> k.endsWith("jms")) && got.keySet().stream().anyMatch(k -> k.endsWith("stomp")),
                "one consumer has all groups: " + got.keySet());
        got.forEach((k, list) -> {
            int g = k.charAt(1) - '0';
            for (int i = 0; i < each; i++) {
                equal(g + "." + i, list.get(i), "message " + i + " of " + k);
            }
        });
    }

    @Line("STOMP-34")
    void textOrBytes() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        Stomp stomp = stomp();
        byte[] body = utf8(TEXT);
        String length = "content-length:" + body.length;
        for (String[] headers : new String[][] {
            {"text"}, {"bytes", length}, {"text", length, "amq-msg-type:text"}, {"bytes", "amq-msg-type:bytes"},
            {"text", length, "content-type:text/plain; charset=utf-8"}, {"text", length, "content-type:application/json"},
            {"bytes", length, "content-type:application/octet-stream"},
        }) {
            String[] all = headers.clone();
            all[0] = "destination:/queue/" + q.getQueueName();
            stomp.send("SEND", body, all);
            Message m = next(consumer);
            if (headers[0].equals("text")) {
                equal(TEXT, text(m), Arrays.toString(headers));
            } else {
                check(m instanceof BytesMessage, Arrays.toString(headers) + " became " + m);
                byte[] b = new byte[(int) ((BytesMessage) m).getBodyLength()];
                ((BytesMessage) m).readBytes(b);
                equal(TEXT, new String(b, StandardCharsets.UTF_8), Arrays.toString(headers));
            }
        }
    }

    private Message everyKind(Session s, String kind) throws Exception {
        switch (kind) {
            case "map":
                MapMessage map = s.createMapMessage();
                map.setString("s", TEXT);
                map.setInt("i", 5);
                return map;
            case "stream":
                StreamMessage stream = s.createStreamMessage();
                stream.writeString(TEXT);
                stream.writeInt(5);
                return stream;
            default:
                return s.createObjectMessage("an object");
        }
    }

    @Line("STOMP-35")
    void mapsStreamsAndObjectsToStomp() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Stomp stomp = stomp();
        stomp.subscribe("/queue/" + q.getQueueName());
        Session s = auto(connect());
        MessageProducer p = s.createProducer(q);
        p.send(everyKind(s, "map"));
        Stomp.Frame f = stomp.read();
        String json = f.text();
        check(json.equals("{\"s\":\"" + TEXT + "\",\"i\":5}") || json.equals("{\"i\":5,\"s\":\"" + TEXT + "\"}"), "map: " + json);
        equal("application/json", f.headers().get("content-type"), "content-type of a map");
        p.send(everyKind(s, "stream"));
        f = stomp.read();
        equal("[\"" + TEXT + "\",5]", f.text(), "stream");
        p.send(everyKind(s, "object"));
        f = stomp.read();
        equal("application/x-java-serialized-object", f.headers().get("content-type"), "content-type of an object");
        check(f.body().length > 4 && f.body()[0] == (byte) 0xac && f.body()[1] == (byte) 0xed, "no serialized object: " + Arrays.toString(f.body()));
    }

    @Line("STOMP-35")
    void mapsInTheFormsOfActiveMQ() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MapMessage map = s.createMapMessage();
        map.setInt("i", 5);
        for (String[] form : new String[][] {
            {"jms-map-json", "{\"map\":{\"entry\":[{\"string\":\"i\",\"int\":5}]}}"},
            {"jms-map-xml", "<map>\n  <entry>\n    <string>i</string>\n    <int>5</int>\n  </entry>\n</map>"},
        }) {
            Stomp stomp = stomp();
            stomp.subscribe("/queue/" + q.getQueueName(), "transformation:" + form[0]);
            s.createProducer(q).send(map);
            Stomp.Frame f = stomp.read();
            equal(form[1], f.text(), form[0]);
            equal(form[0], f.headers().get("transformation"), "transformation");
            s.createProducer(q).send(s.createTextMessage(TEXT));
            f = stomp.read();
            equal(TEXT, f.text(), "a text");
            equal(null, f.headers().get("transformation"), "transformation of a text");
            stomp.close();
        }
    }

    @Line("STOMP-35")
    void mapsFromStomp() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        Stomp stomp = stomp();
        String to = "destination:/queue/" + q.getQueueName();
        for (String[] form : new String[][] {
            {"jms-map-json", "{\"map\":{\"entry\":[{\"string\":[\"name\",\"Dejan\"]},{\"string\":\"n\",\"int\":5}]}}"},
            {"jms-map-xml", "<map><entry><string>name</string><string>Dejan</string></entry><entry><string>n</string><int>5</int></entry></map>"},
            {"jms-map-json", "{\"name\":\"Dejan\",\"n\":5}"},
        }) {
            stomp.send("SEND", utf8(form[1]), to, "transformation:" + form[0], "k:v");
            Message m = next(consumer);
            check(m instanceof MapMessage, form[1] + " became " + m);
            equal("Dejan", ((MapMessage) m).getString("name"), "a text");
            equal(5, ((MapMessage) m).getInt("n"), "a number");
            equal("v", m.getStringProperty("k"), "a property");
        }
        stomp.send("SEND", utf8("no map"), to, "transformation:jms-map-xml");
        Message m = next(consumer);
        equal("no map", text(m), "what is no map");
        check(m.getStringProperty("transformation-error") != null, "no transformation-error");
    }

    @Line("STOMP-26")
    void selectorsAcross() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        Stomp stomp = stomp();
        stomp.subscribe("/queue/" + q.getQueueName(), "selector:n > 3 AND JMSPriority >= 7 AND s = 'x'");
        MessageProducer p = s.createProducer(q);
        for (int n : new int[] {2, 5}) {
            TextMessage m = s.createTextMessage("jms " + n);
            m.setIntProperty("n", n);
            m.setStringProperty("s", "x");
            p.send(m, DeliveryMode.PERSISTENT, 8, 0);
        }
        equal("jms 5", stomp.read().text(), "by a number of JMS");
        MessageConsumer consumer = s.createConsumer(q, "n = '2' OR n = 2");
        expectTexts(consumer, "jms 2");
        stomp.send("SEND", utf8("stomp"), "destination:/queue/" + q.getQueueName(), "n:2", "s:y");
        expectTexts(consumer, "stomp"); // a header is a text for JMS
    }

    @Line("STOMP-25")
    void propertiesAcross() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(q);
        Stomp stomp = stomp();
        long expires = System.currentTimeMillis() + 3_600_000;
        stomp.send("SEND", utf8(TEXT), "destination:/queue/" + q.getQueueName(), "persistent:true", "priority:7", "expires:" + expires,
                "correlation-id:c", "type:kind", "reply-to:/queue/answers", "timestamp:1700000000000", "custom:x");
        Message m = next(consumer);
        equal(7, m.getJMSPriority(), "JMSPriority");
        equal(DeliveryMode.PERSISTENT, m.getJMSDeliveryMode(), "JMSDeliveryMode");
        check(Math.abs(m.getJMSExpiration() - expires) < 5000, "JMSExpiration " + m.getJMSExpiration() + ", want " + expires);
        equal("c", m.getJMSCorrelationID(), "JMSCorrelationID");
        equal("kind", m.getJMSType(), "JMSType");
        equal(new ActiveMQQueue("answers"), m.getJMSReplyTo(), "JMSReplyTo");
        equal("x", m.getStringProperty("custom"), "property");
        consumer.close();

        stomp.subscribe("/queue/" + q.getQueueName());
        TextMessage out = s.createTextMessage(TEXT);
        out.setLongProperty("l", 1L << 40);
        out.setDoubleProperty("d", 2.5);
        out.setBooleanProperty("z", true);
        out.setStringProperty("colon", "a:b");
        out.setJMSReplyTo(new ActiveMQTopic("prices"));
        s.createProducer(q).send(out, DeliveryMode.NON_PERSISTENT, 2, 3_600_000);
        Stomp.Frame f = stomp.read();
        equal(Long.toString(1L << 40), f.headers().get("l"), "long");
        equal("2.5", f.headers().get("d"), "double");
        equal("true", f.headers().get("z"), "boolean");
        equal("a\\cb", f.headers().get("colon"), "a colon, escaped");
        equal("/topic/prices", f.headers().get("reply-to"), "reply-to");
        equal("2", f.headers().get("priority"), "priority");
        equal(null, f.headers().get("persistent"), "persistent");
        check(Long.parseLong(f.headers().get("expires")) > System.currentTimeMillis() + 3_500_000, "expires " + f.headers().get("expires"));
    }

    @Line("STOMP-28")
    void jmsAnswersATemporaryQueueOfStomp() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Stomp stomp = stomp();
        stomp.subscribe("/temp-queue/answers");
        stomp.send("SEND", utf8("ask"), "destination:/queue/" + q.getQueueName(), "reply-to:/temp-queue/answers", "correlation-id:7");
        Session s = auto(connect());
        Message m = next(s.createConsumer(q));
        Message answer = s.createTextMessage("answer");
        answer.setJMSCorrelationID(m.getJMSCorrelationID());
        s.createProducer(m.getJMSReplyTo()).send(answer);
        Stomp.Frame f = stomp.read();
        equal("answer", f.text(), "answer");
        equal("7", f.headers().get("correlation-id"), "correlation-id");
        equal("/temp-queue/answers", f.headers().get("destination"), "destination");
    }

    @Line("STOMP-27")
    void oneDurableSubscription() throws Exception {
        String name = unique();
        Topic topic = new ActiveMQTopic(name);
        String client = "c" + System.nanoTime();
        ActiveMQConnectionFactory factory = factory(url());
        factory.setClientID(client);
        ActiveMQConnection c = (ActiveMQConnection) factory.createConnection();
        later(c::close);
        c.start();
        MessageConsumer consumer = auto(c).createDurableSubscriber(topic, "sub");
        Session s = auto(connect());
        send(s, topic, "1");
        expectTexts(consumer, "1");
        c.close();
        send(s, topic, "2");
        // The same subscription, read over STOMP.
        Stomp stomp = stomp("client-id:" + client);
        stomp.subscribe("/topic/" + name, "activemq.subscriptionName:sub");
        equal("2", stomp.read().text(), "what came meanwhile");
        stomp.close();
        send(s, topic, "3");
        eventually("JMS takes it up again", () -> {
            ActiveMQConnection again = (ActiveMQConnection) factory.createConnection();
            try {
                again.start();
                expectTexts(auto(again).createDurableSubscriber(topic, "sub"), "3");
                return true;
            } catch (javax.jms.JMSException e) {
                return false; // STOMP's connection is still there
            } finally {
                again.close();
            }
        });
    }

    @Line("STOMP-18")
    void refusedMessagesAreDeadLettersForJms() throws Exception {
        String name = unique();
        Stomp stomp = stomp();
        stomp.subscribe("/queue/" + name, "ack:client-individual");
        Session s = auto(connect());
        TextMessage m = s.createTextMessage(name);
        m.setIntProperty("i", 5);
        s.createProducer(new ActiveMQQueue(name)).send(m);
        Stomp.Frame f = stomp.read();
        stomp.send("NACK", new byte[0], "id:" + f.headers().get("ack"));
        MessageConsumer dead = s.createConsumer(new ActiveMQQueue("ActiveMQ.DLQ"), "i = 5");
        Message got = next(dead);
        while (!text(got).equals(name)) { // of other scenarios
            got = next(dead);
        }
        equal(5, got.getIntProperty("i"), "property of a dead letter");
    }

    @Line("STOMP-32")
    void browseWhatJmsSent() throws Exception {
        String name = unique();
        Session s = auto(connect());
        send(s, new ActiveMQQueue(name), "1", "2");
        Stomp stomp = stomp();
        stomp.subscribe("/queue/" + name, "browser:true");
        equal("1", stomp.read().text(), "first");
        equal("2", stomp.read().text(), "second");
        equal("end", stomp.read().headers().get("browser"), "browser");
        expectTexts(s.createConsumer(new ActiveMQQueue(name)), "1", "2");
    }

    @Line("STOMP-36")
    void scheduledForJms() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        Stomp stomp = stomp();
        String to = "destination:/queue/" + q.getQueueName();
        long began = System.currentTimeMillis();
        stomp.send("SEND", utf8("later"), to, "AMQ_SCHEDULED_DELAY:700");
        stomp.send("SEND", utf8("now"), to);
        expectTexts(consumer, "now", "later");
        check(System.currentTimeMillis() - began >= 650, "came after " + (System.currentTimeMillis() - began) + " ms");
    }

    @Line("STOMP-22")
    void transactionsAreWholeForJms() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        Stomp stomp = stomp();
        String to = "destination:/queue/" + q.getQueueName();
        for (String end : new String[] {"ABORT", "COMMIT"}) {
            stomp.send("BEGIN", new byte[0], "transaction:t");
            stomp.send("SEND", utf8(end + " 1"), to, "transaction:t");
            stomp.send("SEND", utf8(end + " 2"), to, "transaction:t", "receipt:r");
            equal("RECEIPT", stomp.read().command(), "answer to SEND");
            equal(null, consumer.receive(SILENCE), "a message before its time");
            stomp.send(end, new byte[0], "transaction:t");
        }
        expectTexts(consumer, "COMMIT 1", "COMMIT 2");
    }
}
