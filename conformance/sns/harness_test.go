package sns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

const (
	account = "000000000000"
	region  = "us-east-1"
)

var shared struct {
	once     sync.Once
	err      error
	dir      string
	broker   *harness.Broker
	endpoint string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.broker != nil {
		shared.broker.Kill()
		_ = os.RemoveAll(shared.dir)
	}
	harness.RemoveBinary()
	os.Exit(code)
}

func launch(dir string, set ...string) (*harness.Broker, error) {
	return harness.Start(harness.Options{DataDir: dir, Set: append([]string{
		"listeners.aws.address=127.0.0.1:0", "listeners.openwire.address=off", "aws.auth=relaxed", "aws.accounts=000000000002=second",
	}, set...)})
}

// start starts a broker of the test's own.
func start(t testing.TB, set ...string) (*harness.Broker, *world) {
	t.Helper()
	ours(t)
	b, err := launch(t.TempDir(), set...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	return b, newWorld(t, "http://"+b.Addr("aws"), "test")
}

// ours skips a test that needs more than an endpoint.
func ours(t testing.TB) {
	t.Helper()
	if os.Getenv("SNS_ENDPOINT") != "" {
		t.Skip("needs a broker of its own")
	}
}

func endpoint(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.endpoint = os.Getenv("SNS_ENDPOINT"); shared.endpoint != "" {
			return
		}
		if shared.dir, shared.err = os.MkdirTemp("", "hermod-sns-"); shared.err != nil {
			return
		}
		if shared.broker, shared.err = launch(shared.dir); shared.err != nil {
			return
		}
		if _, shared.err = shared.broker.CTL("add_vhost", "second"); shared.err != nil {
			return
		}
		_, shared.err = shared.broker.CTL("set_permissions", "-p", "second", "guest", ".*", ".*", ".*")
		shared.endpoint = "http://" + shared.broker.Addr("aws")
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.endpoint
}

// world is the clients of a test and what it does with them.
type world struct {
	testing.TB
	*sns.Client
	queues *sqs.Client
	at     string
}

func newWorld(t testing.TB, at, key string) *world {
	secret, token := "test", ""
	if os.Getenv("SNS_ENDPOINT") != "" {
		key, secret, token = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")
	}
	c := credentials.NewStaticCredentialsProvider(key, secret, token)
	return &world{
		TB: t, at: at,
		Client: sns.New(sns.Options{BaseEndpoint: aws.String(at), Region: region, Credentials: c, RetryMaxAttempts: 1}),
		queues: sqs.New(sqs.Options{BaseEndpoint: aws.String(at), Region: region, Credentials: c, RetryMaxAttempts: 1}),
	}
}

// open is the world of the shared broker.
func open(t testing.TB) *world { return newWorld(t, endpoint(t), "test") }

var ctx = context.Background()

var serial atomic.Int64

// name is one that nobody else uses.
func (w *world) name() string {
	short := regexp.MustCompile("[^A-Za-z0-9]+").ReplaceAllString(w.Name(), "-")
	return fmt.Sprintf("%s-%d-%d", short[:min(len(short), 40)], serial.Add(1), time.Now().UnixMilli()%1_000_000)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// topic makes a topic; attributes are pairs.
func (w *world) topic(attributes ...string) string {
	w.Helper()
	name, m := w.name(), pairs(attributes)
	if m["FifoTopic"] == "true" {
		name += ".fifo"
	}
	r, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: m})
	w.must(err)
	w.Cleanup(func() { _, _ = w.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: r.TopicArn}) })
	return *r.TopicArn
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

// queue is an SQS queue.
type queue struct{ url, arn string }

func (w *world) queue(attributes ...string) queue {
	w.Helper()
	name, m := w.name(), pairs(attributes)
	if m["FifoQueue"] == "true" {
		name += ".fifo"
	}
	r, err := w.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: m})
	w.must(err)
	a, err := w.queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: r.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	w.must(err)
	w.Cleanup(func() { _, _ = w.queues.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: r.QueueUrl}) })
	return queue{*r.QueueUrl, a.Attributes["QueueArn"]}
}

// subscribe subscribes and returns the ARN; attributes are pairs.
func (w *world) subscribe(topic, protocol, to string, attributes ...string) string {
	w.Helper()
	r, err := w.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: &protocol, Endpoint: &to, Attributes: pairs(attributes), ReturnSubscriptionArn: true})
	w.must(err)
	return *r.SubscriptionArn
}

func (w *world) set(subscription, name, value string) error {
	_, err := w.SetSubscriptionAttributes(ctx, &sns.SetSubscriptionAttributesInput{SubscriptionArn: &subscription, AttributeName: &name, AttributeValue: &value})
	return err
}

