package sqs

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// resident is the resident memory of a process, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip(err)
	}
	m := regexp.MustCompile(`VmRSS:\s*(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatal("no VmRSS")
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n << 10
}

// rawStatus sends bytes and returns the answer's status; 0 if the connection ended
// without one.
func rawStatus(t *testing.T, at, text string) int {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { _, _ = io.WriteString(c, text) }() // the broker may stop reading
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// SQS-15, SQS-60: what is too large, malformed or forged is refused as AWS
// does, costs no memory that grows with what was announced, and hurts nobody
// else.
func TestSQS15_HostileRequests(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	b := start(t)
	at := "http://" + b.Addr("aws")
	w := &world{t, client(t, at, root), at}
	url := w.queueCalled("hostile", nil)
	before := resident(t, b.PID())
	head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n"
	for name, x := range map[string]struct {
		text string
		want int
	}{
		"a body of a terabyte":            {head + "Content-Length: 1099511627776\r\n\r\n", 413},
		"a length beyond 64 bits":         {head + "Content-Length: 99999999999999999999999\r\n\r\n", 413},
		"two lengths":                     {head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400},
		"a length and chunks":             {head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		"a chunk of 2^63 bytes":           {head + "Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\n", 400},
		"chunks without end":              {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("100000\r\n"+strings.Repeat("x", 1<<20)+"\r\n", 64), 413},
		"a header without end":            {head + "X: " + strings.Repeat("y", 4<<20), 431},
		"a hundred thousand header lines": {head + strings.Repeat("X: y\r\n", 100_000), 431},
		"no HTTP":                         {"\x16\x03\x01\x02\x00" + strings.Repeat("z", 1000) + "\r\n\r\n", 400},
	} {
		if got := rawStatus(t, at, x.text); got != x.want {
			t.Errorf("%s: status %d, want %d", name, got, x.want)
		}
	}
	for name, body := range map[string]string{
		"an open object":     `{"QueueUrl":"hostile"`,
		"deep arrays":        `{"QueueUrl":` + strings.Repeat("[", 500_000),
		"deep objects":       strings.Repeat(`{"a":`, 100_000),
		"no UTF-8":           "{\"QueueUrl\":\"\xff\xfe\"}",
		"a lonely surrogate": `{"QueueUrl":"hostile","MessageBody":"\ud800"}`,
	} {
		if a := w.json("/", "SendMessage", body, nil); a.status != 400 {
			t.Errorf("%s: status %d %s", name, a.status, a.body)
		}
	}
	many := `{"QueueUrl":"hostile","Entries":[` + strings.Repeat(`{"Id":"a","MessageBody":"b"},`, 30_000) + `{}]}`
	w.json("/", "SendMessageBatch", many, nil).has(t, 400, "TooManyEntriesInBatchRequest")
	// Forged signatures, each of another key, day and region: nothing is kept of them.
	for i := range 500 {
		req, err := http.NewRequest("POST", at, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Target", "AmazonSQS.ListQueues")
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		stamp := time.Now().UTC().Format("20060102T150405Z")
		req.Header.Set("X-Amz-Date", stamp)
		id := root.id
		if i%2 == 0 {
			id = "FORGED" + strconv.Itoa(i)
		}
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+id+"/"+stamp[:8]+"/region-"+strconv.Itoa(i)+
			"/sqs/aws4_request, SignedHeaders=host;x-amz-date, Signature="+strings.Repeat("0", 64))
		if a := w.do(req); a.status != 400 && a.status != 403 {
			t.Fatalf("forged signature %d: status %d %s", i, a.status, a.body)
		}
	}
	// A thousand requests that announce a megabyte and send a byte.
	var slow []net.Conn
	for range 1000 {
		c, err := net.Dial("tcp", strings.TrimPrefix(at, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := io.WriteString(c, head+"Content-Length: 1048576\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	began := time.Now()
	w.send(url, "still served")
	if list := w.collect(url, 1); bodies(list) != "still served" || time.Since(began) > 10*time.Second {
		t.Errorf("%s after %v", bodies(list), time.Since(began))
	}
	if grown := resident(t, b.PID()) - before; grown > 160<<20 {
		t.Errorf("%d MiB more memory with %d slow requests", grown>>20, len(slow))
	} else {
		t.Logf("%d MiB more memory with %d slow requests", grown>>20, len(slow))
	}
}

// SQS-25: 500 polls that wait cost next to no CPU and no goroutines' memory,
// and a message wakes one of them at once.
func TestSQS25_IdlePolls(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	b := start(t)
	at := "http://" + b.Addr("aws")
	w := &world{t, client(t, at, root), at}
	url := w.queueCalled("idle", nil)
	before := resident(t, b.PID())
	got := make(chan string, 1000)
	var polls sync.WaitGroup
	for range 500 {
		polls.Go(func() {
			out, err := w.ReceiveMessage(ctx(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 12})
			if err == nil && len(out.Messages) > 0 {
				got <- *out.Messages[0].Body
			}
		})
	}
	pause(2 * time.Second) // until they wait
	used := cpuTime(t, b.PID())
	pause(4 * time.Second)
	used = cpuTime(t, b.PID()) - used
	if used > 200*time.Millisecond {
		t.Errorf("500 polls that wait used %v of CPU in 4 s, want less than 5 %%", used)
	}
	grown := resident(t, b.PID()) - before
	t.Logf("500 polls that wait: %v of CPU in 4 s, %d MiB", used, grown>>20)
	if grown > 500*16<<10+16<<20 {
		t.Errorf("%d MiB for 500 polls", grown>>20)
	}
	for i := range 20 {
		w.send(url, strconv.Itoa(i))
	}
	polls.Wait()
	close(got)
	seen := map[string]bool{}
	for body := range got {
		if seen[body] {
			t.Errorf("%s came twice", body)
		}
		seen[body] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d of 20 messages reached a poll", len(seen))
	}
}

// cpuTime is the user and system time of a process.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
