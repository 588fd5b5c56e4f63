package conformance;

import com.amazon.sqs.javamessaging.ProviderConfiguration;
import com.amazon.sqs.javamessaging.SQSConnection;
import com.amazon.sqs.javamessaging.SQSConnectionFactory;
import com.amazon.sqs.javamessaging.SQSSession;
import jakarta.jms.BytesMessage;
import jakarta.jms.Message;
import jakarta.jms.MessageConsumer;
import jakarta.jms.ObjectMessage;
import jakarta.jms.Queue;
import jakarta.jms.Session;
import jakarta.jms.TextMessage;
import java.net.URI;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.sns.SnsClient;
import software.amazon.awssdk.services.sns.model.InvalidParameterException;
import software.amazon.awssdk.services.sns.model.NotFoundException;
import software.amazon.awssdk.services.sqs.SqsAsyncClient;
import software.amazon.awssdk.services.sqs.SqsClient;
import software.amazon.awssdk.services.sqs.batchmanager.SqsAsyncBatchManager;
import software.amazon.awssdk.services.sqs.model.MessageAttributeValue;
import software.amazon.awssdk.services.sqs.model.MessageSystemAttributeName;
import software.amazon.awssdk.services.sqs.model.QueueAttributeName;
import software.amazon.awssdk.services.sqs.model.QueueDoesNotExistException;
import software.amazon.awssdk.services.sqs.model.QueueNameExistsException;
import software.amazon.awssdk.services.sqs.model.ReceiptHandleIsInvalidException;
import software.amazon.awssdk.services.sqs.model.SendMessageBatchRequestEntry;
import software.amazon.awssdk.services.sqs.model.SendMessageResponse;

/**
 * SQS and SNS with the AWS SDK for Java, version 2, which checks every MD5, and JMS over SQS with Amazon's messaging library.
 * AWS_ENDPOINT names the endpoint, OPENWIRE_URL the OpenWire listener of the same broker if it has one. Prints one line; exits 1 when a chapter failed.
 */
public final class Scenario {
  private static final URI ENDPOINT = URI.create(System.getenv("AWS_ENDPOINT"));
  private static final StaticCredentialsProvider WHO = StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test"));
  private static final Region REGION = Region.US_EAST_1;
  private static final int PATIENCE = 20_000; // ms

  private final SqsClient sqs = SqsClient.builder().endpointOverride(ENDPOINT).region(REGION).credentialsProvider(WHO).build();
  private final SnsClient sns = SnsClient.builder().endpointOverride(ENDPOINT).region(REGION).credentialsProvider(WHO).build();
  private int serial;

  private interface Chapter {
    void run() throws Exception;
  }

  private String name(String suffix) {
    return "java-" + ProcessHandle.current().pid() + "-" + System.currentTimeMillis() + "-" + serial++ + suffix;
  }

  private String queue() {
    return sqs.createQueue(r -> r.queueName(name(""))).queueUrl();
  }

  private String fifo() {
    return sqs.createQueue(r -> r.queueName(name(".fifo")).attributes(Map.of(QueueAttributeName.FIFO_QUEUE, "true"))).queueUrl();
  }

  private String arn(String url) {
    return sqs.getQueueAttributes(r -> r.queueUrl(url).attributeNames(QueueAttributeName.QUEUE_ARN)).attributes().get(QueueAttributeName.QUEUE_ARN);
  }

  private static String nameOf(String url) {
    return url.substring(url.lastIndexOf('/') + 1);
  }

  private static void equal(Object want, Object got) {
    if (!want.equals(got)) {
      throw new AssertionError("want " + want + ", got " + got);
    }
  }

  private static void yes(boolean ok, String what) {
    if (!ok) {
      throw new AssertionError(what);
    }
  }

  private static void refused(Class<? extends Exception> kind, Chapter f) throws Exception {
    try {
      f.run();
    } catch (Exception e) {
      if (kind.isInstance(e)) {
        return;
      }
      throw e;
    }
    throw new AssertionError("no " + kind.getSimpleName());
  }

