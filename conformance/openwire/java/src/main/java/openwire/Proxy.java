package openwire;

import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

import org.apache.activemq.command.WireFormatInfo;
import org.apache.activemq.openwire.OpenWireFormat;
import org.apache.activemq.util.ByteSequence;

/** Stands between client and broker, keeps what passes, and can cut or freeze it. */
final class Proxy implements AutoCloseable {
    /** One connection through the proxy. */
    static final class Link {
        final Socket client;
        final Socket broker;
        final ByteArrayOutputStream fromClient = new ByteArrayOutputStream();
        final ByteArrayOutputStream fromBroker = new ByteArrayOutputStream();
        volatile boolean frozen;
        volatile boolean brokerEnded;

        Link(Socket client, Socket broker) {
            this.client = client;
            this.broker = broker;
        }

        /** The complete frames of one direction, decoded as loose and uncached. */
        List<Object> frames(ByteArrayOutputStream direction) throws Exception {
            OpenWireFormat format = new OpenWireFormat(12);
            format.setStackTraceEnabled(true);
            List<Object> frames = new ArrayList<>();
            for (ByteSequence frame : split(direction)) {
                frames.add(format.unmarshal(frame));
            }
            return frames;
        }

        /** The broker's WireFormatInfo. */
        WireFormatInfo offered() throws Exception {
            return (WireFormatInfo) new OpenWireFormat(12).unmarshal(split(fromBroker).get(0));
        }

        /** The data types of the complete frames, whatever their encoding. */
        List<Byte> types(ByteArrayOutputStream direction) {
            return split(direction).stream().map(frame -> frame.data[frame.offset + 4]).toList();
        }

        private static List<ByteSequence> split(ByteArrayOutputStream direction) {
            byte[] all;
            synchronized (direction) {
                all = direction.toByteArray();
            }
            List<ByteSequence> frames = new ArrayList<>();
            for (int at = 0; at + 4 <= all.length; ) {
                int size = ByteBuffer.wrap(all, at, 4).getInt();
                if (at + 4 + size > all.length) {
                    break;
                }
                frames.add(new ByteSequence(all, at, 4 + size));
                at += 4 + size;
            }
            return frames;
        }
    }

    final List<Link> links = new CopyOnWriteArrayList<>();
    private final ServerSocket server;
    /** Whether new connections are taken. */
    volatile boolean open = true;

    Proxy() throws Exception {
        server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        daemon(this::accept);
    }

    String url(String... options) {
        return "tcp://127.0.0.1:" + server.getLocalPort() + (options.length == 0 ? "" : "?" + String.join("&", options));
    }

    Link last() {
        return links.get(links.size() - 1);
    }

    /** Ends both sides at once, with a reset, as a killed process does at worst. */
    void cut() {
        links.forEach(l -> {
            reset(l.client);
            reset(l.broker);
        });
    }

    /** Ends the client's side and keeps the broker's open but silent. */
    void freeze() {
        links.forEach(l -> {
            l.frozen = true;
            reset(l.client);
        });
    }

    @Override
    public void close() throws Exception {
        server.close();
        cut();
    }

    private void accept() {
        while (!server.isClosed()) {
            try {
                Socket client = server.accept();
                if (!open) {
                    reset(client);
                    continue;
                }
                Link link = new Link(client, new Socket(Broker.host(), Broker.port()));
                client.setTcpNoDelay(true);
                link.broker.setTcpNoDelay(true);
                links.add(link);
                daemon(() -> pump(link, client, link.broker, link.fromClient));
                daemon(() -> {
                    pump(link, link.broker, client, link.fromBroker);
                    link.brokerEnded = true;
                });
            } catch (Exception e) {
                // closed, or the broker is away: the client sees its socket end
            }
        }
    }

    private static void pump(Link link, Socket from, Socket to, ByteArrayOutputStream record) {
        byte[] buffer = new byte[64 << 10];
        try (InputStream in = from.getInputStream()) {
            OutputStream out = to.getOutputStream();
            for (int n; (n = in.read(buffer)) >= 0; ) {
                synchronized (record) {
                    if (record.size() < 64 << 20) {
                        record.write(buffer, 0, n);
                    }
                }
                if (!link.frozen) {
                    out.write(buffer, 0, n);
                    out.flush();
                }
            }
        } catch (Exception e) {
            // ended
        }
        if (!link.frozen) {
            reset(to);
        }
    }

    private static void reset(Socket s) {
        try {
            s.setSoLinger(true, 0);
            s.close();
        } catch (Exception e) {
            // closed already
        }
    }

    static void daemon(Runnable r) {
        Thread t = new Thread(r);
        t.setDaemon(true);
        t.start();
    }
}
