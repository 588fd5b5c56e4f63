package amqpconf

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	amqp "github.com/rabbitmq/amqp091-go"
)

// depth is the number of messages of a deep queue: HERMOD_TORTURE, or few
// enough for every day.
func depth() int {
	if n, err := strconv.Atoi(os.Getenv("HERMOD_TORTURE")); err == nil && n > 0 {
		return n
	}
	return 3000
}

// torment is a broker of one test that can be ended both ways.
type torment struct {
	*target
	t *testing.T
}

func tormented(t *testing.T, set ...string) *torment {
	t.Helper()
	b := startOwn(t, set...)
	return &torment{&b, t}
}

// again ends the broker, by force or by request, and starts it again.
func (b *torment) again(how string) {
	b.t.Helper()
	if how == "kill" {
		b.own.Kill()
	} else {
		must(b.t, b.own.Stop(60*time.Second))
	}
	must(b.t, b.own.Restart())
	b.addr, b.pid = b.own.Addr("amqp"), b.own.PID()
}

func (b *torment) channel() *amqp.Channel {
	b.t.Helper()
	return channel(b.t, b.dial(b.t, amqp.Config{}))
}

// pour publishes n messages made by f and waits for all confirms; it returns
// how many were refused.
func (b *torment) pour(x, key string, n int, f func(i int) amqp.Publishing) (nacked int) {
	b.t.Helper()
	conn := b.dial(b.t, amqp.Config{})
	defer func() { _ = conn.Close() }()
	ch := confirming(b.t, conn)
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, n))
	done := make(chan int)
	go func() {
		bad := 0
		for range n {
			c, ok := <-confirms
			if !ok || !c.Ack {
				bad++
			}
		}
		done <- bad
	}()
	for i := range n {
		publish(b.t, ch, x, key, f(i))
	}
	select {
	case nacked = <-done:
	case <-time.After(3 * time.Minute):
		b.t.Fatalf("confirms of %d messages to %q %q did not all come", n, x, key)
	}
	return nacked
}

// drain takes exactly n messages with acks and hands each to see, and checks
// that nothing is left.
func (b *torment) drain(q string, n int, see func(i int, d amqp.Delivery)) {
	b.t.Helper()
	conn := b.dial(b.t, amqp.Config{})
	defer func() { _ = conn.Close() }()
	ch := channel(b.t, conn)
	must(b.t, ch.Qos(1000, 0, false))
	in, err := ch.Consume(q, "", false, false, false, false, nil)
	must(b.t, err)
	for i := range n {
		var d amqp.Delivery
		var ok bool
		select {
		case d, ok = <-in:
		case <-time.After(30 * time.Second):
		}
		if !ok {
			b.t.Fatalf("%s: %d of %d messages came; %d ready", q, i, n, b.count(q))
		}
		see(i, d)
		if i%200 == 199 || i == n-1 {
			must(b.t, d.Ack(true))
		}
	}
	silent(b.t, in)
	must(b.t, ch.Close())
	if left := b.count(q); left != 0 {
		b.t.Errorf("%s: %d messages are left", q, left)
	}
}

func (b *torment) count(q string) int {
	b.t.Helper()
	conn := b.dial(b.t, amqp.Config{})
	defer func() { _ = conn.Close() }()
	got, err := channel(b.t, conn).QueueDeclarePassive(q, false, false, false, false, nil)
	must(b.t, err)
	return got.Messages
}

func (b *torment) wantCount(q string, want int) {
	b.t.Helper()
	got := -1
	if !harness.Poll(60*time.Second, func() bool { got = b.count(q); return got == want }) {
		b.t.Errorf("%s holds %d messages, want %d", q, got, want)
	}
}

func (b *torment) declare(q string, args amqp.Table) {
	b.t.Helper()
	_, err := b.channel().QueueDeclare(q, true, false, false, false, args)
	must(b.t, err)
}

