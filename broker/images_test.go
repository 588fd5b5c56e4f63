package broker_test

import (
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

func imageBroker(t *testing.T, policies ...broker.ImagePolicy) (*broker.VHost, *broker.Turn) {
	t.Helper()
	turn := &broker.Turn{Now: 1}
	b, err := broker.New(broker.Options{Store: broker.NewMemoryStore(), Now: 1, PasswordCost: 4, Images: policies})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(turn); err != nil {
		t.Fatal(err)
	}
	return b.VHost("/"), turn
}

func toTopic(key, body string) broker.Publish {
	m := &broker.Message{Exchange: broker.TopicExchange, RoutingKey: key, Body: []byte(body), TTL: broker.NoTTL, Received: 1}
	return broker.Publish{Exchange: broker.TopicExchange, Msg: m}
}

// imagesOf binds a queue to topics and returns what they had before.
func imagesOf(t *testing.T, v *broker.VHost, turn *broker.Turn, queue, pattern string) (bodies []string) {
	t.Helper()
	s := v.OpenSession(nil, &brokertest.Recorder{})
	defer s.Close(turn)
	if _, err := s.DeclareQueue(turn, broker.QueueDeclare{Name: queue}, nil); err != nil {
		t.Error(err)
	}
	list, err := s.BindImages(turn, broker.Binding{Source: broker.TopicExchange, Destination: queue, Key: pattern})
	if err != nil {
		t.Error(err)
	}
	for _, m := range list {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

// TestImages: what was published to a topic is kept as its policy says, read or
// not, alone or with others, once it is committed, and however it came there.
func TestImages(t *testing.T) {
	v, turn := imageBroker(t, broker.ImagePolicy{Pattern: "a.#", Messages: 2}, broker.ImagePolicy{Pattern: "old.*", Age: 10})
	s, tx := v.OpenSession(nil, &brokertest.Recorder{}), v.OpenSession(nil, &brokertest.Recorder{})
	n := 0
	see := func(pattern string, want ...string) {
		t.Helper()
		n++
		if got := imagesOf(t, v, turn, "late"+strconv.Itoa(n), pattern); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
	publish := func(s *broker.Session, key string, bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			if _, err := s.Publish(turn, toTopic(key, body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(s, "a.x", "1", "2", "3")
	publish(s, "b", "1")
	see("#", "2", "3")
	if _, err := s.DeclareQueue(turn, broker.QueueDeclare{Name: "q"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(turn, broker.Binding{Source: broker.TopicExchange, Destination: "q", Key: "a.x"}, nil); err != nil {
		t.Fatal(err)
	}
	publish(s, "a.x", "4", "4", "5") // also with a route that is remembered
	see("a.*", "4", "5")
	if _, err := s.PublishAll(turn, []broker.Publish{toTopic("a.x", "6"), toTopic("a.x", "7")}, 0); err != nil {
		t.Fatal(err)
	}
	see("a.x", "6", "7")

	tx.Begin()
	publish(tx, "a.x", "undone")
	tx.Rollback(turn)
	publish(tx, "a.x", "8")
	if _, err := tx.PublishAll(turn, []broker.Publish{toTopic("a.x", "9")}, 0); err != nil {
		t.Fatal(err)
	}
	see("a.x", "6", "7")
	done := make(chan struct{})
	tx.Commit(turn, func(*broker.Turn, error) { close(done) })
	<-done
	see("a.x", "8", "9")

	// Over another exchange, and not before it is due.
	if err := s.DeclareExchange(turn, broker.ExchangeDeclare{Name: "e", Type: broker.TypeFanout}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(turn, broker.Binding{Source: "e", Destination: broker.TopicExchange, ToExchange: true}, nil); err != nil {
		t.Fatal(err)
	}
	p := toTopic("a.x", "10")
	p.Exchange, p.Msg.Exchange = "e", "e"
	if _, err := s.Publish(turn, p); err != nil {
		t.Fatal(err)
	}
	later := toTopic("a.x", "later")
	later.Msg.Notes = &broker.Notes{DeliverAt: 100}
	if _, err := s.Publish(turn, later); err != nil {
		t.Fatal(err)
	}
	see("a.x", "9", "10")

	publish(s, "old.x", "1", "2", "3")
	see("old.#", "1", "2", "3")
	turn = &broker.Turn{Now: 12}
	see("old.#")
	dead := toTopic("a.y", "dead")
	dead.Msg.TTL = 5
	if _, err := s.Publish(turn, dead); err != nil {
		t.Fatal(err)
	}
	see("a.y")
}

// TestImagesMissNothing: whoever binds and asks for images gets, with both
// together, everything from some message on, once and in order, while others
// publish.
func TestImagesMissNothing(t *testing.T) {
	v, turn := imageBroker(t, broker.ImagePolicy{Pattern: "a", Messages: 1})
	const messages, readers = 3000, 30
	var firsts [readers]int
	var all sync.WaitGroup
	all.Go(func() {
		s := v.OpenSession(nil, &brokertest.Recorder{})
		for i := range messages {
			if _, err := s.Publish(turn, toTopic("a", strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
		}
	})
	for n := range readers {
		all.Go(func() {
			firsts[n] = -1
			for _, body := range imagesOf(t, v, turn, "q"+strconv.Itoa(n), "a") {
				firsts[n], _ = strconv.Atoi(body)
			}
		})
	}
	all.Wait()
	for n := range readers {
		queue := "q" + strconv.Itoa(n)
		first := firsts[n]
		sink := &brokertest.Recorder{}
		s := v.OpenSession(nil, sink)
		if _, err := s.Subscribe(turn, broker.SubscribeOptions{Queue: queue, Tag: queue, NoAck: true}); err != nil {
			t.Fatal(err)
		}
		next := first + 1
		for next < messages {
			events := sink.Take()
			if len(events) == 0 {
				t.Fatalf("%s: nothing after %d", queue, next-1)
			}
			for _, e := range events {
				i, _ := strconv.Atoi(string(e.Delivery.Msg.Body))
				if i != next {
					t.Fatalf("%s: %d comes after %d; the image was %d", queue, i, next-1, first)
				}
				next++
				e.Sub.Written(turn, 1, e.Delivery.Msg.Size())
			}
		}
		s.Close(turn)
	}
}
