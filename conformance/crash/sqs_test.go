package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// Queues of the SQS workload.
const (
	sqsPlain = "crash-sqs"
	sqsFifo  = "crash-sqs.fifo"
	groups   = 4 // of sqsFifo, each with one sender
)

// sqsWorld is the SQS workload's part of a world.
type sqsWorld struct {
	*world
	at      atomic.Pointer[string] // base URL
	client  http.Client
	deletes atomic.Int64

	mu      sync.Mutex
	deleted map[string]time.Time // when the answer to its deletion came, by id
	back    []string             // received although deleted before the request began
}

// sqsMessage is what a receiver needs of a message.
type sqsMessage struct{ Body, ReceiptHandle string }

// call makes an unsigned call, which the broker takes from this machine.
func (w *sqsWorld) call(action string, in any, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", *w.at.Load(), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	resp, err := w.client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		w.ledger.unanswered(1)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200:
		return fmt.Errorf("%s: %d %s", action, resp.StatusCode, text)
	case out != nil:
		return json.Unmarshal(text, out)
	}
	return nil
}

// forever runs work until ctx ends.
func (w *sqsWorld) forever(ctx context.Context, wg *sync.WaitGroup, n uint64, work func(ctx context.Context, rng *rand.Rand)) {
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(w.seed, n))
		for ctx.Err() == nil {
			work(ctx, rng)
			select { // the broker is probably just being killed
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
}

func (w *sqsWorld) send(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		w.throttle(ctx)
		id := w.id("one")
		w.ledger.publish(id, 0)
		in := map[string]any{"QueueUrl": sqsPlain, "MessageBody": string(body(id, rng))}
		if rng.IntN(10) == 0 {
			in["DelaySeconds"] = 1
		}
		if w.call("SendMessage", in, nil) != nil {
			return
		}
		w.ledger.confirm(id)
	}
}

func (w *sqsWorld) sendBatch(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		w.throttle(ctx)
		var entries []map[string]string
		for range 1 + rng.IntN(10) {
			id := w.id("many")
			w.ledger.publish(id, 0)
			entries = append(entries, map[string]string{"Id": id, "MessageBody": string(body(id, rng))})
		}
		var out struct{ Successful []struct{ ID string } }
		if w.call("SendMessageBatch", map[string]any{"QueueUrl": sqsPlain, "Entries": entries}, &out) != nil {
			return
		}
		for _, e := range out.Successful {
			w.ledger.confirm(e.ID)
		}
	}
}

// sendGroup sends the messages of a group in order, each until it is accepted:
// deduplication makes one of all attempts.
func (w *sqsWorld) sendGroup(group int) func(ctx context.Context, rng *rand.Rand) {
	next := 0
	return func(ctx context.Context, rng *rand.Rand) {
		for ctx.Err() == nil {
			w.throttle(ctx)
			id := fmt.Sprintf("fifo-%d-%09d", group, next)
			w.mu.Lock()
			w.ledger.mu.Lock()
			known := w.ledger.messages[id] != nil
			w.ledger.mu.Unlock()
			w.mu.Unlock()
			if !known {
				w.ledger.publish(id, 0)
			}
			in := map[string]any{"QueueUrl": sqsFifo, "MessageBody": id + " x", "MessageGroupId": fmt.Sprint("g", group), "MessageDeduplicationId": id}
			if w.call("SendMessage", in, nil) != nil {
				return
			}
			w.ledger.confirm(id)
			next++
		}
	}
}

// receive takes messages and deletes most of them, one by one or at once.
func (w *sqsWorld) receive(queue string) func(ctx context.Context, rng *rand.Rand) {
	return func(ctx context.Context, rng *rand.Rand) {
		for ctx.Err() == nil {
			if n, err := w.take(queue, rng, true); err != nil || n < 0 {
				return
			}
		}
	}
}

