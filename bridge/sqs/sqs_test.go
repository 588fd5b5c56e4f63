package sqs

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// world is a service over a broker that commits by hand.
type world struct {
	t     testing.TB
	now   time.Time
	store *broker.MemoryStore
	core  *broker.Broker
	ep    *endpoint.Endpoint
	sqs   *Service
	later []func(*broker.Turn) // what Run was given
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Unix(1_700_000_000, 0), store: broker.NewMemoryStore().Manual()}
	w.boot()
	return w
}

// boot makes broker and service over what the store has.
func (w *world) boot() {
	w.t.Helper()
	o := broker.Options{Store: w.store, Now: w.now.UnixMilli(), DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4}
	o.Converters[broker.FormatAWS] = message.Converter{}
	core, err := broker.New(o)
	if err == nil {
		err = core.Recover(w.turn())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.core = core
	w.commit()
	w.ep = endpoint.New(core, endpoint.Options{Now: func() time.Time { return w.now }})
	w.sqs = New(w.turn(), w.ep, Options{})
	w.commit()
}

func (w *world) turn() *broker.Turn { return &broker.Turn{Now: w.now.UnixMilli()} }

// commit carries out what the store was given and what waits for a loop.
func (w *world) commit() {
	w.store.Commit(w.turn(), -1)
	for len(w.later) > 0 {
		f := w.later[0]
		w.later = w.later[1:]
		f(w.turn())
		w.store.Commit(w.turn(), -1)
	}
}

// pass lets d go by in steps.
func (w *world) pass(d time.Duration) {
	for ; d > 0; d -= 50 * time.Millisecond {
		w.now = w.now.Add(50 * time.Millisecond)
		w.core.Tick(w.turn())
		w.commit()
		w.sqs.Tick(w.turn())
		w.commit()
	}
}

// exchange is a request that waits for its answer. It copies that and gives it
// back at once, as a connection does, and spoils it first.
type exchange struct {
	mu   sync.Mutex
	w    *world
	done bool
	resp wire.Response
	body string
	gone func()
}

func (x *exchange) Respond(_ *broker.Turn, r wire.Response) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done {
		panic("answered twice")
	}
	x.done, x.resp, x.body = true, wire.Response{Status: r.Status, Header: r.Header}, string(r.Body)
	if r.Owner != nil {
		clear(r.Body)
		r.Release()
	}
}

func (x *exchange) OnGone(f func())                            { x.gone = f }
func (x *exchange) Run(_ *broker.Turn, f func(t *broker.Turn)) { x.w.later = append(x.w.later, f) }
func (x *exchange) text() string                               { return x.body }
func (w *world) begin(action, body string) *exchange {
	x := &exchange{w: w}
	r := &wire.Request{Method: "POST", Path: "/", Host: "h", Body: []byte(body), Header: wire.Fields{
		{Name: "host", Value: "h"}, {Name: "x-amz-target", Value: "AmazonSQS." + action}, {Name: "content-type", Value: "application/x-amz-json-1.0"},
	}}
	w.ep.Serve(w.turn(), r, endpoint.Peer{Address: netip.MustParseAddr("127.0.0.1")}, x)
	return x
}

// call makes a call and fails the test unless it is answered with 200.
func (w *world) call(action, body string) string {
	w.t.Helper()
	x := w.begin(action, body)
	w.commit()
	if !x.done || x.resp.Status != 200 {
		w.t.Fatalf("%s: answered %v, %d %s", action, x.done, x.resp.Status, x.text())
	}
	return x.text()
}

