package crash

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// Queues of the SNS workload.
const (
	snsQueues = 3
	snsTopic  = "crash-sns"
)

func snsQueue(i int) string { return fmt.Sprintf("crash-sns-%d", i) }

// snsWorld is the SNS workload: everything that is published and answered must
// come out of every queue, and reach the HTTP endpoint, which is down half of
// the time.
type snsWorld struct {
	at     atomic.Pointer[string]
	client http.Client
	next   atomic.Int64

	mu        sync.Mutex
	confirmed []string
	seen      [snsQueues + 1]map[string]bool // the last: by HTTP
}

// call makes an unsigned call of the Query protocol.
func (w *snsWorld) call(params ...string) (string, error) {
	form := url.Values{"Version": {"2010-03-31"}}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", *w.at.Load(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := w.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("%s: %d %s", params[1], resp.StatusCode, text)
	}
	return string(text), err
}

const snsARN = "arn:aws:sns:us-east-1:000000000000:" + snsTopic

func (w *snsWorld) publish(ctx context.Context) {
	for ctx.Err() == nil {
		id := fmt.Sprintf("sns-%09d", w.next.Add(1))
		if _, err := w.call("Action", "Publish", "TopicArn", snsARN, "Message", id); err != nil {
			select { // the broker is probably just being killed
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
			continue
		}
		w.mu.Lock()
		w.confirmed = append(w.confirmed, id)
		w.mu.Unlock()
	}
}

func (w *snsWorld) note(i int, id string) {
	w.mu.Lock()
	w.seen[i][id] = true
	w.mu.Unlock()
}

// missing counts what was confirmed and not seen in one place.
func (w *snsWorld) missing(i int) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range w.confirmed {
		if !w.seen[i][id] {
			n++
		}
	}
	return n
}

var subscribeURL = regexp.MustCompile(`"SubscribeURL" : "[^"]*Token=([0-9a-f]+)"`)

// TestCrashSNS kills the broker under SNS publishers.
func TestCrashSNS(t *testing.T) {
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0", "aws.sns.sign_queues=false"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); harness.RemoveBinary() })
	rounds := max(number("CRASH_ROUNDS", 100)/4, 1)
	seed := number("CRASH_SEED", uint64(time.Now().UnixNano()))
	t.Logf("seed: CRASH_SEED=%d CRASH_ROUNDS=%d", seed, 4*rounds)
	w := new(snsWorld)
	for i := range w.seen {
		w.seen[i] = map[string]bool{}
	}
	at := "http://" + b.Addr("aws") + "/"
	w.at.Store(&at)

	tokens := make(chan string, 1)
	var calls atomic.Int64
	var up atomic.Bool
	endpoint := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Header.Get("x-amz-sns-message-type") == "SubscriptionConfirmation":
			if m := subscribeURL.FindSubmatch(body); m != nil {
				tokens <- string(m[1])
			}
		case calls.Add(1)%2 == 0 && !up.Load():
			rw.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.note(snsQueues, string(body))
		}
	}))
	t.Cleanup(endpoint.Close)

	must := func(params ...string) {
		t.Helper()
		if _, err := w.call(params...); err != nil {
			t.Fatal(err)
		}
	}
	must("Action", "CreateTopic", "Name", snsTopic)
	sqs := &sqsWorld{world: &world{ledger: newLedger()}, deleted: map[string]time.Time{}}
	sqs.at.Store(&at)
	for i := range snsQueues {
		if err := sqs.call("CreateQueue", map[string]any{"QueueName": snsQueue(i)}, nil); err != nil {
			t.Fatal(err)
		}
		// One in the envelope, the others raw.
		must("Action", "Subscribe", "TopicArn", snsARN, "Protocol", "sqs", "Endpoint", "arn:aws:sqs:us-east-1:000000000000:"+snsQueue(i),
			"Attributes.entry.1.key", "RawMessageDelivery", "Attributes.entry.1.value", fmt.Sprint(i > 0))
	}
	must("Action", "Subscribe", "TopicArn", snsARN, "Protocol", "http", "Endpoint", endpoint.URL,
		"Attributes.entry.1.key", "RawMessageDelivery", "Attributes.entry.1.value", "true",
		"Attributes.entry.2.key", "DeliveryPolicy", "Attributes.entry.2.value", `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":100}}`)
	select {
	case token := <-tokens:
		must("Action", "ConfirmSubscription", "TopicArn", snsARN, "Token", token)
	case <-time.After(confirmTimeout):
		t.Fatal("no confirmation was asked for")
	}

	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { w.publish(ctx) })
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	began := time.Now()
	for round := range rounds {
		<-time.After(time.Duration(300+rng.IntN(700)) * time.Millisecond) // the random moment itself
		b.Kill()
		if err := b.Restart(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		at := "http://" + b.Addr("aws") + "/"
		w.at.Store(&at)
		sqs.at.Store(&at)
	}
	stop()
	clients.Wait()
	up.Store(true)
	t.Logf("%d kills in %v, published=%d", rounds, time.Since(began).Round(time.Second), len(w.confirmed))
	for i := range snsQueues {
		w.drain(t, sqs, i)
	}
	deadline := time.After(2 * time.Minute)
	for w.missing(snsQueues) > 0 {
		select {
		case <-deadline:
			t.Fatalf("%d of %d notifications did not reach the endpoint", w.missing(snsQueues), len(w.confirmed))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

var enveloped = regexp.MustCompile(`"Message" : "(sns-\d+)"`)

// drain empties a queue and checks that everything was in it. It deletes what
// it received, as a consumer does: a standard queue hands out nothing more
// while 120,000 messages are in flight (SQS-57).
func (w *snsWorld) drain(t *testing.T, sqs *sqsWorld, i int) {
	t.Helper()
	for {
		var out struct{ Messages []sqsMessage }
		in := map[string]any{"QueueUrl": snsQueue(i), "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1, "VisibilityTimeout": 600}
		if err := sqs.call("ReceiveMessage", in, &out); err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			break
		}
		var deletion []map[string]string
		for n, m := range out.Messages {
			deletion = append(deletion, map[string]string{"Id": strconv.Itoa(n), "ReceiptHandle": m.ReceiptHandle})
			id := m.Body
			if found := enveloped.FindStringSubmatch(m.Body); found != nil {
				id = found[1]
			}
			w.note(i, id)
		}
		var deleted struct{ Failed []any }
		if err := sqs.call("DeleteMessageBatch", map[string]any{"QueueUrl": snsQueue(i), "Entries": deletion}, &deleted); err != nil || len(deleted.Failed) > 0 {
			t.Fatalf("%v, not deleted: %v", err, deleted.Failed)
		}
	}
	if n := w.missing(i); n > 0 {
		t.Errorf("%d of %d messages are missing in %s", n, len(w.confirmed), snsQueue(i))
	}
}
