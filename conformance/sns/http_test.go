package sns

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func TestSNS30_Confirmation(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	sub := w.subscribe(arn, "http", r.URL+"/path")
	g := r.next(w)
	e := w.open(g.body)
	for name, want := range map[string]string{
		"x-amz-sns-message-type": "SubscriptionConfirmation", "x-amz-sns-message-id": e.MessageId, "x-amz-sns-topic-arn": arn,
		"Content-Type": "text/plain; charset=UTF-8", "User-Agent": "Amazon Simple Notification Service Agent", "Accept-Encoding": "gzip,deflate",
	} {
		if got := g.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if e.Type != "SubscriptionConfirmation" || e.TopicArn != arn || e.Token == "" || e.Signature == "" ||
		e.Message != "You have chosen to subscribe to the topic "+arn+".\nTo confirm the subscription, visit the SubscribeURL included in this message." {
		t.Errorf("%s", g.body)
	}
	confirm := func(topic, token string) error {
		_, err := w.ConfirmSubscription(ctx, &sns.ConfirmSubscriptionInput{TopicArn: &topic, Token: &token})
		return err
	}
	w.refused(confirm(arn, "randomtoken"), "InvalidParameter", "Invalid token")
	w.refused(confirm(arn, e.Token[:len(e.Token)-2]+"00"), "InvalidParameter", "Invalid parameter: Token")
	w.refused(confirm(arnParts(arn, func(p []string) { p[3] = "eu-west-3" }), e.Token), "InvalidParameter", "Invalid parameter: Topic")
	w.refused(confirm(arn+"x", e.Token[:len(e.Token)-2]+"00"), "InvalidParameter", "Invalid parameter: Token")
	if want := "/?Action=ConfirmSubscription&TopicArn=" + arn + "&Token=" + e.Token; !strings.HasSuffix(e.SubscribeURL, want) {
		t.Errorf("%s, want %s", e.SubscribeURL, want)
	}
	if body := w.visit(e.SubscribeURL); !strings.Contains(body, "<SubscriptionArn>"+sub+"</SubscriptionArn>") {
		t.Errorf("%s", body)
	}
	if a := w.subscription(sub); a["PendingConfirmation"] != "false" || a["ConfirmationWasAuthenticated"] != "false" {
		t.Errorf("%v", a)
	}
	w.must(confirm(arn, e.Token)) // again is no error
	other := w.subscribe(arn, "http", r.URL+"/other")
	w.must(confirm(arn, w.open(r.next(w).body).Token))
	if a := w.subscription(other); a["ConfirmationWasAuthenticated"] != "true" {
		t.Errorf("%v", a)
	}
	third := w.subscribe(arn, "http", r.URL+"/third")
	w.must(confirm(arn+"x", w.open(r.next(w).body).Token)) // the token says which topic it is
	if a := w.subscription(third); a["PendingConfirmation"] != "false" {
		t.Errorf("%v", a)
	}
}

// SNS-30: endpoints that do not answer their confirmation hold up neither others nor
// publishers.
func TestSNS30_ConfirmationsThatNobodyTakes(t *testing.T) {
	_, w := start(t) // mail is not configured: each of these is tried for more than a minute
	dead, arn, q, r := w.topic(), w.topic(), w.queue(), newReceiver(t)
	for i := range 100 {
		w.subscribe(dead, "email", fmt.Sprintf("nobody-%d@example.org", i))
	}
	w.subscribe(arn, "sqs", q.arn)
	w.confirmed(arn, r)
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := w.Publish(soon, &sns.PublishInput{TopicArn: &arn, Message: aws.String("signed")})
	w.must(err)
	if e := w.envelope(q); e.Message != "signed" || e.Signature == "" {
		t.Errorf("%+v", e)
	}
}

func TestSNS31_AuthenticateOnUnsubscribe(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	sub := w.subscribe(arn, "http", r.URL)
	e := w.open(r.next(w).body)
	_, err := w.ConfirmSubscription(ctx, &sns.ConfirmSubscriptionInput{TopicArn: &arn, Token: &e.Token, AuthenticateOnUnsubscribe: aws.String("true")})
	w.must(err)
	w.publish(arn, "x")
	link := w.open(r.next(w).body).UnsubscribeURL
	a, err := http.Get(link)
	w.must(err)
	_, _ = io.Copy(io.Discard, a.Body)
	a.Body.Close()
	if a.StatusCode != 403 {
		t.Errorf("unsigned: %s", a.Status)
	}
	_, err = w.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &sub})
	w.must(err)
}

