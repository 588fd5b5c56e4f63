package conformance;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * The main chapters of the AMQP checklist, walked through with the Java client.
 *
 * <p>AMQP_URL names the broker. Prints one line; exits 1 when a chapter failed.
 */
public final class Scenario implements AutoCloseable {
  private static final int WAIT = 20_000; // ms for anything that must happen

  private final Connection connection;
  private final Channel ch;

  private Scenario(ConnectionFactory factory) throws Exception {
    connection = factory.newConnection();
    ch = connection.createChannel();
  }

  @Override
  public void close() throws IOException {
    if (connection.isOpen()) {
      connection.close(WAIT);
    }
  }

  private interface Chapter {
    void run(Scenario s) throws Exception;
  }

  private interface Operation {
    void run(Channel ch) throws Exception;
  }

  private static ConnectionFactory factory;

  public static void main(String[] args) throws Exception {
    factory = new ConnectionFactory();
    factory.setUri(System.getenv("AMQP_URL"));
    factory.setAutomaticRecoveryEnabled(false);
    Map<String, Chapter> chapters = new LinkedHashMap<>();
    chapters.put("declare", Scenario::declare);
    chapters.put("confirms", Scenario::confirms);
    chapters.put("returns", Scenario::returns);
    chapters.put("consume", Scenario::consume);
    chapters.put("dead letters", Scenario::deadLetters);
    chapters.put("ttl", Scenario::ttl);
    chapters.put("priority", Scenario::priority);
    chapters.put("exchanges", Scenario::exchanges);
    chapters.put("exchange bindings", Scenario::exchangeBindings);
    chapters.put("transactions", Scenario::transactions);
    chapters.put("prefetch", Scenario::prefetch);
    chapters.put("cancel notification", Scenario::cancelNotification);
    chapters.put("direct reply-to", Scenario::directReplyTo);
    chapters.put("properties", Scenario::properties);
    chapters.put("recover", Scenario::recover);
    chapters.put("hard errors", Scenario::hardErrors);
    int failed = 0;
    for (Map.Entry<String, Chapter> chapter : chapters.entrySet()) {
      try (Scenario s = new Scenario(factory)) {
        chapter.getValue().run(s);
      } catch (Throwable t) { // a chapter may fail in any way; the others still run
        failed++;
        System.err.println("FAIL " + chapter.getKey());
        t.printStackTrace();
      }
    }
    System.out.printf(
        "java amqp-client %s: %d passed, %d failed%n",
        com.rabbitmq.client.impl.ClientVersion.VERSION, chapters.size() - failed, failed);
    System.exit(failed == 0 ? 0 : 1);
  }

  private static void check(Object got, Object want, String what) {
    if (!String.valueOf(got).equals(String.valueOf(want))) {
      throw new AssertionError(what + ": got " + got + ", want " + want);
    }
  }

  private static String name(String what) {
    return "java." + what + "." + UUID.randomUUID().toString().substring(0, 12);
  }

  private static byte[] bytes(String s) {
    return s.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(byte[] body) {
    return new String(body, StandardCharsets.UTF_8);
  }

  private String queue(Object... args) throws IOException {
    String q = name("q");
    ch.queueDeclare(q, false, true, false, table(args));
    return q;
  }

  private static Map<String, Object> table(Object... pairs) {
    Map<String, Object> t = new LinkedHashMap<>();
    for (int i = 0; i < pairs.length; i += 2) {
      t.put((String) pairs[i], pairs[i + 1]);
    }
    return t;
  }

  private void send(String exchange, String key, AMQP.BasicProperties p, String... bodies) throws Exception {
    try (Channel c = connection.createChannel()) {
      c.confirmSelect();
      for (String body : bodies) {
        c.basicPublish(exchange, key, p, bytes(body));
      }
      c.waitForConfirmsOrDie(WAIT);
    }
  }

  private GetResponse get(String q, boolean autoAck) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(WAIT);
    while (System.nanoTime() < deadline) {
      GetResponse r = ch.basicGet(q, autoAck);
      if (r != null) {
        return r;
      }
    }
    throw new AssertionError("no message in " + q);
  }

