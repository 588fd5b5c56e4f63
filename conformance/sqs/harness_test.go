package sqs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// The callers of the broker that the suite starts.
const (
	account  = "000000000000"
	account2 = "000000000002"
	region   = "us-east-1"
)

// key is an access key.
type key struct{ id, secret, token string }

var (
	root  = key{id: "AKIDROOT", secret: "root-secret"}   // of guest, who may do everything
	alice = key{id: "AKIDALICE", secret: "alice-secret"} // who may do nothing but what policies allow
	other = key{id: "AKIDOTHER", secret: "other-secret"} // of another account
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
	b, err := harness.Start(harness.Options{DataDir: dir, Set: append([]string{
		"listeners.aws.address=127.0.0.1:0", "aws.accounts=" + account2 + "=second",
		"aws.access_keys=" + strings.Join([]string{
			root.id + ":" + root.secret + ":guest", alice.id + ":" + alice.secret + ":alice", other.id + ":" + other.secret + ":bob:" + account2,
		}, ","),
	}, set...)})
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"add_user", "alice", "pw"}, {"add_user", "bob", "pw"}, {"add_vhost", "second"},
		{"set_permissions", "alice", "^$", "^$", "^$"}, {"set_permissions", "-p", "second", "bob", ".*", ".*", ".*"},
	} {
		if _, err := b.CTL(args...); err != nil && !strings.Contains(err.Error(), "exist") {
			b.Kill()
			return nil, err
		}
	}
	return b, nil
}

// start starts a broker of the test's own.
func start(t testing.TB, set ...string) *harness.Broker {
	t.Helper()
	ours(t)
	b, err := launch(t.TempDir(), set...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	return b
}

// ours skips a test that needs more than an endpoint.
func ours(t testing.TB) {
	t.Helper()
	if os.Getenv("SQS_ENDPOINT") != "" {
		t.Skip("needs a broker of its own")
	}
}

// endpoint is the address of the endpoint under test.
func endpoint(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.endpoint = os.Getenv("SQS_ENDPOINT"); shared.endpoint != "" {
			root = key{os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")}
			return
		}
		if shared.dir, shared.err = os.MkdirTemp("", "hermod-sqs-"); shared.err != nil {
			return
		}
		if shared.broker, shared.err = launch(shared.dir); shared.err == nil {
			shared.endpoint = "http://" + shared.broker.Addr("aws")
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.endpoint
}

// client is an SDK client of a caller.
func client(t testing.TB, at string, k key) *sqs.Client {
	t.Helper()
	return sqs.New(sqs.Options{
		BaseEndpoint: aws.String(at), Region: cmpOr(os.Getenv("AWS_REGION"), region),
		Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, k.token), RetryMaxAttempts: 1,
	})
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// world is a client and what tests do with it.
type world struct {
	testing.TB
	*sqs.Client
	at string
}

func open(t testing.TB) *world {
	t.Helper()
	at := endpoint(t)
	return &world{t, client(t, at, root), at}
}

func ctx() context.Context { return context.Background() }

var names atomic.Int64

// unique makes a name nobody else uses.
func unique() string {
	return fmt.Sprintf("q-%d-%d", time.Now().UnixNano()%1e12, names.Add(1))
}

// queue makes a queue; attributes are name, value, name, value.
func (w *world) queue(attributes ...string) string {
	w.Helper()
	m := pairs(attributes)
	name := unique()
	if m["FifoQueue"] == "true" {
		name += ".fifo"
	}
	return w.queueCalled(name, m)
}

func (w *world) queueCalled(name string, m map[string]string) string {
	w.Helper()
	out, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: m})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _, _ = w.DeleteQueue(ctx(), &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl}) })
	return *out.QueueUrl
}

func pairs(list []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[list[i]] = list[i+1]
	}
	return m
}

// fifo makes a FIFO queue.
func (w *world) fifo(attributes ...string) string {
	w.Helper()
	return w.queue(append([]string{"FifoQueue", "true"}, attributes...)...)
}

// nameOf is the name at the end of a queue's URL.
func nameOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// arnOf asks for the resource name of a queue.
func (w *world) arnOf(url string) string {
	w.Helper()
	return w.attributes(url, "QueueArn")["QueueArn"]
}

func (w *world) attributes(url string, names ...types.QueueAttributeName) map[string]string {
	w.Helper()
	out, err := w.GetQueueAttributes(ctx(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: names})
	if err != nil {
		w.Fatal(err)
	}
	return out.Attributes
}

func (w *world) set(url string, attributes ...string) error {
	_, err := w.SetQueueAttributes(ctx(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: pairs(attributes)})
	return err
}

// send sends a message; change may add to it.
func (w *world) send(url, body string, change ...func(*sqs.SendMessageInput)) *sqs.SendMessageOutput {
	w.Helper()
	out, err := w.trySend(url, body, change...)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *world) trySend(url, body string, change ...func(*sqs.SendMessageInput)) (*sqs.SendMessageOutput, error) {
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}
	for _, f := range change {
		f(in)
	}
	return w.SendMessage(ctx(), in)
}

// group sets group and deduplication id; dedup "" leaves it to the queue.
func group(name, dedup string) func(*sqs.SendMessageInput) {
	return func(in *sqs.SendMessageInput) {
		in.MessageGroupId = &name
		if dedup != "" {
			in.MessageDeduplicationId = &dedup
		}
	}
}

