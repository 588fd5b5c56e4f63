package crash

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// mqttLedger accounts for the messages of MQTT publishers, which are numbered.
type mqttLedger struct {
	mu         sync.Mutex
	published  map[string]int // by topic
	confirmed  map[string]int
	seen       map[string]map[int]int // copies by topic and number
	next       map[string]int         // QoS 2: the number that is due
	disordered []string               // QoS 2: what came out of turn or twice
	delivered  int
}

func (l *mqttLedger) publish(topic string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = l.published[topic]
	l.published[topic]++
	return n
}

func (l *mqttLedger) confirm(topic string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed[topic]++
}

func (l *mqttLedger) deliver(topic string, n int, qos byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[topic] == nil {
		l.seen[topic] = make(map[int]int)
	}
	l.seen[topic][n]++
	l.delivered++
	if qos == 2 {
		if n != l.next[topic] {
			l.disordered = append(l.disordered, fmt.Sprintf("%s: %d while %d is due", topic, n, l.next[topic]))
		}
		l.next[topic] = n + 1
	}
}

// missing is how many messages have not come, duplicates how many came again.
func (l *mqttLedger) missing() (missing, duplicates int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for topic, total := range l.published {
		for n := range total {
			switch copies := l.seen[topic][n]; {
			case copies == 0:
				missing++
			default:
				duplicates += copies - 1
			}
		}
	}
	return missing, duplicates
}

// mqttPublisher publishes at a QoS until ctx ends and then sees all of it through.
type mqttPublisher struct {
	ledger *mqttLedger
	addr   func() string
	id     string
	topic  string
	qos    byte
	rng    *rand.Rand

	open []*mqttOutgoing // in the order of their sending
	pid  uint16
}

type mqttOutgoing struct {
	pid      uint16
	payload  []byte
	received bool // PUBREC came: from now on PUBREL
}

const mqttWindow = 20

func (p *mqttPublisher) run(ctx context.Context) {
	patience, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	for ctx.Err() == nil || len(p.open) > 0 {
		c := mqttAgain(patience, p.addr, p.id)
		if c == nil {
			return
		}
		p.serve(ctx, c)
		_ = c.nc.Close()
	}
}

// serve resends what is open and goes on until the connection ends or all is
// done.
func (p *mqttPublisher) serve(ctx context.Context, c *mqttConn) {
	for _, o := range p.open {
		var err error
		if o.received {
			err = c.ack(mqttPubrel, o.pid)
		} else {
			err = c.publish(p.topic, p.qos, true, o.pid, o.payload)
		}
		if err != nil {
			return
		}
	}
	for ctx.Err() == nil || len(p.open) > 0 {
		for ctx.Err() == nil && len(p.open) < mqttWindow {
			p.pid = max(p.pid+1, 1)
			n := p.ledger.publish(p.topic)
			o := &mqttOutgoing{pid: p.pid, payload: []byte(fmt.Sprint(n, " ", strings.Repeat("x", p.rng.IntN(400))))}
			p.open = append(p.open, o)
			if c.publish(p.topic, p.qos, false, o.pid, o.payload) != nil {
				return
			}
		}
		_ = c.nc.SetReadDeadline(time.Now().Add(confirmTimeout))
		t, body, err := c.read()
		if err != nil || len(body) != 2 || !p.answer(c, t, binary.BigEndian.Uint16(body)) {
			return
		}
	}
}

func (p *mqttPublisher) answer(c *mqttConn, t byte, pid uint16) bool {
	for i, o := range p.open {
		if o.pid != pid {
			continue
		}
		switch t {
		case mqttPubrec:
			if !o.received {
				o.received = true
				p.ledger.confirm(p.topic)
			}
			return c.ack(mqttPubrel, pid) == nil
		case mqttPuback:
			p.ledger.confirm(p.topic)
		}
		p.open = append(p.open[:i], p.open[i+1:]...)
		return true
	}
	return true
}

