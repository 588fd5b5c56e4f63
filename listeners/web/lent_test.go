package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// lent is a body that is spoilt when it is given back, as the next answer would.
type lent struct {
	body []byte
	back int
	pool *sync.Pool // nil: of one use
}

func (l *lent) Release() {
	l.back++
	for i := range l.body {
		l.body[i] = '#'
	}
	if l.pool != nil {
		l.pool.Put(l)
	}
}

// lend answers the i-th request with a body that is lent.
func (w *world) lend(i int, body string) *lent {
	l := &lent{body: []byte(body)}
	batch := transport.NewBatch()
	w.open[i].Respond(&broker.Turn{Now: w.now.UnixMilli(), Bells: batch}, wire.Response{Status: 200, Body: l.body, Owner: l})
	batch.Flush()
	w.m.Turn()
	return l
}

// A body goes back when it is on its way, not before: it may wait for answers
// in front of it. One that is not sent does not go back.
func TestLentBodiesGoBackOnce(t *testing.T) {
	w := newWorld(t, Options{})
	w.peer.Send([]byte(get("/1") + get("/2") + "HEAD /3 HTTP/1.1\r\nHost: h\r\n\r\n" + get("/4") + get("/5")))
	third, second := w.lend(2, "ccc"), w.lend(1, "bbb")
	twice := w.lend(1, "BBB")
	if second.back+third.back != 0 {
		t.Fatal("gave back what waits")
	}
	first := w.lend(0, "aaa")
	if out := string(w.peer.Output()); !strings.Contains(out, "aaa") || !strings.Contains(out, "bbb") || strings.ContainsAny(out, "#cB") {
		t.Errorf("%q", out)
	}
	if first.back != 1 || second.back != 1 || third.back != 1 || twice.back != 0 {
		t.Errorf("gave back %d, %d, %d and %d of a second answer", first.back, second.back, third.back, twice.back)
	}
	waiting := w.lend(4, "eee")
	w.peer.HangUp(io.EOF)
	w.m.Turn()
	late := w.lend(3, "ddd")
	if out := w.peer.Output(); waiting.back+late.back != 0 || len(out) != 0 {
		t.Errorf("gave back %d and %d that nobody got; sent %q", waiting.back, late.back, out)
	}
}

// lending is a server whose answers repeat the path of their requests a number
// of times, in bodies that are lent, from the loop and from elsewhere.
func lending(t *testing.T, times int) (addr net.Addr) {
	s, err := transport.New(transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pool := new(sync.Pool)
	pool.New = func() any { return &lent{pool: pool} }
	respond := func(turn *broker.Turn, x *Exchange, path string) {
		l := pool.Get().(*lent)
		l.body = l.body[:0]
		for range times {
			l.body = append(l.body, path...)
		}
		x.Respond(turn, wire.Response{Status: 200, Body: l.body, Owner: l})
	}
	h := HandlerFunc(func(turn *broker.Turn, x *Exchange) {
		path := strings.Clone(x.Request.Path)
		if strings.HasSuffix(path, "0") {
			respond(turn, x, path)
			return
		}
		go respond(&broker.Turn{}, x, path)
	})
	addr, err = s.Listen(transport.Listener{Name: "web", Address: "127.0.0.1:0", New: New(h, Options{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return addr
}

// Every client gets its own answers, however many are under way, and whoever
// hangs up beside it.
func TestLentBodiesAreNobodyElses(t *testing.T) {
	const connections, rounds, pipelined, times = 4, 30, 8, 200
	addr := lending(t, times)
	talk := func(client int) error {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(60 * time.Second))
		r := bufio.NewReader(c)
		for round := range rounds {
			var ask strings.Builder
			for i := range pipelined {
				ask.WriteString(get(fmt.Sprintf("/%d/%d/%d", client, round, i)))
			}
			if _, err := io.WriteString(c, ask.String()); err != nil {
				return err
			}
			if round == rounds-1 && client%2 == 0 {
				return nil // hang up with answers outstanding
			}
			for i := range pipelined {
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					return err
				}
				body, err := io.ReadAll(resp.Body)
				want := strings.Repeat(fmt.Sprintf("/%d/%d/%d", client, round, i), times)
				if err != nil || string(body) != want {
					return fmt.Errorf("client %d, round %d, request %d: %v, %.60q", client, round, i, err, body)
				}
			}
		}
		return nil
	}
	each(t, connections, talk)
}

// Nor are they over HTTP/2, whose server sends when it can.
func TestLentBodiesOverHTTP2(t *testing.T) {
	const clients, requests, times = 4, 20, 20_000
	addr := lending(t, times)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	web := http.Client{Transport: tr, Timeout: 60 * time.Second}
	each(t, clients, func(client int) error {
		for i := range requests {
			path := fmt.Sprintf("/%d/%d", client, i)
			resp, err := web.Get("http://" + addr.String() + path)
			if err != nil {
				return err
			}
			if i%5 == 4 {
				resp.Body.Close() // in the middle of it
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(body, bytes.Repeat([]byte(path), times)) {
				return fmt.Errorf("client %d, request %d: %v, %.60q", client, i, err, body)
			}
		}
		return nil
	})
}

// each runs f for every number below n at once.
func each(t *testing.T, n int, f func(i int) error) {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- f(i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
