package openwire;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;

import javax.jms.BytesMessage;
import javax.jms.JMSException;
import javax.jms.Queue;
import javax.jms.Session;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQBytesMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.KeepAliveInfo;
import org.apache.activemq.command.MessageId;
import org.apache.activemq.command.ProducerId;
import org.apache.activemq.command.ProducerInfo;
import org.apache.activemq.command.Response;
import org.apache.activemq.command.SessionInfo;

/** OW-6 to OW-9, raw bytes. */
final class HostileInput extends Scenario {
    interface Bytes {
        void write(DataOutputStream out) throws IOException;
    }

    private static byte[] frame(Bytes body) throws IOException {
        ByteArrayOutputStream b = new ByteArrayOutputStream();
        body.write(new DataOutputStream(b));
        return ByteBuffer.allocate(4 + b.size()).putInt(b.size()).put(b.toByteArray()).array();
    }

    /** A client that greeted and logged in sends bytes; the broker must hang up and serve others. */
    private void hangsUp(String what, boolean afterLogin, byte[] bytes) throws Exception {
        Raw raw = later(new Raw());
        if (afterLogin) {
            raw.login(Broker.USER, Broker.PASSWORD);
        }
        try {
            raw.out.write(bytes);
            raw.out.flush();
        } catch (IOException e) {
            // hung up on before the end of it
        }
        check(raw.ended(), what + ": the connection stays open");
        raw.close();
        serves();
    }

    private void serves() throws Exception {
        ActiveMQConnection c = connect();
        Session s = auto(c);
        Queue q = s.createQueue(unique());
        send(s, q, "alive");
        expectTexts(s.createConsumer(q), "alive");
        c.close();
    }

