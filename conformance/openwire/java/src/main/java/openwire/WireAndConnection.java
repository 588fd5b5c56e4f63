package openwire;

import java.io.ByteArrayOutputStream;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.InvalidClientIDException;
import javax.jms.InvalidDestinationException;
import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;
import javax.jms.JMSSecurityException;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.ObjectMessage;
import javax.jms.Queue;
import javax.jms.Session;
import javax.jms.StreamMessage;
import javax.jms.TemporaryQueue;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.DestinationDoesNotExistException;
import org.apache.activemq.command.ActiveMQTextMessage;
import org.apache.activemq.command.CommandTypes;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ConnectionInfo;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.MessageDispatch;
import org.apache.activemq.command.Response;
import org.apache.activemq.command.WireFormatInfo;

/** OW-3 to OW-15, what stock clients see of the wire and of connections. */
final class WireAndConnection extends Scenario {
    @Line("OW-3")
    void defaultUrlEndsLooseAndUncached() throws Exception {
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = connectTo(proxy.url());
        Session s = auto(c);
        Queue q = s.createQueue(unique());
        send(s, q, "loose");
        expectTexts(s.createConsumer(q), "loose");
        c.close();
        // Tight or cached frames do not decode as loose ones, or not to this.
        List<Object> sent = proxy.last().frames(proxy.last().fromClient);
        check(sent.stream().anyMatch(o -> o instanceof WireFormatInfo), "no WireFormatInfo from the client");
        check(sent.stream().anyMatch(o -> o instanceof ConnectionInfo i && Broker.USER.equals(i.getUserName())), "no ConnectionInfo");
        check(sent.stream().anyMatch(o -> o instanceof ActiveMQTextMessage m && textIs(m, "loose")), "no text message");
        List<Object> received = proxy.last().frames(proxy.last().fromBroker);
        check(received.stream().anyMatch(o -> o instanceof MessageDispatch d && d.getMessage() instanceof ActiveMQTextMessage), "no dispatch");
        WireFormatInfo broker = (WireFormatInfo) received.stream().filter(WireFormatInfo.class::isInstance).findFirst().orElseThrow();
        check(!broker.isTightEncodingEnabled() && !broker.isCacheEnabled(), "tight or cache offered");
        equal(12, broker.getVersion(), "version offered");
    }

    private static boolean textIs(ActiveMQTextMessage m, String want) {
        try {
            return want.equals(m.getText());
        } catch (JMSException e) {
            return false;
        }
    }

    @Line("OW-4")
    void everyVersionCarriesEveryKindOfMessage() throws Exception {
        for (int version = 1; version <= 12; version++) {
            ActiveMQConnection c = connect("wireFormat.version=" + version);
            Session s = auto(c);
            Queue q = s.createQueue(unique());
            MessageProducer p = s.createProducer(q);
            p.send(s.createTextMessage("v" + version + " \u00e9 \ud83d\ude00"));
            BytesMessage b = s.createBytesMessage();
            b.writeBytes(new byte[] {0, 1, -1});
            p.send(b);
            MapMessage map = s.createMapMessage();
            map.setLong("l", 1L << 40);
            p.send(map);
            StreamMessage stream = s.createStreamMessage();
            stream.writeDouble(2.5);
            stream.writeString("x");
            p.send(stream);
            p.send(s.createObjectMessage("object"));
            MessageConsumer consumer = s.createConsumer(q);
            String at = "version " + version;
            equal("v" + version + " \u00e9 \ud83d\ude00", nextText(consumer), at);
            BytesMessage gotBytes = (BytesMessage) next(consumer);
            equal(3L, gotBytes.getBodyLength(), at + " body length");
            equal(0, (int) gotBytes.readByte(), at);
            equal(1, (int) gotBytes.readByte(), at);
            equal(-1, (int) gotBytes.readByte(), at);
            equal(1L << 40, ((MapMessage) next(consumer)).getLong("l"), at + " map");
            StreamMessage gotStream = (StreamMessage) next(consumer);
            equal(2.5, gotStream.readDouble(), at + " stream");
            equal("x", gotStream.readString(), at + " stream");
            equal("object", ((ObjectMessage) next(consumer)).getObject(), at + " object");
            c.close();
        }
    }