func (w *world) publish(topic, text string, change ...func(*sns.PublishInput)) *sns.PublishOutput {
	w.Helper()
	in := &sns.PublishInput{TopicArn: &topic, Message: &text}
	for _, f := range change {
		f(in)
	}
	r, err := w.Publish(ctx, in)
	w.must(err)
	return r
}

func with(attributes map[string]types.MessageAttributeValue) func(*sns.PublishInput) {
	return func(in *sns.PublishInput) { in.MessageAttributes = attributes }
}

func text(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

func number(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("Number"), StringValue: &s}
}

func group(id, dedup string) func(*sns.PublishInput) {
	return func(in *sns.PublishInput) {
		in.MessageGroupId = &id
		if dedup != "" {
			in.MessageDeduplicationId = &dedup
		}
	}
}

// receive takes one message and deletes it.
func (w *world) receive(q queue) sqstypes.Message {
	w.Helper()
	m, ok := w.tryReceive(q, int32(patience/time.Second))
	if !ok {
		w.Fatalf("nothing arrived in %s", q.url)
	}
	return m
}

// tryReceive waits a number of seconds.
func (w *world) tryReceive(q queue, wait int32) (sqstypes.Message, bool) {
	w.Helper()
	r, err := w.queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &q.url, WaitTimeSeconds: wait, MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []sqstypes.MessageSystemAttributeName{"All"},
	})
	w.must(err)
	if len(r.Messages) == 0 {
		return sqstypes.Message{}, false
	}
	_, err = w.queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &q.url, ReceiptHandle: r.Messages[0].ReceiptHandle})
	w.must(err)
	return r.Messages[0], true
}

// none checks that a queue is empty after everything published before has
// had its way: publishes are durable, in the queue, when they are answered.
func (w *world) none(q queue) {
	w.Helper()
	if m, ok := w.tryReceive(q, 1); ok {
		w.Errorf("unexpected message %s", *m.Body)
	}
}

type envelope struct {
	Type, MessageId, SequenceNumber, TopicArn, Subject, Message, Timestamp, SignatureVersion, Signature, SigningCertURL, UnsubscribeURL string
	Token, SubscribeURL                                                                                                                 string
	MessageAttributes                                                                                                                   map[string]struct{ Type, Value string }
}

func (w *world) envelope(q queue) envelope {
	w.Helper()
	return w.open(*w.receive(q).Body)
}

func (w *world) open(body string) envelope {
	w.Helper()
	var e envelope
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		w.Fatalf("%v: %s", err, body)
	}
	return e
}

// refused checks code and text of an error.
func (w *world) refused(err error, code, message string) {
	w.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		w.Errorf("got %v, want %s: %s", err, code, message)
		return
	}
	if api.ErrorCode() != code || api.ErrorMessage() != message {
		w.Errorf("got  %s: %s\nwant %s: %s", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

// got is one request to a receiver.
type got struct {
	header http.Header
	body   string
	at     time.Time
}

// receiver is an HTTP endpoint on this machine. answer, if set, says the
// status of the n-th notification, from 0.
type receiver struct {
	*httptest.Server
	ch     chan got
	answer atomic.Pointer[func(n int) int]
	count  atomic.Int64
}

func newReceiver(t testing.TB) *receiver {
	ours(t)
	r := &receiver{ch: make(chan got, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		status := 200
		if f := r.answer.Load(); f != nil && q.Header.Get("x-amz-sns-message-type") == "Notification" {
			status = (*f)(int(r.count.Add(1) - 1))
		}
		r.ch <- got{q.Header, string(body), time.Now()}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(w *world) got {
	w.Helper()
	select {
	case g := <-r.ch:
		return g
	case <-time.After(patience):
		w.Fatal("no request arrived")
		return got{}
	}
}

// confirmed subscribes a receiver and confirms by the link it gets.
func (w *world) confirmed(topic string, r *receiver, attributes ...string) string {
	w.Helper()
	arn := w.subscribe(topic, "http", r.URL, attributes...)
	e := w.open(r.next(w).body)
	w.visit(e.SubscribeURL)
	return arn
}

func (w *world) visit(link string) string {
	w.Helper()
	a, err := http.Get(link)
	w.must(err)
	defer a.Body.Close()
	body, _ := io.ReadAll(a.Body)
	if a.StatusCode != 200 {
		w.Fatalf("%s: %s %s", link, a.Status, body)
	}
	return string(body)
}

func arnParts(arn string, change func(parts []string)) string {
	parts := strings.Split(arn, ":")
	change(parts)
	return strings.Join(parts, ":")
}
