package openwire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// TestSendReceiveAcknowledge: OW-16, OW-21. The answer to a persistent send
// waits for the store, and what is acknowledged is gone.
func TestSendReceiveAcknowledge(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "first") // makes the queue
	w.held = true
	c.ask(c.message(q, "second"))
	c.w.m.Turn()
	for s := c.poll(); s != nil; s = c.poll() {
		t.Fatalf("%T came before the commit", s)
	}
	w.held = false
	expect[*wire.Response](c)
	c.consume(1, q, nil)
	list := c.receive("first", "second")
	if list[0].Message.MessageID.BrokerSequenceID >= list[1].Message.MessageID.BrokerSequenceID {
		t.Error("broker sequence ids do not rise")
	}
	c.call(c.ack(wire.AckStandard, list...))
	if ready, out := w.depth("q"); ready+out != 0 {
		t.Errorf("%d and %d are left", ready, out)
	}
}

// TestUnmatchedAcknowledge: OW-26. A range the consumer does not hold is refused
// and changes nothing.
func TestUnmatchedAcknowledge(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "1", "2", "3")
	c.consume(1, q, nil)
	list := c.receive("1", "2", "3")
	bad := c.ack(wire.AckStandard, list[0], list[1])
	bad.LastMessageID.BrokerSequenceID += 1000
	if e := c.refused(bad, classJMS); !strings.Contains(e.Message, "Unmatched acknowledge") {
		t.Error(e.Message)
	}
	bad = c.ack(wire.AckStandard, list...)
	bad.MessageCount = 2
	c.refused(bad, classJMS)
	c.refused(c.ack(wire.AckStandard, list[2], list[1]), classJMS)
	c.call(c.ack(wire.AckStandard, list...))
	c.refused(c.ack(wire.AckStandard, list...), classJMS)
	if ready, out := w.depth("q"); ready+out != 0 {
		t.Errorf("%d and %d are left", ready, out)
	}
	gone := c.ack(wire.AckStandard, list...)
	gone.ConsumerID.Value = 77
	c.call(gone) // of a consumer that is not there: passed over
}

// TestCloseTellsDeliveredFromPrefetched: OW-28.
func TestCloseTellsDeliveredFromPrefetched(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "1", "2", "3", "4")
	c.consume(1, q, nil)
	list := c.receive("1", "2", "3", "4")
	c.call(&wire.RemoveInfo{ObjectID: c.consumerID(1), LastDeliveredSequenceID: list[1].Message.MessageID.BrokerSequenceID})
	c.consume(2, q, nil)
	for i, d := range c.receive("1", "2", "3", "4") {
		if want := int32(1 - i/2); d.RedeliveryCounter != want || d.Message.RedeliveryCounter != want {
			t.Errorf("%s: redelivered %d times, want %d", bodyText(d), d.RedeliveryCounter, want)
		}
	}
}

// TestRollbackDispatchesNothing: OW-37, OW-38, OW-40.
func TestRollbackDispatchesNothing(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "1", "2")
	c.consume(1, q, nil)
	list := c.receive("1", "2")
	tx := wire.TransactionID{Kind: wire.TypeLocalTransactionID, Value: 1, ConnectionID: c.id}
	c.post(&wire.TransactionInfo{ConnectionID: c.id, TransactionID: tx, Operation: wire.TxBegin})
	ack := c.ack(wire.AckStandard, list...)
	ack.TransactionID = tx
	c.call(ack)
	m := c.message(q, "never")
	m.TransactionID = tx
	c.call(m)
	poison := c.ack(wire.AckPoison, list...)
	poison.TransactionID = tx
	c.refused(poison, classJMS)
	c.call(&wire.TransactionInfo{ConnectionID: c.id, TransactionID: tx, Operation: wire.TxRollback})
	c.quiet()
	c.call(c.ack(wire.AckStandard, list...)) // the client still holds them
	if ready, out := w.depth("q"); ready+out != 0 {
		t.Errorf("%d and %d are left", ready, out)
	}
	if e := c.refused(&wire.TransactionInfo{ConnectionID: c.id, TransactionID: tx, Operation: wire.TxCommitOnePhase}, classJMS); e.Message == "" {
		t.Error("no reason")
	}
}

func branch(n string) wire.TransactionID {
	return wire.TransactionID{Kind: wire.TypeXATransactionID, FormatID: 7, GlobalID: n, BranchQualifier: "b"}
}