func TestSNS32_Notification(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	sub := w.confirmed(arn, r)
	id := *w.publish(arn, "hello", with(map[string]types.MessageAttributeValue{"k": text("v")})).MessageId
	g := r.next(w)
	for name, want := range map[string]string{
		"x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": id, "x-amz-sns-topic-arn": arn, "x-amz-sns-subscription-arn": sub,
		"x-amz-sns-rawdelivery": "", "Content-Type": "text/plain; charset=UTF-8",
	} {
		if got := g.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if e := w.open(g.body); e.Message != "hello" || e.MessageAttributes["k"].Value != "v" {
		t.Errorf("%s", g.body)
	}
	w.must(w.set(sub, "RawMessageDelivery", "true"))
	w.must(w.set(sub, "DeliveryPolicy", `{"requestPolicy":{"headerContentType":"application/json"}}`))
	w.publish(arn, `{"raw":1}`)
	if g = r.next(w); g.header.Get("x-amz-sns-rawdelivery") != "true" || g.header.Get("Content-Type") != "application/json" || g.body != `{"raw":1}` {
		t.Errorf("%v %s", g.header, g.body)
	}
}

// TestSNS33_Signatures verifies what the service signs with the certificate it
// serves.
func TestSNS33_Signatures(t *testing.T) {
	w, r := open(t), newReceiver(t)
	for _, version := range []string{"1", "2"} {
		arn := w.topic("SignatureVersion", version)
		w.subscribe(arn, "http", r.URL)
		e := w.open(r.next(w).body)
		w.verify(e, version)
		w.visit(e.SubscribeURL)
		for _, subject := range []*string{nil, aws.String("a subject")} {
			w.publish(arn, "hellö", func(in *sns.PublishInput) { in.Subject = subject })
			w.verify(w.open(r.next(w).body), version)
		}
		q := w.queue()
		w.subscribe(arn, "sqs", q.arn)
		w.publish(arn, "to a queue")
		w.verify(w.envelope(q), version)
		r.next(w)
	}
}

func (w *world) verify(e envelope, version string) {
	w.Helper()
	block, _ := pem.Decode([]byte(w.visit(e.SigningCertURL)))
	if block == nil {
		w.Fatal("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	w.must(err)
	lines := [][2]string{{"Message", e.Message}, {"MessageId", e.MessageId}}
	if e.Subject != "" {
		lines = append(lines, [2]string{"Subject", e.Subject})
	}
	if e.SubscribeURL != "" {
		lines = append(lines, [2]string{"SubscribeURL", e.SubscribeURL})
	}
	lines = append(lines, [2]string{"Timestamp", e.Timestamp})
	if e.Token != "" {
		lines = append(lines, [2]string{"Token", e.Token})
	}
	lines = append(lines, [2]string{"TopicArn", e.TopicArn}, [2]string{"Type", e.Type})
	text := ""
	for _, l := range lines {
		text += l[0] + "\n" + l[1] + "\n"
	}
	sig, err := base64.StdEncoding.DecodeString(e.Signature)
	w.must(err)
	key := cert.PublicKey.(*rsa.PublicKey)
	if version == "2" {
		sum := sha256.Sum256([]byte(text))
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig)
	} else {
		sum := sha1.Sum([]byte(text))
		err = rsa.VerifyPKCS1v15(key, crypto.SHA1, sum[:], sig)
	}
	if err != nil || e.SignatureVersion != version {
		w.Errorf("version %s, want %s: %v", e.SignatureVersion, version, err)
	}
}

func TestSNS34_UnsubscribeConfirmation(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	sub := w.confirmed(arn, r)
	w.publish(arn, "x")
	link := w.open(r.next(w).body).UnsubscribeURL
	_, err := w.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &sub})
	w.must(err)
	g := r.next(w)
	e := w.open(g.body)
	if g.header.Get("x-amz-sns-message-type") != "UnsubscribeConfirmation" || e.Type != "UnsubscribeConfirmation" ||
		!strings.HasPrefix(e.Message, "You have chosen to deactivate subscription "+sub) || e.Token == "" || e.SubscribeURL == "" {
		t.Errorf("%v %s", g.header, g.body)
	}
	w.verify(e, "1")
	w.visit(link) // ending what has ended is no error
	w.confirmed(arn, r)
	w.publish(arn, "y")
	w.visit(w.open(r.next(w).body).UnsubscribeURL)
	again := w.open(r.next(w).body) // the link says goodbye, too
	if again.Type != "UnsubscribeConfirmation" || again.Token == e.Token {
		t.Errorf("%+v", again)
	}
	list, err := w.ListSubscriptionsByTopic(ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	w.must(err)
	if len(list.Subscriptions) != 0 {
		t.Errorf("%v", list.Subscriptions)
	}
}

// SNS-35: the phases of a delivery policy, in order.
func TestSNS35_Retries(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	w.confirmed(arn, r, "DeliveryPolicy", `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":2,"numRetries":4,"numNoDelayRetries":1,"numMinDelayRetries":1,"numMaxDelayRetries":1,"backoffFunction":"linear"}}`)
	fail := func(n int) int {
		if n < 4 {
			return 503
		}
		return 200
	}
	r.answer.Store(&fail)
	w.publish(arn, "x")
	var at []time.Time
	for range 5 {
		at = append(at, r.next(w).at)
	}
	for i, floor := range []time.Duration{0, time.Second, 2 * time.Second, 2 * time.Second} {
		if gap := at[i+1].Sub(at[i]); gap < floor*9/10 {
			t.Errorf("retry %d came after %v, want %v", i+1, gap, floor)
		}
	}
}

// SNS-35: the delays of each backoff function between 1 s and 3 s, to a tenth.
// None is shorter, ever. A machine that is busy with other things makes any of
// them longer: what it delays a request by meanwhile is allowed, and there are
// several tries.
func TestSNS35_Delays(t *testing.T) {
	w := open(t)
	want := map[string][]float64{ // seconds
		"linear":      {5. / 3, 7. / 3, 3},
		"arithmetic":  {4. / 3, 2, 3},
		"geometric":   {1.442, 2.080, 3},
		"exponential": {9. / 7, 13. / 7, 3},
	}
	for try := 1; len(want) > 0; try++ {
		arn := w.topic()
		receivers := map[string]*receiver{}
		for function := range want {
			r := newReceiver(t)
			w.confirmed(arn, r, "DeliveryPolicy", `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":3,"numRetries":3,"backoffFunction":"`+function+`"}}`)
			fail := func(int) int { return 503 }
			r.answer.Store(&fail)
			receivers[function] = r
		}
		busy := w.lateness()
		w.publish(arn, "x")
		gaps := map[string][]float64{}
		for function, r := range receivers {
			last := r.next(w).at
			for range want[function] {
				at := r.next(w).at
				gaps[function] = append(gaps[function], at.Sub(last).Seconds())
				last = at
			}
		}
		allowed := busy().Seconds()
		for function, list := range gaps {
			good := true
			for i, gap := range list {
				if gap < 0.9*want[function][i] {
					t.Fatalf("%s: retries after %.2f s, want %.2f s", function, list, want[function])
				}
				good = good && gap <= 1.1*want[function][i]+allowed
			}
			switch {
			case good:
				delete(want, function)
			case try >= 6:
				t.Errorf("%s: retries after %.2f s, want %.2f s; the machine was late by %.2f s", function, list, want[function], allowed)
				delete(want, function)
			}
		}
	}
}

// lateness watches how long the machine lets a request take that should take
// nothing, until the function it returns is called, which says the worst.
func (w *world) lateness() func() time.Duration {
	quit, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			began := time.Now()
			if a, err := http.Get(w.at + "/health"); err == nil {
				_, _ = io.Copy(io.Discard, a.Body)
				a.Body.Close()
			}
			most = max(most, time.Since(began))
			began = time.Now()
			select {
			case <-quit:
				worst <- most
				return
			case <-time.After(10 * time.Millisecond):
				most = max(most, time.Since(began)-10*time.Millisecond)
			}
		}
	}()
	return func() time.Duration {
		close(quit)
		return <-worst
	}
}

