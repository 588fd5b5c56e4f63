package openwire;

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;

/**
 * The broker under test, from the environment: BROKER_URL (tcp://host:port), BROKER_URLS (of all nodes of a cluster), BROKER_KIND (hermod or activemq),
 * STOMP_ADDR, MQTT_ADDR, AMQP_ADDR, AWS_ADDR, TLS_ADDR (host:port, absent when not served), CA_FILE, CERT_FILE, KEY_FILE
 * (PEM: whom to trust over TLS, and the certificate of a user of its own), CONTROL (an address that takes
 * POST /kill and /start and answers GET /usage).
 */
final class Broker {
    static final String URL = env("BROKER_URL", "tcp://127.0.0.1:61616");
    /** Where failover clients look: all nodes of a cluster, with commas. */
    static final String URLS = env("BROKER_URLS", URL);
    static final String KIND = env("BROKER_KIND", "hermod");
    static final String USER = env("BROKER_USER", "guest");
    static final String PASSWORD = env("BROKER_PASSWORD", "guest");
    private static final String CONTROL = System.getenv("CONTROL");
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private Broker() {
    }

    static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    static String host() {
        return URI.create(URL).getHost();
    }

    static int port() {
        return URI.create(URL).getPort();
    }

    static boolean is(String kind) {
        return KIND.equals(kind);
    }

    static boolean controlled() {
        return CONTROL != null;
    }

    /** host:port of another protocol's listener; the scenario is skipped when it is not served. */
    static String address(String variable) {
        String value = System.getenv(variable);
        if (value == null || value.isEmpty()) {
            throw new Runner.Skipped("no " + variable);
        }
        return value;
    }

    /** SIGKILL; returns when the process is gone. */
    static void kill() throws Exception {
        call("POST", "/kill");
    }

    /** Starts it again on the same data and ports; returns when it serves. */
    static void start() throws Exception {
        call("POST", "/start");
    }

    /** Has the active node of a cluster hand over to another one. */
    static void transfer() throws Exception {
        call("POST", "/transfer");
    }

    static void restart() throws Exception {
        kill();
        start();
    }

    /** What the process holds: rss and heap in bytes after a collection, goroutines, fds; what is unknown is absent. */
    static Map<String, Long> usage() throws Exception {
        Map<String, Long> usage = new HashMap<>();
        for (String line : call("GET", "/usage").split("\n")) {
            String[] f = line.split(" ");
            if (f.length == 2) {
                usage.put(f[0], Long.valueOf(f[1]));
            }
        }
        return usage;
    }

    private static String call(String method, String path) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(CONTROL + path)).timeout(Duration.ofSeconds(90))
                .method(method, HttpRequest.BodyPublishers.noBody()).build();
        HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IllegalStateException(path + ": " + response.body());
        }
        return response.body();
    }
}