    @Line("OW-4")
    void versionsMeetOnOneQueue() throws Exception {
        Queue q = auto(connect()).createQueue(unique());
        for (int version = 1; version <= 12; version++) {
            Session s = auto(connect("wireFormat.version=" + version));
            Message m = s.createTextMessage("from " + version);
            m.setIntProperty("n", version);
            m.setJMSCorrelationID("c" + version);
            m.setJMSReplyTo(s.createTopic("reply." + version));
            s.createProducer(q).send(m);
        }
        for (int version = 12; version >= 1; version--) {
            ActiveMQConnection c = connect("wireFormat.version=" + version, "jms.prefetchPolicy.all=1");
            Message m = next(auto(c).createConsumer(q));
            int from = 13 - version;
            String at = "from version " + from + " to " + version;
            equal("from " + from, text(m), at);
            equal(from, m.getIntProperty("n"), at);
            equal("c" + from, m.getJMSCorrelationID(), at);
            equal("topic://reply." + from, m.getJMSReplyTo().toString(), at);
            c.close();
        }
    }

    @Line("OW-5")
    void refusalsHaveTheTypesOfTheClientsGeneration() throws Exception {
        ActiveMQConnection c = (ActiveMQConnection) factory(url()).createConnection();
        later(c::close);
        c.setClientID(unique());
        c.start();
        ActiveMQConnection second = (ActiveMQConnection) factory(url()).createConnection();
        later(second::close);
        refused(InvalidClientIDException.class, () -> second.setClientID(c.getClientID()));
        Session s = auto(c);
        refused(InvalidDestinationException.class, () -> s.unsubscribe("never-there"));
        ActiveMQConnection limited = (ActiveMQConnection) factory(url()).createConnection("limited", "limited");
        later(limited::close);
        limited.start();
        Queue forbidden = s.createQueue(unique("FORBIDDEN."));
        // FORBIDDEN.> may be configured by everybody, but neither written nor read.
        MessageProducer p = auto(limited).createProducer(null);
        refused(JMSSecurityException.class, () -> p.send(forbidden, s.createTextMessage("no")));
        refused(JMSSecurityException.class, () -> auto(limited).createConsumer(forbidden));
    }

    @Line("OW-8")
    void keepAlivesGoBothWaysOnAnIdleConnection() throws Exception {
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = connectTo(proxy.url("wireFormat.maxInactivityDuration=1500", "wireFormat.maxInactivityDurationInitalDelay=500"));
        Session s = auto(c);
        Proxy.Link link = proxy.last();
        eventually("three KeepAliveInfo each way", () -> keepAlives(link, link.fromClient) >= 3 && keepAlives(link, link.fromBroker) >= 3);
        Queue q = s.createQueue(unique());
        send(s, q, "still there");
        expectTexts(s.createConsumer(q), "still there");
    }

    private static long keepAlives(Proxy.Link link, ByteArrayOutputStream direction) {
        return link.types(direction).stream().filter(type -> type == CommandTypes.KEEP_ALIVE_INFO).count();
    }

    @Line("OW-10")
    void badPasswordIsRefusedAndTheSocketCloses() throws Exception {
        ActiveMQConnection other = connect();
        Session s = auto(other);
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = (ActiveMQConnection) new ActiveMQConnectionFactory(Broker.USER, "wrong", proxy.url()).createConnection();
        later(c::close);
        refused(JMSSecurityException.class, c::start);
        eventually("the broker closes the socket", () -> proxy.last().brokerEnded);
        ActiveMQConnection unknown = (ActiveMQConnection) new ActiveMQConnectionFactory("nobody", "x", Broker.URL).createConnection();
        later(unknown::close);
        refused(JMSSecurityException.class, unknown::start);
        Queue q = s.createQueue(unique());
        send(s, q, "unaffected");
        expectTexts(s.createConsumer(q), "unaffected");
    }

    @Line("OW-10")
    void factoryWithoutCredentialsConnects() throws Exception {
        ActiveMQConnection c = (ActiveMQConnection) new ActiveMQConnectionFactory(Broker.URL).createConnection();
        later(c::close);
        c.start();
        Session s = auto(c);
        Queue q = s.createQueue(unique());
        send(s, q, "anonymous");
        expectTexts(s.createConsumer(q), "anonymous");
    }

    @Line("OW-11")
    void secondConnectionOfAClientIdIsRefusedUntilTheFirstCloses() throws Exception {
        String id = unique();
        ActiveMQConnection first = (ActiveMQConnection) factory(url()).createConnection();
        later(first::close);
        first.setClientID(id);
        first.start();
        ActiveMQConnection second = (ActiveMQConnection) factory(url()).createConnection();
        later(second::close);
        refused(InvalidClientIDException.class, () -> second.setClientID(id));
        first.close();
        ActiveMQConnection third = (ActiveMQConnection) factory(url()).createConnection();
        later(third::close);
        third.setClientID(id);
        third.start();
        Session s = auto(third);
        Queue q = s.createQueue(unique());
        send(s, q, "mine now");
        expectTexts(s.createConsumer(q), "mine now");
    }

