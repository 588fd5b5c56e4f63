package openwire;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

import javax.jms.BytesMessage;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.TextMessage;
import javax.jms.Topic;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.GetResponse;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;
import org.eclipse.paho.client.mqttv3.MqttClient;
import org.eclipse.paho.client.mqttv3.MqttConnectOptions;
import org.eclipse.paho.client.mqttv3.persist.MemoryPersistence;

/** OW-30 and OW-73: the same queues and topics by other protocols. */
final class Interop extends Scenario {
    private static final String TEXT = "caf\u00e9 \ud83d\ude00 \u4e2d";
    private static final byte[] BYTES = {0, 1, (byte) 0xff, (byte) 0xfe, 10, 0};

    @Line("OW-73")
    void textAndBytesToStomp() throws Exception {
        Stomp stomp = later(new Stomp());
        Queue q = new ActiveMQQueue(unique());
        stomp.subscribe("/queue/" + q.getQueueName());
        Session s = auto(connect());
        TextMessage text = s.createTextMessage(TEXT);
        text.setIntProperty("i", 5);
        text.setStringProperty("s", TEXT);
        text.setBooleanProperty("z", true);
        text.setJMSCorrelationID("c-1");
        text.setJMSType("kind");
        s.createProducer(q).send(text);
        Stomp.Frame frame = stomp.read();
        equal("MESSAGE", frame.command(), "command");
        equal(TEXT, frame.text(), "text");
        equal("5", frame.headers().get("i"), "int property");
        equal(TEXT, frame.headers().get("s"), "string property");
        equal("true", frame.headers().get("z"), "boolean property");
        equal("c-1", frame.headers().get("correlation-id"), "correlation-id");
        equal("kind", frame.headers().get("type"), "type");
        equal("true", frame.headers().get("persistent"), "persistent");
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(BYTES);
        s.createProducer(q).send(bytes);
        frame = stomp.read();
        check(Arrays.equals(BYTES, frame.body()), "bytes: " + Arrays.toString(frame.body()));
    }

    @Line("OW-30")
    void compressedToStomp() throws Exception {
        Stomp stomp = later(new Stomp());
        Queue q = new ActiveMQQueue(unique());
        stomp.subscribe("/queue/" + q.getQueueName());
        Session s = auto(connect("jms.useCompression=true"));
        String text = TEXT.repeat(300);
        s.createProducer(q).send(s.createTextMessage(text));
        equal(text, stomp.read().text(), "text");
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(new byte[5000]);
        s.createProducer(q).send(bytes);
        check(Arrays.equals(new byte[5000], stomp.read().body()), "bytes");
    }

    @Line("OW-73")
    void stompToJms() throws Exception {
        Stomp stomp = later(new Stomp());
        Queue q = new ActiveMQQueue(unique());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        String to = "destination:/queue/" + q.getQueueName();
        stomp.send("SEND", TEXT.getBytes(StandardCharsets.UTF_8), to, "persistent:true", "n:5", "correlation-id:c", "priority:7", "type:kind");
        Message m = next(consumer);
        equal(TEXT, text(m), "text");
        equal("5", m.getStringProperty("n"), "header");
        equal("c", m.getJMSCorrelationID(), "JMSCorrelationID");
        equal(7, m.getJMSPriority(), "JMSPriority");
        equal("kind", m.getJMSType(), "JMSType");
        equal(javax.jms.DeliveryMode.PERSISTENT, m.getJMSDeliveryMode(), "JMSDeliveryMode");
        stomp.send("SEND", BYTES, to, "content-length:" + BYTES.length);
        BytesMessage b = (BytesMessage) next(consumer);
        byte[] got = new byte[(int) b.getBodyLength()];
        b.readBytes(got);
        check(Arrays.equals(BYTES, got), "bytes: " + Arrays.toString(got));
        equal(javax.jms.DeliveryMode.NON_PERSISTENT, b.getJMSDeliveryMode(), "JMSDeliveryMode");
    }

    @Line("OW-73")
    void stompRepliesToATemporaryQueue() throws Exception {
        Stomp stomp = later(new Stomp());
        Queue q = new ActiveMQQueue(unique());
        stomp.subscribe("/queue/" + q.getQueueName());
        Session s = auto(connect());
        var temp = s.createTemporaryQueue();
        MessageConsumer replies = s.createConsumer(temp);
        Message m = s.createTextMessage("ask");
        m.setJMSReplyTo(temp);
        s.createProducer(q).send(m);
        Stomp.Frame frame = stomp.read();
        String reply = frame.headers().get("reply-to");
        check(reply != null, "no reply-to: " + frame.headers());
        stomp.send("SEND", "answer".getBytes(), "destination:" + reply.replace("\\c", ":"). replace(":", "\\c"));
        expectTexts(replies, "answer");
    }

