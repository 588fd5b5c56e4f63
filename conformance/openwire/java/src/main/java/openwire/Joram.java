package openwire;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;

import junit.framework.TestCase;
import junit.framework.TestFailure;
import junit.framework.TestResult;
import junit.framework.TestSuite;

import org.objectweb.jtests.jms.conform.connection.ConnectionTest;
import org.objectweb.jtests.jms.conform.connection.TopicConnectionTest;
import org.objectweb.jtests.jms.conform.message.MessageBodyTest;
import org.objectweb.jtests.jms.conform.message.MessageDefaultTest;
import org.objectweb.jtests.jms.conform.message.MessageTypeTest;
import org.objectweb.jtests.jms.conform.message.headers.MessageHeaderTest;
import org.objectweb.jtests.jms.conform.message.properties.JMSXPropertyTest;
import org.objectweb.jtests.jms.conform.message.properties.MessagePropertyConversionTest;
import org.objectweb.jtests.jms.conform.message.properties.MessagePropertyTest;
import org.objectweb.jtests.jms.conform.queue.QueueBrowserTest;
import org.objectweb.jtests.jms.conform.queue.TemporaryQueueTest;
import org.objectweb.jtests.jms.conform.selector.SelectorSyntaxTest;
import org.objectweb.jtests.jms.conform.selector.SelectorTest;
import org.objectweb.jtests.jms.conform.session.QueueSessionTest;
import org.objectweb.jtests.jms.conform.session.SessionTest;
import org.objectweb.jtests.jms.conform.session.TopicSessionTest;
import org.objectweb.jtests.jms.conform.session.UnifiedSessionTest;
import org.objectweb.jtests.jms.conform.topic.TemporaryTopicTest;

/**
 * Runs the JORAM suite, JMS 1.1, one test after another, and prints what {@link Runner} prints: PASS or FAIL, "JORAM Class.method", seconds.
 * Environment: RUN, a regular expression over "JORAM Class.method", and what {@link Broker} reads.
 */
public final class Joram {
    private static final List<Class<? extends TestCase>> CLASSES = List.of(
            ConnectionTest.class, TopicConnectionTest.class, MessageBodyTest.class, MessageDefaultTest.class, MessageTypeTest.class, MessageHeaderTest.class,
            JMSXPropertyTest.class, MessagePropertyConversionTest.class, MessagePropertyTest.class, QueueBrowserTest.class, TemporaryQueueTest.class,
            SelectorSyntaxTest.class, SelectorTest.class, QueueSessionTest.class, SessionTest.class, TopicSessionTest.class, UnifiedSessionTest.class,
            TemporaryTopicTest.class);

    /** Seconds after which a test has failed: more than the longest wait for one message, see test.properties. */
    private static final long LIMIT = 150;

    private Joram() {
    }

    public static void main(String[] args) throws InterruptedException {
        System.setProperty("joram.jms.test.file", "test.properties");
        Pattern wanted = Pattern.compile(System.getenv().getOrDefault("RUN", ""));
        int passed = 0;
        int failed = 0;
        for (Class<? extends TestCase> type : CLASSES) {
            for (Object test : Collections.list(new TestSuite(type).tests())) {
                TestCase c = (TestCase) test;
                String title = "JORAM " + type.getSimpleName() + "." + c.getName();
                if (!wanted.matcher(title).find()) {
                    continue;
                }
                long began = System.nanoTime();
                String trouble = attempt(c);
                if (trouble.isEmpty()) {
                    passed++;
                } else {
                    failed++;
                }
                System.out.printf("%s %s %.2f%n", trouble.isEmpty() ? "PASS" : "FAIL", title, (System.nanoTime() - began) / 1e9);
                trouble.lines().limit(40).forEach(l -> System.out.println("    " + l));
                System.out.flush();
            }
        }
        System.out.printf("%d passed, %d failed%n", passed, failed);
        System.exit(failed == 0 ? 0 : 1); // a connection that a test forgot does not hold us up
    }

    /** Runs a test; answers what went wrong. */
    private static String attempt(TestCase test) throws InterruptedException {
        CompletableFuture<String> outcome = new CompletableFuture<>();
        Thread thread = new Thread(() -> {
            TestResult result = new TestResult();
            test.run(result);
            StringBuilder trouble = new StringBuilder();
            Collections.list(result.errors()).forEach(f -> trouble.append(trace(f)));
            Collections.list(result.failures()).forEach(f -> trouble.append(trace(f)));
            outcome.complete(trouble.toString());
        }, test.getName());
        thread.setDaemon(true);
        thread.start();
        try {
            return outcome.get(LIMIT, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            Throwable stuck = new Throwable("not done after " + LIMIT + " s");
            stuck.setStackTrace(thread.getStackTrace());
            thread.interrupt();
            return trace(new TestFailure(test, stuck));
        } catch (ExecutionException e) {
            throw new AssertionError(e);
        }
    }

    private static String trace(TestFailure failure) {
        StringWriter text = new StringWriter();
        failure.thrownException().printStackTrace(new PrintWriter(text));
        return text.toString();
    }
}
