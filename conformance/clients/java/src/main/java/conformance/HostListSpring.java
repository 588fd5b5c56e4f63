package conformance;

import com.rabbitmq.client.Channel;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.core.AcknowledgeMode;
import org.springframework.amqp.core.AnonymousQueue;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Declarables;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.FanoutExchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.Connection;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.api.ChannelAwareMessageListener;
import org.springframework.context.support.GenericApplicationContext;

/**
 * {@link HostList} as Spring AMQP's users run it: CachingConnectionFactory with addresses, a
 * template with correlated confirms, listener containers, and beans that say what is declared.
 */
public final class HostListSpring {
  private static final int WINDOW = 20; // unconfirmed publishes at most
  private static final long PACE = 1_000_000; // ns between publishes
  private static final long PAUSE = 200_000_000; // ns between attempts to reach a host

  private final RabbitTemplate template;
  private final String exchange;
  private final Map<String, Integer> unconfirmed = new ConcurrentHashMap<>(); // by attempt
  private final Queue<Integer> repeat = new ConcurrentLinkedQueue<>(); // not confirmed, to be published again
  private volatile boolean stopped;

  public static void main(String[] args) throws Exception {
    CachingConnectionFactory hosts = new CachingConnectionFactory();
    hosts.setAddresses(args[0]);
    hosts.setPublisherConfirmType(ConfirmType.CORRELATED);
    hosts.setPublisherReturns(true);
    hosts.setConnectionNameStrategy(f -> "spring"); // that of publishers gets an ending

    DirectExchange numbersFrom = new DirectExchange(args[1] + ".numbers");
    FanoutExchange newsFrom = new FanoutExchange(args[1] + ".news", false, false);
    var numbers = new org.springframework.amqp.core.Queue(args[1] + ".numbers");
    var news = new AnonymousQueue();
    Taking taking = new Taking();
    GenericApplicationContext beans = new GenericApplicationContext();
    beans.registerBean("admin", RabbitAdmin.class, () -> new RabbitAdmin(hosts));
    beans.registerBean("declared", Declarables.class, () -> new Declarables(numbersFrom, newsFrom, numbers, news,
        BindingBuilder.bind(numbers).to(numbersFrom).with("number"), BindingBuilder.bind(news).to(newsFrom)));
    beans.registerBean("numbers", SimpleMessageListenerContainer.class, () -> container(hosts, numbers.getName(), AcknowledgeMode.MANUAL, taking));
    beans.registerBean("news", SimpleMessageListenerContainer.class, () -> container(hosts, news.getName(), AcknowledgeMode.NONE,
        (MessageListener) m -> HostList.event("news", text(m))));
    hosts.addConnectionListener(HostListSpring::connected);
    beans.refresh();

    HostListSpring publisher = new HostListSpring(hosts, args[1] + ".numbers");
    Thread thread = new Thread(publisher::publish);
    thread.setDaemon(true);
    thread.start();

    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] command = line.split(" ");
      try {
        switch (command[0]) {
          case "news" -> publisher.template.convertAndSend(args[1] + ".news", "", command[1]);
          case "stop" -> publisher.stopped = true;
          case "quit" -> {
            taking.finish();
            beans.close();
            hosts.destroy();
            System.exit(0);
          }
          default -> throw new IllegalArgumentException(line);
        }
      } catch (AmqpException | IOException recovering) {
        // the command will be given again
      }
    }
    System.exit(1); // who started this program is gone
  }

  private static String text(Message m) {
    return new String(m.getBody(), StandardCharsets.UTF_8);
  }

  private static void connected(Connection c) {
    var real = c.getDelegate();
    HostList.event("connected", real.getClientProvidedName().endsWith(".publisher") ? "publisher" : "consumer", real.getAddress().getHostAddress());
  }

  private static SimpleMessageListenerContainer container(CachingConnectionFactory hosts, String queue, AcknowledgeMode mode, MessageListener to) {
    SimpleMessageListenerContainer c = new SimpleMessageListenerContainer(hosts);
    c.setQueueNames(queue);
    c.setAcknowledgeMode(mode);
    c.setPrefetchCount(50);
    c.setRecoveryInterval(500);
    c.setMessageListener(to);
    return c;
  }

  /** Takes numbers and acknowledges all but the newest, so that one is always in flight. */
  private static final class Taking implements ChannelAwareMessageListener {
    private Channel from;
    private long newest;

    @Override
    public synchronized void onMessage(Message m, Channel ch) throws Exception {
      HostList.event(m.getMessageProperties().isRedelivered() ? "again" : "got", text(m));
      if (ch == from) {
        ch.basicAck(newest, true);
      }
      from = ch;
      newest = m.getMessageProperties().getDeliveryTag();
    }

    synchronized void finish() throws IOException {
      from.basicAck(newest, true);
    }
  }

  private HostListSpring(CachingConnectionFactory hosts, String exchange) {
    this.exchange = exchange;
    template = new RabbitTemplate(hosts);
    template.setUsePublisherConnection(true);
    template.setMandatory(true);
    template.setReturnsCallback(r -> HostList.event("returned", text(r.getMessage())));
    template.setConfirmCallback((attempt, confirmed, why) -> {
      if (attempt != null) {
        settle(attempt.getId(), confirmed);
      }
    });
  }

  private void settle(String attempt, boolean confirmed) {
    Integer number = unconfirmed.get(attempt);
    if (number == null) {
      return;
    }
    if (confirmed) {
      HostList.event("confirmed", number.toString());
    } else {
      repeat.add(number);
    }
    unconfirmed.remove(attempt);
  }

  private void publish() {
    try {
      int next = 1;
      for (long attempts = 0; ; ) {
        LockSupport.parkNanos(PACE);
        if (unconfirmed.size() >= WINDOW) {
          continue;
        }
        if (stopped && unconfirmed.isEmpty() && repeat.isEmpty()) {
          HostList.event("stopped");
          return;
        }
        Integer number = repeat.poll();
        if (number == null && stopped) {
          continue;
        }
        if (number == null) {
          number = next++;
        }
        reach();
        String attempt = String.valueOf(++attempts);
        unconfirmed.put(attempt, number);
        HostList.event("sent", number.toString());
        try {
          template.convertAndSend(exchange, "number", number.toString(), new CorrelationData(attempt));
        } catch (AmqpException unknown) {
          settle(attempt, false);
        }
      }
    } catch (Throwable e) { // the test must hear of it
      e.printStackTrace();
      System.exit(1);
    }
  }

  /** Waits until a host serves: nothing that could not leave shall count as sent. */
  private void reach() {
    while (true) {
      try {
        template.getConnectionFactory().getPublisherConnectionFactory().createConnection();
        return;
      } catch (AmqpException nobody) {
        LockSupport.parkNanos(PAUSE);
      }
    }
  }
}