// filler makes a message number i of a few hundred bytes.
func filler(i int) amqp.Publishing {
	return persistent(fmt.Sprintf("%08d%s", i, strings.Repeat("x", 300)))
}

func numberOf(d amqp.Delivery) int {
	if len(d.Body) < 8 {
		return -1
	}
	n, err := strconv.Atoi(string(d.Body[:8]))
	if err != nil {
		return -1
	}
	return n
}

func eachWay(t *testing.T, f func(t *testing.T, how string)) {
	for _, how := range []string{"kill", "stop"} {
		t.Run(how, func(t *testing.T) { f(t, how) })
	}
}

func TestTorture_PrioritiesAcrossRestart(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		n := depth() / 6 * 6
		b.declare("prio", amqp.Table{"x-max-priority": int32(5)})
		b.pour("", "prio", n, func(i int) amqp.Publishing {
			m := filler(i)
			m.Priority = uint8(i % 6)
			return m
		})
		b.wantCount("prio", n)
		b.again(how)
		b.wantCount("prio", n)
		b.drain("prio", n, func(i int, d amqp.Delivery) {
			level, at := 5-i/(n/6), i%(n/6)
			if want := at*6 + level; numberOf(d) != want {
				t.Fatalf("message %d is %d, want %d", i, numberOf(d), want)
			}
		})
	})
}

// Every second message expires and goes three hops through dead letter
// exchanges; the others stay, in order.
func TestTorture_ExpiryAndDeadLetters(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		n := depth() / 2 * 2
		to := func(q string, more amqp.Table) amqp.Table {
			a := amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": q}
			for k, v := range more {
				a[k] = v
			}
			return a
		}
		b.declare("final", nil)
		b.declare("hop2", to("final", amqp.Table{"x-message-ttl": int32(200)}))
		b.declare("hop1", to("hop2", amqp.Table{"x-message-ttl": int32(200)}))
		b.declare("mix", to("hop1", nil))
		b.pour("", "mix", n, func(i int) amqp.Publishing {
			m := filler(i)
			if i%2 == 1 {
				m.Expiration = "1000"
			}
			return m
		})
		b.again(how)
		b.wantCount("final", n/2)
		b.wantCount("mix", n/2)
		b.again(how)
		b.wantCount("final", n/2)
		b.wantCount("mix", n/2)
		b.drain("mix", n/2, func(i int, d amqp.Delivery) {
			if numberOf(d) != 2*i {
				t.Fatalf("message %d is %d, want %d", i, numberOf(d), 2*i)
			}
		})
		seen := make(map[int]bool)
		b.drain("final", n/2, func(i int, d amqp.Delivery) {
			k := numberOf(d)
			if k%2 != 1 || seen[k] {
				t.Fatalf("message %d is %d: seen %v", i, k, seen[k])
			}
			seen[k] = true
			deaths, _ := d.Headers["x-death"].([]any)
			var got []string
			for _, x := range deaths {
				e := x.(amqp.Table)
				got = append(got, fmt.Sprintf("%v/%v/%v", e["queue"], e["reason"], e["count"]))
			}
			if s := strings.Join(got, " "); s != "hop2/expired/1 hop1/expired/1 mix/expired/1" {
				t.Fatalf("x-death of %d: %s", k, s)
			}
			if e := deaths[2].(amqp.Table); e["original-expiration"] != "1000" || d.Expiration != "" {
				t.Fatalf("original-expiration %v, expiration %q", e["original-expiration"], d.Expiration)
			}
		})
	})
}