// take receives once and returns how many came.
func (w *sqsWorld) take(queue string, rng *rand.Rand, careless bool) (int, error) {
	began, most := time.Now(), 10
	if careless {
		most = 1 + rng.IntN(10)
	}
	var out struct{ Messages []sqsMessage }
	err := w.call("ReceiveMessage", map[string]any{"QueueUrl": queue, "MaxNumberOfMessages": most, "WaitTimeSeconds": 1, "VisibilityTimeout": 2}, &out)
	if err != nil {
		return 0, err
	}
	var entries []map[string]string
	var ids []string
	for _, m := range out.Messages {
		id, _, _ := strings.Cut(m.Body, " ")
		w.ledger.deliver(id)
		w.mu.Lock()
		if at, ok := w.deleted[id]; ok && at.Before(began) {
			w.back = append(w.back, id)
		}
		w.mu.Unlock()
		if careless && rng.IntN(10) == 0 {
			if queue == sqsFifo { // and so what is behind it must wait
				break
			}
			continue // its time runs out
		}
		ids, entries = append(ids, id), append(entries, map[string]string{"Id": id, "ReceiptHandle": m.ReceiptHandle})
	}
	return len(out.Messages), w.remove(queue, ids, entries, !careless || rng.IntN(2) == 0)
}

func (w *sqsWorld) remove(queue string, ids []string, entries []map[string]string, atOnce bool) error {
	if atOnce && len(entries) > 0 {
		var done struct{ Successful []struct{ ID string } }
		if err := w.call("DeleteMessageBatch", map[string]any{"QueueUrl": queue, "Entries": entries}, &done); err != nil {
			return err
		}
		for _, e := range done.Successful {
			w.gone(e.ID)
		}
		return nil
	}
	for i, e := range entries {
		err := w.call("DeleteMessage", map[string]string{"QueueUrl": queue, "ReceiptHandle": e["ReceiptHandle"]}, nil)
		if err != nil && queue == sqsFifo && strings.Contains(err.Error(), "expired") {
			continue
		}
		if err != nil {
			return err
		}
		w.gone(ids[i])
	}
	return nil
}

func (w *sqsWorld) gone(id string) {
	w.deletes.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deleted[id] = time.Now()
}

// TestCrashSQS kills the broker under SQS clients (SQS-67): every send that was
// answered is received, no message whose deletion was answered comes back, and
// a message of a FIFO queue that was sent again and again is one.
func TestCrashSQS(t *testing.T) {
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); harness.RemoveBinary() })
	rounds := max(number("CRASH_ROUNDS", 100)/2, 1)
	w := &sqsWorld{world: &world{ledger: newLedger(), seed: number("CRASH_SEED", uint64(time.Now().UnixNano()))}, deleted: map[string]time.Time{}}
	w.client.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	t.Logf("seed: CRASH_SEED=%d CRASH_ROUNDS=%d", w.seed, 2*rounds)
	at := "http://" + b.Addr("aws") + "/"
	w.at.Store(&at)
	for name, attributes := range map[string]map[string]string{sqsPlain: nil, sqsFifo: {"FifoQueue": "true"}} {
		if err := w.call("CreateQueue", map[string]any{"QueueName": name, "Attributes": attributes}, nil); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	works := []func(context.Context, *rand.Rand){w.send, w.send, w.sendBatch, w.sendBatch}
	for range 4 {
		works = append(works, w.receive(sqsPlain), w.receive(sqsFifo))
	}
	for g := range groups {
		works = append(works, w.sendGroup(g))
	}
	for i, work := range works {
		w.forever(ctx, &clients, uint64(i+1), work)
	}
	rng := rand.New(rand.NewPCG(w.seed, 0))
	began := time.Now()
	for round := range rounds {
		<-time.After(time.Duration(300+rng.IntN(700)) * time.Millisecond) // the random moment itself
		b.Kill()
		if err := b.Restart(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	stop()
	clients.Wait()
	t.Logf("%d kills in %v, %d deletions answered", rounds, time.Since(began).Round(time.Second), w.deletes.Load())
	for _, queue := range []string{sqsPlain, sqsFifo} {
		for quiet := 0; quiet < 4; quiet++ { // what is hidden comes back after 2 s
			n, err := w.take(queue, rng, false)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				quiet = 0
			}
		}
	}
	if w.deletes.Load() == 0 {
		t.Error("nothing was deleted: the run proves nothing")
	}
	if len(w.back) > 0 {
		t.Errorf("%d messages came back after their deletion was answered, such as %q", len(w.back), w.back[:min(shown, len(w.back))])
	}
	r := w.ledger.account()
	t.Log(r)
	if r.confirmed == 0 {
		t.Error("nothing was confirmed: the run proves nothing")
	}
	if len(r.lost)+len(r.strangers)+r.unanswered > 0 {
		t.Errorf("lost %q, strangers %q, %d unanswered", r.lost[:min(shown, len(r.lost))], r.strangers[:min(shown, len(r.strangers))], r.unanswered)
	}
}