// Answers wait for the store.
func TestAnswersWaitForTheCommit(t *testing.T) {
	w := newWorld(t)
	w.call("CreateQueue", `{"QueueName":"q"}`)
	send := w.begin("SendMessage", `{"QueueUrl":"q","MessageBody":"x"}`)
	if send.done {
		t.Error("answered before the message is stored")
	}
	w.commit()
	if !send.done || send.resp.Status != 200 {
		t.Fatalf("%v", send.text())
	}
	var got struct {
		Messages []struct{ ReceiptHandle string }
	}
	if err := json.Unmarshal([]byte(w.call("ReceiveMessage", `{"QueueUrl":"q"}`)), &got); err != nil || len(got.Messages) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	del := w.begin("DeleteMessage", `{"QueueUrl":"q","ReceiptHandle":"`+got.Messages[0].ReceiptHandle+`"}`)
	if del.done {
		t.Error("answered before the deletion is stored")
	}
	w.commit()
	if !del.done || del.resp.Status != 200 {
		t.Errorf("%v", del.text())
	}
}

// A poll ends at its time, or with a message; one whose client is gone takes
// none, and hands a wake-up on.
func TestPolls(t *testing.T) {
	w := newWorld(t)
	w.call("CreateQueue", `{"QueueName":"q"}`)
	poll := func(seconds int) *exchange {
		return w.begin("ReceiveMessage", fmt.Sprintf(`{"QueueUrl":"q","WaitTimeSeconds":%d}`, seconds))
	}
	short, gone, long := poll(1), poll(20), poll(20)
	w.pass(900 * time.Millisecond)
	if short.done {
		t.Error("too early")
	}
	w.pass(200 * time.Millisecond)
	if !short.done || short.text() != "{}" {
		t.Errorf("%v %s", short.done, short.text())
	}
	gone.gone()
	w.call("SendMessage", `{"QueueUrl":"q","MessageBody":"x"}`)
	if gone.done || !long.done || !strings.Contains(long.text(), `"Body":"x"`) {
		t.Errorf("gone %v, long %v %s", gone.done, long.done, long.text())
	}
	late := poll(20)
	w.call("DeleteQueue", `{"QueueUrl":"q"}`)
	if !late.done || late.resp.Status != 400 {
		t.Errorf("a poll outlives its queue: %v", late.text())
	}
}

// Attributes, tags and moves survive a restart, and are in force.
func TestSettingsSurvive(t *testing.T) {
	w := newWorld(t)
	w.call("CreateQueue", `{"QueueName":"dead"}`)
	w.call("CreateQueue", `{"QueueName":"q","tags":{"a":"b"},"Attributes":{"VisibilityTimeout":"7","RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:dead\",\"maxReceiveCount\":1}"}}`)
	before := w.call("GetQueueAttributes", `{"QueueUrl":"q","AttributeNames":["All"]}`)
	w.boot()
	if after := w.call("GetQueueAttributes", `{"QueueUrl":"q","AttributeNames":["All"]}`); after != before {
		t.Errorf("%s\nwas %s", after, before)
	}
	if tags := w.call("ListQueueTags", `{"QueueUrl":"q"}`); tags != `{"Tags":{"a":"b"}}` {
		t.Error(tags)
	}
	w.call("SendMessage", `{"QueueUrl":"q","MessageBody":"x"}`)
	w.call("ReceiveMessage", `{"QueueUrl":"q","VisibilityTimeout":0}`)
	w.call("ReceiveMessage", `{"QueueUrl":"q"}`)
	if got := w.call("ReceiveMessage", `{"QueueUrl":"dead"}`); !strings.Contains(got, `"Body":"x"`) {
		t.Error(got)
	}
	w.boot()
	if got := w.call("ListDeadLetterSourceQueues", `{"QueueUrl":"dead"}`); !strings.Contains(got, "/q") {
		t.Error(got)
	}
}

// Other names of queues.
func TestAlias(t *testing.T) {
	w := newWorld(t)
	v := w.core.VHost("/")
	s := v.OpenSession(nil, nil)
	for name, args := range map[string]broker.Table{
		"a.b/c": nil, "named": {{Name: "x-aws-name", Value: "other"}}, "hidden": {{Name: "x-hidden", Value: true}}, "größe": nil, "x.y": nil, "x:y": nil,
	} {
		if _, err := s.DeclareQueue(w.turn(), broker.QueueDeclare{Name: name, Durable: true, Args: args}, nil); err != nil {
			t.Fatal(err)
		}
	}
	w.commit()
	for alias, want := range map[string]string{"a_b_c": "a.b/c", "other": "named", "named": "", "hidden": "", "gr__e": "", "x_y": ""} {
		q, ok := w.sqs.Resolve("000000000000", alias)
		if got := ""; ok != (want != "") || ok && q.Name() != want {
			t.Errorf("%s is %s %v, want %q", alias, got, ok, want)
		}
	}
}

