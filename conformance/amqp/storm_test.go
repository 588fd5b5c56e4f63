package amqpconf

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A storm of declarations and deletions from many connections, ended by
// SIGKILL: what was confirmed to exist exists afterwards, what was confirmed
// to be gone is gone, bindings included, and messages that were confirmed are
// in the queues that are left.
func TestTorture_DefinitionsUnderKill(t *testing.T) {
	b := tormented(t)
	rounds := 3
	if depth() > 3000 {
		rounds = 15
	}
	type fact struct {
		exists  bool
		unsure  bool // an answer was outstanding at the kill
		bound   bool
		unbound bool // unsure about the binding
		msgs    int
		open    int // publishes without an answer
	}
	const workers, each = 12, 6
	facts := make([][each]fact, workers)
	name := func(w, k int) string { return fmt.Sprintf("storm-%d-%d", w, k) }
	must(t, b.channel().ExchangeDeclare("storm", "direct", true, false, false, false, nil))
	var done atomic.Int64
	for round := range rounds {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				conn, err := b.tryDial(amqp.Config{})
				if err != nil {
					return
				}
				ch, err := conn.Channel()
				if err != nil || ch.Confirm(false) != nil {
					return
				}
				for ; ; done.Add(1) {
					k := r.IntN(each)
					f, q := &facts[w][k], name(w, k)
					switch op := r.IntN(5); {
					case !f.exists:
						f.unsure = true
						if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
							return
						}
						*f = fact{exists: true}
					case op == 0:
						f.unsure = true
						if _, err := ch.QueueDelete(q, false, false, false); err != nil {
							return
						}
						*f = fact{}
					case op <= 2 && !f.bound:
						f.unbound = true
						if ch.QueueBind(q, q, "storm", false, nil) != nil {
							return
						}
						f.bound, f.unbound = true, false
					case op == 1:
						f.unbound = true
						if ch.QueueUnbind(q, q, "storm", nil) != nil {
							return
						}
						f.bound, f.unbound = false, false
					default:
						f.open++
						d, err := ch.PublishWithDeferredConfirm("", q, false, false, persistent("m"))
						if err != nil || !d.Wait() {
							return
						}
						f.open--
						f.msgs++
					}
				}
			}()
		}
		eventually(t, "a good number of operations", func() bool { return done.Load() >= int64(1500*(round+1)) })
		b.own.Kill()
		wg.Wait()
		must(t, b.own.Restart())
		b.addr, b.pid = b.own.Addr("amqp"), b.own.PID()
		out, err := b.admin.run("list_queues", "name", "messages")
		must(t, err)
		have := make(map[string]int)
		for _, line := range strings.Split(out, "\n") {
			var q string
			var n int
			if c, _ := fmt.Sscan(line, &q, &n); c == 2 {
				have[q] = n
			}
		}
		out, err = b.admin.run("list_bindings", "source", "destination")
		must(t, err)
		bound := make(map[string]bool)
		for _, line := range strings.Split(out, "\n") {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "storm" {
				bound[f[1]] = true
			}
		}
		for w := range workers {
			for k := range each {
				f, q := &facts[w][k], name(w, k)
				n, exists := have[q]
				if exists != f.exists && !f.unsure {
					t.Errorf("round %d: %s exists: %v, confirmed: %v", round, q, exists, f.exists)
				}
				if exists && !f.unsure && (n < f.msgs || n > f.msgs+f.open) {
					t.Errorf("round %d: %s holds %d messages, confirmed were %d and %d open", round, q, n, f.msgs, f.open)
				}
				if exists && !f.unsure && !f.unbound && bound[q] != f.bound {
					t.Errorf("round %d: %s is bound: %v, confirmed: %v", round, q, bound[q], f.bound)
				}
				if !exists && bound[q] {
					t.Errorf("round %d: a binding to %s, which is gone", round, q)
				}
				*f = fact{exists: exists, bound: bound[q], msgs: n}
			}
		}
	}
}

// A transaction that acknowledges from one queue and publishes to two others
// happens as a whole or not at all, whenever the broker dies.
func TestTorture_TransactionsUnderKill(t *testing.T) {
	b := tormented(t)
	const n, batch = 4000, 5
	for _, q := range []string{"from", "left", "right", "dead"} {
		args := amqp.Table{}
		if q == "from" {
			args = amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
		}
		b.declare(q, args)
	}
	b.pour("", "from", n, filler)
	committed := 0
	var commits atomic.Int64
	for round := range 4 {
		conn := b.dial(t, amqp.Config{})
		ch := channel(t, conn)
		must(t, ch.Tx())
		must(t, ch.Qos(200, 0, false))
		in := consume(t, ch, "from", nil)
		stopped := make(chan int)
		go func() {
			sure := 0
			defer func() { stopped <- sure }()
			for {
				for k := range batch {
					d, ok := <-in
					if !ok {
						return
					}
					if k == 0 {
						_ = d.Reject(false)
					} else {
						_ = d.Ack(false)
					}
					for _, q := range []string{"left", "right"} {
						_ = ch.Publish("", q, false, false, amqp.Publishing{Body: d.Body, DeliveryMode: amqp.Persistent})
					}
				}
				if ch.TxCommit() != nil {
					return
				}
				sure++
				commits.Add(1)
			}
		}()
		eventually(t, "a number of transactions", func() bool { return commits.Load() >= int64(20+40*round) })
		b.again("kill")
		committed += <-stopped
		_ = conn.Close()
		from, left, right, dead := b.count("from"), b.count("left"), b.count("right"), b.count("dead")
		did := (n - from) / batch
		if left != right || left != did*batch || dead != did || did < committed {
			t.Fatalf("round %d: from %d, left %d, right %d, dead %d; committed for sure %d batches of %d",
				round, from, left, right, dead, committed, batch)
		}
		committed = did
	}
	seen := make(map[int]bool)
	b.drain("left", committed*batch, func(_ int, d amqp.Delivery) {
		if seen[numberOf(d)] {
			t.Fatalf("%d twice", numberOf(d))
		}
		seen[numberOf(d)] = true
	})
}

// Dead letters leave in the order in which their messages stood, however many
// publishers push them out at once.
func TestTorture_DeadLetterOrder(t *testing.T) {
	b := tormented(t)
	b.declare("dst", nil)
	b.declare("src", amqp.Table{"x-max-length": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dst"})
	n := 5 * depth()
	const publishers = 4
	var wg sync.WaitGroup
	for p := range publishers {
		ch := b.channel()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range n {
				m := filler(i)
				m.DeliveryMode = uint8(1 + i/100%2)
				m.Type = itoa(p)
				if ch.Publish("", "src", false, false, m) != nil {
					return
				}
			}
			_ = ch.Close()
		}()
	}
	wg.Wait()
	b.wantCount("dst", publishers*n-10)
	wrong, last := 0, map[string]int{}
	b.drain("dst", publishers*n-10, func(_ int, d amqp.Delivery) {
		if numberOf(d) < last[d.Type] {
			wrong++
		}
		last[d.Type] = numberOf(d)
	})
	if wrong > 0 {
		t.Errorf("%d of %d dead letters came before an earlier one", wrong, publishers*n)
	}
}