    private MqttClient mqtt() throws Exception {
        MqttClient c = new MqttClient("tcp://" + Broker.address("MQTT_ADDR"), "ow" + System.nanoTime(), new MemoryPersistence());
        c.setTimeToWait(PATIENCE);
        MqttConnectOptions o = new MqttConnectOptions();
        o.setUserName(Broker.USER);
        o.setPassword(Broker.PASSWORD.toCharArray());
        o.setConnectionTimeout(20);
        c.connect(o);
        later(() -> c.disconnectForcibly(0, 1000));
        return c;
    }

    @Line("OW-73")
    void topicsToAndFromMqtt() throws Exception {
        MqttClient c = mqtt();
        String name = unique();
        Topic t = new ActiveMQTopic(name);
        BlockingQueue<byte[]> got = new LinkedBlockingQueue<>();
        c.subscribe(name.replace('.', '/'), 1, (topic, message) -> got.add(message.getPayload()));
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(t);
        send(s, t, TEXT);
        byte[] payload = got.poll(PATIENCE, TimeUnit.MILLISECONDS);
        check(payload != null, "nothing over MQTT");
        equal(TEXT, new String(payload, StandardCharsets.UTF_8), "text over MQTT");
        expectTexts(consumer, TEXT);
        c.publish(name.replace('.', '/'), BYTES, 1, false);
        Message m = next(consumer);
        check(m instanceof BytesMessage, "not a bytes message: " + m);
        byte[] body = new byte[BYTES.length + 1];
        equal(BYTES.length, ((BytesMessage) m).readBytes(body), "length");
        check(Arrays.equals(BYTES, Arrays.copyOf(body, BYTES.length)), "bytes: " + Arrays.toString(body));
        equal("topic://" + name, m.getJMSDestination().toString(), "JMSDestination");
    }

    private Channel amqp() throws Exception {
        String[] address = Broker.address("AMQP_ADDR").split(":");
        ConnectionFactory f = new ConnectionFactory();
        f.setHost(address[0]);
        f.setPort(Integer.parseInt(address[1]));
        f.setUsername(Broker.USER);
        f.setPassword(Broker.PASSWORD);
        Connection c = f.newConnection();
        later(c::close);
        return c.createChannel();
    }

    private static GetResponse get(Channel channel, String queue) throws Exception {
        GetResponse[] got = new GetResponse[1];
        eventually("a message in " + queue, () -> (got[0] = channel.basicGet(queue, true)) != null);
        return got[0];
    }

    @Line("OW-73")
    void jmsToAmqp() throws Exception {
        Channel channel = amqp();
        String name = unique();
        Queue q = new ActiveMQQueue(name);
        Session s = auto(connect());
        TextMessage text = s.createTextMessage(TEXT);
        text.setIntProperty("i", 5);
        text.setLongProperty("l", 1L << 40);
        text.setDoubleProperty("d", 2.5);
        text.setBooleanProperty("z", true);
        text.setStringProperty("s", TEXT);
        text.setJMSCorrelationID("c-1");
        text.setJMSType("kind");
        s.createProducer(q).send(text, javax.jms.DeliveryMode.PERSISTENT, 7, 0);
        GetResponse r = get(channel, name);
        equal(TEXT, new String(r.getBody(), StandardCharsets.UTF_8), "text");
        AMQP.BasicProperties p = r.getProps();
        check(p.getContentType() != null && p.getContentType().startsWith("text/plain"), "content-type " + p.getContentType());
        equal("c-1", p.getCorrelationId(), "correlation-id");
        equal("kind", p.getType(), "type");
        equal(7, p.getPriority(), "priority");
        equal(2, p.getDeliveryMode(), "delivery-mode");
        equal(5, p.getHeaders().get("i"), "int");
        equal(1L << 40, p.getHeaders().get("l"), "long");
        equal(2.5, p.getHeaders().get("d"), "double");
        equal(true, p.getHeaders().get("z"), "boolean");
        equal(TEXT, String.valueOf(p.getHeaders().get("s")), "string");
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(BYTES);
        s.createProducer(q).send(bytes);
        r = get(channel, name);
        check(Arrays.equals(BYTES, r.getBody()), "bytes: " + Arrays.toString(r.getBody()));
        check(r.getProps().getContentType() == null || !r.getProps().getContentType().startsWith("text/"), "bytes are called text");
    }

    @Line("OW-30")
    void compressedToAmqp() throws Exception {
        Channel channel = amqp();
        String name = unique();
        Session s = auto(connect("jms.useCompression=true"));
        String text = TEXT.repeat(300);
        s.createProducer(new ActiveMQQueue(name)).send(s.createTextMessage(text));
        equal(text, new String(get(channel, name).getBody(), StandardCharsets.UTF_8), "text");
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(new byte[5000]);
        s.createProducer(new ActiveMQQueue(name)).send(bytes);
        check(Arrays.equals(new byte[5000], get(channel, name).getBody()), "bytes");
    }