// TestPreparedBranchesSurvive: OW-41, OW-42, OW-43.
func TestPreparedBranchesSurvive(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q, out := queueNamed("q"), queueNamed("out")
	c.send(q, "taken")
	c.send(out, "there")
	c.consume(1, q, nil)
	list := c.receive("taken")
	c.post(&wire.TransactionInfo{TransactionID: branch("x"), Operation: wire.TxBegin})
	m := c.message(out, "made")
	m.TransactionID = branch("x")
	c.call(m)
	ack := c.ack(wire.AckStandard, list...)
	ack.TransactionID = branch("x")
	c.call(ack)
	c.call(&wire.TransactionInfo{TransactionID: branch("x"), Operation: wire.TxEnd})
	c.ask(&wire.TransactionInfo{TransactionID: branch("x"), Operation: wire.TxPrepare})
	if r := expect[*wire.IntegerResponse](c); r.Result != xaOK {
		t.Fatalf("prepare: %d", r.Result)
	}
	w.start() // the broker dies
	c = w.open("b", nil)
	c.ask(&wire.TransactionInfo{Operation: wire.TxRecover})
	if r := expect[*wire.DataArrayResponse](c); len(r.Data) != 1 || r.Data[0].(wire.TransactionID) != branch("x") {
		t.Fatalf("recovered %v", r.Data)
	}
	c.consume(1, q, nil)
	c.quiet()
	c.call(&wire.TransactionInfo{TransactionID: branch("x"), Operation: wire.TxCommitTwoPhase})
	c.consume(2, out, nil)
	c.receive("there", "made")
	for _, operation := range []int8{wire.TxCommitTwoPhase, wire.TxRollback, wire.TxPrepare, wire.TxForget, wire.TxEnd} {
		e := c.refused(&wire.TransactionInfo{TransactionID: branch("x"), Operation: operation}, classXA)
		if !strings.HasSuffix(e.Message, "xaErrorCode:-4") {
			t.Errorf("operation %d: %s", operation, e.Message)
		}
	}
	c.post(&wire.TransactionInfo{TransactionID: branch("y"), Operation: wire.TxBegin})
	c.ask(&wire.TransactionInfo{TransactionID: branch("y"), Operation: wire.TxPrepare})
	if r := expect[*wire.IntegerResponse](c); r.Result != xaReadOnly {
		t.Errorf("empty branch: %d", r.Result)
	}
}

// TestAnsweredAcknowledgementIsDurable: an acknowledgement that asks for an
// answer (jms.sendAcksAsync=false) gets it when the store has it, and the
// message does not come back.
func TestAnsweredAcknowledgementIsDurable(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "first", "second")
	c.consume(1, q, nil)
	list := c.receive("first", "second")
	w.held = true
	c.ask(c.ack(wire.AckStandard, list[0]))
	c.w.m.Turn()
	for s := c.poll(); s != nil; s = c.poll() {
		t.Fatalf("%T came before the commit", s)
	}
	w.held = false
	expect[*wire.Response](c)
	w.start() // the broker dies
	c = w.open("b", nil)
	c.consume(1, q, nil)
	c.receive("second")
}

// TestRepeatedSendsAreSuppressed: OW-70. What a client sends again after a
// failover is stored once, over a restart, too.
func TestRepeatedSendsAreSuppressed(t *testing.T) {
	w := newWorld(t, Options{})
	survivor := func(i *wire.ConnectionInfo) { i.FaultTolerant = true }
	returning := func(i *wire.ConnectionInfo) { i.FaultTolerant, i.FailoverReconnect = true, true }
	q := queueNamed("q")
	c := w.open("a", survivor)
	c.send(q, "1", "2")
	for range 2 {
		c = w.open("a", returning) // takes over
		c.send(q, "1", "2")        // the same numbers again
		w.start()                  // and the broker dies
	}
	c = w.open("a", returning)
	c.sent = 2
	c.send(q, "3")
	c.consume(1, q, nil)
	c.receive("1", "2", "3")
	c.quiet()
	// A client that does not fail over is never suspected.
	c = w.open("plain", nil)
	c.send(q, "4")
	c.sent = 0
	c.send(q, "4")
	if ready, out := w.depth("q"); ready+out != 5 {
		t.Errorf("%d and %d in the queue", ready, out)
	}
}

