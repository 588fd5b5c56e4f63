package cluster

import "testing"

// TestLeasesSurviveTheActiveNode: SQS-68 for what was received and not deleted
// when the active node is killed.
func TestLeasesSurviveTheActiveNode(t *testing.T) {
	w := newWorld(t, nil)
	old := w.leader(serveLimit)
	check := w.leases(t, old)
	w.nodes[old].broker.Kill()
	if check(t, w.successor(t, old)); t.Failed() {
		t.Log(w.logs())
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