    @Line("OW-73")
    void amqpToJms() throws Exception {
        Channel channel = amqp();
        String name = unique();
        channel.queueDeclare(name, true, false, false, null);
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(new ActiveMQQueue(name), "i = 5 OR i IS NULL");
        channel.basicPublish("", name, new AMQP.BasicProperties.Builder().contentType("text/plain").deliveryMode(2).priority(7)
                .correlationId("c").type("kind").headers(Map.of("i", 5, "l", 1L << 40, "z", true, "s", TEXT, "d", 2.5)).build(),
                TEXT.getBytes(StandardCharsets.UTF_8));
        Message m = next(consumer);
        equal(TEXT, text(m), "text");
        equal(5, m.getIntProperty("i"), "int");
        equal(1L << 40, m.getLongProperty("l"), "long");
        equal(true, m.getBooleanProperty("z"), "boolean");
        equal(TEXT, m.getStringProperty("s"), "string");
        equal(2.5, m.getDoubleProperty("d"), "double");
        equal("c", m.getJMSCorrelationID(), "JMSCorrelationID");
        equal("kind", m.getJMSType(), "JMSType");
        equal(7, m.getJMSPriority(), "JMSPriority");
        equal(javax.jms.DeliveryMode.PERSISTENT, m.getJMSDeliveryMode(), "JMSDeliveryMode");
        check(m.getJMSMessageID() != null && m.getJMSMessageID().startsWith("ID:"), "JMSMessageID " + m.getJMSMessageID());
        channel.basicPublish("", name, new AMQP.BasicProperties.Builder().contentType("application/octet-stream").build(), BYTES);
        BytesMessage b = (BytesMessage) next(consumer);
        byte[] got = new byte[(int) b.getBodyLength()];
        b.readBytes(got);
        check(Arrays.equals(BYTES, got), "bytes");
    }

    @Line("OW-73")
    void topicsToAndFromAmqp() throws Exception {
        Channel channel = amqp();
        String name = unique();
        String queue = channel.queueDeclare().getQueue();
        channel.queueBind(queue, "amq.topic", name + ".#");
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(new ActiveMQTopic(name + ".>"));
        send(s, new ActiveMQTopic(name + ".a"), "jms");
        equal("jms", new String(get(channel, queue).getBody(), StandardCharsets.UTF_8), "from JMS");
        expectTexts(consumer, "jms");
        channel.basicPublish("amq.topic", name + ".b", new AMQP.BasicProperties.Builder().contentType("text/plain").build(), "amqp".getBytes());
        Message m = next(consumer);
        equal("amqp", text(m), "from AMQP");
        equal("topic://" + name + ".b", m.getJMSDestination().toString(), "JMSDestination");
    }

    @Line("OW-73")
    void throughAmqpAndBack() throws Exception {
        // What an AMQP consumer takes and publishes again with its
        // properties: texts stay texts, bytes bytes; a map is read as JSON.
        Channel channel = amqp();
        String name = unique();
        String back = unique();
        channel.queueDeclare(name, true, false, false, null);
        channel.queueDeclare(back, true, false, false, null);
        Session s = auto(connect());
        Queue q = new ActiveMQQueue(name);
        send(s, q, TEXT);
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(BYTES);
        s.createProducer(q).send(bytes);
        MapMessage map = s.createMapMessage();
        map.setInt("i", 5);
        s.createProducer(q).send(map);
        MessageConsumer consumer = s.createConsumer(new ActiveMQQueue(back));
        for (int i = 0; i < 3; i++) {
            GetResponse r = get(channel, name);
            channel.basicPublish("", back, r.getProps(), r.getBody());
        }
        expectTexts(consumer, TEXT);
        Message m = next(consumer);
        check(m instanceof BytesMessage, "the bytes became " + m);
        byte[] got = new byte[(int) ((BytesMessage) m).getBodyLength()];
        ((BytesMessage) m).readBytes(got);
        check(Arrays.equals(BYTES, got), "bytes: " + Arrays.toString(got));
        equal("{\"i\":5}", nextText(consumer).replace(" ", "").strip(), "the map");
    }

    /** Calls an action of SQS in its JSON protocol and returns the answer. */
    private static String sqs(String action, String request) throws Exception {
        HttpRequest r = HttpRequest.newBuilder(URI.create("http://" + Broker.address("AWS_ADDR") + "/"))
                .header("Content-Type", "application/x-amz-json-1.0").header("X-Amz-Target", "AmazonSQS." + action)
                .POST(HttpRequest.BodyPublishers.ofString(request)).build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(r, HttpResponse.BodyHandlers.ofString());
        equal(200, answer.statusCode(), action + ": " + answer.body());
        return answer.body();
    }