// TestConsumersGoOnWhileProducersWait: OW-65. A producer without room waits;
// consumers of its connection do not.
func TestConsumersGoOnWhileProducersWait(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "before")
	c.consume(1, q, nil)
	list := c.receive("before")
	w.b.SetAlarm(w.turn(), broker.AlarmMemory, true)
	w.m.Turn()
	id := c.ask(c.message(q, "waits"))
	c.call(c.ack(wire.AckStandard, list...)) // goes through
	c.quiet()
	w.b.SetAlarm(w.turn(), broker.AlarmMemory, false)
	c.receive("waits")
	if r := expect[*wire.Response](c); r.CorrelationID != id {
		t.Errorf("answer to %d, want %d", r.CorrelationID, id)
	}
}

// TestTakeOver: OW-12, OW-11. The same connection id takes over, another one
// with the same client id is refused.
func TestTakeOver(t *testing.T) {
	w := newWorld(t, Options{})
	first := w.open("a", nil)
	first.consume(1, queueNamed("q"), nil)
	second := w.greet()
	e := second.refused(&wire.ConnectionInfo{ConnectionID: wire.ConnectionID{Value: "b"}, ClientID: "client-a"}, classClientID)
	if !strings.Contains(e.Message, "client-a") {
		t.Error(e.Message)
	}
	w.tick(2 * time.Second)
	w.until("the refused one is closed", func() bool { second.poll(); return second.peer.EOF() })
	third := w.open("a", nil)
	w.until("the old one is closed", func() bool { first.poll(); return first.peer.EOF() })
	third.consume(1, queueNamed("q"), nil)
	third.send(queueNamed("q"), "hello")
	third.receive("hello")
}

// TestTemporaryQueuesAreAdvised: OW-49, OW-51, OW-53, OW-14.
func TestTemporaryQueuesAreAdvised(t *testing.T) {
	w := newWorld(t, Options{})
	advisories := wire.Destination{Kind: wire.TypeTopic, Name: adviceTempQueue + "," + adviceTempTopic}
	a, b := w.open("a", nil), w.open("b", nil)
	b.consume(9, advisories, nil)
	temp := wire.Destination{Kind: wire.TypeTempQueue, Name: "ID:a:1"}
	a.call(&wire.DestinationInfo{ConnectionID: a.id, Destination: temp})
	advised := func(c *client, operation int8) {
		t.Helper()
		d := expect[*wire.MessageDispatch](c)
		info, ok := d.Message.Data.(*wire.DestinationInfo)
		if !ok || info.Destination != temp || info.Operation != operation || info.ConnectionID != a.id {
			t.Fatalf("advised %+v", d.Message.Data)
		}
	}
	advised(b, wire.DestinationAdd)
	late := w.open("late", nil)
	late.consume(9, advisories, nil)
	advised(late, wire.DestinationAdd)
	b.refused(&wire.ConsumerInfo{ConsumerID: b.consumerID(1), Destination: temp, PrefetchSize: 1}, classDestination)
	a.consume(1, temp, nil)
	b.send(temp, "reply")
	a.receive("reply")
	a.call(&wire.RemoveInfo{ObjectID: a.id, LastDeliveredSequenceID: -1})
	advised(b, wire.DestinationRemove)
	if w.b.VHost("/").Queue(temp.Name) != nil {
		t.Error("the temporary queue is still there")
	}
	b.refused(b.message(temp, "too late"), classDestination)
}

// TestBrowser: OW-54.
func TestBrowser(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "1", "2", "3")
	c.consume(1, q, func(i *wire.ConsumerInfo) { i.PrefetchSize = 1 })
	c.receive("1")
	c.consume(2, q, func(i *wire.ConsumerInfo) { i.Browser = true })
	c.receive("1", "2", "3")
	if end := expect[*wire.MessageDispatch](c); end.Message != nil || !end.Destination.IsNull() {
		t.Errorf("end is %+v", end)
	}
	if ready, out := w.depth("q"); ready != 2 || out != 1 {
		t.Errorf("%d and %d", ready, out)
	}
}

// TestDurableSubscriptionAnewWithNoLocal: OW-47, OW-48. A durable subscription that is
// opened with another noLocal is another one, and empty.
func TestDurableSubscriptionAnewWithNoLocal(t *testing.T) {
	w := newWorld(t, Options{})
	topic := wire.Destination{Kind: wire.TypeTopic, Name: "t"}
	other := w.open("other", nil)
	for i, noLocal := range []bool{false, true, true, false} {
		c := w.open(fmt.Sprint("c", i), func(x *wire.ConnectionInfo) { x.ClientID = "client" })
		c.consume(1, topic, func(x *wire.ConsumerInfo) { x.SubscriptionName, x.NoLocal = "s", noLocal })
		if i == 2 {
			c.receive("1") // the same one
		}
		c.quiet()
		c.call(&wire.RemoveInfo{ObjectID: c.id, LastDeliveredSequenceID: -1})
		other.send(topic, fmt.Sprint(i))
	}
}

