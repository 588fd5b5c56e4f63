package sns

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/hermodmq/hermod/conformance/harness"
)

// startTLS starts a broker whose AWS services speak TLS only.
func startTLS(t *testing.T, set ...string) (*harness.Broker, *harness.Authority, *world) {
	t.Helper()
	ours(t)
	a, err := harness.NewAuthority(t.TempDir())
	if err == nil {
		_, err = a.Issue("server")
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := launch(t.TempDir(), append(set, "listeners.aws.address=off", "listeners.aws.tls_address=127.0.0.1:0",
		"tls.cert_file="+a.Path("server.pem"), "tls.key_file="+a.Path("server.key"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	at := "https://" + b.Addr("aws-tls")
	c, err := a.Client("")
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}
	keys := credentials.NewStaticCredentialsProvider("test", "test", "")
	return b, a, &world{
		TB: t, at: at,
		Client: sns.New(sns.Options{BaseEndpoint: &at, Region: region, Credentials: keys, RetryMaxAttempts: 1, HTTPClient: h}),
		queues: sqs.New(sqs.Options{BaseEndpoint: &at, Region: region, Credentials: keys, RetryMaxAttempts: 1, HTTPClient: h}),
	}
}

// stompPublish publishes to a topic over STOMP and waits for the receipt.
func stompPublish(t *testing.T, address, topic, body string) {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	for _, step := range [][2]string{
		{"CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\x00", "CONNECTED"},
		{fmt.Sprintf("SEND\ndestination:/topic/%s\npersistent:true\nreceipt:1\ncontent-length:%d\n\n%s\x00", topic, len(body), body), "RECEIPT"},
	} {
		_, _ = io.WriteString(c, step[0])
		frame, err := r.ReadString(0)
		if err != nil || !strings.HasPrefix(strings.TrimLeft(frame, "\n"), step[1]) {
			t.Fatalf("want %s, got %q, %v", step[1], frame, err)
		}
	}
}

// SNS-33: the validator that AWS publishes for JavaScript, with its pattern of
// hosts set to ours, takes notifications of both versions, to HTTP, to a
// queue, in the event of a function, and those that another protocol caused, and
// confirmations; it refuses what was changed.
func TestSNS33_PublishedValidator(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no npm here")
	}
	r := newReceiver(t)
	events := make(chan string, 10)
	function := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		events <- string(body)
	}))
	t.Cleanup(function.Close)
	b, a, w := startTLS(t, "aws.sns.webhooks.lambda="+function.URL, "listeners.stomp.address=127.0.0.1:0")
	var lines []string
	for _, version := range []string{"1", "2"} {
		arn := w.topic("SignatureVersion", version)
		name := arn[strings.LastIndexByte(arn, ':')+1:]
		w.subscribe(arn, "http", r.URL)
		confirmation := r.next(w).body
		lines = append(lines, confirmation)
		token := w.open(confirmation).Token
		_, err := w.ConfirmSubscription(ctx, &sns.ConfirmSubscriptionInput{TopicArn: &arn, Token: &token})
		w.must(err)
		q := w.queue()
		w.subscribe(arn, "sqs", q.arn)
		w.subscribe(arn, "lambda", "arn:aws:lambda:us-east-1:000000000000:function:f")
		for _, subject := range []*string{nil, aws.String("a subject")} {
			w.publish(arn, "größe \"<&>\"\r\n😀", func(in *sns.PublishInput) { in.Subject = subject })
			var event struct {
				Records []struct{ Sns json.RawMessage }
			}
			if err := json.Unmarshal([]byte(<-events), &event); err != nil || len(event.Records) != 1 {
				t.Fatalf("%v %v", err, event)
			}
			lines = append(lines, r.next(w).body, *w.receive(q).Body, string(event.Records[0].Sns))
		}
		stompPublish(t, b.Addr("stomp"), name, "über STOMP \"Signature\" : \"\"")
		lines = append(lines, r.next(w).body, *w.receive(q).Body)
		<-events
	}
	lines = append(lines, strings.Replace(lines[1], "größe", "Größe", 1)) // a forgery
	if strings.Contains(strings.Join(lines, ""), "Größe") == false {
		t.Fatal("nothing was forged")
	}
	var in bytes.Buffer
	for _, l := range lines {
		if err := json.Compact(&in, []byte(l)); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		in.WriteByte('\n')
	}
	dir := t.TempDir()
	for _, file := range []string{"package.json", "validate.js"} {
		raw, err := os.ReadFile(filepath.Join("validator", file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), raw, 0o600)
		}
		w.must(err)
	}
	install := exec.Command("npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run := exec.Command("node", "validate.js")
	run.Dir, run.Stdin = dir, &in
	run.Env = append(os.Environ(), "HOST="+strings.TrimPrefix(w.at, "https://"), "NODE_EXTRA_CA_CERTS="+a.Path("ca.pem"))
	out, err := run.Output()
	w.must(err)
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(got) != len(lines) {
		t.Fatalf("%d answers to %d messages: %s", len(got), len(lines), out)
	}
	for i, g := range got {
		want := "valid"
		if i == len(got)-1 {
			want = "The message signature is invalid."
		}
		if g != want {
			t.Errorf("message %d: %s, want %s: %s", i, g, want, lines[i])
		}
	}
	t.Logf("%d messages", len(got))
}