    @Line("OW-12")
    void sameConnectionIdTakesOver() throws Exception {
        Raw old = later(new Raw());
        ConnectionId id = old.login(Broker.USER, Broker.PASSWORD);
        Raw fresh = later(new Raw());
        fresh.greet(0);
        ConnectionInfo again = Raw.connection(id, Broker.USER, Broker.PASSWORD);
        again.setFailoverReconnect(true);
        again.setFaultTolerant(true);
        Response r = fresh.request(again);
        check(!(r instanceof ExceptionResponse), "refused: " + (r instanceof ExceptionResponse e ? e.getException() : ""));
        check(old.ended(), "the old socket stays open");
    }

    @Line("OW-12")
    void failoverClientTakesOverFromItsFrozenSocket() throws Exception {
        Proxy proxy = later(new Proxy());
        ActiveMQConnection c = connectTo("failover:(" + proxy.url() + ")?initialReconnectDelay=20&maxReconnectDelay=200");
        Session s = auto(c);
        Queue q = s.createQueue(unique());
        MessageConsumer consumer = s.createConsumer(q);
        Proxy.Link old = proxy.last();
        proxy.freeze();
        send(s, q, "after the freeze");
        expectTexts(consumer, "after the freeze");
        check(proxy.links.size() > 1, "no second connection");
        eventually("the broker ends the old socket", () -> old.brokerEnded);
    }

    @Line("OW-13")
    void failingAsyncSendReachesTheExceptionListener() throws Exception {
        ActiveMQConnection c = (ActiveMQConnection) factory(url()).createConnection("limited", "limited");
        later(c::close);
        AtomicReference<JMSException> heard = new AtomicReference<>();
        CountDownLatch told = new CountDownLatch(1);
        c.setExceptionListener(e -> {
            heard.set(e);
            told.countDown();
        });
        c.start();
        Session s = auto(c);
        MessageProducer p = s.createProducer(null);
        p.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        p.send(s.createQueue(unique("FORBIDDEN.")), s.createTextMessage("no"));
        check(told.await(PATIENCE, TimeUnit.MILLISECONDS), "the ExceptionListener heard nothing");
        check(heard.get().toString().contains("SecurityException") || heard.get().getCause() instanceof SecurityException,
                "heard " + heard.get());
        Queue q = s.createQueue(unique());
        send(s, q, "usable");
        expectTexts(s.createConsumer(q), "usable");
    }

    @Line("OW-14")
    void closeReturnsAndEverythingOfTheConnectionIsGone() throws Exception {
        ActiveMQConnection c = connect();
        leavesNothing(c, c::close);
    }

    @Line("OW-15")
    void killedClientLeavesNothing() throws Exception {
        Proxy proxy = later(new Proxy());
        leavesNothing(connectTo(proxy.url()), proxy::cut);
    }

    private void leavesNothing(ActiveMQConnection c, Action end) throws Exception {
        ActiveMQConnection other = connect();
        Session os = auto(other);
        Queue q = os.createQueue(unique());
        Queue target = os.createQueue(unique());
        Session s = client(c);
        TemporaryQueue temp = s.createTemporaryQueue();
        MessageProducer toTemp = os.createProducer(temp);
        eventually("the other connection knows the temporary queue", () -> {
            try {
                toTemp.send(os.createTextMessage("x"));
                return true;
            } catch (InvalidDestinationException e) {
                return false;
            }
        });
        send(os, q, "unacknowledged");
        expectTexts(s.createConsumer(q), "unacknowledged");
        Session tx = transacted(c);
        send(tx, target, "uncommitted");
        end.run();
        MessageConsumer consumer = os.createConsumer(q);
        Message back = next(consumer);
        equal("unacknowledged", text(back), "what comes back");
        check(back.getJMSRedelivered(), "not marked redelivered");
        expectNone(os.createConsumer(target));
        eventually("the temporary queue is gone", () -> {
            try {
                toTemp.send(os.createTextMessage("x"));
                return false;
            } catch (InvalidDestinationException e) {
                return true;
            } catch (DestinationDoesNotExistException e) {
                return false; // the broker said so, the client has not heard yet
            }
        });
    }

    @Line("OW-14")
    void fiftyConnectionsOpenAndClose() throws Exception {
        Map<String, ActiveMQConnection> all = new HashMap<>();
        for (int i = 0; i < 50; i++) {
            ActiveMQConnection c = connect();
            auto(c);
            all.put(c.getClientID(), c);
        }
        equal(50, all.size(), "client ids made");
        for (ActiveMQConnection c : all.values()) {
            c.close();
        }
    }

    @Line("OW-69")
    void invalidSelectorIsRefusedByTheClientItself() throws Exception {
        Session s = auto(connect());
        refused(InvalidSelectorException.class, () -> s.createConsumer(s.createQueue(unique()), "i ="));
    }
}