    @Line(value = "OW-6", raw = true)
    void wrongMagic() throws Exception {
        Raw raw = later(new Raw());
        byte[] greeting = raw.bytes(Raw.greeting(0));
        greeting[5] = 'X';
        hangsUp("wrong magic", false, greeting);
        hangsUp("HTTP", false, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".getBytes());
    }

    @Line(value = "OW-6", raw = true)
    void sizesOutOfBounds() throws Exception {
        for (int size : new int[] {-1, Integer.MIN_VALUE, Integer.MAX_VALUE, 1 << 30}) {
            byte[] bytes = ByteBuffer.allocate(64).putInt(size).put((byte) 10).array();
            hangsUp("first frame of size " + size, false, bytes);
            hangsUp("later frame of size " + size, true, bytes);
        }
    }

    @Line(value = "OW-6", raw = true)
    void unknownDataType() throws Exception {
        for (int type : new int[] {13, 99, 127, 200, 255}) {
            hangsUp("type " + type, true, frame(out -> {
                out.writeByte(type);
                out.writeInt(1);
                out.writeByte(0);
            }));
        }
    }

    @Line(value = "OW-6", raw = true)
    void stringPastTheFrame() throws Exception {
        hangsUp("string", true, frame(out -> {
            out.writeByte(4); // SessionInfo
            out.writeInt(7);
            out.writeByte(1);
            out.writeByte(1);
            out.writeByte(121); // SessionId
            out.writeByte(1);
            out.writeShort(65535);
            out.writeBytes("short");
        }));
    }

    @Line(value = "OW-6", raw = true)
    void arrayPastTheFrame() throws Exception {
        hangsUp("array", true, frame(out -> {
            out.writeByte(8); // DestinationInfo
            out.writeInt(7);
            out.writeByte(1);
            out.writeByte(0);
            out.writeByte(0);
            out.writeByte(0);
            out.writeLong(0);
            out.writeByte(1);
            out.writeShort(32767);
        }));
    }

    @Line(value = "OW-6", raw = true)
    void byteArrayPastTheFrame() throws Exception {
        hangsUp("bytes", false, frame(out -> {
            out.writeByte(1); // WireFormatInfo
            out.writeBytes("ActiveMQ");
            out.writeInt(12);
            out.writeByte(1);
            out.writeInt(Integer.MAX_VALUE);
        }));
    }

    @Line(value = "OW-6", raw = true)
    void mapWithTwoBillionEntries() throws Exception {
        hangsUp("map", false, frame(out -> {
            out.writeByte(1);
            out.writeBytes("ActiveMQ");
            out.writeInt(12);
            out.writeByte(1);
            out.writeInt(4);
            out.writeInt(Integer.MAX_VALUE);
        }));
    }

    @Line(value = "OW-6", raw = true)
    void objectWithinObjectWithoutEnd() throws Exception {
        hangsUp("nesting", true, frame(out -> {
            // ConsumerInfo whose additionalPredicate would have to be a chain
            out.writeByte(33); // DataArrayResponse
            out.writeInt(1);
            out.writeByte(0);
            out.writeInt(1);
            for (int i = 0; i < 20_000; i++) {
                out.writeByte(1);
                out.writeShort(1);
                out.writeByte(1);
                out.writeByte(33);
                out.writeInt(1);
                out.writeByte(0);
                out.writeInt(1);
            }
        }));
    }

    @Line(value = "OW-6", raw = true, limit = 120)
    void noiseAfterLogin() throws Exception {
        Random random = new Random(7);
        for (int round = 0; round < 50; round++) {
            Raw raw = later(new Raw());
            raw.login(Broker.USER, Broker.PASSWORD);
            byte[] bytes = new byte[1 + random.nextInt(400)];
            random.nextBytes(bytes);
            byte[] noise = frame(out -> out.write(bytes));
            try {
                raw.out.write(noise);
                raw.out.flush();
                raw.socket.shutdownOutput();
            } catch (IOException e) {
                // hung up on
            }
            check(raw.ended(), "open after noise " + round + " " + Arrays.toString(bytes));
            raw.close();
        }
        serves();
    }

    @Line(value = "OW-6", raw = true, alone = true)
    void memoryStaysFlatUnderHostileFrames() throws Exception {
        long before = Broker.usage().get("rss");
        for (int i = 0; i < 200; i++) {
            Raw raw = new Raw();
            raw.out.write(ByteBuffer.allocate(4 + 17).putInt(Integer.MAX_VALUE).put((byte) 1).put("ActiveMQ".getBytes()).array());
            raw.out.flush();
            Raw raw2 = new Raw();
            raw2.out.write(frame(out -> {
                out.writeByte(1);
                out.writeBytes("ActiveMQ");
                out.writeInt(12);
                out.writeByte(1);
                out.writeInt(Integer.MAX_VALUE);
            }));
            raw2.out.flush();
            check(raw.ended() && raw2.ended(), "open after round " + i);
            raw.close();
            raw2.close();
        }
        long grown = Broker.usage().get("rss") - before;
        check(grown < 64 << 20, "grown by " + grown + " bytes");
    }

    @Line("OW-7")
    void largerMessageThanNegotiatedFailsInTheClient() throws Exception {
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = connectTo(proxy.url());
        Session s = auto(c);
        long max = proxy.last().offered().getMaxFrameSize();
        check(max > 0 && max <= 256 << 20, "MaxFrameSize offered: " + max);
        Queue q = s.createQueue(unique());
        BytesMessage large = s.createBytesMessage();
        large.writeBytes(new byte[(int) max + 1000]);
        refused(JMSException.class, () -> s.createProducer(q).send(large));
        serves();
    }

    @Line(value = "OW-7", raw = true)
    void frameAboveTheMaximumIsRefused() throws Exception {
        Raw raw = later(new Raw());
        long max = raw.greet(0).getMaxFrameSize();
        raw.close();
        hangsUp("frame above the maximum", true, ByteBuffer.allocate(64).putInt((int) max + 1).put((byte) 28).array());
    }

    @Line(value = "OW-8", raw = true)
    void silentClientIsDropped() throws Exception {
        Raw raw = later(new Raw());
        raw.greet(1500);
        check(raw.ended(), "a silent client is kept");
    }

    @Line(value = "OW-8", raw = true)
    void slowUploadOfOneFrameIsNoSilence() throws Exception {
        Raw raw = later(new Raw());
        raw.greet(1500);
        ConnectionId id = new ConnectionId("ID:slow-" + System.nanoTime() + ":1");
        Response r = raw.request(Raw.connection(id, Broker.USER, Broker.PASSWORD));
        check(!(r instanceof ExceptionResponse), "login refused");
        SessionInfo session = Raw.session(id);
        raw.write(session);
        ProducerInfo producer = new ProducerInfo(new ProducerId(session.getSessionId(), 1));
        raw.write(producer);
        ActiveMQBytesMessage m = new ActiveMQBytesMessage();
        m.setDestination(new ActiveMQQueue(unique()));
        m.setProducerId(producer.getProducerId());
        m.setMessageId(new MessageId(producer.getProducerId(), 1));
        m.setPersistent(true);
        m.writeBytes(new byte[200_000]);
        m.onSend();
        m.setCommandId(99);
        m.setResponseRequired(true);
        byte[] bytes = raw.bytes(m);
        int pieces = 25;
        for (int i = 0; i < pieces; i++) { // 5 s, more than three silent intervals
            raw.out.write(bytes, bytes.length * i / pieces, bytes.length * (i + 1) / pieces - bytes.length * i / pieces);
            raw.out.flush();
            pause(200);
        }
        Response answer = raw.await(Response.class);
        equal(99, answer.getCorrelationId(), "answer to the slow frame");
        check(!(answer instanceof ExceptionResponse), "refused: " + answer);
    }

    @Line(value = "OW-9", raw = true)
    void keepAliveWithResponseRequiredIsEchoed() throws Exception {
        Raw raw = later(new Raw());
        raw.login(Broker.USER, Broker.PASSWORD);
        KeepAliveInfo info = new KeepAliveInfo();
        info.setResponseRequired(true);
        raw.write(info);
        KeepAliveInfo echo = raw.await(KeepAliveInfo.class);
        check(!echo.isResponseRequired(), "the echo asks for an answer");
    }

    @Line(value = "OW-9", raw = true)
    void framesMayArriveByteByByte() throws Exception {
        Raw raw = later(new Raw());
        for (byte b : raw.bytes(Raw.greeting(0))) {
            raw.out.write(b);
            raw.out.flush();
        }
        ConnectionId id = new ConnectionId("ID:bytewise-" + System.nanoTime() + ":1");
        var info = Raw.connection(id, Broker.USER, Broker.PASSWORD);
        info.setCommandId(5);
        info.setResponseRequired(true);
        for (byte b : raw.bytes(info)) {
            raw.out.write(b);
            raw.out.flush();
        }
        Response r = raw.await(Response.class);
        equal(5, r.getCorrelationId(), "answer");
        check(!(r instanceof ExceptionResponse), "refused");
    }
}
