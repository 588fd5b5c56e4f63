package transport

import (
	"sync"
	"time"
)

// Leaver is a session with last words for its peer that need nothing but itself; see [Server.Farewell].
type Leaver interface {
	// Leave writes them. It must not call the core, confirm or deliver anything: another node may have the state by now. It
	// runs on the connection's loop, once, and is the last call.
	Leave()
}

// Farewell cuts all sessions off at once, on a server that has lost the right to serve and whose process is about to end:
// those that are a [Leaver] write their last words, none is called again, not even with Closed. Farewell returns when the
// words are with the kernel, as far as the peers take them, or after limit. The server is good for nothing afterwards.
func (s *Server) Farewell(limit time.Duration) {
	var said sync.WaitGroup
	for _, l := range s.eng.loops {
		said.Add(1)
		if !l.run(func() { l.leave(said.Done) }) {
			said.Done()
		}
	}
	done := make(chan struct{})
	go func() {
		said.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(limit):
	}
}

// leave lets every session go and calls done when what they wrote was flushed.
func (l *loop) leave(done func()) {
	for _, t := range l.conns {
		if t.state == stateUp && !t.closeNow {
			if s, ok := t.sess.(Leaver); ok {
				t.guard("Leave", s.Leave)
			}
		}
		t.sess = gone{}
		t.closeAfterFlush()
	}
	if !l.run(done) { // runs after this turn's output
		done()
	}
}

// gone is the session of a connection whose own must not hear anything more.
type gone struct{}

func (gone) Start(Link)                         {}
func (gone) Receive(p []byte) (int, int, error) { return len(p), 0, nil }
func (gone) Handle(Event)                       {}
func (gone) EndTurn()                           {}
func (gone) Drained()                           {}
func (gone) Tick(time.Time)                     {}
func (gone) Drain()                             {}
func (gone) Closed(error)                       {}