  /** Receives, waiting, until there are n messages. */
  private List<software.amazon.awssdk.services.sqs.model.Message> receive(String url, int n) {
    List<software.amazon.awssdk.services.sqs.model.Message> got = new ArrayList<>();
    for (long end = System.currentTimeMillis() + PATIENCE; got.size() < n; ) {
      yes(System.currentTimeMillis() < end, got.size() + " messages of " + n);
      int most = Math.min(10, n - got.size());
      got.addAll(
          sqs.receiveMessage(
                  r -> r.queueUrl(url).maxNumberOfMessages(most).waitTimeSeconds(5).messageAttributeNames("All")
                      .messageSystemAttributeNames(MessageSystemAttributeName.ALL))
              .messages());
    }
    return got;
  }

  // The SDK checks the MD5 of bodies and of attributes, on sending and on receiving.
  private void attributes() {
    String url = queue();
    Map<String, MessageAttributeValue> attributes =
        Map.of(
            "text", MessageAttributeValue.builder().dataType("String").stringValue("größe").build(),
            "number", MessageAttributeValue.builder().dataType("Number.int").stringValue("7").build(),
            "bytes", MessageAttributeValue.builder().dataType("Binary.gzip").binaryValue(SdkBytes.fromByteArray(new byte[] {0, -1})).build());
    String body = "größe 😀 \"<&>\r\n\t";
    SendMessageResponse sent = sqs.sendMessage(r -> r.queueUrl(url).messageBody(body).messageAttributes(attributes));
    var m = receive(url, 1).get(0);
    equal(sent.messageId(), m.messageId());
    equal(body, m.body());
    equal(attributes, m.messageAttributes());
    equal("1", m.attributes().get(MessageSystemAttributeName.APPROXIMATE_RECEIVE_COUNT));
    sqs.changeMessageVisibility(r -> r.queueUrl(url).receiptHandle(m.receiptHandle()).visibilityTimeout(0));
    var again = receive(url, 1).get(0);
    equal("2", again.attributes().get(MessageSystemAttributeName.APPROXIMATE_RECEIVE_COUNT));
    sqs.deleteMessage(r -> r.queueUrl(url).receiptHandle(again.receiptHandle()));
    equal("0", sqs.getQueueAttributes(r -> r.queueUrl(url).attributeNames(QueueAttributeName.ALL)).attributes().get(QueueAttributeName.APPROXIMATE_NUMBER_OF_MESSAGES));
  }

  private void batches() {
    String url = queue();
    List<SendMessageBatchRequestEntry> entries = new ArrayList<>();
    for (int i = 0; i < 9; i++) {
      entries.add(SendMessageBatchRequestEntry.builder().id("e" + i).messageBody("m" + i).build());
    }
    entries.add(SendMessageBatchRequestEntry.builder().id("bad").messageBody("\u0000").build());
    var out = sqs.sendMessageBatch(r -> r.queueUrl(url).entries(entries));
    equal(9, out.successful().size());
    equal("bad", out.failed().get(0).id());
    yes(out.failed().get(0).senderFault(), "the sender is at fault");
    Set<String> bodies = new HashSet<>();
    receive(url, 9).forEach(m -> bodies.add(m.body()));
    equal(9, bodies.size());
  }

  /** The SDK's own batching, which gathers single calls. */
  private void batchManager() throws Exception {
    String url = queue();
    try (SqsAsyncClient client = SqsAsyncClient.builder().endpointOverride(ENDPOINT).region(REGION).credentialsProvider(WHO).build();
        SqsAsyncBatchManager manager = SqsAsyncBatchManager.builder().client(client).scheduledExecutor(java.util.concurrent.Executors.newScheduledThreadPool(2)).build()) {
      List<CompletableFuture<SendMessageResponse>> sends = new ArrayList<>();
      for (int i = 0; i < 50; i++) {
        String body = "m" + i;
        sends.add(manager.sendMessage(r -> r.queueUrl(url).messageBody(body)));
      }
      CompletableFuture.allOf(sends.toArray(new CompletableFuture[0])).get(PATIENCE, TimeUnit.MILLISECONDS);
      Set<String> bodies = new HashSet<>();
      for (long end = System.currentTimeMillis() + PATIENCE; bodies.size() < 50; ) {
        yes(System.currentTimeMillis() < end, bodies.size() + " messages of 50");
        for (var m : manager.receiveMessage(r -> r.queueUrl(url)).get(PATIENCE, TimeUnit.MILLISECONDS).messages()) {
          bodies.add(m.body());
          manager.deleteMessage(r -> r.queueUrl(url).receiptHandle(m.receiptHandle())).get(PATIENCE, TimeUnit.MILLISECONDS);
        }
      }
    }
  }