func TestTorture_Limits(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		n, keep := depth(), depth()/3
		b.declare("dlq", nil)
		dlx := func(a amqp.Table) amqp.Table {
			a["x-max-length"] = int32(keep)
			a["x-dead-letter-exchange"], a["x-dead-letter-routing-key"] = "", "dlq"
			return a
		}
		b.declare("newest", dlx(amqp.Table{}))
		b.declare("oldest", dlx(amqp.Table{"x-overflow": "reject-publish"}))
		b.declare("oldest-dlx", dlx(amqp.Table{"x-overflow": "reject-publish-dlx"}))
		if bad := b.pour("", "newest", n, filler); bad != 0 {
			t.Errorf("drop-head: %d nacks", bad)
		}
		b.wantCount("dlq", n-keep)
		b.drain("dlq", n-keep, func(i int, d amqp.Delivery) {
			if numberOf(d) != i {
				t.Fatalf("dead letter %d is %d", i, numberOf(d))
			}
		})
		if bad := b.pour("", "oldest", n, filler); bad != n-keep {
			t.Errorf("reject-publish: %d nacks, want %d", bad, n-keep)
		}
		if bad := b.pour("", "oldest-dlx", n, filler); bad != n-keep {
			t.Errorf("reject-publish-dlx: %d nacks, want %d", bad, n-keep)
		}
		b.wantCount("dlq", n-keep)
		b.again(how)
		b.wantCount("dlq", n-keep)
		b.drain("dlq", n-keep, func(i int, d amqp.Delivery) {
			if numberOf(d) != keep+i {
				t.Fatalf("dead letter %d is %d", i, numberOf(d))
			}
		})
		for q, first := range map[string]int{"newest": n - keep, "oldest": 0, "oldest-dlx": 0} {
			b.drain(q, keep, func(i int, d amqp.Delivery) {
				if numberOf(d) != first+i {
					t.Fatalf("%s: message %d is %d, want %d", q, i, numberOf(d), first+i)
				}
			})
		}
	})
}

// Stored and transient messages of one publisher keep their order, and only
// the stored ones survive.
func TestTorture_MixedDurability(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		n := depth() / 3 * 3
		b.declare("mixed", nil)
		b.declare("mixed2", nil)
		mix := func(i int) amqp.Publishing {
			m := filler(i)
			if i%3 == 0 {
				m.DeliveryMode = amqp.Transient
			}
			return m
		}
		b.pour("", "mixed", n, mix)
		b.pour("", "mixed2", n, mix)
		b.drain("mixed2", n, func(i int, d amqp.Delivery) {
			if numberOf(d) != i {
				t.Fatalf("message %d is %d", i, numberOf(d))
			}
		})
		b.again(how)
		b.wantCount("mixed", n/3*2)
		b.drain("mixed", n/3*2, func(i int, d amqp.Delivery) {
			if want := i/2*3 + 1 + i%2; numberOf(d) != want {
				t.Fatalf("message %d is %d, want %d", i, numberOf(d), want)
			}
		})
	})
}

