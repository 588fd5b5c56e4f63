package sqs

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// signedClient makes requests as an SDK sends them, and has them parsed and
// served without a socket.
type signedClient struct {
	w      *world
	signer aws.Signer
	parser wire.Parser
	buf    []byte
	out    []byte
}

func newSignedClient(w *world) *signedClient {
	w.ep = endpoint.New(w.core, endpoint.Options{Auth: endpoint.AuthStrict, Now: w.ep.Now, Keys: []endpoint.Key{{ID: "AKID", Secret: "secret", User: "guest"}}})
	w.sqs = New(w.turn(), w.ep, Options{})
	w.commit()
	return &signedClient{w: w, signer: aws.Signer{Key: "AKID", Secret: "secret", Region: "us-east-1", Service: "sqs"}, parser: wire.Parser{Limits: wire.Limits{}.WithDefaults()}}
}

func (c *signedClient) request(action, body string) []byte {
	now := c.w.now.UTC()
	stamp := now.Format("20060102T150405Z")
	auth := c.signer.Sign("POST", "/", "", []aws.Header{
		{Name: "content-length", Value: strconv.Itoa(len(body))}, {Name: "content-type", Value: "application/x-amz-json-1.0"}, {Name: "host", Value: "localhost:4566"},
		{Name: "x-amz-date", Value: stamp}, {Name: "x-amz-target", Value: "AmazonSQS." + action}, {Name: "x-amzn-query-mode", Value: "true"},
	}, []byte(body), now)
	return []byte("POST / HTTP/1.1\r\nHost: localhost:4566\r\nUser-Agent: aws-sdk-go-v2/1.39.0 ua/2.1 os/linux lang/go#1.25 md/GOOS#linux md/GOARCH#amd64 api/sqs#1.42.5 m/E,e\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\nAmz-Sdk-Invocation-Id: 6fd1cbd8-6ba5-4c8e-8b0c-2fd7fbd5b5a9\r\nAmz-Sdk-Request: attempt=1; max=3\r\nAuthorization: " + auth +
		"\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Date: " + stamp + "\r\nX-Amz-Target: AmazonSQS." + action + "\r\nX-Amzn-Query-Mode: true\r\nAccept-Encoding: gzip\r\n\r\n" + body)
}

// serve has a request parsed, served and answered; the answer's body.
func (c *signedClient) serve(b testing.TB, raw []byte) string {
	c.buf = append(c.buf[:0], raw...)
	r, _, _, _, err := c.parser.Next(c.buf)
	if err != nil || r == nil {
		b.Fatal("not parsed", err)
	}
	x := &exchange{w: c.w}
	c.w.ep.Serve(c.w.turn(), r, endpoint.Peer{Address: netip.MustParseAddr("127.0.0.1")}, x)
	c.w.store.Commit(c.w.turn(), -1)
	if !x.done || x.resp.Status != 200 {
		b.Fatalf("answered %v, %d %s", x.done, x.resp.Status, x.text())
	}
	c.out = x.resp.Append(c.out[:0], c.w.now, true, false)
	return x.text()
}

// BenchmarkRound is what of a send, a receive and a delete is the service's
// own: no sockets, no disk.
func BenchmarkRound(b *testing.B) {
	w := newWorld(b)
	c := newSignedClient(w)
	url := "http://localhost:4566/000000000000/q"
	c.serve(b, c.request("CreateQueue", `{"QueueName":"q"}`))
	send := c.request("SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"`+strings.Repeat("x", 1024)+`"}`)
	receive := c.request("ReceiveMessage", `{"QueueUrl":"`+url+`","WaitTimeSeconds":1,"MaxNumberOfMessages":1}`)
	b.ReportAllocs()
	const block = 500
	removes := make([][]byte, 0, block)
	b.ResetTimer()
	for n := 0; n < b.N; n += len(removes) {
		removes = removes[:0]
		count := min(block, b.N-n)
		for range count {
			c.serve(b, send)
		}
		handles := make([]string, 0, count)
		for range count {
			_, h, _ := strings.Cut(c.serve(b, receive), `"ReceiptHandle":"`)
			h, _, _ = strings.Cut(h, `"`)
			handles = append(handles, h)
		}
		b.StopTimer()
		for _, h := range handles {
			removes = append(removes, c.request("DeleteMessage", `{"QueueUrl":"`+url+`","ReceiptHandle":"`+h+`"}`))
		}
		b.StartTimer()
		for _, r := range removes {
			c.serve(b, r)
		}
	}
}