func TestSNS36_Throttle(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	w.confirmed(arn, r, "DeliveryPolicy", `{"throttlePolicy":{"maxReceivesPerSecond":5}}`)
	for i := range 10 {
		w.publish(arn, fmt.Sprint(i))
	}
	first := r.next(w).at
	last := first
	for range 9 {
		last = r.next(w).at
	}
	if took := last.Sub(first); took < 1600*time.Millisecond {
		t.Errorf("ten notifications in %v at five a second", took)
	}
}

func TestSNS37_WhatIsRetried(t *testing.T) {
	w := open(t)
	for status, want := range map[int]int{400: 1, 404: 1, 429: 3, 500: 3, 503: 3} {
		r, arn, dead := newReceiver(t), w.topic(), w.queue()
		w.confirmed(arn, r, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`,
			"DeliveryPolicy", `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":2,"numNoDelayRetries":2}}`)
		fail := func(int) int { return status }
		r.answer.Store(&fail)
		id := *w.publish(arn, "x").MessageId
		m := w.receive(dead)
		if e := w.open(*m.Body); e.MessageId != id || e.Message != "x" {
			t.Errorf("%d: %s", status, *m.Body)
		}
		if aws.ToString(m.MessageAttributes["ErrorCode"].StringValue) != fmt.Sprint(status) || m.MessageAttributes["RequestID"].StringValue == nil || m.MessageAttributes["ErrorMessage"].StringValue == nil {
			t.Errorf("%d: %v", status, m.MessageAttributes)
		}
		if n := int(r.count.Load()); n != want {
			t.Errorf("%d: %d attempts, want %d", status, n, want)
		}
	}
}

func TestSNS38_QueueDeleted(t *testing.T) {
	w := open(t)
	arn, q, dead := w.topic(), w.queue(), w.queue()
	w.subscribe(arn, "sqs", q.arn, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`)
	_, err := w.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &q.url})
	w.must(err)
	id := *w.publish(arn, "x").MessageId
	m := w.receive(dead)
	if e := w.open(*m.Body); e.MessageId != id || len(m.MessageAttributes) != 0 { // AWS adds nothing of a queue that is gone
		t.Errorf("%s %v", *m.Body, m.MessageAttributes)
	}
	// Without a dead-letter queue the message waits for the queue.
	waiting, late := w.topic(), w.queue()
	w.subscribe(waiting, "sqs", late.arn, "RawMessageDelivery", "true")
	_, err = w.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &late.url})
	w.must(err)
	w.publish(waiting, "kept")
	name := late.arn[strings.LastIndexByte(late.arn, ':')+1:]
	w.eventually("the queue can be made again", func() bool {
		_, err := w.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
		return err == nil
	})
	if got := *w.receive(late).Body; got != "kept" {
		t.Errorf("%q", got)
	}
	fifo, fq, fdead := w.topic("FifoTopic", "true"), w.queue("FifoQueue", "true"), w.queue("FifoQueue", "true")
	sub := w.subscribe(fifo, "sqs", fq.arn)
	w.refused(w.set(sub, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`), "InvalidParameter",
		"Invalid parameter: RedrivePolicy: must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.")
	w.must(w.set(sub, "RedrivePolicy", `{"deadLetterTargetArn":"`+fdead.arn+`"}`))
	_, err = w.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &fq.url})
	w.must(err)
	for i := range 5 {
		batch := make([]types.PublishBatchRequestEntry, 10)
		for j := range batch {
			batch[j] = entry(fmt.Sprint(j), fmt.Sprint(10*i+j))
			batch[j].MessageGroupId, batch[j].MessageDeduplicationId = aws.String("g"), aws.String(fmt.Sprint("d", 10*i+j))
		}
		_, err := w.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &fifo, PublishBatchRequestEntries: batch})
		w.must(err)
	}
	for i := range 50 {
		if e := w.envelope(fdead); e.Message != fmt.Sprint(i) {
			t.Fatalf("message %s, want %d: the order is lost", e.Message, i)
		}
	}
	// A queue that comes back gets what waited for it in order, too.
	back, bq := w.topic("FifoTopic", "true"), w.queue("FifoQueue", "true")
	w.subscribe(back, "sqs", bq.arn, "RawMessageDelivery", "true")
	_, err = w.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &bq.url})
	w.must(err)
	for i := range 30 {
		w.publish(back, fmt.Sprint(i), group(fmt.Sprint("g", i%2), fmt.Sprint("d", i)))
	}
	name = bq.arn[strings.LastIndexByte(bq.arn, ':')+1:]
	w.eventually("the queue can be made again", func() bool {
		_, err := w.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"FifoQueue": "true"}})
		return err == nil
	})
	next := map[string]int{"g0": 0, "g1": 1}
	for range 30 {
		m := w.receive(bq)
		g := m.Attributes["MessageGroupId"]
		if *m.Body != fmt.Sprint(next[g]) {
			t.Fatalf("group %s: message %s, want %d: the order is lost", g, *m.Body, next[g])
		}
		next[g] += 2
	}
}