// sendGroups sends messages named group-word to a FIFO queue.
func (w *world) sendGroups(url, list string) {
	w.Helper()
	for _, m := range strings.Fields(list) {
		name, _, _ := strings.Cut(m, "-")
		w.send(url, m, group(name, fmt.Sprint(m, names.Add(1))))
	}
}

// receive takes up to n messages; change may add to the request.
func (w *world) receive(url string, n int32, change ...func(*sqs.ReceiveMessageInput)) []types.Message {
	w.Helper()
	list, err := w.tryReceive(url, n, change...)
	if err != nil {
		w.Fatal(err)
	}
	return list
}

func (w *world) tryReceive(url string, n int32, change ...func(*sqs.ReceiveMessageInput)) ([]types.Message, error) {
	in := &sqs.ReceiveMessageInput{QueueUrl: &url, MaxNumberOfMessages: n,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"}, MessageAttributeNames: []string{"All"}}
	for _, f := range change {
		f(in)
	}
	out, err := w.ReceiveMessage(ctx(), in)
	if err != nil {
		return nil, err
	}
	return out.Messages, nil
}

func wait(s int32) func(*sqs.ReceiveMessageInput) {
	return func(in *sqs.ReceiveMessageInput) { in.WaitTimeSeconds = s }
}

func visible(s int32) func(*sqs.ReceiveMessageInput) {
	return func(in *sqs.ReceiveMessageInput) { in.VisibilityTimeout = s }
}

// collect receives, waiting, until n messages have come.
func (w *world) collect(url string, n int, change ...func(*sqs.ReceiveMessageInput)) []types.Message {
	w.Helper()
	var list []types.Message
	for end := time.Now().Add(patience); len(list) < n; {
		if time.Now().After(end) {
			w.Fatalf("%d messages of %d", len(list), n)
		}
		list = append(list, w.receive(url, int32(min(10, n-len(list))), append(change, wait(1))...)...)
	}
	return list
}

// glance receives one message and gives it back at once. The SDK leaves a
// timeout of 0 out of ReceiveMessage.
func (w *world) glance(url string, change ...func(*sqs.ReceiveMessageInput)) types.Message {
	w.Helper()
	m := w.collect(url, 1, change...)[0]
	if err := w.change(url, m, 0); err != nil {
		w.Fatal(err)
	}
	return m
}

func bodies(list []types.Message) string {
	var s []string
	for _, m := range list {
		s = append(s, aws.ToString(m.Body))
	}
	return strings.Join(s, " ")
}

func (w *world) remove(url string, m types.Message) error {
	_, err := w.DeleteMessage(ctx(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle})
	return err
}

// purge empties a queue.
func (w *world) purge(url string) {
	w.Helper()
	if _, err := w.PurgeQueue(ctx(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) change(url string, m types.Message, seconds int32) error {
	_, err := w.ChangeMessageVisibility(ctx(), &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
	return err
}

// until repeats f until it is true.
func (w *world) until(what string, f func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(end) {
			w.Fatalf("did not happen: %s", what)
		}
	}
}

// pause lets d go by, where the passing of time itself is tested.
func pause(d time.Duration) { <-time.After(d) }

// refused checks an error's code and text; "" for text takes any.
func refused(t testing.TB, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		t.Errorf("error %v, want %s", err, code)
		return
	}
	if e.ErrorCode() != code || text != "" && e.ErrorMessage() != text {
		t.Errorf("error %s: %s\nwant  %s: %s", e.ErrorCode(), e.ErrorMessage(), code, text)
	}
}

// failed checks an entry of a batch that was refused.
func failed(t testing.TB, list []types.BatchResultErrorEntry, id, code string) {
	t.Helper()
	for _, f := range list {
		if *f.Id == id {
			if *f.Code != code || !f.SenderFault {
				t.Errorf("entry %s: %s %s", id, *f.Code, aws.ToString(f.Message))
			}
			return
		}
	}
	t.Errorf("entry %s was not refused", id)
}

// answer is the response to a request made by hand.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// has checks status and parts of the body.
func (a answer) has(t testing.TB, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			t.Errorf("no %q in %s", p, a.body)
		}
	}
}

// query calls an action by the Query protocol; params are name, value, ...
func (w *world) query(path string, params ...string) answer {
	w.Helper()
	return w.form(root, "POST", path, nil, params...)
}

// form makes a signed request of the Query protocol.
func (w *world) form(k key, method, path string, header map[string]string, params ...string) answer {
	w.Helper()
	v := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	if v.Get("Action") != "" && v.Get("Version") == "" {
		v.Set("Version", "2012-11-05")
	}
	body, target := v.Encode(), w.at+path
	if method == "GET" {
		if body != "" {
			target += "?" + strings.ReplaceAll(body, "+", "%20")
		}
		body = ""
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	w.sign(req, k, body, time.Now())
	return w.do(req)
}

// json makes a signed request of AWS JSON by hand.
func (w *world) json(path, action, body string, header map[string]string) answer {
	w.Helper()
	req, err := http.NewRequest("POST", w.at+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	w.sign(req, root, body, time.Now())
	return w.do(req)
}

func (w *world) sign(req *http.Request, k key, body string, at time.Time) {
	w.Helper()
	sum := sha256.Sum256([]byte(body))
	c := aws.Credentials{AccessKeyID: k.id, SecretAccessKey: k.secret, SessionToken: k.token}
	if err := v4.NewSigner().SignHTTP(ctx(), c, req, hex.EncodeToString(sum[:]), "sqs", region, at); err != nil {
		w.Fatal(err)
	}
}

func (w *world) do(req *http.Request) answer {
	w.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}