  private void errors() throws Exception {
    String url = queue();
    refused(QueueDoesNotExistException.class, () -> sqs.getQueueUrl(r -> r.queueName(name("-none"))));
    refused(QueueDoesNotExistException.class, () -> sqs.sendMessage(r -> r.queueUrl(url + "-none").messageBody("x")));
    refused(ReceiptHandleIsInvalidException.class, () -> sqs.deleteMessage(r -> r.queueUrl(url).receiptHandle("nonsense")));
    refused(
        QueueNameExistsException.class,
        () -> sqs.createQueue(r -> r.queueName(nameOf(url)).attributes(Map.of(QueueAttributeName.DELAY_SECONDS, "7"))));
    Set<String> listed = new HashSet<>();
    sqs.listQueuesPaginator(r -> r.maxResults(2).queueNamePrefix("java-")).queueUrls().forEach(listed::add);
    yes(listed.contains(url), "the queue is listed in pages");
  }

  private void topics() throws Exception {
    String url = queue();
    String topic = sns.createTopic(r -> r.name(name(""))).topicArn();
    String arn = arn(url);
    sns.subscribe(r -> r.topicArn(topic).protocol("sqs").endpoint(arn).attributes(Map.of("RawMessageDelivery", "true", "FilterPolicy", "{\"k\":[{\"prefix\":\"v\"}]}")));
    var value = software.amazon.awssdk.services.sns.model.MessageAttributeValue.builder().dataType("String");
    sns.publish(r -> r.topicArn(topic).message("no").messageAttributes(Map.of("k", value.stringValue("x").build())));
    sns.publish(r -> r.topicArn(topic).message("yes").messageAttributes(Map.of("k", value.stringValue("vw").build())));
    equal("yes", receive(url, 1).get(0).body());
    refused(NotFoundException.class, () -> sns.publish(r -> r.topicArn(topic + "-none").message("x")));
    refused(InvalidParameterException.class, () -> sns.publish(r -> r.topicArn(topic).message("")));
  }

  private SQSConnection connect() throws Exception {
    return new SQSConnectionFactory(new ProviderConfiguration().withNumberOfMessagesToPrefetch(5), sqs).createConnection();
  }

