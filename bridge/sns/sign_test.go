package sns

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// noQueues knows no queue.
type noQueues struct{}

func (noQueues) Resolve(string, string) (*broker.Queue, bool) { return nil, false }
func (noQueues) Allows(string, string, string) bool           { return false }
func (noQueues) Delay(string) int64                           { return 0 }
func (noQueues) Sequence(int64) uint64                        { return 0 }

// foreign is a message as clients of other protocols publish it.
func foreign(text string) *broker.Message {
	c := message.Content{ID: aws.NewUUID(), Attributes: []message.Attribute{
		{Name: subjectName, Type: "String", Value: []byte("a subject")}, {Name: "Signature", Type: "String", Value: []byte("")},
	}}
	return &broker.Message{
		Exchange: broker.TopicExchange, RoutingKey: "prices", Format: broker.FormatAWS, Native: c.AppendNative(nil), Body: []byte(text), Persistent: true, TTL: broker.NoTTL,
		Received: 1_700_000_000_792,
	}
}

// SNS-33: whoever publishes over another protocol does not wait for a signature:
// the queue gets the notification without, and SQS shows it with the signature
// that its text asks for.
func TestSignatureLater(t *testing.T) {
	w := newWorld(t)
	for _, version := range []string{"1", "2"} {
		top, sub := newTestTopic(testTopic, "SignatureVersion", version), testSubscription("sqs")
		m := foreign("größe \"Signature\" : \"\" <&>\r\n")
		n := noticeOf(w.core, m)
		formed, why := w.queueMessage(1, top, sub, "q", m, &n, true)
		if why != nil {
			t.Fatal(why)
		}
		if v := message.ViewOf(w.core, formed); !v.Unsigned || !bytes.Contains(v.Body, []byte(noSignature)) {
			t.Errorf("unsigned %v: %s", v.Unsigned, v.Body)
		}
		select {
		case o := <-w.signer.orders:
			w.signer.sign(o.version, o.text)
		default:
			t.Error("nobody was asked to sign")
		}
		whole := w.Sign(formed.Body)
		var e struct{ Message, Signature, SigningCertURL string }
		if err := json.Unmarshal(whole, &e); err != nil {
			t.Fatalf("%v: %s", err, whole)
		}
		if want := string(w.envelope(top, sub, &n, n.text)); string(whole) != want {
			t.Errorf("got  %s\nwant %s", whole, want)
		}
		w.verify(e.SigningCertURL, version, e.Signature, string(signedNotice(testTopic, &n, n.text)))
		// Now that it is known, the next queue gets it at once.
		formed, _ = w.queueMessage(1, top, sub, "q", m, &n, true)
		if v := message.ViewOf(w.core, formed); v.Unsigned || !bytes.Equal(v.Body, whole) {
			t.Errorf("unsigned %v: %s", v.Unsigned, v.Body)
		}
	}
	for _, text := range []string{"", "{}", "x", `{"Type" : "Notification"}`, `{"Type" : "x", "Signature" : ""}`, `{"Signature" : ""`} {
		if got := string(w.Sign([]byte(text))); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// More orders than there is room for are dropped, never waited for.
func TestOrdersAreBounded(t *testing.T) {
	w := newWorld(t)
	for range orderMost + 10 {
		w.signer.order("1", []byte("x"))
	}
	if n := len(w.signer.orders); n != orderMost {
		t.Errorf("%d orders wait", n)
	}
}

// BenchmarkFormOnLoop is what the event loop of a publisher of another protocol
// pays for a notification in a queue.
func BenchmarkFormOnLoop(b *testing.B) {
	w := newWorld(b)
	top, sub := newTestTopic(testTopic), testSubscription("sqs")
	w.signer.load()
	m := foreign("EUR 12.50")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Received++ // another text to sign
		n := noticeOf(w.core, m)
		if _, why := w.queueMessage(1, top, sub, "q", m, &n, true); why != nil {
			b.Fatal(why)
		}
		if len(w.signer.orders) == orderMost {
			<-w.signer.orders
		}
	}
}
