package cluster

import (
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// TestStateSurvivesTheActiveNode: OW-42 and what else a broker knows besides
// messages that are ready: the active node is killed once, and its successor
// knows all of it.
func TestStateSurvivesTheActiveNode(t *testing.T) {
	w := newWorld(t, nil)
	old := w.leader(serveLimit)
	var checks []func(t *testing.T, node int)
	for _, prepare := range []func(*testing.T, int) func(*testing.T, int){
		w.preparedBranches, w.deduplication, w.retained, w.durableSubscription, w.delayed, w.leases,
		w.delayedSQS, w.halfReceived, w.halfDelivered, w.settled,
	} {
		checks = append(checks, prepare(t, old))
	}
	if t.Failed() {
		return
	}
	w.nodes[old].broker.Kill()
	w.successor(t, old)
	// The checks take a while: nothing that one of the two does slowly shall end
	// them.
	if err := w.start(old); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	next := w.leader(serveLimit)
	for _, check := range checks {
		check(t, next)
	}
	if t.Failed() {
		t.Log(w.logs())
	}
}

func (w *world) jms(t *testing.T, node int, clientID string) *openwire {
	t.Helper()
	c, err := w.openwire(w.addresses(portOpenWire, node)[0], clientID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// expect receives these bodies in this order, acknowledges them, and then
// finds nothing more in the queue: a marker sent behind them comes next.
func (c *openwire) expect(t *testing.T, what, queue string, bodies ...string) {
	t.Helper()
	if err := c.send(openwireQueue(queue), wire.TransactionID{}, []byte("marker"), nil); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := c.listen(openwireQueue(queue), ""); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for i, body := range append(slices.Clone(bodies), "marker") {
		d, err := c.next(answerTimeout)
		if err != nil {
			t.Errorf("%s: message %d: %v", what, i+1, err)
			return
		}
		if string(d.body) != body {
			t.Errorf("%s: message %d is %q, want %q", what, i+1, d.body, body)
			return
		}
		if err := c.acknowledge(d); err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
	}
}

// preparedBranches: OW-42. Two branches of two messages are prepared; the
// successor lists both, and what it is told to do with them happens.
func (w *world) preparedBranches(t *testing.T, node int) func(*testing.T, int) {
	const queue = "survive.xa"
	branch := func(name string) wire.TransactionID {
		return wire.TransactionID{Kind: wire.TypeXATransactionID, FormatID: 77, GlobalID: name, BranchQualifier: "b"}
	}
	kept, dropped, unprepared := branch("kept"), branch("dropped"), branch("unprepared")
	c := w.jms(t, node, "")
	for _, tx := range []wire.TransactionID{kept, dropped, unprepared} {
		if _, err := c.transact(tx, wire.TxBegin); err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{" 1", " 2"} {
			if err := c.send(openwireQueue(queue), tx, []byte(tx.GlobalID+n), nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.transact(tx, wire.TxEnd); err != nil {
			t.Fatal(err)
		}
		if tx == unprepared {
			continue
		}
		answer, err := c.transact(tx, wire.TxPrepare)
		if r, ok := answer.(*wire.IntegerResponse); err != nil || !ok || r.Result != 0 {
			t.Fatalf("prepare: %+v %v", answer, err)
		}
	}
	return func(t *testing.T, node int) {
		c := w.jms(t, node, "")
		answer, err := c.transact(wire.TransactionID{}, wire.TxRecover)
		list, ok := answer.(*wire.DataArrayResponse)
		if err != nil || !ok {
			t.Fatalf("recover: %+v %v", answer, err)
		}
		if len(list.Data) != 2 || !slices.Contains(list.Data, wire.Structure(kept)) || !slices.Contains(list.Data, wire.Structure(dropped)) {
			t.Errorf("recover lists %v, want %v and %v", list.Data, kept, dropped)
		}
		if _, err := c.transact(dropped, wire.TxRollback); err != nil {
			t.Errorf("rollback: %v", err)
		}
		if _, err := c.transact(kept, wire.TxCommitTwoPhase); err != nil {
			t.Errorf("commit: %v", err)
		}
		c.expect(t, "branches", queue, "kept 1", "kept 2")
	}
}

// deduplication: an id that a FIFO queue has seen counts as seen on the
// successor, also when the message is gone.
func (w *world) deduplication(t *testing.T, node int) func(*testing.T, int) {
	const queue = "survive.fifo"
	send := func(t *testing.T, c *sqsClient, dedup string) string {
		t.Helper()
		var out struct{ MessageId string } //nolint:revive // the name on the wire
		err := c.call("SendMessage", map[string]any{
			"QueueUrl": queue, "MessageBody": dedup, "MessageGroupId": "g", "MessageDeduplicationId": dedup,
		}, &out)
		if err != nil {
			t.Fatal(err)
		}
		return out.MessageId
	}
	take := func(t *testing.T, c *sqsClient) string {
		t.Helper()
		messages, err := c.receive(queue)
		if err != nil || len(messages) != 1 {
			t.Fatalf("received %v %v, want one message", messages, err)
		}
		if err := c.remove(queue, messages[0]); err != nil {
			t.Fatal(err)
		}
		return messages[0].Body
	}
	c := w.sqs(w.addresses(portAWS, node)[0])
	defer c.Close()
	if err := c.call("CreateQueue", map[string]any{"QueueName": queue, "Attributes": map[string]string{"FifoQueue": "true"}}, nil); err != nil {
		t.Fatal(err)
	}
	first := send(t, c, "seen")
	if got := take(t, c); got != "seen" {
		t.Fatalf("received %q", got)
	}
	return func(t *testing.T, node int) {
		c := w.sqs(w.addresses(portAWS, node)[0])
		defer c.Close()
		if again := send(t, c, "seen"); again != first {
			t.Errorf("sent again as %s, first as %s", again, first)
		}
		send(t, c, "new")
		if got := take(t, c); got != "new" {
			t.Errorf("received %q, want what was sent for the first time", got)
		}
	}
}

// leases: SQS-68. Messages that were received are invisible on the successor
// until their time is over; their handles delete and extend there, their groups
// are locked, and their receives are counted on.
func (w *world) leases(t *testing.T, node int) func(*testing.T, int) {
	queues := []string{"survive-lease", "survive-lease.fifo"}
	receive := func(t *testing.T, c *sqsClient, queue string, visibility int) []sqsMessage {
		t.Helper()
		var out struct{ Messages []sqsMessage }
		err := c.call("ReceiveMessage", map[string]any{
			"QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": visibility,
			"MessageSystemAttributeNames": []string{"ApproximateReceiveCount"},
		}, &out)
		if err != nil {
			t.Fatal(err)
		}
		return out.Messages
	}
	c := w.sqs(w.addresses(portAWS, node)[0])
	defer c.Close()
	held := map[string][]sqsMessage{}
	for _, queue := range queues {
		var attributes map[string]string
		if queue == queues[1] {
			attributes = map[string]string{"FifoQueue": "true"}
		}
		if err := c.call("CreateQueue", map[string]any{"QueueName": queue, "Attributes": attributes}, nil); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"1", "2", "3"} {
			in := map[string]any{"QueueUrl": queue, "MessageBody": text}
			if attributes != nil {
				in["MessageGroupId"], in["MessageDeduplicationId"] = "g", text
			}
			if err := c.call("SendMessage", in, nil); err != nil {
				t.Fatal(err)
			}
		}
		for len(held[queue]) < 3 {
			list := receive(t, c, queue, 600)
			if len(list) == 0 {
				t.Fatalf("%s: %d messages of 3", queue, len(held[queue]))
			}
			held[queue] = append(held[queue], list...)
		}
	}
	return func(t *testing.T, node int) {
		c := w.sqs(w.addresses(portAWS, node)[0])
		defer c.Close()
		for _, queue := range queues {
			list := held[queue]
			if queue == queues[1] {
				in := map[string]any{"QueueUrl": queue, "MessageBody": "4", "MessageGroupId": "g", "MessageDeduplicationId": "4"}
				if err := c.call("SendMessage", in, nil); err != nil {
					t.Fatal(err)
				}
			}
			if again := receive(t, c, queue, 600); len(again) != 0 {
				t.Errorf("%s: %d messages were received again after the take-over", queue, len(again))
			}
			if err := c.remove(queue, list[0]); err != nil {
				t.Errorf("%s: the old handle does not delete: %v", queue, err)
			}
			for _, m := range list[1:] {
				in := map[string]any{"QueueUrl": queue, "ReceiptHandle": m.ReceiptHandle, "VisibilityTimeout": 0}
				if err := c.call("ChangeMessageVisibility", in, nil); err != nil {
					t.Errorf("%s: the old handle does not give back: %v", queue, err)
				}
			}
			back := map[string]string{}
			for range 3 {
				for _, m := range receive(t, c, queue, 600) {
					back[m.Body] = m.Attributes.ApproximateReceiveCount
				}
			}
			for _, m := range list[1:] {
				if back[m.Body] != "2" {
					t.Errorf("%s: message %s has receive count %q, want 2", queue, m.Body, back[m.Body])
				}
				delete(back, m.Body)
			}
			if queue == queues[1] && back["4"] != "1" {
				t.Errorf("%s: what came behind the locked group has receive count %q, want 1", queue, back["4"])
			}
			if delete(back, "4"); len(back) != 0 {
				t.Errorf("%s: %v came back", queue, back)
			}
		}
	}
}

// delayed: messages that wait for their time, of AMQP and of OpenWire, come
// once, and not before. Their delay is longer than a take-over.
func (w *world) delayed(t *testing.T, node int) func(*testing.T, int) {
	const delay = 8 * time.Second
	queues := []string{"survive.delay.amqp", "survive.delay.openwire"}
	ch, cut, err := w.channel(w.addresses(portAMQP, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	for _, q := range queues {
		if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(delay)
	confirm, err := ch.PublishWithDeferredConfirm("", queues[0], false, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent, Body: []byte("late"), Headers: amqp.Table{"x-delay": int32(delay.Milliseconds())},
	})
	if err != nil || !(pending{confirm}).acked(answerTimeout) {
		t.Fatalf("delayed message not confirmed: %v", err)
	}
	err = w.jms(t, node, "").send(openwireQueue(queues[1]), wire.TransactionID{}, []byte("late"),
		wire.Map{{Name: "AMQ_SCHEDULED_DELAY", Value: delay.Milliseconds()}})
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, node int) {
		for _, q := range queues {
			c := w.jms(t, node, "")
			if err := c.listen(openwireQueue(q), ""); err != nil {
				t.Fatal(err)
			}
			d, err := c.next(answerTimeout + delay)
			if err != nil {
				t.Errorf("%s: %v", q, err)
				continue
			}
			// The nodes tell time in whole milliseconds.
			if early := time.Until(due); string(d.body) != "late" || early > 2*time.Millisecond {
				t.Errorf("%s: %q came %v early", q, d.body, early)
			}
			if err := c.acknowledge(d); err != nil {
				t.Errorf("%s: %v", q, err)
			}
			c.Close()
			w.jms(t, node, "").expect(t, q, q)
		}
	}
}

// retained: a new subscriber gets the message that was kept for it.
func (w *world) retained(t *testing.T, node int) func(*testing.T, int) {
	const topic = "survive/retained"
	connect := func(t *testing.T, node int, id string) mqtt.Client {
		t.Helper()
		o := w.mqttClient(id).SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false)
		o.Servers = nil
		o.AddBroker("tcp://" + w.addresses(portMQTT, node)[0])
		c := mqtt.NewClient(o)
		if token := c.Connect(); !token.WaitTimeout(answerTimeout) || token.Error() != nil {
			t.Fatalf("MQTT connect: %v", token.Error())
		}
		return c
	}
	c := connect(t, node, "survive-publisher")
	defer c.Disconnect(100)
	for _, body := range []string{"older", "kept"} {
		if token := c.Publish(topic, 1, true, body); !token.WaitTimeout(answerTimeout) || token.Error() != nil {
			t.Fatalf("MQTT publish: %v", token.Error())
		}
	}
	return func(t *testing.T, node int) {
		c := connect(t, node, "survive-subscriber")
		defer c.Disconnect(100)
		got := make(chan mqtt.Message, 4)
		token := c.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { got <- m })
		if !token.WaitTimeout(answerTimeout) || token.Error() != nil {
			t.Fatalf("MQTT subscribe: %v", token.Error())
		}
		select {
		case m := <-got:
			if string(m.Payload()) != "kept" || !m.Retained() {
				t.Errorf("retained message: %q, retained %v", m.Payload(), m.Retained())
			}
		case <-time.After(answerTimeout):
			t.Error("no retained message")
		}
	}
}

// durableSubscription: what was published to a topic while its subscriber was
// away waits for it on the successor.
func (w *world) durableSubscription(t *testing.T, node int) func(*testing.T, int) {
	const client, name = "survive-client", "sub"
	topic := wire.Destination{Kind: wire.TypeTopic, Name: "survive.topic"}
	subscriber := w.jms(t, node, client)
	if err := subscriber.listen(topic, name); err != nil {
		t.Fatal(err)
	}
	bye := &wire.RemoveInfo{ObjectID: wire.ConnectionID{Value: subscriber.id}, LastDeliveredSequenceID: wire.LastDeliveredUnset}
	if _, err := subscriber.call(bye); err != nil {
		t.Fatal(err)
	}
	publisher := w.jms(t, node, "")
	for _, body := range []string{"away 1", "away 2"} {
		if err := publisher.send(topic, wire.TransactionID{}, []byte(body), nil); err != nil {
			t.Fatal(err)
		}
	}
	return func(t *testing.T, node int) {
		// The subscription gets this, too, before its client is back.
		if err := w.jms(t, node, "").send(topic, wire.TransactionID{}, []byte("away 3"), nil); err != nil {
			t.Fatal(err)
		}
		subscriber := w.jms(t, node, client)
		if err := subscriber.listen(topic, name); err != nil {
			t.Fatal(err)
		}
		for _, body := range []string{"away 1", "away 2", "away 3"} {
			d, err := subscriber.next(answerTimeout)
			if err != nil || string(d.body) != body {
				t.Fatalf("durable subscription: %q %v, want %q", d.body, err, body)
			}
			if err := subscriber.acknowledge(d); err != nil {
				t.Fatal(err)
			}
		}
	}
}