// What thousands of nacks, a recover, a closed channel put back comes again in
// its old order.
func TestTorture_RequeueOrder(t *testing.T) {
	b := tormented(t)
	n := depth()
	b.declare("q", nil)
	b.pour("", "q", n, filler)
	b.again("stop") // everything is in the store alone, and known to be undelivered
	for round, end := range []func(ch *amqp.Channel, last amqp.Delivery) error{
		func(ch *amqp.Channel, last amqp.Delivery) error { return ch.Nack(last.DeliveryTag, true, true) },
		//lint:ignore SA1019 basic.recover is what is tested
		func(ch *amqp.Channel, _ amqp.Delivery) error { return ch.Recover(true) },
		func(ch *amqp.Channel, _ amqp.Delivery) error { return ch.Close() },
		func(ch *amqp.Channel, last amqp.Delivery) error {
			for tag := last.DeliveryTag; tag > 0; tag-- {
				if err := ch.Nack(tag, false, true); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		conn := b.dial(t, amqp.Config{})
		ch := channel(t, conn)
		must(t, ch.Qos(n/2, 0, false))
		in, err := ch.Consume("q", "c", false, false, false, false, nil)
		must(t, err)
		var last amqp.Delivery
		for i := range n / 2 {
			last = recv(t, in)
			if numberOf(last) != i || last.Redelivered != (round > 0) {
				t.Fatalf("round %d: message %d is %d, redelivered %v", round, i, numberOf(last), last.Redelivered)
			}
		}
		must(t, ch.Cancel("c", false))
		must(t, end(ch, last))
		must(t, conn.Close())
		b.wantCount("q", n)
	}
	b.again("stop")
	b.pour("", "q", 10, filler)
	b.again("kill") // now nothing is known: what is there may have been delivered
	b.pour("", "q", 1, filler)
	b.drain("q", n+11, func(i int, d amqp.Delivery) {
		if i < n && numberOf(d) != i || d.Redelivered != (i < n+10) {
			t.Fatalf("message %d is %d, redelivered %v", i, numberOf(d), d.Redelivered)
		}
	})
}

// basic.get tells what is left, also of a queue that is in the store alone.
func TestTorture_GetFromTheStore(t *testing.T) {
	b := tormented(t)
	n := depth()
	b.declare("q", nil)
	b.pour("", "q", n, filler)
	b.again("stop")
	ch := b.channel()
	for i := range 500 {
		d, ok, err := ch.Get("q", i%2 == 0)
		must(t, err)
		if !ok || numberOf(d) != i || int(d.MessageCount) != n-1-i {
			t.Fatalf("get %d: ok %v, number %d, %d left", i, ok, numberOf(d), d.MessageCount)
		}
	}
	must(t, ch.Close())
	b.wantCount("q", n-250)
	b.declare("behind", nil) // nobody waits for settlements: what is answered later in the log tells that they are on disk
	b.again("kill")
	b.drain("q", n-250, func(i int, d amqp.Delivery) {
		want := 2*i + 1
		if i >= 250 {
			want = 250 + i
		}
		if numberOf(d) != want {
			t.Fatalf("message %d is %d, want %d", i, numberOf(d), want)
		}
	})
}

// Quorum queues count attempts over restarts and give up at the limit.
func TestTorture_DeliveryLimit(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		n := depth() / 10
		b.declare("dlq", nil)
		b.declare("q", amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(2),
			"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"})
		b.pour("", "q", n, filler)
		for round := range 3 {
			ch := b.channel()
			in := consumeTag(t, ch, "q", "c", nil)
			var last amqp.Delivery
			for i := range n {
				last = recv(t, in)
				count, _ := last.Headers["x-delivery-count"].(int64)
				if numberOf(last) != i || int(count) != round || last.Redelivered != (round > 0) {
					t.Fatalf("round %d: message %d is %d, count %d, redelivered %v", round, i, numberOf(last), count, last.Redelivered)
				}
			}
			must(t, ch.Cancel("c", false))
			must(t, ch.Nack(last.DeliveryTag, true, true))
			must(t, ch.Close())
			if round < 2 {
				b.wantCount("q", n)
				b.pour("", "dlq", 1, filler) // what is confirmed after the nacks is stored after them
				b.again(how)
			}
		}
		b.wantCount("q", 0)
		b.wantCount("dlq", n+2)
		b.again(how)
		b.wantCount("q", 0)
		b.wantCount("dlq", n+2)
	})
}

func TestTorture_StreamReaders(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		n := depth()
		b.declare("s", amqp.Table{"x-queue-type": "stream"})
		b.pour("", "s", n, filler)
		b.again(how)
		b.wantCount("s", n)
		for _, from := range []struct {
			spec  any
			first int
		}{{"first", 0}, {int64(0), 0}, {int64(n / 2), n / 2}, {"last", -1}, {time.Unix(0, 0), 0}, {"1h", 0}, {int64(n - 1), n - 1}} {
			ch := b.channel()
			must(t, ch.Qos(500, 0, false))
			in := consume(t, ch, "s", amqp.Table{"x-stream-offset": from.spec})
			i := from.first
			for i < n {
				d := recv(t, in)
				if i < 0 {
					i = numberOf(d)
				}
				at, _ := d.Headers["x-stream-offset"].(int64)
				if numberOf(d) != i || int(at) != i {
					t.Fatalf("from %v: got %d at %d, want %d", from.spec, numberOf(d), at, i)
				}
				must(t, d.Ack(false))
				i++
			}
			silent(t, in)
			must(t, ch.Close())
		}
	})
}

