package conformance;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Address;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.impl.recovery.AutorecoveringConnection;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;

/**
 * A publisher and a consumer that know several hosts and leave recovery to the client: everything
 * is declared once, at the beginning, and nothing here connects or declares again.
 *
 * <p>Arguments: HOST:PORT,HOST:PORT,... and what names begin with. Standard output tells what happens and standard input takes
 * commands, one a line, as conformance/cluster/hosts.go says.
 */
public final class HostList {
  private static final int WINDOW = 20; // unconfirmed publishes at most
  private static final long PACE = 1_000_000; // ns between publishes

  private final Channel ch;
  private final String exchange;
  private final ConcurrentNavigableMap<Long, Integer> unconfirmed = new ConcurrentSkipListMap<>();
  private final Deque<Integer> repeat = new ArrayDeque<>(); // not confirmed, to be published again
  private int next = 1;
  private boolean up = true;
  private boolean stopped;

  public static void main(String[] args) throws Exception {
    ConnectionFactory factory = new ConnectionFactory(); // its defaults: connections and topology recover
    factory.setNetworkRecoveryInterval(500);
    factory.setRequestedHeartbeat(10);
    List<Address> hosts = List.of(Address.parseAddresses(args[0]));

    AutorecoveringConnection consuming = connect(factory, hosts, "consumer");
    consuming.addQueueRecoveryListener((before, now) -> event("queue", before, now));
    consuming.addConsumerRecoveryListener((before, now) -> event("consumer", before, now));
    Channel taking = take(consuming, args[1] + ".numbers");
    listen(consuming, args[1] + ".news");
    tell(consuming, "consumer", () -> {});

    AutorecoveringConnection publishing = connect(factory, hosts, "publisher");
    Channel news = publishing.createChannel();
    HostList publisher = new HostList(publishing, args[1] + ".numbers");
    tell(publishing, "publisher", publisher::recovered);
    Thread thread = new Thread(publisher::publish);
    thread.setDaemon(true);
    thread.start();

    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] command = line.split(" ");
      try {
        switch (command[0]) {
          case "news" -> news.basicPublish(args[1] + ".news", "", null, command[1].getBytes(StandardCharsets.UTF_8));
          case "stop" -> publisher.stop();
          case "quit" -> {
            taking.basicAck(0, true); // 0: all
            publishing.abort(10_000);
            consuming.close(10_000);
            System.exit(0);
          }
          default -> throw new IllegalArgumentException(line);
        }
      } catch (AlreadyClosedException | IOException recovering) {
        // the command will be given again
      }
    }
    System.exit(1); // who started this program is gone
  }

  static synchronized void event(String... words) {
    System.out.println(String.join(" ", words));
  }

  private static AutorecoveringConnection connect(ConnectionFactory factory, List<Address> hosts, String name) throws Exception {
    AutorecoveringConnection c = (AutorecoveringConnection) factory.newConnection(hosts, name);
    event("connected", name, c.getAddress().getHostAddress());
    return c;
  }

  /** Tells of every recovery, when all that was declared is there again. */
  private static void tell(AutorecoveringConnection c, String name, Runnable also) {
    c.addRecoveryListener(new RecoveryListener() {
      @Override
      public void handleRecovery(Recoverable recovered) {
        event("connected", name, c.getAddress().getHostAddress());
        also.run();
      }

      @Override
      public void handleRecoveryStarted(Recoverable recovering) {}
    });
  }

  /** Takes numbers and acknowledges all but the newest, so that one is always in flight. */
  private static Channel take(AutorecoveringConnection c, String name) throws IOException {
    Channel ch = c.createChannel();
    ch.exchangeDeclare(name, BuiltinExchangeType.DIRECT, true);
    ch.queueDeclare(name, true, false, false, null);
    ch.queueBind(name, name, "number");
    ch.basicQos(50);
    ch.basicConsume(name, false, new DefaultConsumer(ch) {
      private long newest;

      @Override
      public void handleDelivery(String tag, Envelope e, BasicProperties p, byte[] body) throws IOException {
        event(e.isRedeliver() ? "again" : "got", new String(body, StandardCharsets.UTF_8));
        try {
          if (newest != 0) {
            ch.basicAck(newest, true);
          }
        } catch (AlreadyClosedException gone) {
          // what was not acknowledged comes again
        }
        newest = e.getDeliveryTag();
      }

      @Override
      public void handleCancel(String tag) {
        event("cancelled", tag);
      }
    });
    return ch;
  }

  /** Hears the news through what ends with a node: an exchange that is not durable and a queue that the broker names. */
  private static void listen(AutorecoveringConnection c, String name) throws IOException {
    Channel ch = c.createChannel();
    ch.exchangeDeclare(name, BuiltinExchangeType.FANOUT, false);
    String queue = ch.queueDeclare().getQueue();
    ch.queueBind(queue, name, "");
    ch.basicConsume(queue, true, (tag, m) -> event("news", new String(m.getBody(), StandardCharsets.UTF_8)), tag -> event("cancelled", tag));
  }

  private HostList(AutorecoveringConnection c, String exchange) throws IOException {
    this.exchange = exchange;
    ch = c.createChannel();
    ch.confirmSelect();
    ch.addConfirmListener(
        (seq, multiple) -> settle(seq, multiple, number -> event("confirmed", number.toString())),
        (seq, multiple) -> settle(seq, multiple, this::refused));
    ch.addReturnListener((code, why, from, key, p, body) -> event("returned", new String(body, StandardCharsets.UTF_8)));
    c.addShutdownListener(cause -> down());
  }

  private void settle(long seq, boolean multiple, Consumer<Integer> as) {
    var settled = unconfirmed.subMap(multiple ? 0L : seq, true, seq, true);
    settled.values().forEach(as);
    settled.clear();
    wake();
  }

  private synchronized void refused(Integer number) {
    repeat.add(number);
  }

  private synchronized void wake() {
    notifyAll();
  }

  private synchronized void down() {
    up = false;
  }

  /** Nobody will say what became of the unconfirmed ones: they are published again. */
  private synchronized void recovered() {
    repeat.addAll(unconfirmed.values());
    unconfirmed.clear();
    up = true;
    notifyAll();
  }

  private synchronized void stop() {
    stopped = true;
    notifyAll();
  }

  private void publish() {
    try {
      while (publishOne()) {
        LockSupport.parkNanos(PACE);
      }
      event("stopped");
    } catch (Exception e) { // the test must hear of it
      e.printStackTrace();
      System.exit(1);
    }
  }

  /** Publishes a number, one from before first; false when all are confirmed and no more shall be. */
  private synchronized boolean publishOne() throws Exception {
    while (!up || unconfirmed.size() >= WINDOW || stopped && repeat.isEmpty() && !unconfirmed.isEmpty()) {
      wait();
    }
    if (stopped && repeat.isEmpty()) {
      return false;
    }
    int number = repeat.isEmpty() ? next++ : repeat.remove();
    unconfirmed.put(ch.getNextPublishSeqNo(), number);
    event("sent", String.valueOf(number));
    try {
      ch.basicPublish(exchange, "number", true, MessageProperties.PERSISTENT_BASIC, String.valueOf(number).getBytes(StandardCharsets.UTF_8));
    } catch (AlreadyClosedException | IOException unknown) {
      up = false; // until recovered
    }
    return true;
  }
}