  private void jmsKinds() throws Exception {
    String url = queue();
    try (SQSConnection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE)) {
      yes(connection.getWrappedAmazonSQSClient().queueExists(nameOf(url)), "the library finds the queue");
      Queue queue = session.createQueue(nameOf(url));
      TextMessage text = session.createTextMessage("größe 😀");
      text.setStringProperty("s", "v");
      text.setIntProperty("i", -7);
      text.setLongProperty("l", 1L << 40);
      text.setShortProperty("h", (short) 3);
      text.setByteProperty("b", (byte) 4);
      text.setDoubleProperty("d", 0.1);
      text.setFloatProperty("f", 0.5f);
      text.setBooleanProperty("t", true);
      var producer = session.createProducer(queue);
      producer.send(text);
      connection.start();
      MessageConsumer consumer = session.createConsumer(queue);
      TextMessage got = (TextMessage) consumer.receive(PATIENCE);
      equal("größe 😀", got.getText());
      equal(text.getJMSMessageID(), got.getJMSMessageID());
      Map<String, Object> want = new LinkedHashMap<>();
      want.put("s", "v");
      want.put("i", -7);
      want.put("l", 1L << 40);
      want.put("h", (short) 3);
      want.put("b", (byte) 4);
      want.put("d", 0.1);
      want.put("f", 0.5f);
      want.put("t", true);
      for (var e : want.entrySet()) {
        equal(e.getValue(), got.getObjectProperty(e.getKey()));
      }
      equal(1, got.getIntProperty("JMSXDeliveryCount"));
      text = session.createTextMessage("answer me");
      text.setJMSCorrelationID("correlation");
      text.setJMSReplyTo(queue);
      producer.send(text);
      got = (TextMessage) consumer.receive(PATIENCE);
      equal("correlation", got.getJMSCorrelationID());
      equal(nameOf(url), ((Queue) got.getJMSReplyTo()).getQueueName());
      BytesMessage bytes = session.createBytesMessage();
      byte[] raw = new byte[256];
      for (int i = 0; i < raw.length; i++) {
        raw[i] = (byte) i;
      }
      bytes.writeBytes(raw);
      producer.send(bytes);
      BytesMessage gotBytes = (BytesMessage) consumer.receive(PATIENCE);
      byte[] back = new byte[(int) gotBytes.getBodyLength()];
      gotBytes.readBytes(back);
      yes(Arrays.equals(raw, back), "bytes came back changed");
      producer.send(session.createObjectMessage(new ArrayList<>(List.of("a", 1))));
      equal(List.of("a", 1), ((ObjectMessage) consumer.receive(PATIENCE)).getObject());
      yes(consumer.receiveNoWait() == null, "the queue is empty");
    }
  }

  private void jmsAcknowledge() throws Exception {
    String url = queue();
    try (SQSConnection connection = connect()) {
      connection.start();
      try (Session session = connection.createSession(false, SQSSession.UNORDERED_ACKNOWLEDGE)) {
        Queue queue = session.createQueue(nameOf(url));
        var producer = session.createProducer(queue);
        for (int i = 0; i < 3; i++) {
          producer.send(session.createTextMessage("m" + i));
        }
        MessageConsumer consumer = session.createConsumer(queue);
        Set<String> kept = new HashSet<>();
        for (int i = 0; i < 3; i++) {
          TextMessage m = (TextMessage) consumer.receive(PATIENCE);
          if (m.getText().equals("m1")) {
            m.acknowledge();
          } else {
            kept.add(m.getText());
          }
        }
        equal(Set.of("m0", "m2"), kept);
        ((SQSSession) session).recover(); // makes what is not acknowledged visible
        for (int i = 0; i < 2; i++) {
          TextMessage m = (TextMessage) consumer.receive(PATIENCE);
          yes(kept.remove(m.getText()), m.getText());
          yes(m.getJMSRedelivered(), "redelivered");
          equal(2, m.getIntProperty("JMSXDeliveryCount"));
          m.acknowledge();
        }
      }
    }
  }

  private void jmsListener() throws Exception {
    String url = queue();
    List<String> got = new CopyOnWriteArrayList<>();
    CountDownLatch all = new CountDownLatch(50);
    try (SQSConnection connection = connect()) {
      Session session = connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
      Queue queue = session.createQueue(nameOf(url));
      session.createConsumer(queue).setMessageListener(
          (Message m) -> {
            try {
              got.add(((TextMessage) m).getText());
              m.acknowledge();
              all.countDown();
            } catch (Exception e) {
              throw new IllegalStateException(e);
            }
          });
      connection.start();
      Session sender = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
      var producer = sender.createProducer(queue);
      for (int i = 0; i < 50; i++) {
        producer.send(sender.createTextMessage("m" + i));
      }
      yes(all.await(PATIENCE, TimeUnit.MILLISECONDS), got.size() + " messages of 50");
      equal(50, new HashSet<>(got).size());
    }
  }

  private void jmsGroups() throws Exception {
    String url = fifo();
    try (SQSConnection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE)) {
      Queue queue = session.createQueue(nameOf(url));
      var producer = session.createProducer(queue);
      for (int i = 0; i < 10; i++) {
        TextMessage m = session.createTextMessage("m" + i);
        m.setStringProperty("JMSXGroupID", "g");
        m.setStringProperty("JMS_SQS_DeduplicationId", "d" + i);
        producer.send(m);
        producer.send(m); // a copy that is recognised
        yes(m.getStringProperty("JMS_SQS_SequenceNumber").length() == 20, "a sequence number");
      }
      connection.start();
      MessageConsumer consumer = session.createConsumer(queue);
      for (int i = 0; i < 10; i++) {
        TextMessage m = (TextMessage) consumer.receive(PATIENCE);
        equal("m" + i, m.getText());
        equal("g", m.getStringProperty("JMSXGroupID"));
      }
      yes(consumer.receive(100) == null, "the queue is empty");
    }
  }

  private static jakarta.jms.Connection activeMQ(String id) throws Exception {
    jakarta.jms.Connection c = new org.apache.activemq.ActiveMQConnectionFactory("guest", "guest", System.getenv("OPENWIRE_URL")).createConnection();
    c.setClientID(id);
    c.start();
    return c;
  }

  /**
   * SNS-51: a durable subscriber of ActiveMQ's client gets what was published over SNS while it was away, with typed properties; what it publishes to the
   * topic reaches the queue that is subscribed over SNS, by filter.
   */
  private void activeMQTopic() throws Exception {
    String name = name("");
    String id = name("");
    String arn = sns.createTopic(r -> r.name(name)).topicArn();
    String url = queue();
    String queueArn = arn(url);
    sns.subscribe(r -> r.topicArn(arn).protocol("sqs").endpoint(queueArn).attributes(Map.of("RawMessageDelivery", "true", "FilterPolicy", "{\"from\":[\"jms\"],\"n\":[7]}")));
    try (jakarta.jms.Connection c = activeMQ(id)) {
      Session session = c.createSession(false, Session.AUTO_ACKNOWLEDGE);
      session.createDurableSubscriber(session.createTopic(name), "durable");
    }
    var string = software.amazon.awssdk.services.sns.model.MessageAttributeValue.builder().dataType("String").stringValue("v").build();
    var number = software.amazon.awssdk.services.sns.model.MessageAttributeValue.builder().dataType("Number").stringValue("12").build();
    sns.publish(r -> r.topicArn(arn).message("größe").subject("a subject").messageAttributes(Map.of("s", string, "n", number)));
    try (jakarta.jms.Connection c = activeMQ(id)) {
      Session session = c.createSession(false, Session.AUTO_ACKNOWLEDGE);
      jakarta.jms.Topic topic = session.createTopic(name);
      MessageConsumer durable = session.createDurableSubscriber(topic, "durable");
      TextMessage got = (TextMessage) durable.receive(PATIENCE);
      equal("größe", got.getText());
      equal("v", got.getStringProperty("s"));
      equal(12L, got.getLongProperty("n"));
      equal("a subject", got.getStringProperty("SNS_Subject"));
      TextMessage sent = session.createTextMessage("from JMS");
      sent.setStringProperty("from", "jms");
      sent.setIntProperty("n", 7);
      session.createProducer(topic).send(sent);
      equal("from JMS", ((TextMessage) durable.receive(PATIENCE)).getText());
      durable.close();
      session.unsubscribe("durable");
    }
    var m = receive(url, 1).get(0);
    equal("from JMS", m.body());
    equal("Number.int", m.messageAttributes().get("n").dataType());
  }

  public static void main(String[] args) {
    Scenario s = new Scenario();
    Map<String, Chapter> chapters = new LinkedHashMap<>();
    chapters.put("attributes", s::attributes);
    chapters.put("batches", s::batches);
    chapters.put("batch manager", s::batchManager);
    chapters.put("errors", s::errors);
    chapters.put("topics", s::topics);
    chapters.put("JMS kinds", s::jmsKinds);
    chapters.put("JMS acknowledge", s::jmsAcknowledge);
    chapters.put("JMS listener", s::jmsListener);
    chapters.put("JMS groups", s::jmsGroups);
    if (System.getenv("OPENWIRE_URL") != null && !System.getenv("OPENWIRE_URL").isEmpty()) {
      chapters.put("ActiveMQ topic", s::activeMQTopic);
    }
    int passed = 0;
    int failed = 0;
    for (var c : chapters.entrySet()) {
      try {
        c.getValue().run();
        passed++;
      } catch (Throwable e) {
        failed++;
        System.err.println("FAIL " + c.getKey());
        e.printStackTrace();
      }
    }
    System.out.printf("AWS SDK for Java, JMS over SQS: %d passed, %d failed%n", passed, failed);
    System.exit(failed == 0 ? 0 : 1);
  }
}
