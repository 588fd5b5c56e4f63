package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// Queues of the lease workload, and the visibility timeout in seconds, longer
// than any run.
const (
	leasePlain = "crash-lease"
	leaseFifo  = "crash-lease.fifo"
	leaseTime  = 3600
)

// leaseWorld follows messages that are received and held.
type leaseWorld struct {
	*sqsWorld
	lives int // of the broker; changed with no receiver running

	smu     sync.Mutex
	held    map[string]heldMessage // by id
	removed map[string]bool        // ids whose deletion was answered
	twice   []string
	old     int // deletions with handles of an earlier life
}

type heldMessage struct {
	queue, handle string
	life          int
}

type countedMessage struct {
	sqsMessage
	Attributes struct{ ApproximateReceiveCount string }
}

func (w *leaseWorld) send(queue string) func(ctx context.Context, rng *rand.Rand) {
	return func(ctx context.Context, rng *rand.Rand) {
		for ctx.Err() == nil {
			w.throttle(ctx)
			var entries []map[string]string
			for range 1 + rng.IntN(10) {
				id := w.id("m")
				w.ledger.publish(id, 0)
				e := map[string]string{"Id": id, "MessageBody": string(body(id, rng))}
				if queue == leaseFifo { // a group of its own: one that is held holds nothing up
					e["MessageGroupId"], e["MessageDeduplicationId"] = id, id
				}
				entries = append(entries, e)
			}
			var out struct{ Successful []struct{ ID string } }
			if w.call("SendMessageBatch", map[string]any{"QueueUrl": queue, "Entries": entries}, &out) != nil {
				return
			}
			for _, e := range out.Successful {
				w.ledger.confirm(e.ID)
			}
		}
	}
}

func (w *leaseWorld) receive(queue string, wait int) ([]countedMessage, error) {
	var out struct{ Messages []countedMessage }
	err := w.call("ReceiveMessage", map[string]any{
		"QueueUrl": queue, "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait, "VisibilityTimeout": leaseTime,
		"MessageSystemAttributeNames": []string{"ApproximateReceiveCount"},
	}, &out)
	return out.Messages, err
}

// hold receives and keeps what came, and now and then deletes by a handle that
// is old, mostly of an earlier life of the broker.
func (w *leaseWorld) hold(queue string) func(ctx context.Context, rng *rand.Rand) {
	return func(ctx context.Context, rng *rand.Rand) {
		for ctx.Err() == nil {
			list, err := w.receive(queue, 1)
			if err != nil {
				return
			}
			w.smu.Lock()
			life := w.lives
			for _, m := range list {
				id, _, _ := strings.Cut(m.Body, " ")
				if _, again := w.held[id]; again || w.removed[id] || m.Attributes.ApproximateReceiveCount != "1" {
					w.twice = append(w.twice, id+" count "+m.Attributes.ApproximateReceiveCount)
				}
				w.held[id] = heldMessage{queue, m.ReceiptHandle, life}
				w.ledger.deliver(id)
			}
			w.smu.Unlock()
			if w.removeSome(queue, rng.IntN(10)) != nil {
				return
			}
		}
	}
}

// removeSome deletes up to n held messages at once. They count as deleted if
// the answer says so; without an answer they may be either.
func (w *leaseWorld) removeSome(queue string, n int) error {
	var entries []map[string]string
	w.smu.Lock()
	for id, m := range w.held {
		if len(entries) >= n {
			break
		}
		if m.queue != queue {
			continue
		}
		if m.life < w.lives {
			w.old++
		}
		entries = append(entries, map[string]string{"Id": id, "ReceiptHandle": m.handle})
		delete(w.held, id)
		w.removed[id] = true
	}
	w.smu.Unlock()
	if len(entries) == 0 {
		return nil
	}
	var out struct{ Failed []struct{ ID, Code string } }
	if err := w.call("DeleteMessageBatch", map[string]any{"QueueUrl": queue, "Entries": entries}, &out); err != nil {
		return err
	}
	if len(out.Failed) > 0 {
		w.smu.Lock()
		w.twice = append(w.twice, fmt.Sprintf("not deleted: %v", out.Failed))
		w.smu.Unlock()
	}
	return nil
}

