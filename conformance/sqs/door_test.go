package sqs

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/hermodmq/hermod/conformance/harness"
)

// recorder notes the version of HTTP of every response.
type recorder struct {
	http.RoundTripper
	mu     sync.Mutex
	protos map[string]int
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	a, err := r.RoundTripper.RoundTrip(q)
	if err == nil {
		r.mu.Lock()
		r.protos[a.Proto]++
		r.mu.Unlock()
	}
	return a, err
}

// SQS-64, SQS-66: the SDK over TLS: HTTP/2 if both have it, HTTP/1.1 if the
// client wants that; a hundred polls wait on one connection of HTTP/2 while
// others send; a client that does not trust the certificate does not connect.
func TestSQS66_TLS(t *testing.T) {
	ours(t)
	a, err := harness.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Issue("server"); err != nil {
		t.Fatal(err)
	}
	b := start(t, "listeners.aws.tls_address=127.0.0.1:0", "tls.cert_file="+a.Path("server.pem"), "tls.key_file="+a.Path("server.key"))
	at := "https://" + b.Addr("aws-tls")
	for _, want := range []string{"HTTP/2.0", "HTTP/1.1"} {
		t.Run(want, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool()}, ForceAttemptHTTP2: want == "HTTP/2.0", MaxConnsPerHost: 200}
			defer transport.CloseIdleConnections()
			r := &recorder{RoundTripper: transport, protos: map[string]int{}}
			w := &world{t, sqs.New(sqs.Options{
				BaseEndpoint: &at, Region: region, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: r},
				Credentials: credentials.NewStaticCredentialsProvider(root.id, root.secret, ""),
			}), at}
			url := w.queue()
			if !strings.HasPrefix(url, at+"/") {
				t.Errorf("queue URL %s, endpoint %s", url, at)
			}
			big := strings.Repeat("é", 200_000)
			w.send(url, big)
			if got := w.collect(url, 1); *got[0].Body != big {
				t.Error("a body of many TLS records came back changed")
			}
			const polls = 100
			other := w.queue()
			var all sync.WaitGroup
			got := make(chan string, polls)
			for range polls {
				all.Go(func() {
					list, err := w.tryReceive(other, 1, wait(15))
					for _, m := range list {
						got <- *m.Body
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			for i := range polls {
				w.send(other, fmt.Sprint(i))
			}
			all.Wait()
			if len(got) != polls {
				t.Errorf("%d messages of %d", len(got), polls)
			}
			if r.protos[want] == 0 || len(r.protos) != 1 {
				t.Errorf("spoke %v, want %s", r.protos, want)
			}
		})
	}
	if _, err := client(t, at, root).ListQueues(ctx(), &sqs.ListQueuesInput{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without trust: %v", err)
	}
}

// SQS-62: browsers. A preflight is answered for any origin; a page may read
// answers; but a request that nobody signed does not act because of a page.
func TestSQS62_CORS(t *testing.T) {
	ours(t)
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0", "aws.cors_origins=*,https://console.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	at := "http://" + b.Addr("aws")
	do := func(method, origin string, header ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, at+"/?Action=ListQueues&Version=2012-11-05", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		a, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, a.Body)
		a.Body.Close()
		return a
	}
	a := do("OPTIONS", "https://page.example.org", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-amz-target,authorization,content-type")
	if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("Access-Control-Allow-Headers") != "x-amz-target,authorization,content-type" ||
		!strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("%s %v", a.Status, a.Header)
	}
	if a := do("GET", "https://page.example.org"); a.StatusCode != 403 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("unsigned, of a page: %s %v", a.Status, a.Header)
	}
	if a := do("GET", "https://console.example.org"); a.StatusCode != 200 || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "x-amzn-RequestId") {
		t.Errorf("unsigned, of a page that is named: %s %v", a.Status, a.Header)
	}
}

// SQS-64: what HTTP clients rely on: connections are kept after answers and
// errors alike, requests may be sent before the answer to the last one, HTTP/1.0
// and "Connection: close" end the connection, bodies may come in chunks and wait
// for 100-continue, every answer has a request id of its own.
func TestSQS64_HTTP(t *testing.T) {
	ours(t)
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.aws.address=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.DialTimeout("tcp", b.Addr("aws"), patience)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c, bufio.NewReader(c)
	}
	answered := func(r *bufio.Reader, method string) (*http.Response, string) {
		t.Helper()
		a, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a, string(body)
	}
	const (
		list = "Action=ListQueues&Version=2012-11-05"
		head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
	)
	fine := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(list), list)
	c, r := dial()
	ids := map[string]bool{}
	_, _ = io.WriteString(c, fine+head+"Content-Length: 0\r\n\r\n"+fine) // the second is none of ours
	for i, want := range []int{200, 404, 200} {
		a, body := answered(r, "POST")
		id := a.Header.Get("x-amzn-RequestId")
		if a.StatusCode != want || a.Close || id == "" || ids[id] || want == 200 && !strings.Contains(body, "<RequestId>"+id+"</RequestId>") {
			t.Errorf("answer %d: %s %v %s", i, a.Status, a.Header, body)
		}
		ids[id] = true
		if at, err := http.ParseTime(a.Header.Get("Date")); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("Date %q", a.Header.Get("Date"))
		}
	}
	_, _ = io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n7\r\n"+list[:7]+"\r\n"+fmt.Sprintf("%x;x=y\r\n%s\r\n0\r\n\r\n", len(list)-7, list[7:]))
	if a, body := answered(r, "POST"); a.StatusCode != 200 {
		t.Errorf("chunks: %s %s", a.Status, body)
	}
	_, _ = io.WriteString(c, head+fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(list)))
	if line, _ := r.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("expected 100, got %q", line)
	}
	if line, _ := r.ReadString('\n'); line != "\r\n" {
		t.Fatalf("%q behind 100", line)
	}
	_, _ = io.WriteString(c, list)
	if a, body := answered(r, "POST"); a.StatusCode != 200 {
		t.Errorf("after 100: %s %s", a.Status, body)
	}
	_, _ = io.WriteString(c, "HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if a, body := answered(r, "HEAD"); a.StatusCode != 200 || body != "" {
		t.Errorf("HEAD: %s %q", a.Status, body)
	}
	_, _ = io.WriteString(c, strings.Replace(fine, "\r\nHost", "\r\nConnection: close\r\nHost", 1))
	if a, _ := answered(r, "POST"); a.StatusCode != 200 || !a.Close {
		t.Errorf("close: %s %v", a.Status, a.Header)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection stayed: %v", err)
	}
	c, r = dial()
	_, _ = io.WriteString(c, strings.Replace(fine, "HTTP/1.1", "HTTP/1.0", 1))
	if a, _ := answered(r, "POST"); a.StatusCode != 200 {
		t.Errorf("HTTP/1.0: %s", a.Status)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection stayed: %v", err)
	}
	for text, want := range map[string]int{
		"BREW / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n":                      400,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n":            413,
		"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 100_000) + "\r\n\r\n": 431,
		"GET / HTTP/3.0\r\n\r\n": 505,
	} {
		c, r := dial()
		_, _ = io.WriteString(c, text)
		if a, body := answered(r, "GET"); a.StatusCode != want || a.Header.Get("Content-Type") != "text/xml" {
			t.Errorf("%.40q: %s %s, want %d", text, a.Status, body, want)
		}
	}
}
