package sqs

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQS-25: a thousand long polls on one queue. Each message wakes one of them,
// none is lost and none comes twice; hermod perf measures ten thousand.
func TestSQS25_ManyPolls(t *testing.T) {
	ours(t)
	w := open(t)
	url := w.queue()
	const n = 1000
	ask := func() []byte {
		r, err := http.NewRequest("POST", w.at+"/", nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		body := `{"QueueUrl":"` + url + `","WaitTimeSeconds":20}`
		r.Header.Set("Content-Type", "application/x-amz-json-1.0")
		r.Header.Set("X-Amz-Target", "AmazonSQS.ReceiveMessage")
		r.ContentLength, r.Body = int64(len(body)), io.NopCloser(strings.NewReader(body))
		w.sign(r, root, body, time.Now())
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			t.Error(err)
		}
		return b.Bytes()
	}
	c, cancel := context.WithTimeout(ctx(), 5*time.Minute)
	defer cancel()
	got := make(chan string, 2*n)
	var all, parked sync.WaitGroup
	parked.Add(n)
	for range n {
		all.Go(func() {
			asked := false
			defer func() {
				if !asked {
					parked.Done()
				}
			}()
			var d net.Dialer
			conn, err := d.DialContext(c, "tcp", strings.TrimPrefix(w.at, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			defer context.AfterFunc(c, func() { conn.Close() })()
			in := bufio.NewReader(conn)
			for { // an empty answer is that of a machine that needs more than 20 s for all this
				if _, err := conn.Write(ask()); err != nil {
					t.Error(err)
					return
				}
				if !asked {
					asked = true
					parked.Done()
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("%s %v", body, err)
					return
				}
				if _, text, ok := strings.Cut(string(body), `"Body":"`); ok {
					text, _, _ = strings.Cut(text, `"`)
					got <- text
					return
				}
			}
		})
	}
	parked.Wait()
	for i := 0; i < n; i += 10 {
		var list []types.SendMessageBatchRequestEntry
		for j := i; j < i+10; j++ {
			list = append(list, types.SendMessageBatchRequestEntry{Id: aws.String(itoa(j)), MessageBody: aws.String(itoa(j))})
		}
		if _, err := w.sendBatch(url, list); err != nil {
			cancel()
			t.Fatal(err)
		}
	}
	all.Wait()
	close(got)
	seen := map[string]bool{}
	for body := range got {
		if seen[body] {
			t.Errorf("%s came twice", body)
		}
		seen[body] = true
	}
	if len(seen) != n {
		t.Errorf("%d messages of %d", len(seen), n)
	}
}
