package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"
)

// queueSQS is a standard queue, published to and consumed from over SQS.
const queueSQS = "cluster-sqs"

// sqsClient makes the calls of one client at one node: the JSON protocol of
// the SDKs, without a signature, which aws.auth=relaxed waives.
type sqsClient struct {
	url  string
	http http.Client
}

func (w *world) sqs(addr string) *sqsClient {
	return &sqsClient{"http://" + addr + "/", http.Client{
		Timeout: answerTimeout,
		Transport: &http.Transport{DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			return w.dialAny(addr)
		}},
	}}
}

func (c *sqsClient) Close() { c.http.CloseIdleConnections() }

// call makes one call; nil means that it was answered with 200.
func (c *sqsClient) call(action string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodPost, c.url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %d %s", action, resp.StatusCode, text)
	case out != nil:
		return json.Unmarshal(text, out)
	}
	return nil
}

// topic makes a call of SNS, whose protocol is a form; nil means that it
// was answered with 200.
func (c *sqsClient) topic(action string, parameters url.Values) error {
	parameters.Set("Action", action)
	parameters.Set("Version", "2010-03-31")
	resp, err := c.http.PostForm(c.url, parameters)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", action, resp.StatusCode, text)
	}
	return err
}

// sqsMessage is a received message.
type sqsMessage struct {
	MessageId     string //nolint:revive // the name on the wire
	ReceiptHandle string
	Body          string
	Attributes    struct{ ApproximateReceiveCount string }
}

// receive receives up to ten messages, after waiting up to a second for the
// first.
func (c *sqsClient) receive(queue string) ([]sqsMessage, error) {
	var out struct{ Messages []sqsMessage }
	err := c.call("ReceiveMessage", map[string]any{
		"QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": 5,
		"MessageSystemAttributeNames": []string{"ApproximateReceiveCount"},
	}, &out)
	return out.Messages, err
}

func (c *sqsClient) remove(queue string, m sqsMessage) error {
	return c.call("DeleteMessage", map[string]any{"QueueUrl": queue, "ReceiptHandle": m.ReceiptHandle}, nil)
}

// sqsPublisher sends one message after another. Each is a publisher of its own
// to the history: a standard queue promises no order.
func sqsPublisher(ctx context.Context, w *world, addr string, rng *rand.Rand) {
	c := w.sqs(addr)
	defer c.Close()
	name := w.publisherName("q")
	for number := 1; ctx.Err() == nil; number++ {
		w.throttle(ctx)
		id := fmt.Sprintf("%s-%d", name, number)
		w.publish(id, queueSQS, id, 1, 0)
		if c.call("SendMessage", map[string]any{"QueueUrl": queueSQS, "MessageBody": string(body(id, rng))}, nil) != nil {
			return
		}
		w.confirm(id)
	}
}

// sqsConsumer receives and deletes. Its life ends with the first call that
// fails, so that one life is spent with one life of a node.
func sqsConsumer(ctx context.Context, w *world, addr string, _ *rand.Rand) {
	c := w.sqs(addr)
	defer c.Close()
	seen := map[string]bool{}
	for ctx.Err() == nil {
		if w.takeSQS(c, seen) != nil {
			return
		}
	}
}

// takeSQS receives and deletes once. A receive count above one is the flag of
// a repetition; it is owed to what this life of a client, and so of the node,
// has seen before.
func (w *world) takeSQS(c *sqsClient, seen map[string]bool) error {
	messages, err := c.receive(queueSQS)
	if err != nil {
		return err
	}
	for _, m := range messages {
		id := idOf([]byte(m.Body))
		w.deliver(id, queueSQS, m.Attributes.ApproximateReceiveCount != "1" || !seen[id])
		seen[id] = true
	}
	for _, m := range messages {
		if err := c.remove(queueSQS, m); err != nil {
			return err
		}
		w.settle(idOf([]byte(m.Body)))
	}
	return nil
}

// drainSQS empties the queue through the serving node, also of what is
// invisible because the answer that carried it did not arrive.
func (w *world) drainSQS(addr string) error {
	c := w.sqs(addr)
	defer c.Close()
	seen := map[string]bool{}
	for limit := time.Now().Add(time.Minute); ; {
		var out struct {
			Attributes struct{ ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible string }
		}
		if err := w.takeSQS(c, seen); err != nil {
			return err
		}
		if err := c.call("GetQueueAttributes", map[string]any{"QueueUrl": queueSQS, "AttributeNames": []string{"All"}}, &out); err != nil {
			return err
		}
		a := out.Attributes
		if a.ApproximateNumberOfMessages == "0" && a.ApproximateNumberOfMessagesNotVisible == "0" {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s does not run empty: %+v", queueSQS, a)
		}
	}
}