func TestHandles(t *testing.T) {
	w := newWorld(t)
	h := handle{queue: 7, token: broker.Token{Lease: 9, Place: broker.Place{Level: 1, Seq: 2, Sub: 3}, Since: 4}}
	text := string(w.sqs.appendHandle(nil, h))
	if got, ok := w.sqs.parseHandle(text); !ok || got != h {
		t.Errorf("%+v %v", got, ok)
	}
	for i := range text {
		bad := []byte(text)
		bad[i] ^= 1
		if got, ok := w.sqs.parseHandle(string(bad)); ok && got == h && i < len(text)-3 {
			t.Errorf("changed at %d: accepted", i)
		}
	}
	w.boot() // another process
	if got, ok := w.sqs.parseHandle(text); !ok || got != h {
		t.Errorf("%+v %v", got, ok)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"QueueUrl":"q","MessageBody":"a\u00e9\ud83d\ude00","MessageAttributes":{"k":{"DataType":"String","StringValue":"v"}},"Entries":[{"Id":"1"}]}`))
	f.Add([]byte(`{"Attributes":{"a":"b"},"MaxNumberOfMessages":10,"x":[1,{"y":null}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in input
		_, ok := in.decodeJSON(b)
		if !ok || len(b) == 0 {
			return
		}
		var std map[string]any
		if json.Unmarshal(b, &std) != nil {
			return // ours is looser about numbers and words
		}
		if s, isText := std["QueueName"].(string); isText && strings.Count(string(b), "QueueName") == 1 && !strings.Contains(s, "\ufffd") && s != in.queueName {
			t.Errorf("%q, want %q", in.queueName, s)
		}
	})
}

// Notifications that are not signed yet are signed when they are received, which
// takes a millisecond each: not on the event loop of the client.
func TestSigningLeavesTheLoop(t *testing.T) {
	w := newWorld(t)
	signing := make(chan struct{})
	w.sqs.SetSigner(func(b []byte) []byte {
		<-signing
		return append(append([]byte(nil), b...), " signed"...)
	})
	w.call("CreateQueue", `{"QueueName":"q"}`)
	draft := message.Content{ID: aws.NewUUID(), Unsigned: true}
	session := w.core.VHost("/").OpenSession(nil, nil)
	for range 2 {
		if _, err := session.Publish(w.turn(), broker.Publish{Msg: &broker.Message{
			RoutingKey: "q", Format: broker.FormatAWS, Native: draft.AppendNative(nil), Body: []byte("draft"), Persistent: true, TTL: broker.NoTTL, Received: w.now.UnixMilli(),
		}}); err != nil {
			t.Fatal(err)
		}
	}
	w.commit()
	returned := make(chan *exchange, 1)
	go func() {
		x := w.begin("ReceiveMessage", `{"QueueUrl":"q","MaxNumberOfMessages":2}`)
		w.commit()
		returned <- x
	}()
	var x *exchange
	select {
	case x = <-returned:
	case <-time.After(time.Minute):
		close(signing)
		t.Fatal("the loop waits for a signature")
	}
	x.mu.Lock()
	if x.done {
		t.Error("answered without signatures")
	}
	x.mu.Unlock()
	close(signing)
	for end := time.Now().Add(time.Minute); ; runtime.Gosched() {
		x.mu.Lock()
		done := x.done
		x.mu.Unlock()
		if done {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not answered")
		}
	}
	if got := strings.Count(x.text(), `"Body":"draft signed"`); got != 2 {
		t.Errorf("%s", x.text())
	}
}