  private String closed(Connection c, int code, Operation op) throws Exception {
    Channel victim = c.createChannel();
    CompletableFuture<ShutdownSignalException> end = new CompletableFuture<>();
    victim.addShutdownListener(end::complete);
    try {
      op.run(victim);
    } catch (IOException | ShutdownSignalException expected) {
      // the reply arrives at the listener
    }
    ShutdownSignalException reply = end.get(WAIT, TimeUnit.MILLISECONDS);
    if (reply.getReason() instanceof AMQP.Channel.Close close) {
      check(close.getReplyCode(), code, close.getReplyText());
      return close.getReplyText();
    }
    AMQP.Connection.Close close = (AMQP.Connection.Close) reply.getReason();
    check(close.getReplyCode(), code, close.getReplyText());
    return close.getReplyText();
  }

  private void declare() throws Exception {
    String q = queue();
    AMQP.Queue.DeclareOk ok = ch.queueDeclarePassive(q);
    check(ok.getMessageCount() + ok.getConsumerCount(), 0, "counts");
    check(ch.queueDeclare().getQueue().startsWith("amq.gen-"), true, "generated name");
    check(
        closed(connection, 404, c -> c.queueDeclarePassive("java.none")),
        "NOT_FOUND - no queue 'java.none' in vhost '/'",
        "reply text");
    check(
        closed(connection, 406, c -> c.queueDeclare(q, false, true, false, table("x-message-ttl", 5))),
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue '" + q
            + "' in vhost '/': received the value '5' of type 'signedint' but current is none",
        "reply text");
    closed(connection, 403, c -> c.exchangeDeclare("amq.mine", "direct"));
    try (Scenario other = new Scenario(factory)) {
      closed(other.connection, 405, c -> c.queueDeclarePassive(q));
    }
    ch.queueDelete("java.none");
    ch.exchangeDelete("java.none");
  }

  private void confirms() throws Exception {
    String q = queue();
    ch.confirmSelect();
    check(ch.getNextPublishSeqNo(), 1, "first sequence number");
    for (int i = 0; i < 500; i++) {
      ch.basicPublish("", q, com.rabbitmq.client.MessageProperties.PERSISTENT_BASIC, bytes("m" + i));
    }
    check(ch.waitForConfirms(WAIT), true, "confirms");
    check(ch.messageCount(q), 500, "messages");
    String limited = queue("x-max-length", 1, "x-overflow", "reject-publish");
    ch.basicPublish("", limited, null, bytes("fits"));
    check(ch.waitForConfirms(WAIT), true, "confirm");
    ch.basicPublish("", limited, null, bytes("too many"));
    check(ch.waitForConfirms(WAIT), false, "confirm over the limit");
  }

  private void returns() throws Exception {
    List<String> events = new ArrayList<>();
    ch.addReturnListener((code, reason, exchange, key, p, body) -> events.add(code + " " + reason + " " + text(body)));
    ch.confirmSelect();
    ch.basicPublish("amq.direct", name("nowhere"), true, null, bytes("lost?"));
    ch.waitForConfirmsOrDie(WAIT);
    check(events, List.of("312 NO_ROUTE lost?"), "returns before the confirm");
  }

  private record Delivery(long tag, boolean redelivered, String body) {}

  private BlockingQueue<Delivery> consumer(String q) throws IOException {
    BlockingQueue<Delivery> in = new LinkedBlockingQueue<>();
    ch.basicConsume(
        q, false,
        (tag, m) -> in.add(new Delivery(m.getEnvelope().getDeliveryTag(), m.getEnvelope().isRedeliver(), text(m.getBody()))),
        tag -> {});
    return in;
  }

  private static Delivery next(BlockingQueue<Delivery> in) throws InterruptedException {
    Delivery d = in.poll(WAIT, TimeUnit.MILLISECONDS);
    if (d == null) {
      throw new AssertionError("no delivery in time");
    }
    return d;
  }

  private void consume() throws Exception {
    String q = queue();
    send("", q, null, "1", "2", "3", "4");
    BlockingQueue<Delivery> in = consumer(q);
    Delivery[] d = {next(in), next(in), next(in), next(in)};
    check(d[0].body() + d[1].body() + d[2].body() + d[3].body(), "1234", "order");
    ch.basicNack(d[0].tag(), false, true);
    Delivery again = next(in);
    check(again.body() + again.redelivered(), "1true", "requeued");
    ch.basicReject(d[1].tag(), false);
    ch.basicAck(again.tag(), true);
    check(ch.messageCount(q), 0, "messages left");
    check(
        closed(connection, 406, c -> c.basicAck(99, false)),
        "PRECONDITION_FAILED - unknown delivery tag 99",
        "reply text");
  }