// TestCrashLeases kills the broker under clients that receive messages and keep
// them for an hour (SQS-67): none is received again before its time is over,
// the handles of all lives delete and give back, and the count of receives
// goes on.
func TestCrashLeases(t *testing.T) {
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); harness.RemoveBinary() })
	rounds := max(number("CRASH_ROUNDS", 100)/4, 2)
	w := &leaseWorld{
		sqsWorld: &sqsWorld{world: &world{ledger: newLedger(), seed: number("CRASH_SEED", uint64(time.Now().UnixNano()))}},
		held:     map[string]heldMessage{}, removed: map[string]bool{},
	}
	w.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	t.Logf("seed: CRASH_SEED=%d CRASH_ROUNDS=%d", w.seed, 4*rounds)
	at := "http://" + b.Addr("aws") + "/"
	w.at.Store(&at)
	for name, attributes := range map[string]map[string]string{leasePlain: nil, leaseFifo: {"FifoQueue": "true"}} {
		if err := w.call("CreateQueue", map[string]any{"QueueName": name, "Attributes": attributes}, nil); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(w.seed, 0))
	for round := range rounds {
		ctx, stop := context.WithCancel(context.Background())
		var clients sync.WaitGroup
		for i, queue := range []string{leasePlain, leaseFifo} {
			for j, work := range []func(context.Context, *rand.Rand){w.send(queue), w.hold(queue), w.hold(queue), w.hold(queue)} {
				w.forever(ctx, &clients, uint64(round)<<8+uint64(i)<<4+uint64(j)+1, work)
			}
		}
		<-time.After(time.Duration(200+rng.IntN(500)) * time.Millisecond) // the random moment itself
		b.Kill()
		stop()
		clients.Wait()
		w.lives++
		if err := b.Restart(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("%d kills, %d messages held, %d deleted, %d with handles of an earlier life", rounds, len(w.held), len(w.removed), w.old)
	if len(w.held) == 0 || w.old == 0 {
		t.Error("nothing was held over a kill: the run proves nothing")
	}
	w.judgeLeases(t)
}

// judgeLeases takes what is visible, then gives back what is held and takes it
// once more.
func (w *leaseWorld) judgeLeases(t *testing.T) {
	fresh := 0
	for _, queue := range []string{leasePlain, leaseFifo} {
		fresh += len(w.takeAll(t, queue, func(id, count string) {
			if _, again := w.held[id]; again || w.removed[id] || count != "1" {
				w.twice = append(w.twice, id+" count "+count+" at the end")
			}
		}))
	}
	if len(w.twice) > 0 {
		t.Errorf("%d messages were seen before their time, such as %q", len(w.twice), w.twice[:min(shown, len(w.twice))])
	}
	hidden := 0
	for _, queue := range []string{leasePlain, leaseFifo} {
		var out struct{ Attributes map[string]string }
		if err := w.call("GetQueueAttributes", map[string]any{"QueueUrl": queue, "AttributeNames": []string{"All"}}, &out); err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(out.Attributes["ApproximateNumberOfMessagesNotVisible"])
		hidden += n
		if out.Attributes["ApproximateNumberOfMessages"] != "0" {
			t.Errorf("%s: %v", queue, out.Attributes)
		}
	}
	if hidden < len(w.held)+fresh {
		t.Errorf("%d in flight, want the %d that are held and the %d just received", hidden, len(w.held), fresh)
	}
	// Answers that were killed on their way hide their messages, too.
	if r := w.ledger.account(); len(r.lost) > hidden-len(w.held)-fresh || len(r.strangers)+r.unanswered > 0 {
		t.Errorf("%d not received, %d hidden by answers that were lost; strangers %q, %d unanswered", len(r.lost), hidden-len(w.held)-fresh, r.strangers, r.unanswered)
	}
	for id, m := range w.held {
		in := map[string]any{"QueueUrl": m.queue, "ReceiptHandle": m.handle, "VisibilityTimeout": 0}
		if err := w.call("ChangeMessageVisibility", in, nil); err != nil {
			t.Errorf("%s: its handle of life %d of %d: %v", id, m.life, w.lives, err)
			return
		}
	}
	back := map[string]bool{}
	for _, queue := range []string{leasePlain, leaseFifo} {
		for id := range w.takeAll(t, queue, func(id, count string) {
			if _, known := w.held[id]; !known || count != "2" {
				t.Errorf("%s came back with count %s, held %v", id, count, known)
			}
		}) {
			back[id] = true
		}
	}
	if len(back) != len(w.held) {
		t.Errorf("%d messages came back, %d were given back", len(back), len(w.held))
	}
}

func (w *leaseWorld) takeAll(t *testing.T, queue string, each func(id, count string)) map[string]bool {
	t.Helper()
	ids := map[string]bool{}
	for {
		list, err := w.receive(queue, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return ids
		}
		for _, m := range list {
			id, _, _ := strings.Cut(m.Body, " ")
			w.ledger.deliver(id)
			each(id, m.Attributes.ApproximateReceiveCount)
			ids[id] = true
		}
	}
}
