package broker_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// loop is a client as a listener runs one: a goroutine that owns the session,
// and a mailbox into which the core posts.
type loop struct {
	session *broker.Session
	mail    chan func(t *broker.Turn)
	got     []string
	total   *atomic.Int64
}

func (l *loop) Deliver(_ *broker.Turn, d broker.Delivery) {
	l.mail <- func(t *broker.Turn) {
		d.Sub.Written(t, 1, d.Msg.Size())
		n := len(l.got) % 7
		outcome := broker.Accepted
		if n == 3 && !d.Redelivered {
			outcome = broker.Released
		} else {
			l.got = append(l.got, string(d.Msg.Body))
			l.total.Add(1)
		}
		if d.Lease != 0 {
			l.session.Settle(t, d.Queue, []broker.Lease{d.Lease}, outcome)
		}
	}
}

func (l *loop) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}
func (l *loop) Receipt(*broker.Turn, uint64, bool)                    {}
func (l *loop) Cancelled(*broker.Turn, *broker.Subscription)          {}

// Publishers, consumers, the store and the timer work on one queue at once.
// Every message arrives, once.
func TestConcurrentClients(t *testing.T) {
	store := broker.NewMemoryStore()
	defer store.Close()
	b, err := broker.New(broker.Options{Store: store, Now: time.Now().UnixMilli(), PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	b.SetHotMemory(0, 20_000, 20_000)
	now := func() *broker.Turn { return &broker.Turn{Now: time.Now().UnixMilli()} }
	if err := b.Recover(now()); err != nil {
		t.Fatal(err)
	}
	v := b.VHost("/")
	setup := v.OpenSession(nil, &loop{})
	if _, err := setup.DeclareQueue(now(), broker.QueueDeclare{Name: "q", Durable: true}, nil); err != nil {
		t.Fatal(err)
	}
	const publishers, consumers, each = 4, 4, 2000
	var total atomic.Int64
	var wait, publishing sync.WaitGroup
	done := make(chan struct{})
	loops := make([]*loop, consumers)
	for i := range loops {
		// A mailbox with room for everything a window allows never blocks.
		l := &loop{mail: make(chan func(*broker.Turn), 2048), total: &total}
		l.session = v.OpenSession(nil, l)
		loops[i] = l
		if i == 0 {
			l.session.SetSharedCredit(now(), 5)
		}
		if _, err := l.session.Subscribe(now(), broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 10}); err != nil {
			t.Fatal(err)
		}
		wait.Add(1)
		go func() {
			defer wait.Done()
			for {
				select {
				case f := <-l.mail:
					f(now())
				case <-done:
					l.session.Close(now())
					return
				}
			}
		}()
	}
	for p := range publishers {
		publishing.Add(1)
		go func() {
			defer publishing.Done()
			s := v.OpenSession(nil, &loop{})
			for i := range each {
				m := &broker.Message{
					RoutingKey: "q", Body: []byte(strconv.Itoa(p*each + i)), TTL: broker.NoTTL, Persistent: (p+i)%3 != 0,
				}
				if _, err := s.Publish(now(), broker.Publish{Msg: m, Receipt: 1}); err != nil {
					t.Error(err)
				}
				if i%100 == 0 {
					b.Tick(now())
				}
			}
		}()
	}
	publishing.Wait()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for total.Load() < publishers*each {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d of %d arrived: %+v", total.Load(), publishers*each, v.Queue("q").Stats())
		}
	}
	close(done)
	wait.Wait()
	seen := make(map[string]bool)
	for _, l := range loops {
		for _, body := range l.got {
			if seen[body] {
				t.Errorf("%s arrived twice", body)
			}
			seen[body] = true
		}
	}
	if len(seen) != publishers*each {
		t.Errorf("%d different messages, want %d", len(seen), publishers*each)
	}
}