// TestLoginAnew: OW-8. A client that removed its connection may log in again on the
// same socket, with what is left in the same read.
func TestLoginAnew(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	for _, text := range []string{"1", "2", "3"} {
		c.consume(1, q, nil)
		c.send(q, text)
		c.call(c.ack(wire.AckStandard, c.receive(text)...))
		c.call(&wire.RemoveInfo{ObjectID: c.id, LastDeliveredSequenceID: -1})
		info := &wire.ConnectionInfo{ConnectionID: c.id, ClientID: "client-" + text}
		c.commands++
		info.CommandID, info.ResponseRequired = c.commands, true
		both := wire.Append(nil, c.format, info)
		c.commands++
		produce := &wire.ProducerInfo{ProducerID: c.message(q, "").ProducerID}
		produce.CommandID, produce.ResponseRequired = c.commands, true
		c.peer.Send(wire.Append(both, c.format, produce))
		for range 2 {
			expect[*wire.Response](c)
		}
	}
	if ready, out := w.depth("q"); ready+out != 0 {
		t.Errorf("%d and %d are left", ready, out)
	}
	if n := len(w.b.ListConnections()); n != 1 {
		t.Errorf("%d connections", n)
	}
	c.post(&wire.ShutdownInfo{})
	w.until("the connection is gone", func() bool { return c.peer.EOF() && len(w.b.ListConnections()) == 0 })
}

// TestBrowserMissesWhatWasAcknowledgedBefore: OW-54, also when the
// acknowledgement comes in the same read.
func TestBrowserMissesWhatWasAcknowledgedBefore(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "1", "2")
	c.consume(1, q, nil)
	list := c.receive("1", "2")
	both := wire.Append(nil, c.format, c.ack(wire.AckStandard, list[0]))
	c.peer.Send(wire.Append(both, c.format, &wire.ConsumerInfo{ConsumerID: c.consumerID(2), Destination: q, PrefetchSize: 10, Browser: true}))
	c.receive("2")
	if end := expect[*wire.MessageDispatch](c); end.Message != nil {
		t.Errorf("shown: %s", bodyText(end))
	}
}

// TestPull: OW-27.
func TestPull(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.consume(1, q, func(i *wire.ConsumerInfo) { i.PrefetchSize = 0 })
	c.send(q, "1", "2")
	c.quiet()
	pull := func(timeout int64) {
		c.post(&wire.MessagePull{ConsumerID: c.consumerID(1), Destination: q, Timeout: timeout})
	}
	pull(-1)
	list := c.receive("1")
	c.call(c.ack(wire.AckStandard, list...))
	c.quiet()
	pull(0)
	c.call(c.ack(wire.AckStandard, c.receive("2")...))
	pull(-1)
	if d := expect[*wire.MessageDispatch](c); d.Message != nil {
		t.Error("a message in an empty queue")
	}
	pull(1000)
	c.quiet()
	w.tick(1100 * time.Millisecond)
	if d := expect[*wire.MessageDispatch](c); d.Message != nil {
		t.Error("a message in an empty queue")
	}
	c.send(q, "3")
	c.quiet()
	pull(1000)
	c.receive("3")
}

// TestBrokenInputClosesOnlyItsConnection: OW-6, OW-7.
func TestBrokenInputClosesOnlyItsConnection(t *testing.T) {
	w := newWorld(t, Options{})
	good := w.open("good", nil)
	for name, bytes := range map[string][]byte{
		"negative size": {0xff, 0xff, 0xff, 0xff, 1},
		"huge size":     {0x7f, 0xff, 0xff, 0xff, 1},
		"unknown type":  {0, 0, 0, 2, 250, 0},
		"short string":  {0, 0, 0, 9, 11, 0, 0, 0, 1, 0, 1, 0xff, 0xff},
	} {
		bad := w.greet()
		bad.peer.Send(bytes)
		w.until(name+" ends the connection", func() bool { bad.poll(); return bad.peer.EOF() })
	}
	stranger := w.dial()
	stranger.peer.Send(wire.Append(nil, wire.InitialFormat, &wire.KeepAliveInfo{}))
	w.until("a client without a greeting is closed", func() bool { stranger.poll(); return stranger.peer.EOF() })
	good.send(queueNamed("q"), "fine")
}

