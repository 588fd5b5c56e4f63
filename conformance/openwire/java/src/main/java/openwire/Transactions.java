package openwire;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.Session;
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;

import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQXAConnection;
import org.apache.activemq.ActiveMQXAConnectionFactory;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ConnectionId;
import org.apache.activemq.command.ConsumerId;
import org.apache.activemq.command.ConsumerInfo;
import org.apache.activemq.command.ExceptionResponse;
import org.apache.activemq.command.LocalTransactionId;
import org.apache.activemq.command.MessageAck;
import org.apache.activemq.command.MessageDispatch;
import org.apache.activemq.command.Response;
import org.apache.activemq.command.SessionInfo;
import org.apache.activemq.command.TransactionInfo;

/** OW-35 to OW-44. */
final class Transactions extends Scenario {
    @Line("OW-35")
    void nothingIsVisibleBeforeCommit() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session tx = transacted(connect());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        MessageProducer p = tx.createProducer(q);
        for (int i = 0; i < 100; i++) {
            p.send(tx.createTextMessage("" + i));
        }
        expectNone(consumer);
        tx.commit();
        for (int i = 0; i < 100; i++) {
            expectTexts(consumer, "" + i);
        }
        expectNone(consumer);
    }

    @Line(value = "OW-35", alone = true, limit = 180)
    void commitsAreWholeOverAKill() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        int rounds = 3;
        int batch = 100;
        Map<Integer, Boolean> committed = new HashMap<>();
        int number = 0;
        for (int round = 0; round < rounds; round++) {
            ActiveMQConnection c = connect("jms.watchTopicAdvisories=false");
            Session tx = transacted(c);
            MessageProducer p = tx.createProducer(q);
            CountDownLatch some = new CountDownLatch(5);
            int[] last = {number};
            Thread worker = new Thread(() -> quietly(() -> {
                while (true) {
                    int b = last[0]++;
                    synchronized (committed) {
                        committed.put(b, false);
                    }
                    for (int i = 0; i < batch; i++) {
                        Message m = tx.createMessage();
                        m.setIntProperty("batch", b);
                        p.send(m);
                    }
                    tx.commit();
                    synchronized (committed) {
                        committed.put(b, true);
                    }
                    some.countDown();
                }
            }));
            worker.start();
            check(some.await(PATIENCE, TimeUnit.MILLISECONDS), "no five commits");
            Broker.kill();
            worker.join(PATIENCE);
            quietly(c::close);
            number = last[0];
            Broker.start();
        }
        Map<Integer, Integer> found = new HashMap<>();
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        for (Message m; (m = consumer.receive(1000)) != null; ) {
            found.merge(m.getIntProperty("batch"), 1, Integer::sum);
        }
        committed.forEach((b, acknowledged) -> {
            int n = found.getOrDefault(b, 0);
            check(n == batch || (n == 0 && !acknowledged), "batch " + b + ", committed " + acknowledged + ": " + n + " messages");
        });
    }

    @Line("OW-36")
    void rolledBackSendsNeverAppear() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        Session tx = transacted(connect());
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        send(tx, q, "no", "never");
        tx.rollback();
        send(tx, q, "yes");
        tx.commit();
        expectTexts(consumer, "yes");
        expectNone(consumer);
    }

    @Line("OW-37")
    void rolledBackReceivesComeFromTheClientsOwnBuffer() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.redeliveryPolicy.initialRedeliveryDelay=0", "jms.watchTopicAdvisories=false");
        AtomicInteger dispatched = new AtomicInteger();
        c.addTransportListener(new Commands(MessageDispatch.class, dispatched));
        send(auto(connect()), q, "1", "2", "3");
        Session tx = transacted(c);
        MessageConsumer consumer = tx.createConsumer(q);
        for (int round = 0; round < 3; round++) {
            for (String want : new String[] {"1", "2", "3"}) {
                Message m = next(consumer);
                equal(want, text(m), "round " + round);
                equal(round > 0, m.getJMSRedelivered(), "redelivered in round " + round);
                equal(round + 1, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
            }
            tx.rollback();
        }
        expectTexts(consumer, "1", "2", "3");
        tx.commit();
        equal(3, dispatched.get(), "MessageDispatch commands");
        expectDepth(q, 0);
    }

    @Line("OW-38")
    void closingASessionReturnsWhatItTook() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session tx = transacted(c);
        send(auto(connect()), q, "1", "2");
        MessageConsumer consumer = tx.createConsumer(q);
        expectTexts(consumer, "1", "2");
        tx.close();
        MessageConsumer after = auto(c).createConsumer(q);
        for (String want : new String[] {"1", "2"}) {
            Message m = next(after);
            equal(want, text(m), "returned");
            check(m.getJMSRedelivered(), want + " is not marked redelivered");
        }
    }

    @Line("OW-39")
    void poisonMessageGoesToTheDeadLetterQueue() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect("jms.redeliveryPolicy.maximumRedeliveries=1", "jms.redeliveryPolicy.initialRedeliveryDelay=0");
        Session tx = transacted(c);
        Message sent = tx.createTextMessage("poison");
        sent.setStringProperty("mark", q.getPhysicalName());
        tx.createProducer(q).send(sent);
        tx.commit();
        MessageConsumer consumer = tx.createConsumer(q);
        expectTexts(consumer, "poison");
        tx.rollback();
        expectTexts(consumer, "poison");
        tx.rollback();
        expectNone(consumer); // the third delivery never happens
        Session s = auto(connect());
        Message dead = next(s.createConsumer(s.createQueue("ActiveMQ.DLQ"), "mark = '" + q.getPhysicalName() + "'"));
        equal("poison", text(dead), "text");
        equal(sent.getJMSMessageID(), dead.getJMSMessageID(), "JMSMessageID");
        String cause = dead.getStringProperty("dlqDeliveryFailureCause");
        check(cause != null && cause.contains("redelivery policy limit"), "dlqDeliveryFailureCause: " + cause);
        equal(q, ((ActiveMQMessage) dead).getOriginalDestination(), "originalDestination");
        expectDepth(q, 0);
    }

    @Line("OW-40")
    void poisonAcknowledgementInATransactionIsAnError() throws Exception {
        ActiveMQQueue q = new ActiveMQQueue(unique());
        send(auto(connect()), q, "1");
        Raw raw = later(new Raw());
        ConnectionId id = raw.login(Broker.USER, Broker.PASSWORD);
        SessionInfo session = Raw.session(id);
        raw.write(session);
        ConsumerInfo info = new ConsumerInfo(new ConsumerId(session.getSessionId(), 1));
        info.setDestination(q);
        info.setPrefetchSize(10);
        raw.request(info);
        MessageDispatch one = raw.await(MessageDispatch.class);
        LocalTransactionId tx = new LocalTransactionId(id, 1);
        raw.write(new TransactionInfo(id, tx, TransactionInfo.BEGIN));
        MessageAck ack = new MessageAck(one, POISON, 1);
        ack.setFirstMessageId(one.getMessage().getMessageId());
        ack.setTransactionId(tx);
        Response r = raw.request(ack);
        check(r instanceof ExceptionResponse, "accepted");
        raw.close();
        expectDepth(q, 1);
    }

    /** The acknowledgement type whose constant changed its spelling between client versions. */
    private static final byte POISON = 1;

    // XA

    private record Branch(int number) implements Xid {
        @Override
        public int getFormatId() {
            return 86;
        }

        @Override
        public byte[] getGlobalTransactionId() {
            return ByteBuffer.allocate(20).putInt(number).putLong(System.identityHashCode(Transactions.class)).putLong(START).array();
        }

        @Override
        public byte[] getBranchQualifier() {
            return new byte[] {1, (byte) 0xff, 0};
        }
    }

    private static final long START = System.nanoTime();
    private static final AtomicInteger BRANCHES = new AtomicInteger();

    private static Xid branch() {
        return new Branch(BRANCHES.incrementAndGet());
    }

    private static boolean same(Xid a, Xid b) {
        return a.getFormatId() == b.getFormatId() && Arrays.equals(a.getGlobalTransactionId(), b.getGlobalTransactionId())
                && Arrays.equals(a.getBranchQualifier(), b.getBranchQualifier());
    }

    private ActiveMQXAConnection xaConnect() throws Exception {
        ActiveMQXAConnectionFactory f = new ActiveMQXAConnectionFactory(Broker.USER, Broker.PASSWORD, Broker.URL);
        ActiveMQXAConnection c = (ActiveMQXAConnection) f.createXAConnection();
        c.setCloseTimeout(3000);
        later(c::close);
        c.start();
        return c;
    }

    /** Whether recover lists the branch. */
    private static boolean recovers(XAResource resource, Xid xid) throws XAException {
        return Arrays.stream(resource.recover(XAResource.TMSTARTRSCAN | XAResource.TMENDRSCAN)).anyMatch(x -> same(x, xid));
    }

    @Line("OW-41")
    void twoPhaseCommit() throws Exception {
        Queue in = new ActiveMQQueue(unique());
        Queue out = new ActiveMQQueue(unique());
        send(auto(connect()), in, "work");
        var xs = xaConnect().createXASession();
        XAResource r = xs.getXAResource();
        Xid xid = branch();
        r.start(xid, XAResource.TMNOFLAGS);
        expectTexts(xs.createConsumer(in), "work");
        send(xs, out, "done");
        r.end(xid, XAResource.TMSUCCESS);
        equal(XAResource.XA_OK, r.prepare(xid), "prepare");
        MessageConsumer consumer = auto(connect()).createConsumer(out);
        expectNone(consumer);
        check(recovers(r, xid), "recover does not list the prepared branch");
        r.commit(xid, false);
        expectTexts(consumer, "done");
        check(!recovers(r, xid), "recover lists the committed branch");
        xs.close();
        expectDepth(in, 0);
    }

    @Line("OW-41")
    void onePhaseCommitRollbackAndReadOnly() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        var xs = xaConnect().createXASession();
        XAResource r = xs.getXAResource();
        Xid one = branch();
        r.start(one, XAResource.TMNOFLAGS);
        send(xs, q, "one phase");
        r.end(one, XAResource.TMSUCCESS);
        r.commit(one, true);
        Xid two = branch();
        r.start(two, XAResource.TMNOFLAGS);
        send(xs, q, "rolled back");
        r.end(two, XAResource.TMSUCCESS);
        equal(XAResource.XA_OK, r.prepare(two), "prepare");
        r.rollback(two);
        Xid three = branch();
        r.start(three, XAResource.TMNOFLAGS);
        send(xs, q, "rolled back before prepare");
        r.end(three, XAResource.TMSUCCESS);
        r.rollback(three);
        Xid four = branch();
        r.start(four, XAResource.TMNOFLAGS);
        r.end(four, XAResource.TMSUCCESS);
        equal(XAResource.XA_RDONLY, r.prepare(four), "prepare of nothing");
        check(!recovers(r, four), "recover lists a read-only branch");
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        expectTexts(consumer, "one phase");
        expectNone(consumer);
    }

    @Line("OW-41")
    void preparedBranchOutlivesItsConnection() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        ActiveMQXAConnection c = xaConnect();
        var xs = c.createXASession();
        Xid xid = branch();
        xs.getXAResource().start(xid, XAResource.TMNOFLAGS);
        send(xs, q, "later");
        xs.getXAResource().end(xid, XAResource.TMSUCCESS);
        equal(XAResource.XA_OK, xs.getXAResource().prepare(xid), "prepare");
        c.close();
        XAResource r = xaConnect().createXASession().getXAResource();
        check(recovers(r, xid), "recover does not list it");
        r.commit(xid, false);
        expectTexts(auto(connect()).createConsumer(q), "later");
    }

    @Line("OW-41")
    void rolledBackPreparedReceiveComesBack() throws Exception {
        Queue q = new ActiveMQQueue(unique());
        send(auto(connect()), q, "again");
        ActiveMQXAConnection c = xaConnect();
        var xs = c.createXASession();
        Xid xid = branch();
        xs.getXAResource().start(xid, XAResource.TMNOFLAGS);
        expectTexts(xs.createConsumer(q), "again");
        xs.getXAResource().end(xid, XAResource.TMSUCCESS);
        equal(XAResource.XA_OK, xs.getXAResource().prepare(xid), "prepare");
        c.close();
        MessageConsumer consumer = auto(connect()).createConsumer(q);
        expectNone(consumer); // the branch holds it
        XAResource r = xaConnect().createXASession().getXAResource();
        r.rollback(xid);
        equal("again", nextText(consumer), "after the rollback");
    }

    @Line("OW-41")
    void forgetOfAnythingUnknownIsAnError() throws Exception {
        XAResource r = xaConnect().createXASession().getXAResource();
        equal(XAException.XAER_NOTA, refused(XAException.class, () -> r.forget(branch())).errorCode, "errorCode");
    }

    @Line(value = "OW-42", alone = true)
    void preparedBranchSurvivesAKill() throws Exception {
        Queue in = new ActiveMQQueue(unique());
        Queue out = new ActiveMQQueue(unique());
        for (int i = 1; i <= 2; i++) {
            Session fill = auto(connect());
            Message m = fill.createTextMessage("work " + i);
            m.setIntProperty("n", i);
            fill.createProducer(in).send(m);
        }
        List<Xid> xids = new ArrayList<>();
        List<ActiveMQXAConnection> connections = new ArrayList<>();
        for (int i = 1; i <= 2; i++) {
            ActiveMQXAConnection c = xaConnect();
            connections.add(c);
            var xs = c.createXASession();
            Xid xid = branch();
            xids.add(xid);
            xs.getXAResource().start(xid, XAResource.TMNOFLAGS);
            expectTexts(xs.createConsumer(in, "n = " + i), "work " + i);
            send(xs, out, "done " + i);
            xs.getXAResource().end(xid, XAResource.TMSUCCESS);
            equal(XAResource.XA_OK, xs.getXAResource().prepare(xid), "prepare");
        }
        Broker.restart();
        connections.forEach(c -> quietly(c::close));
        XAResource r = xaConnect().createXASession().getXAResource();
        MessageConsumer onOut = auto(connect()).createConsumer(out);
        expectNone(onOut);
        MessageConsumer onIn = auto(connect()).createConsumer(in);
        expectNone(onIn);
        check(recovers(r, xids.get(0)) && recovers(r, xids.get(1)), "recover does not list both");
        r.commit(xids.get(0), false);
        r.rollback(xids.get(1));
        expectTexts(onOut, "done 1");
        expectNone(onOut);
        expectTexts(onIn, "work 2");
        expectNone(onIn);
        // And what was decided stays so.
        Broker.restart();
        XAResource again = xaConnect().createXASession().getXAResource();
        check(!recovers(again, xids.get(0)) && !recovers(again, xids.get(1)), "decided branches come back");
        expectDepth(out, 0);
    }

    @Line(value = "OW-42", alone = true, limit = 180)
    void xaMovesAreWholeOverKills() throws Exception {
        Queue in = new ActiveMQQueue(unique());
        Queue out = new ActiveMQQueue(unique());
        int n = 2000;
        Session fill = transacted(connect());
        MessageProducer filler = fill.createProducer(in);
        for (int i = 0; i < n; i++) {
            filler.send(fill.createTextMessage("" + i));
        }
        fill.commit();
        List<Xid> mine = Collections.synchronizedList(new ArrayList<>());
        for (int round = 0; round < 3; round++) {
            CountDownLatch some = new CountDownLatch(60);
            List<Thread> movers = new ArrayList<>();
            for (int k = 0; k < 3; k++) {
                ActiveMQXAConnection c = xaConnect();
                Thread t = new Thread(() -> quietly(() -> {
                    var xs = c.createXASession();
                    XAResource r = xs.getXAResource();
                    // Only within a transaction does the session not acknowledge by itself.
                    MessageConsumer consumer = null;
                    MessageProducer p = xs.createProducer(out);
                    while (true) {
                        Xid xid = branch();
                        mine.add(xid);
                        r.start(xid, XAResource.TMNOFLAGS);
                        if (consumer == null) {
                            consumer = xs.createConsumer(in);
                        }
                        Message m = consumer.receive(5000);
                        if (m == null) {
                            r.end(xid, XAResource.TMSUCCESS);
                            r.rollback(xid);
                            return;
                        }
                        p.send(xs.createTextMessage(text(m)));
                        r.end(xid, XAResource.TMSUCCESS);
                        r.prepare(xid);
                        r.commit(xid, false);
                        some.countDown();
                    }
                }));
                t.start();
                movers.add(t);
            }
            check(some.await(PATIENCE, TimeUnit.MILLISECONDS), "no sixty moves");
            Broker.restart();
            for (Thread t : movers) {
                t.join(PATIENCE);
                check(!t.isAlive(), "a mover hangs");
            }
            // The transaction manager: what is prepared is decided now, one way or the other.
            XAResource r = xaConnect().createXASession().getXAResource();
            for (Xid xid : mine) {
                if (recovers(r, xid)) {
                    if (round % 2 == 0) {
                        r.commit(xid, false);
                    } else {
                        r.rollback(xid);
                    }
                }
            }
            mine.clear();
        }
        Map<String, Integer> found = new HashMap<>();
        for (Queue q : new Queue[] {in, out}) {
            MessageConsumer consumer = auto(connect()).createConsumer(q);
            for (Message m; (m = consumer.receive(1000)) != null; ) {
                found.merge(text(m), 1, Integer::sum);
            }
        }
        for (int i = 0; i < n; i++) {
            equal(1, found.getOrDefault("" + i, 0), "copies of message " + i);
        }
        equal(n, found.size(), "messages");
    }

    @Line("OW-43")
    void unknownBranchIsXaerNota() throws Exception {
        XAResource r = xaConnect().createXASession().getXAResource();
        equal(XAException.XAER_NOTA, refused(XAException.class, () -> r.commit(branch(), false)).errorCode, "errorCode of commit");
        equal(XAException.XAER_NOTA, refused(XAException.class, () -> r.rollback(branch())).errorCode, "errorCode of rollback");
        refused(XAException.class, () -> r.prepare(branch()));
    }

    @Line("OW-44")
    void deadConnectionsWorkIsRolledBack() throws Exception {
        Proxy proxy = later(new Proxy());
        Queue in = new ActiveMQQueue(unique());
        Queue xaIn = new ActiveMQQueue(unique());
        Queue out = new ActiveMQQueue(unique());
        send(auto(connect()), in, "work");
        send(auto(connect()), xaIn, "xa work");
        ActiveMQConnection c = connectTo(proxy.url());
        Session tx = transacted(c);
        expectTexts(tx.createConsumer(in), "work");
        send(tx, out, "no");
        ActiveMQXAConnectionFactory f = new ActiveMQXAConnectionFactory(Broker.USER, Broker.PASSWORD, proxy.url());
        ActiveMQXAConnection xc = (ActiveMQXAConnection) f.createXAConnection();
        xc.setCloseTimeout(500);
        later(xc::close);
        xc.start();
        var xs = xc.createXASession();
        Xid xid = branch();
        xs.getXAResource().start(xid, XAResource.TMNOFLAGS);
        expectTexts(xs.createConsumer(xaIn), "xa work");
        MessageProducer p = xs.createProducer(out);
        p.setDeliveryMode(DeliveryMode.PERSISTENT);
        p.send(xs.createTextMessage("no"));
        xs.getXAResource().end(xid, XAResource.TMSUCCESS);
        proxy.cut();
        expectTexts(auto(connect()).createConsumer(in), "work");
        expectTexts(auto(connect()).createConsumer(xaIn), "xa work");
        expectNone(auto(connect()).createConsumer(out));
        XAResource r = xaConnect().createXASession().getXAResource();
        check(!recovers(r, xid), "recover lists an unprepared branch");
        equal(XAException.XAER_NOTA, refused(XAException.class, () -> r.commit(xid, true)).errorCode, "errorCode");
    }

    @Line("OW-35")
    void oneTransactionOverQueuesAndTopics() throws Exception {
        ActiveMQDestination q = new ActiveMQQueue(unique());
        ActiveMQConnection c = connect();
        Session tx = transacted(c);
        Session s = auto(connect());
        var topic = s.createTopic(unique());
        MessageConsumer onTopic = s.createConsumer(topic);
        send(s, q, "in");
        MessageConsumer in = tx.createConsumer(q);
        expectTexts(in, "in");
        send(tx, topic, "out");
        tx.rollback();
        expectNone(onTopic);
        expectTexts(in, "in");
        send(tx, topic, "out");
        tx.commit();
        expectTexts(onTopic, "out");
        expectDepth((Queue) q, 0);
    }
}
