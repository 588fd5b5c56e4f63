package openwire;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;

import javax.jms.Message;
import javax.jms.MessageListener;
import javax.jms.Session;
import javax.jms.TextMessage;

import org.apache.activemq.ActiveMQConnectionFactory;
import org.messaginghub.pooled.jms.JmsPoolConnectionFactory;
import org.springframework.jms.InvalidDestinationException;
import org.springframework.jms.core.JmsTemplate;
import org.springframework.jms.connection.CachingConnectionFactory;
import org.springframework.jms.listener.DefaultMessageListenerContainer;
import org.springframework.jms.listener.SessionAwareMessageListener;

/** An application as it is commonly built: a pool of connections, Spring's template and listener containers. */
final class PooledApplication extends Scenario {
    private JmsPoolConnectionFactory pool() {
        JmsPoolConnectionFactory pool = new JmsPoolConnectionFactory();
        ActiveMQConnectionFactory f = factory(failover("jms.redeliveryPolicy.initialRedeliveryDelay=10"));
        pool.setConnectionFactory(f);
        pool.setMaxConnections(3);
        later(pool::stop);
        return pool;
    }

    private DefaultMessageListenerContainer listen(String destination, Object listener, java.util.function.Consumer<DefaultMessageListenerContainer> options) {
        DefaultMessageListenerContainer c = new DefaultMessageListenerContainer();
        c.setConnectionFactory(factory(failover("jms.redeliveryPolicy.initialRedeliveryDelay=10")));
        c.setDestinationName(destination);
        c.setMessageListener(listener);
        c.setReceiveTimeout(200);
        options.accept(c);
        c.afterPropertiesSet();
        c.start();
        later(c::shutdown);
        return c;
    }

    @Line("OW-49")
    void requestAndReplyWithTemplates() throws Exception {
        String requests = unique();
        JmsPoolConnectionFactory pool = pool();
        JmsTemplate replies = new JmsTemplate(pool);
        // The template's connection may hear of the temporary queue later than the listener's hears of the request.
        listen(requests, (MessageListener) m -> quietly(() -> eventually("the reply leaves", () -> {
            try {
                replies.send(m.getJMSReplyTo(), s -> {
                    TextMessage reply = s.createTextMessage("re: " + ((TextMessage) m).getText());
                    reply.setJMSCorrelationID(m.getJMSMessageID());
                    return reply;
                });
                return true;
            } catch (InvalidDestinationException e) {
                return false;
            }
        })), c -> c.setConcurrentConsumers(2));
        JmsTemplate requester = new JmsTemplate(pool);
        requester.setReceiveTimeout(PATIENCE);
        for (int i = 0; i < 20; i++) {
            String text = "question " + i;
            Message reply = requester.sendAndReceive(requests, s -> s.createTextMessage(text));
            check(reply != null, "no reply to " + text);
            equal("re: " + text, text(reply), "reply");
        }
    }

    @Line("OW-37")
    void transactedListenerRollsBackAndForwards() throws Exception {
        String in = unique();
        String out = unique();
        AtomicInteger failures = new AtomicInteger();
        SessionAwareMessageListener<Message> listener = (Message m, Session s) -> {
            s.createProducer(s.createQueue(out)).send(s.createTextMessage("done " + text(m)));
            if (m.getIntProperty("JMSXDeliveryCount") == 1 && text(m).endsWith("3")) {
                failures.incrementAndGet();
                throw new IllegalStateException("fails at first");
            }
        };
        listen(in, listener, c -> {
            c.setSessionTransacted(true);
            c.setConcurrentConsumers(3);
            c.setErrorHandler(t -> { });
        });
        JmsTemplate template = new JmsTemplate(pool());
        for (int i = 0; i < 20; i++) {
            template.convertAndSend(in, "" + i);
        }
        template.setReceiveTimeout(PATIENCE);
        List<String> got = new CopyOnWriteArrayList<>();
        for (int i = 0; i < 20; i++) {
            got.add((String) template.receiveAndConvert(out));
        }
        for (int i = 0; i < 20; i++) {
            equal(1, java.util.Collections.frequency(got, "done " + i), "results of " + i + " in " + got);
        }
        equal(2, failures.get(), "failures");
        template.setReceiveTimeout(SILENCE);
        equal(null, template.receive(out), "what the failed attempts sent");
    }

    @Line("OW-46")
    void durableListenerComesBack() throws Exception {
        String topic = unique();
        String clientId = unique();
        List<String> got = new CopyOnWriteArrayList<>();
        java.util.function.Consumer<DefaultMessageListenerContainer> durable = c -> {
            c.setPubSubDomain(true);
            c.setSubscriptionDurable(true);
            c.setDurableSubscriptionName("audit");
            c.setClientId(clientId);
        };
        MessageListener listener = m -> quietly(() -> got.add(text(m)));
        JmsTemplate template = new JmsTemplate(pool());
        template.setPubSubDomain(true);
        DefaultMessageListenerContainer first = listen(topic, listener, durable);
        eventually("it subscribes", () -> {
            template.convertAndSend(topic, "probe");
            return !got.isEmpty();
        });
        first.shutdown();
        got.clear();
        for (int i = 0; i < 10; i++) {
            template.convertAndSend(topic, "" + i);
        }
        listen(topic, listener, durable);
        eventually("it gets what it missed", () -> got.stream().filter(t -> !t.equals("probe")).count() == 10, () -> got.toString());
        equal(List.of("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"), got.stream().filter(t -> !t.equals("probe")).toList(), "order");
    }

    @Line("OW-34")
    void cachedConnectionServesManyThreads() throws Exception {
        String queue = unique();
        CachingConnectionFactory cached = new CachingConnectionFactory(factory(url()));
        cached.setSessionCacheSize(8);
        cached.setCacheConsumers(false); // a cached consumer keeps what it prefetched
        later(cached::destroy);
        JmsTemplate template = new JmsTemplate(cached);
        template.setReceiveTimeout(PATIENCE);
        Thread[] threads = new Thread[8];
        for (int k = 0; k < threads.length; k++) {
            threads[k] = new Thread(() -> {
                for (int i = 0; i < 25; i++) {
                    template.convertAndSend(queue, "x");
                }
            });
            threads[k].start();
        }
        for (Thread t : threads) {
            t.join();
        }
        for (int i = 0; i < 200; i++) {
            equal("x", template.receiveAndConvert(queue), "message " + i);
        }
    }
}