// TestRefusalsOfAsynchronousCommands: OW-13.
func TestRefusalsOfAsynchronousCommands(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	c.post(c.message(wire.Destination{Kind: wire.TypeTempQueue, Name: "ID:nobody:1"}, "lost"))
	if e := expect[*wire.ConnectionError](c); e.Exception.ClassName != classDestination {
		t.Errorf("%+v", e.Exception)
	}
	c.refused(&wire.ConsumerInfo{ConsumerID: c.consumerID(1), Destination: queueNamed("q"), Selector: "a ="}, classSelector)
	c.send(queueNamed("q"), "fine")
}

// TestSilence: OW-8, OW-9.
func TestSilence(t *testing.T) {
	w := newWorld(t, Options{MaxInactivity: 1500 * time.Millisecond})
	c := w.open("a", nil)
	c.ask(&wire.KeepAliveInfo{})
	if k := expect[*wire.KeepAliveInfo](c); k.ResponseRequired {
		t.Error("the echo wants an echo")
	}
	for range 2 {
		w.tick(500 * time.Millisecond)
		expect[*wire.KeepAliveInfo](c)
	}
	m := c.message(queueNamed("q"), "x")
	m.Content = make([]byte, 100_000)
	frame := wire.Append(nil, c.format, m)
	for len(frame) > 0 { // a slow upload is no silence
		n := min(len(frame), 5000)
		c.peer.Send(frame[:n])
		frame = frame[n:]
		w.tick(500 * time.Millisecond)
	}
	if c.peer.EOF() {
		t.Fatal("a client that uploads was dropped")
	}
	for range 12 {
		w.tick(250 * time.Millisecond)
	}
	w.until("the silent client is dropped", func() bool { c.poll(); return c.peer.EOF() })
}

// TestGoodbye: a client that has said goodbye closes the connection itself,
// however long it takes; an EOF before its ShutdownInfo would be an error to
// it. What it held is gone at once (OW-14, OW-75).
func TestGoodbye(t *testing.T) {
	w := newWorld(t, Options{})
	for name, shutdown := range map[string]bool{"with ShutdownInfo": true, "without": false} {
		c := w.open("a", nil)
		c.consume(1, queueNamed("q"), nil)
		c.call(&wire.RemoveInfo{ObjectID: c.id, LastDeliveredSequenceID: wire.LastDeliveredUnset})
		if _, unsettled := w.depth("q"); unsettled != 0 || w.b.VHost("/").Queue("q").Stats().Consumers != 0 {
			t.Error(name + ": the consumer is still there")
		}
		for range 20 {
			w.tick(time.Second)
		}
		if c.poll(); c.peer.EOF() {
			t.Fatal(name + ": closed before the client was ready")
		}
		if shutdown {
			c.post(&wire.ShutdownInfo{})
		} else {
			w.tick(farewellTime + goodbyeTime)
		}
		w.until(name+": closed", func() bool { c.poll(); return c.peer.EOF() })
	}
}

// TestClusterIsTold: clients that fail over hear of the nodes of the cluster
// when they come and when there are others; those with TLS of URLs with TLS; what is
// configured comes before (OW-72).
func TestClusterIsTold(t *testing.T) {
	w := newWorld(t, Options{})
	w.server.SetCluster(Cluster{Plain: []string{"tcp://b:1", "tcp://a:1"}, Secure: []string{"ssl://a:2"}})
	c := w.open("a", func(info *wire.ConnectionInfo) { info.FaultTolerant = true })
	told := func(c *client, want string, rebalance bool) {
		t.Helper()
		if x := expect[*wire.ConnectionControl](c); x.ConnectedBrokers != want || x.RebalanceConnection != rebalance || x.Close || x.Exit {
			t.Errorf("told %+v, want %q", x, want)
		}
	}
	told(c, "tcp://a:1,tcp://b:1", false)
	deaf := w.open("b", nil)
	w.server.SetCluster(Cluster{Plain: []string{"tcp://a:1", "tcp://b:1"}, Secure: []string{"ssl://a:2"}}) // nothing new
	w.server.SetCluster(Cluster{Plain: []string{"tcp://c:1"}})
	told(c, "tcp://c:1", false)
	deaf.send(queueNamed("q"), "x")
	for _, s := range deaf.inbox {
		if _, ok := s.(*wire.ConnectionControl); ok {
			t.Error("a client that does not listen was told")
		}
	}
	w.opt.ConnectedBrokers, w.opt.Rebalance = []string{"tcp://x:1"}, true
	told(w.open("c", func(info *wire.ConnectionInfo) { info.Manageable = true }), "tcp://x:1", true)
}
