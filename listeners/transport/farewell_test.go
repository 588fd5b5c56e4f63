package transport

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// leaver is a frames session with last words.
type leaver struct {
	frames
	words []byte
}

func (l *leaver) Leave() { l.Write(l.words) }

func TestFarewell(t *testing.T) {
	var left, calls atomic.Int64
	s := startServer(t, Options{Loops: 2, TickInterval: 5 * time.Millisecond})
	started := make(chan *Conn, 64)
	count := func() {
		if left.Load() != 0 {
			calls.Add(1)
		}
	}
	hooks := frames{
		start:   func(f *frames) { started <- f.Target() },
		handle:  func(*frames, Event) { count() },
		endTurn: func(*frames) { count() },
		tick:    func(*frames, time.Time) { count() },
		closed:  func(*frames, error) { count() },
	}
	dials := func(name string, n int, session func() Session) (list []net.Conn) {
		addr, err := s.Listen(Listener{Name: name, Address: "127.0.0.1:0", New: session})
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			c, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			list = append(list, c)
		}
		return list
	}
	polite := dials("polite", 10, func() Session { return &leaver{hooks, []byte("bye")} })
	curt := dials("curt", 2, func() Session { f := hooks; return &f })
	broken := dials("broken", 1, func() Session {
		return &panics{hooks}
	})
	var conns []*Conn
	for range len(polite) + len(curt) + len(broken) {
		conns = append(conns, <-started)
	}
	// From the moment a loop has let its sessions go nothing reaches them: both
	// loops must have, before calls count.
	s.Farewell(patience)
	left.Store(1)
	for _, c := range conns {
		c.Post(Event{Kind: 1})
	}
	for _, c := range polite {
		if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
	}
	for _, c := range append(curt, broken...) {
		if got, _ := io.ReadAll(c); len(got) != 0 {
			t.Errorf("read %q", got)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls of sessions that were let go", n)
	}
}

// panics is a session whose last words are its last.
type panics struct{ frames }

func (p *panics) Leave() { panic("no words") }