// One message to a thousand queues, and a thousand deletions, are all or
// nothing for each and survive.
func TestTorture_FanOut(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		b := tormented(t)
		ch := b.channel()
		const queues = 1000
		must(t, ch.ExchangeDeclare("x", "fanout", true, false, false, false, nil))
		for i := range queues {
			q := "f" + itoa(i)
			_, err := ch.QueueDeclare(q, true, false, false, false, nil)
			must(t, err)
			bind(t, ch, q, "", "x", nil)
		}
		b.pour("x", "", 20, filler)
		for i := range queues / 2 {
			_, err := ch.QueueDelete("f"+itoa(i), false, false, false)
			must(t, err)
		}
		b.again(how)
		b.pour("x", "", 1, func(int) amqp.Publishing { return filler(20) })
		out, err := b.admin.run("list_queues", "name", "messages")
		must(t, err)
		got := 0
		for _, line := range strings.Split(out, "\n") {
			f := strings.Fields(line)
			if len(f) == 2 && strings.HasPrefix(f[0], "f") && f[1] == "21" {
				got++
			}
		}
		if got != queues/2 {
			t.Errorf("%d queues with 21 messages, want %d", got, queues/2)
		}
		for _, i := range []int{queues / 2, queues - 1} {
			b.drain("f"+itoa(i), 21, func(k int, d amqp.Delivery) {
				if numberOf(d) != k {
					t.Fatalf("message %d is %d", k, numberOf(d))
				}
			})
		}
	})
}

// Bodies that never end do not add up over connections: those that go too far
// are hung up, and what they held is free again.
func TestTorture_IncompleteBodiesOfManyConnections(t *testing.T) {
	b := tormented(t, "limits.memory=100MiB")
	was := shared
	shared = *b.target
	t.Cleanup(func() { shared = was })
	const size, pieceSize, pieces, all, fit = 15 << 20, 131064, 90, 12, 5 // of the 64 MiB there are
	head := append(encodeFrame(frameMethod, 1, publishPayload("", "q")), encodeFrame(frameHeader, 1, contentHeader(size, nil))...)
	piece := encodeFrame(frameBody, 1, make([]byte, pieceSize))
	type answer struct{ conn, id int }
	for range 2 {
		answers := make(chan answer, 2*all)
		alive := make(map[int]*rawConn)
		for i := range all {
			r := rawOpen(t, guest)
			alive[i] = r
			r.channel(1)
			r.write(head)
			go func() {
				for {
					f, err := r.next(wait)
					if err != nil {
						return
					}
					answers <- answer{i, f.id()}
				}
			}()
			_ = r.conn.SetWriteDeadline(time.Now().Add(wait))
			for range pieces {
				if _, err := r.conn.Write(piece); err != nil {
					break // the broker hung up
				}
			}
		}
		next := func(want int) int {
			t.Helper()
			for {
				select {
				case a := <-answers:
					if a.id == want {
						return a.conn
					}
				case <-time.After(wait):
					t.Fatalf("%d connections of %d are left and none is answered", len(alive), all)
				}
			}
		}
		for len(alive) > fit {
			i := next(connectionClose)
			_ = alive[i].conn.Close()
			delete(alive, i)
		}
		for _, r := range alive {
			for left := size - pieces*pieceSize; left > 0; left -= pieceSize {
				r.frame(frameBody, 1, make([]byte, min(left, pieceSize)))
			}
			r.method(1, channelClose, new(args).short(200).shortstr("").short(0).short(0))
			next(channelCloseOK)
			_ = r.conn.Close()
		}
	}
}
