package openwire;

import static openwire.Scenario.PATIENCE;
import static openwire.Scenario.equal;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A STOMP 1.2 client of a few lines. */
final class Stomp implements AutoCloseable {
    private final Socket socket;
    private final InputStream in;
    private final OutputStream out;

    record Frame(String command, Map<String, String> headers, byte[] body) {
        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    /** Connects and logs in, with further headers. */
    Stomp(String... headers) throws Exception {
        String[] address = Broker.address("STOMP_ADDR").split(":");
        socket = new Socket(address[0], Integer.parseInt(address[1]));
        socket.setSoTimeout((int) PATIENCE);
        in = new BufferedInputStream(socket.getInputStream());
        out = socket.getOutputStream();
        List<String> all = new ArrayList<>(List.of("accept-version:1.2", "host:/", "login:" + Broker.USER, "passcode:" + Broker.PASSWORD));
        all.addAll(List.of(headers));
        send("CONNECT", new byte[0], all.toArray(new String[0]));
        equal("CONNECTED", read().command(), "answer to CONNECT");
    }

    void send(String command, byte[] body, String... headers) throws Exception {
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        frame.write((command + "\n" + String.join("\n", headers) + "\n\n").getBytes(StandardCharsets.UTF_8));
        frame.write(body);
        frame.write(0);
        out.write(frame.toByteArray());
        out.flush();
    }

    Frame read() throws Exception {
        String command;
        do {
            command = line();
        } while (command.isEmpty());
        Map<String, String> headers = new LinkedHashMap<>();
        for (String line; !(line = line()).isEmpty(); ) {
            int colon = line.indexOf(':');
            headers.putIfAbsent(line.substring(0, colon), line.substring(colon + 1));
        }
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        String length = headers.get("content-length");
        if (length != null) {
            body.write(in.readNBytes(Integer.parseInt(length)));
            in.read();
        } else {
            for (int b; (b = in.read()) > 0; ) {
                body.write(b);
            }
        }
        return new Frame(command, headers, body.toByteArray());
    }

    private String line() throws Exception {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int b; (b = in.read()) != '\n'; ) {
            if (b < 0) {
                throw new EOFException("STOMP connection ended");
            }
            if (b != '\r' && b != 0) {
                line.write(b);
            }
        }
        return line.toString(StandardCharsets.UTF_8);
    }

    /** Subscribes and waits until the broker has done so. */
    void subscribe(String destination, String... headers) throws Exception {
        List<String> all = new ArrayList<>(List.of(headers)); // of repeated ones the first counts
        all.addAll(List.of("id:1", "destination:" + destination, "ack:auto", "receipt:r"));
        send("SUBSCRIBE", new byte[0], all.toArray(new String[0]));
        equal("RECEIPT", read().command(), "answer to SUBSCRIBE");
    }

    @Override
    public void close() throws Exception {
        socket.close();
    }
}