// mqttSubscriber takes everything below a filter until ctx ends.
func mqttSubscriber(ctx context.Context, l *mqttLedger, addr func() string, id, filter string, qos byte, ready func()) {
	known := map[uint16]bool{} // QoS 2: received and not released
	for ctx.Err() == nil {
		c := mqttAgain(ctx, addr, id)
		if c == nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = c.nc.Close() })
		if !c.present {
			clear(known)
			_ = c.subscribe(filter, qos)
		}
		for {
			t, body, err := c.read()
			if err != nil {
				break
			}
			switch {
			case t == mqttSuback:
				ready()
			case t&0xF0 == mqttPublish:
				size := int(binary.BigEndian.Uint16(body))
				topic, rest := string(body[2:2+size]), body[2+size:]
				pid := binary.BigEndian.Uint16(rest)
				var n int
				_, _ = fmt.Sscan(string(rest[2:]), &n)
				if qos == 1 || !known[pid] {
					l.deliver(topic, n, qos)
				}
				if qos == 2 {
					known[pid] = true
					_ = c.ack(mqttPubrec, pid)
				} else {
					_ = c.ack(mqttPuback, pid)
				}
			case t == mqttPubrel:
				delete(known, binary.BigEndian.Uint16(body))
				_ = c.ack(mqttPubcomp, binary.BigEndian.Uint16(body))
			}
		}
		stop()
		_ = c.nc.Close()
	}
}

// TestMQTT kills the broker while clients of QoS 1 and 2 publish and subscribe
// with sessions that outlive their connections. In the end every message has come;
// at QoS 2 exactly once and in order.
func TestMQTT(t *testing.T) {
	rounds := number("CRASH_MQTT_ROUNDS", max(number("CRASH_ROUNDS", 100)/4, 5))
	seed := number("CRASH_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed: CRASH_SEED=%d CRASH_MQTT_ROUNDS=%d", seed, rounds)
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.mqtt.address=127.0.0.1:0", "auth.anonymous=on"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	var mu sync.Mutex // Restart changes the address
	addr := func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.Addr("mqtt")
	}
	l := &mqttLedger{published: map[string]int{}, confirmed: map[string]int{}, seen: map[string]map[int]int{}, next: map[string]int{}}
	listening, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	publishing, finish := context.WithCancel(context.Background())
	defer finish()
	var subscribers, publishers, ready sync.WaitGroup
	for qos := byte(1); qos <= 2; qos++ {
		ready.Add(1)
		subscribers.Go(func() {
			mqttSubscriber(listening, l, addr, fmt.Sprint("sub", qos), fmt.Sprintf("crash/%d/#", qos), qos, sync.OnceFunc(ready.Done))
		})
	}
	ready.Wait()
	for qos := byte(1); qos <= 2; qos++ {
		for i := range 3 {
			p := &mqttPublisher{ledger: l, addr: addr, id: fmt.Sprint("pub", qos, "-", i), topic: fmt.Sprintf("crash/%d/%d", qos, i), qos: qos,
				rng: rand.New(rand.NewPCG(seed, uint64(qos)*100+uint64(i)))}
			publishers.Go(func() { p.run(publishing) })
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		<-time.After(time.Duration(200+rng.IntN(500)) * time.Millisecond) // the random moment itself
		b.Kill()
		mu.Lock()
		err := b.Restart()
		mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	finish()
	publishers.Wait()
	all := harness.Poll(time.Minute, func() bool { missing, _ := l.missing(); return missing == 0 })
	hangUp()
	subscribers.Wait()
	missing, duplicates := l.missing()
	published, confirmed := 0, 0
	for topic := range l.published {
		published += l.published[topic]
		confirmed += l.confirmed[topic]
	}
	t.Logf("MQTT: published=%d confirmed=%d delivered=%d lost=%d duplicates at QoS 1=%d out of turn at QoS 2=%d, %d kills",
		published, confirmed, l.delivered, missing, duplicates, len(l.disordered), rounds)
	if !all || missing > 0 {
		t.Errorf("%d messages lost", missing)
	}
	if confirmed != published || confirmed == 0 {
		t.Errorf("%d of %d messages confirmed", confirmed, published)
	}
	if n := len(l.disordered); n > 0 {
		t.Errorf("QoS 2: %d messages twice or out of order, such as %q", n, l.disordered[:min(shown, n)])
	}
}

// TestMQTTLedger: the ledger sees what it is there for.
func TestMQTTLedger(t *testing.T) {
	l := &mqttLedger{published: map[string]int{}, confirmed: map[string]int{}, seen: map[string]map[int]int{}, next: map[string]int{}}
	for range 5 {
		l.publish("t")
	}
	for _, n := range []int{0, 1, 1, 4, 3} {
		l.deliver("t", n, 2)
	}
	if missing, duplicates := l.missing(); missing != 1 || duplicates != 1 {
		t.Errorf("%d missing, %d duplicates, want 1 and 1", missing, duplicates)
	}
	if len(l.disordered) != 3 { // 1 again, 4 for 2, 3 after 4
		t.Errorf("out of turn: %q", l.disordered)
	}
}