    /** The value of the first string of a name in JSON that has no escapes but those of quotes. */
    private static String field(String json, String name) {
        Matcher m = Pattern.compile("\"" + Pattern.quote(name) + "\"\\s*:\\s*\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        check(m.find(), "no " + name + " in " + json);
        return m.group(1).replace("\\\"", "\"");
    }

    /** What an attribute of a message is, from its type on. */
    private static String attribute(String json, String name) {
        Matcher m = Pattern.compile("\"" + name + "\"\\s*:\\s*\\{([^}]*)\\}").matcher(json);
        check(m.find(), "no attribute " + name + " in " + json);
        return m.group(1);
    }

    @Line("OW-73")
    void jmsToSqs() throws Exception {
        String name = unique("sqs-").replace('.', '-');
        Session s = auto(connect());
        Queue q = new ActiveMQQueue(name);
        TextMessage text = s.createTextMessage(TEXT);
        text.setIntProperty("i", 5);
        text.setStringProperty("s", TEXT);
        text.setBooleanProperty("z", true);
        s.createProducer(q).send(text);
        BytesMessage bytes = s.createBytesMessage();
        bytes.writeBytes(BYTES);
        s.createProducer(q).send(bytes);
        String url = field(sqs("GetQueueUrl", "{\"QueueName\":\"" + name + "\"}"), "QueueUrl");
        String receive = "{\"QueueUrl\":\"" + url + "\",\"MaxNumberOfMessages\":1,\"WaitTimeSeconds\":10,\"MessageAttributeNames\":[\"All\"]}";
        String got = sqs("ReceiveMessage", receive);
        equal(TEXT, field(got, "Body"), "text");
        equal("5", field(attribute(got, "i"), "StringValue"), "int");
        equal("Number.int", field(attribute(got, "i"), "DataType"), "type of the int");
        equal(TEXT, field(attribute(got, "s"), "StringValue"), "string");
        equal("true", field(attribute(got, "z"), "StringValue").replace("1", "true"), "boolean");
        sqs("DeleteMessage", "{\"QueueUrl\":\"" + url + "\",\"ReceiptHandle\":\"" + field(got, "ReceiptHandle") + "\"}");
        got = sqs("ReceiveMessage", receive);
        check(Arrays.equals(BYTES, Base64.getDecoder().decode(field(got, "Body"))), "bytes: " + got);
        equal("base64", field(attribute(got, "Hermod.Encoding"), "StringValue"), "encoding");
        sqs("DeleteMessage", "{\"QueueUrl\":\"" + url + "\",\"ReceiptHandle\":\"" + field(got, "ReceiptHandle") + "\"}");
        expectDepth(q, 0);
    }

    @Line("OW-73")
    void sqsToJms() throws Exception {
        String name = unique("sqs-").replace('.', '-');
        String url = field(sqs("CreateQueue", "{\"QueueName\":\"" + name + "\"}"), "QueueUrl");
        Session s = auto(connect());
        MessageConsumer consumer = s.createConsumer(new ActiveMQQueue(name), "i > 4");
        sqs("SendMessage", "{\"QueueUrl\":\"" + url + "\",\"MessageBody\":\"" + TEXT + "\",\"MessageAttributes\":{"
                + "\"i\":{\"DataType\":\"Number.int\",\"StringValue\":\"5\"},\"s\":{\"DataType\":\"String\",\"StringValue\":\"" + TEXT + "\"},"
                + "\"d\":{\"DataType\":\"Number.double\",\"StringValue\":\"2.5\"}}}");
        Message m = next(consumer);
        equal(TEXT, text(m), "text");
        equal(5, m.getIntProperty("i"), "int");
        equal(TEXT, m.getStringProperty("s"), "string");
        equal(2.5, m.getDoubleProperty("d"), "double");
        equal("queue://" + name, m.getJMSDestination().toString(), "JMSDestination");
        sqs("SendMessage", "{\"QueueUrl\":\"" + url + "\",\"MessageBody\":\"" + Base64.getEncoder().encodeToString(BYTES)
                + "\",\"MessageAttributes\":{\"Hermod.Encoding\":{\"DataType\":\"String\",\"StringValue\":\"base64\"},"
                + "\"i\":{\"DataType\":\"Number\",\"StringValue\":\"7\"}}}");
        BytesMessage b = (BytesMessage) next(consumer);
        byte[] got = new byte[(int) b.getBodyLength()];
        b.readBytes(got);
        check(Arrays.equals(BYTES, got), "bytes: " + Arrays.toString(got));
        equal("7", b.getStringProperty("i"), "a number without a label");
    }
}