  private void deadLetters() throws Exception {
    String dead = queue();
    String q = queue("x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead);
    send("", q, null, "poison");
    ch.basicReject(get(q, false).getEnvelope().getDeliveryTag(), false);
    Map<?, ?> death = death(get(dead, true));
    check(List.of(death.get("queue").toString(), death.get("reason").toString(), death.get("count").toString()),
        List.of(q, "rejected", "1"), "x-death");
  }

  private static Map<?, ?> death(GetResponse r) {
    return (Map<?, ?>) ((List<?>) r.getProps().getHeaders().get("x-death")).get(0);
  }

  private void ttl() throws Exception {
    String dead = queue();
    send("", queue("x-message-ttl", 50, "x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead), null, "queue ttl");
    check(text(get(dead, true).getBody()), "queue ttl", "dead letter");
    send("", queue("x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead),
        new AMQP.BasicProperties.Builder().expiration("50").build(), "message ttl");
    GetResponse r = get(dead, true);
    check(text(r.getBody()) + " " + death(r).get("reason"), "message ttl expired", "dead letter");
    closed(connection, 406, c -> c.queueDeclare(name("q"), false, true, false, table("x-expires", 0)));
  }

  private void priority() throws Exception {
    String q = queue("x-max-priority", 9);
    for (int p : new int[] {1, 5, 9, 5}) {
      send("", q, new AMQP.BasicProperties.Builder().priority(p).build(), String.valueOf(p));
    }
    StringBuilder order = new StringBuilder();
    for (int i = 0; i < 4; i++) {
      order.append(text(get(q, true).getBody()));
    }
    check(order, "9551", "order");
  }

  private String routed(BuiltinExchangeType type, Object[][] bindings, String key, Map<String, Object> headers) throws Exception {
    String x = name("x");
    ch.exchangeDeclare(x, type, false, true, null);
    List<String> queues = new ArrayList<>();
    for (Object[] b : bindings) {
      String q = queue();
      queues.add(q);
      ch.queueBind(q, x, (String) b[0], b.length > 1 ? table(Arrays.copyOfRange(b, 1, b.length)) : null);
    }
    send(x, key, new AMQP.BasicProperties.Builder().headers(headers).build(), "m");
    StringBuilder reached = new StringBuilder();
    for (String q : queues) {
      reached.append(ch.messageCount(q));
    }
    return reached.toString();
  }

  private void exchanges() throws Exception {
    check(routed(BuiltinExchangeType.DIRECT, new Object[][] {{"k"}, {"other"}}, "k", null), "10", "direct");
    check(routed(BuiltinExchangeType.FANOUT, new Object[][] {{"k"}, {"other"}}, "k", null), "11", "fanout");
    check(routed(BuiltinExchangeType.TOPIC, new Object[][] {{"x.*.z"}, {"x.#"}, {"*.z"}, {"#"}}, "x.y.z", null), "1101", "topic");
    Object[][] headers = {
      {"", "x-match", "all", "n", 1, "s", "t"}, {"", "x-match", "any", "n", 1, "s", "?"}, {"", "x-match", "all", "n", 2}
    };
    check(routed(BuiltinExchangeType.HEADERS, headers, "", table("n", 1, "s", "t")), "110", "headers");
  }

  private void exchangeBindings() throws Exception {
    String alternate = name("x");
    ch.exchangeDeclare(alternate, "fanout", false, true, null);
    String from = name("x");
    ch.exchangeDeclare(from, "direct", false, true, table("alternate-exchange", alternate));
    String to = name("x");
    ch.exchangeDeclare(to, "fanout", false, true, null);
    ch.exchangeBind(to, from, "k");
    String hit = queue();
    ch.queueBind(hit, to, "");
    String missed = queue();
    ch.queueBind(missed, alternate, "");
    send(from, "k", null, "bound");
    send(from, "other", null, "alternate");
    check(text(get(hit, true).getBody()) + " " + text(get(missed, true).getBody()), "bound alternate", "routes");
    ch.exchangeUnbind(to, from, "k");
  }

  private void transactions() throws Exception {
    String q = queue();
    ch.txSelect();
    ch.basicPublish("", q, null, bytes("kept"));
    check(ch.messageCount(q), 0, "messages before the commit");
    ch.txCommit();
    ch.basicPublish("", q, null, bytes("rolled back"));
    ch.txRollback();
    check(text(get(q, false).getBody()), "kept", "committed");
    ch.txCommit();
    check(ch.messageCount(q), 0, "messages after the rollback");
    closed(connection, 406, Channel::txCommit);
  }

  private void prefetch() throws Exception {
    String q = queue();
    send("", q, null, "1", "2", "3");
    ch.basicQos(2);
    BlockingQueue<Delivery> in = consumer(q);
    Delivery first = next(in);
    next(in);
    check(in.poll(100, TimeUnit.MILLISECONDS), null, "third delivery");
    ch.basicAck(first.tag(), false);
    check(next(in).body(), "3", "delivery after the ack");
  }

  private void cancelNotification() throws Exception {
    String q = name("q");
    ch.queueDeclare(q, false, false, false, null);
    CompletableFuture<String> cancelled = new CompletableFuture<>();
    String tag = ch.basicConsume(q, true, (t, m) -> {}, cancelled::complete);
    try (Scenario other = new Scenario(factory)) {
      other.ch.queueDelete(q);
    }
    check(cancelled.get(WAIT, TimeUnit.MILLISECONDS), tag, "cancelled consumer");
  }

  private void directReplyTo() throws Exception {
    String q = queue();
    Channel server = connection.createChannel();
    server.basicConsume(q, true, (tag, m) -> server.basicPublish("", m.getProperties().getReplyTo(),
        new AMQP.BasicProperties.Builder().correlationId(m.getProperties().getCorrelationId()).build(),
        bytes("re: " + text(m.getBody()))), tag -> {});
    RpcClient client = new RpcClient(new RpcClientParams().channel(ch).exchange("").routingKey(q)
        .replyTo("amq.rabbitmq.reply-to").timeout(WAIT));
    for (int i = 0; i < 20; i++) {
      check(client.stringCall("ask " + i), "re: ask " + i, "reply");
    }
    client.close();
    closed(connection, 406, c -> c.basicConsume("amq.rabbitmq.reply-to", false, (t, m) -> {}, t -> {}));
  }

  private void properties() throws Exception {
    String q = queue();
    Map<String, Object> headers = table("int", -1, "long", 1L << 40, "short", (short) 7, "byte", (byte) 1, "double", 1.5,
        "float", 2.5f, "bool", true, "decimal", new java.math.BigDecimal("12.34"), "date", new java.util.Date(1700000000000L),
        "table", table("k", 1), "list", List.of(1, 2), "void", null);
    AMQP.BasicProperties sent = new AMQP.BasicProperties("application/json", "gzip", headers, 2, 3, "c", "r", "600000", "m",
        new java.util.Date(1700000000000L), "t", factory.getUsername(), "a", "cluster");
    byte[] body = new byte[1 << 20];
    Arrays.fill(body, (byte) 0xCE);
    try (Channel c = connection.createChannel()) {
      c.confirmSelect();
      c.basicPublish("", q, sent, body);
      c.waitForConfirmsOrDie(WAIT);
    }
    GetResponse got = get(q, true);
    check(Arrays.equals(got.getBody(), body), true, "body");
    check(new java.util.TreeMap<>(got.getProps().getHeaders()), new java.util.TreeMap<>(headers), "headers");
    check(got.getProps().builder().headers(null).build().equals(sent.builder().headers(null).build()), true, "properties");
  }

  private void recover() throws Exception {
    String q = queue();
    send("", q, null, "m");
    BlockingQueue<Delivery> in = consumer(q);
    check(next(in).redelivered(), false, "redelivered");
    ch.basicRecover(true);
    check(next(in).redelivered(), true, "redelivered");
  }

  private void hardErrors() throws Exception {
    try (Scenario s = new Scenario(factory)) {
      closed(s.connection, 540, c -> c.basicPublish("", "q", false, true, null, bytes("immediate")));
    }
    try (Scenario s = new Scenario(factory)) {
      String q = s.queue();
      closed(s.connection, 530, c -> {
        c.basicConsume(q, true, "tag", (t, m) -> {}, t -> {});
        c.basicConsume(q, true, "tag", (t, m) -> {}, t -> {});
      });
    }
  }
}
