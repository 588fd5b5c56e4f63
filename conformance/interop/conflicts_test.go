package interop

import (
	"fmt"
	"testing"
	"time"
)

// oneWay sends m from one protocol and returns what another shows.
func oneWay(t *testing.T, from, to string, at Address, m Message) Message {
	t.Helper()
	in := listen(t, connect(t, byName(t, to)), at)
	must(t, connect(t, byName(t, from)).Send(at, m))
	return next(t, in)
}

func byName(t *testing.T, name string) Adapter {
	t.Helper()
	for _, a := range adapters {
		if a.Name() == name {
			return a
		}
	}
	t.Fatalf("no adapter %s", name)
	return nil
}

// Each test below is a point on which protocols disagree, and what holds.

// TestNumbersBecomeTexts: a typed header that has been through a protocol
// without types is a text for whoever gets it next, types included.
func TestNumbersBecomeTexts(t *testing.T) {
	for _, typed := range []string{"AMQP", "OpenWire"} {
		for _, middle := range []string{"STOMP", "MQTT"} {
			at, on := Address{Topic: []string{unique(t), "1"}}, Address{Topic: []string{unique(t), "2"}}
			first := oneWay(t, typed, middle, at, Message{Headers: map[string]any{"n": int64(5), "f": 1.5, "b": true}})
			second := oneWay(t, middle, typed, on, first)
			if got := fmt.Sprintf("%T %v %T %v %T %v", second.Headers["n"], second.Headers["n"], second.Headers["f"], second.Headers["f"],
				second.Headers["b"], second.Headers["b"]); got != "string 5 string 1.5 string true" {
				t.Errorf("%s by way of %s: %s", typed, middle, got)
			}
		}
	}
}

// TestUserPropertyIsNoPriority: what MQTT shows of a priority is a user
// property; one that a client sends is a header and orders nothing.
func TestUserPropertyIsNoPriority(t *testing.T) {
	for _, to := range []string{"AMQP", "STOMP"} {
		at := Address{Topic: []string{unique(t), "x"}}
		m := oneWay(t, "MQTT", to, at, Message{Headers: map[string]any{"k": "v", "app-id": "mine"}})
		if m.Headers["k"] != "v" || m.Priority != 0 || to == "AMQP" && (m.AppID != "" || m.Headers["app-id"] != "mine") {
			t.Errorf("%s: %+v", to, m)
		}
	}
}

// TestExpiryInSeconds: MQTT counts in seconds; less than one is one.
func TestExpiryInSeconds(t *testing.T) {
	for _, from := range []string{"AMQP", "STOMP"} {
		at := Address{Topic: []string{unique(t), "x"}}
		if m := oneWay(t, from, "MQTT", at, Message{TTL: 900 * time.Millisecond}); m.TTL != time.Second {
			t.Errorf("%s: %v", from, m.TTL)
		}
		at = Address{Topic: []string{unique(t), "y"}}
		if m := oneWay(t, from, "MQTT", at, Message{}); m.TTL != 0 {
			t.Errorf("%s: %v without a time to live", from, m.TTL)
		}
	}
}

// TestPersistenceIsQoS: a persistent message reaches MQTT at QoS 1, a transient
// one at QoS 0, and the other way round.
func TestPersistenceIsQoS(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		for _, pair := range [][2]string{{"AMQP", "MQTT"}, {"STOMP", "MQTT"}, {"MQTT", "AMQP"}, {"MQTT", "STOMP"}} {
			at := Address{Topic: []string{unique(t), "x"}}
			if m := oneWay(t, pair[0], pair[1], at, Message{Persistent: persistent}); m.Persistent != persistent {
				t.Errorf("%v: persistent %v became %v", pair, persistent, m.Persistent)
			}
		}
	}
}

// TestReplyNameIsATopicToMQTT: AMQP's reply-to does not tell a queue from a
// topic; MQTT, which has no queues, shows it as a topic.
func TestReplyNameIsATopicToMQTT(t *testing.T) {
	at := Address{Topic: []string{unique(t), "x"}}
	m := oneWay(t, "AMQP", "MQTT", at, Message{ReplyTo: Address{Queue: "a.b/c"}})
	if want := (Address{Topic: []string{"a", "b.c"}}); !m.ReplyTo.equal(want) {
		t.Errorf("got %s, want %s", m.ReplyTo, want)
	}
}

// TestExclusiveQueueIsLocked: a queue of one AMQP connection is nobody else's,
// whatever protocol asks for it.
func TestExclusiveQueueIsLocked(t *testing.T) {
	q, err := channel(t).QueueDeclare("", false, false, true, false, nil)
	must(t, err)
	for _, a := range adapters {
		if at := (Address{Queue: q.Name}); a.Reaches(at) {
			in, err := connect(t, a).Listen(at)
			if err != nil {
				continue
			}
			select {
			case m, open := <-in:
				if open {
					t.Errorf("%s got %q", a.Name(), m.Body)
				}
			case <-time.After(patience):
				t.Errorf("%s reads a locked queue", a.Name())
			}
		}
	}
}
