package openwire;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Enumeration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;

import javax.jms.DeliveryMode;
import javax.jms.Destination;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import javax.jms.TextMessage;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;

/** What scenarios share. An instance serves one scenario; what it opened is closed at its end, newest first. */
abstract class Scenario {
    /** Bounds every wait for something that must come, ms. */
    static final long PATIENCE = 20_000;
    /** How long something is waited for that must not come, ms. */
    static final long SILENCE = 300;

    private static final String RUN_ID = Long.toString(System.currentTimeMillis() % 1_000_000_000, 36);
    private static final AtomicInteger SERIAL = new AtomicInteger();

    private final Deque<AutoCloseable> opened = new ArrayDeque<>();
    private String title = "";

    final void begin(String name) {
        title = name;
    }

    final void end() {
        while (true) {
            AutoCloseable next;
            synchronized (opened) {
                next = opened.poll();
            }
            if (next == null) {
                return;
            }
            try {
                next.close();
            } catch (Exception ignored) {
                // it may be closed or broken already
            }
        }
    }

    final <T extends AutoCloseable> T later(T closeable) {
        synchronized (opened) {
            opened.push(closeable);
        }
        return closeable;
    }

    /** A name that nobody else uses. */
    final String unique(String prefix) {
        return prefix + title + "." + RUN_ID + "." + SERIAL.incrementAndGet();
    }

    final String unique() {
        return unique("OW.");
    }

    static ActiveMQConnectionFactory factory(String url) {
        return new ActiveMQConnectionFactory(Broker.USER, Broker.PASSWORD, url);
    }

    /** The broker's URL with options of the client. */
    static String url(String... options) {
        return options.length == 0 ? Broker.URL : Broker.URL + "?" + String.join("&", options);
    }

    static String failover(String... options) {
        return "failover:(" + Broker.URLS + ")?initialReconnectDelay=50&maxReconnectDelay=500"
                + (options.length == 0 ? "" : "&" + String.join("&", options));
    }

    /** A started connection. */
    final ActiveMQConnection connect(String... options) throws JMSException {
        return connectTo(url(options));
    }

    final ActiveMQConnection connectTo(String url) throws JMSException {
        ActiveMQConnection c = (ActiveMQConnection) factory(url).createConnection();
        // A broken connection would wait for an answer of its own accord.
        c.setCloseTimeout(3000);
        later(c::close);
        c.start();
        return c;
    }

    static Session auto(ActiveMQConnection c) throws JMSException {
        return c.createSession(false, Session.AUTO_ACKNOWLEDGE);
    }

    static Session client(ActiveMQConnection c) throws JMSException {
        return c.createSession(false, Session.CLIENT_ACKNOWLEDGE);
    }

    static Session transacted(ActiveMQConnection c) throws JMSException {
        return c.createSession(true, Session.SESSION_TRANSACTED);
    }

    /** Sends texts with the session's own producer, persistent. */
    static void send(Session s, Destination d, String... texts) throws JMSException {
        MessageProducer p = s.createProducer(d);
        for (String text : texts) {
            p.send(s.createTextMessage(text));
        }
        p.close();
    }

    /** Sends prefix+0 to prefix+(n-1) without waiting for each. */
    static void sendMany(Session s, Destination d, String prefix, int n) throws JMSException {
        MessageProducer p = s.createProducer(d);
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        for (int i = 0; i < n; i++) {
            p.send(s.createTextMessage(prefix + i));
        }
        p.close();
    }

    static Message next(MessageConsumer c) throws JMSException {
        Message m = c.receive(PATIENCE);
        check(m != null, "no message");
        return m;
    }

    static String nextText(MessageConsumer c) throws JMSException {
        return text(next(c));
    }

    static String text(Message m) throws JMSException {
        check(m instanceof TextMessage, "not a text message: " + m);
        return ((TextMessage) m).getText();
    }

    static void expectTexts(MessageConsumer c, String... texts) throws JMSException {
        for (String text : texts) {
            equal(text, nextText(c), "text of the next message");
        }
    }

    static void expectNone(MessageConsumer c) throws JMSException {
        Message m = c.receive(SILENCE);
        check(m == null, "unexpected message: " + m);
    }

    /** What a queue holds, seen by a browser. */
    final List<Message> browse(Queue q) throws JMSException {
        ActiveMQConnection c = connect();
        QueueBrowser b = auto(c).createBrowser(q);
        List<Message> all = new ArrayList<>();
        for (Enumeration<?> e = b.getEnumeration(); e.hasMoreElements(); ) {
            all.add((Message) e.nextElement());
        }
        c.close();
        return all;
    }

    final void expectDepth(Queue q, int depth) throws Exception {
        int[] seen = new int[1];
        eventually("depth of " + q + " is " + depth, () -> (seen[0] = browse(q).size()) == depth, () -> "last seen: " + seen[0]);
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object want, Object got, String what) {
        if (!Objects.equals(want, got)) {
            throw new AssertionError(what + ": " + got + ", want " + want);
        }
    }

    static void eventually(String what, Callable<Boolean> holds) throws Exception {
        eventually(what, holds, () -> "");
    }

    static void eventually(String what, Callable<Boolean> holds, Callable<String> state) throws Exception {
        long end = System.nanoTime() + PATIENCE * 1_000_000;
        while (!holds.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("not within " + PATIENCE + " ms: " + what + " " + state.call());
            }
            pause(10);
        }
    }

    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted", e);
        }
    }

    interface Action {
        void run() throws Exception;
    }

    /** Runs what must throw, and returns the exception. */
    static <T extends Throwable> T refused(Class<T> type, Action action) throws Exception {
        try {
            action.run();
        } catch (Throwable e) {
            if (type.isInstance(e)) {
                return type.cast(e);
            }
            throw new AssertionError("want " + type.getSimpleName() + ", got " + e, e);
        }
        throw new AssertionError("want " + type.getSimpleName() + ", got no exception");
    }

    /** Closes without a word to the broker's applications. */
    static void quietly(Action action) {
        try {
            action.run();
        } catch (Exception ignored) {
            // expected of what is broken
        }
    }
}
