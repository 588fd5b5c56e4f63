package openwire;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/**
 * Runs the scenarios and prints one line for each: PASS, FAIL or SKIP, line of the checklist, class and method,
 * seconds. A failure is followed by indented lines. Ends with "N passed, N failed, N skipped".
 *
 * Environment: RUN, a regular expression over "OW-16 ProduceAndConsume.method"; THREADS, how many scenarios run side
 * by side; RAW=off leaves those out that do not depend on the client; CLUSTER=on runs those that need one; and what
 * {@link Broker} reads.
 */
public final class Runner {
    private static final List<Class<? extends Scenario>> CHAPTERS = List.of(
            WireAndConnection.class, HostileInput.class, ProduceAndConsume.class, Transactions.class,
            TopicsTempBrowse.class, Policies.class, Failover.class, Interop.class, StompAndJms.class, Secure.class, PooledApplication.class);

    private record Case(Class<? extends Scenario> chapter, Method method, Line line) {
        String title() {
            return line.value() + " " + chapter.getSimpleName() + "." + method.getName();
        }
    }

    private final Map<String, String> deviations = new HashMap<>();
    private int passed;
    private int failed;
    private int skipped;

    public static void main(String[] args) throws Exception {
        System.exit(new Runner().run() ? 0 : 1);
    }

    private boolean run() throws Exception {
        readDeviations();
        Pattern wanted = Pattern.compile(System.getenv().getOrDefault("RUN", ""));
        boolean raw = !"off".equals(System.getenv("RAW"));
        boolean cluster = "on".equals(System.getenv("CLUSTER"));
        List<Case> beside = new ArrayList<>();
        List<Case> alone = new ArrayList<>();
        for (Class<? extends Scenario> chapter : CHAPTERS) {
            Method[] methods = chapter.getDeclaredMethods();
            Arrays.sort(methods, Comparator.comparing(Method::getName));
            for (Method m : methods) {
                Line line = m.getAnnotation(Line.class);
                if (line == null || line.cluster() != cluster || (line.raw() && !raw)) {
                    continue;
                }
                Case c = new Case(chapter, m, line);
                if (wanted.matcher(c.title()).find()) {
                    (line.alone() ? alone : beside).add(c);
                }
            }
        }
        // Those that may take long go first, so that they end with the rest.
        beside.sort(Comparator.comparing((Case c) -> -c.line.limit()));
        int threads = Integer.parseInt(System.getenv().getOrDefault("THREADS", "6"));
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        beside.forEach(c -> pool.execute(() -> runOne(c)));
        pool.shutdown();
        pool.awaitTermination(1, TimeUnit.HOURS);
        alone.forEach(this::runOne);
        System.out.printf("%d passed, %d failed, %d skipped%n", passed, failed, skipped);
        return failed == 0;
    }

    /** deviations.txt: "KIND METHOD-OR-LINE reason", # begins a comment. */
    private void readDeviations() throws Exception {
        String path = System.getenv("DEVIATIONS");
        if (path == null) {
            return;
        }
        for (String text : Files.readAllLines(Path.of(path))) {
            String[] f = text.trim().split("\\s+", 3);
            if (f.length == 3 && f[0].equals(Broker.KIND)) {
                deviations.put(f[1], f[2]);
            }
        }
    }

    private void runOne(Case c) {
        String why = deviations.getOrDefault(c.method.getName(), deviations.get(c.line.value()));
        if (why == null && c.line.alone() && !Broker.controlled()) {
            why = "needs CONTROL";
        }
        if (why != null) {
            report("SKIP", c, 0, why);
            return;
        }
        long began = System.nanoTime();
        Throwable[] outcome = new Throwable[1];
        Thread thread = new Thread(() -> outcome[0] = attempt(c), c.title());
        thread.setDaemon(true);
        thread.start();
        try {
            thread.join(c.line.limit() * 1000L);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        if (thread.isAlive()) {
            Throwable stuck = new Throwable("not done after " + c.line.limit() + " s");
            stuck.setStackTrace(thread.getStackTrace());
            outcome[0] = stuck;
            thread.interrupt();
        }
        double seconds = (System.nanoTime() - began) / 1e9;
        if (outcome[0] == null) {
            report("PASS", c, seconds, "");
        } else if (outcome[0] instanceof Skipped) {
            report("SKIP", c, seconds, outcome[0].getMessage());
        } else {
            StringWriter trace = new StringWriter();
            outcome[0].printStackTrace(new PrintWriter(trace));
            report("FAIL", c, seconds, trace.toString());
        }
    }

    private static Throwable attempt(Case c) {
        Scenario scenario = null;
        try {
            scenario = c.chapter.getDeclaredConstructor().newInstance();
            scenario.begin(c.method.getName());
            c.method.setAccessible(true);
            c.method.invoke(scenario);
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        } catch (Throwable e) {
            return e;
        } finally {
            if (scenario != null) {
                scenario.end();
            }
        }
    }

    private synchronized void report(String verdict, Case c, double seconds, String text) {
        switch (verdict) {
            case "PASS" -> passed++;
            case "FAIL" -> failed++;
            default -> skipped++;
        }
        System.out.printf("%s %s %.2f%n", verdict, c.title(), seconds);
        text.lines().filter(l -> !l.contains("jdk.internal") && !l.contains("java.base/")).limit(40)
                .forEach(l -> System.out.println("    " + l));
        System.out.flush();
    }

    /** Thrown by a scenario that cannot run against this broker. */
    static final class Skipped extends RuntimeException {
        Skipped(String why) {
            super(why);
        }
    }
}
