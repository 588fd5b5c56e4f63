package openwire;

import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.activemq.command.Command;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ConnectionInfo;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.Response;
import org.apache.activemq.command.SessionInfo;
import org.apache.activemq.command.WireFormatInfo;
import org.apache.activemq.openwire.OpenWireFormat;

/** A client of frames, loose and uncached, that says what it is told. */
final class Raw implements AutoCloseable {
    private static final AtomicInteger IDS = new AtomicInteger();

    final Socket socket;
    final DataInputStream in;
    final DataOutputStream out;
    final OpenWireFormat format = new OpenWireFormat(12);
    /** What came that nobody waited for. */
    final List<Object> inbox = new ArrayList<>();
    private int commandId;

    Raw() throws IOException {
        socket = new Socket(Broker.host(), Broker.port());
        socket.setTcpNoDelay(true);
        socket.setSoTimeout((int) Scenario.PATIENCE);
        in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
        out = new DataOutputStream(socket.getOutputStream());
    }

    static WireFormatInfo greeting(long inactivity) throws IOException {
        WireFormatInfo info = new WireFormatInfo();
        info.setVersion(12);
        info.setStackTraceEnabled(false);
        info.setTightEncodingEnabled(false);
        info.setCacheEnabled(false);
        info.setTcpNoDelayEnabled(true);
        info.setSizePrefixDisabled(false);
        info.setMaxInactivityDuration(inactivity);
        info.setMaxInactivityDurationInitalDelay(inactivity);
        return info;
    }

    /** Exchanges WireFormatInfo and returns the broker's. */
    WireFormatInfo greet(long inactivity) throws IOException {
        write(greeting(inactivity));
        while (true) {
            Object o = read();
            if (o instanceof WireFormatInfo info) {
                return info;
            }
            inbox.add(o);
        }
    }

    /** Greets and logs in; returns the connection's id. */
    ConnectionId login(String user, String password) throws IOException {
        greet(0);
        ConnectionId id = new ConnectionId("ID:raw-" + System.nanoTime() + "-" + IDS.incrementAndGet() + ":1");
        Response r = request(connection(id, user, password));
        if (r instanceof ExceptionResponse e) {
            throw new IOException(e.getException());
        }
        return id;
    }

    /** The first session of a connection. */
    static SessionInfo session(ConnectionId id) {
        return new SessionInfo(new ConnectionInfo(id), 1);
    }

    static ConnectionInfo connection(ConnectionId id, String user, String password) {
        ConnectionInfo info = new ConnectionInfo(id);
        info.setClientId(id.getValue());
        info.setUserName(user);
        info.setPassword(password);
        info.setManageable(true);
        info.setClientMaster(true);
        return info;
    }

    void write(Object command) throws IOException {
        if (command instanceof Command c && !(command instanceof WireFormatInfo) && c.getCommandId() == 0) {
            c.setCommandId(++commandId);
        }
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        format.marshal(command, new DataOutputStream(frame));
        out.write(frame.toByteArray());
        out.flush();
    }

    /** The bytes of a frame, size included. */
    byte[] bytes(Object command) throws IOException {
        ByteArrayOutputStream frame = new ByteArrayOutputStream();
        format.marshal(command, new DataOutputStream(frame));
        return frame.toByteArray();
    }

    Object read() throws IOException {
        return format.unmarshal(in);
    }

    /** Reads until a command of the type comes. */
    <T> T await(Class<T> type) throws IOException {
        for (int i = 0; i < inbox.size(); i++) {
            if (type.isInstance(inbox.get(i))) {
                return type.cast(inbox.remove(i));
            }
        }
        while (true) {
            Object o = read();
            if (type.isInstance(o)) {
                return type.cast(o);
            }
            inbox.add(o);
        }
    }

    Response request(Command command) throws IOException {
        command.setCommandId(++commandId);
        command.setResponseRequired(true);
        write(command);
        while (true) {
            Object o = read();
            if (o instanceof Response r && r.getCorrelationId() == command.getCommandId()) {
                return r;
            }
            inbox.add(o);
        }
    }

    /** Reads to the end the broker makes of it; false when it does not within the patience. */
    boolean ended() {
        try {
            byte[] buffer = new byte[4096];
            while (in.read(buffer) >= 0) {
                continue;
            }
            return true;
        } catch (SocketTimeoutException e) {
            return false;
        } catch (IOException e) {
            return true;
        }
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}
