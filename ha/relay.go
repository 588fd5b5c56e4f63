package ha

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Client connections that a standby relays travel to the active node as
// connections of their own through the peer port: who may bring the address of
// a client is thus settled by the same proofs as who may bring an entry.
//
// Behind the purpose byte come a length byte and the name of the listener; the
// answer is one byte, and from there on both directions are the client's.

const (
	relayAccepted = 0
	relayRefused  = 1

	maxRelayName = 64

	// relayAnswerTimeout bounds name and answer.
	relayAnswerTimeout = 3 * time.Second
)

// ErrNotServing: the node asked does not serve that listener.
var ErrNotServing = errors.New("ha: the node does not serve this listener")

// RelayedConn is a connection whose directions end one by one.
type RelayedConn interface {
	net.Conn
	CloseWrite() error
}

// OnRelay sets who takes relayed connections: accept is called on a goroutine
// of its own for each, with the listener that the client meant and the address
// of the node in between, and returns a connection to that listener, which is
// joined with the client's.
func (p *Peers) OnRelay(accept func(listener string, from net.Addr) (RelayedConn, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.relay = accept
}

// serveRelay answers one.
func (p *Peers) serveRelay(c *tls.Conn) {
	if c.SetDeadline(time.Now().Add(relayAnswerTimeout)) != nil {
		return
	}
	var name [maxRelayName]byte
	if _, err := io.ReadFull(c, name[:1]); err != nil || name[0] > maxRelayName {
		return
	}
	n := int(name[0])
	if _, err := io.ReadFull(c, name[:n]); err != nil {
		return
	}
	p.mu.Lock()
	accept := p.relay
	p.mu.Unlock()
	err := ErrNotServing
	var inner RelayedConn
	if accept != nil {
		inner, err = accept(string(name[:n]), c.RemoteAddr())
	}
	if err != nil {
		p.logger.Warn("a relayed connection was refused", "from", c.RemoteAddr(), "listener", string(name[:n]), "error", err)
		_, _ = c.Write([]byte{relayRefused}) // the other side notices
		return
	}
	if _, err := c.Write([]byte{relayAccepted}); err != nil || c.SetDeadline(time.Time{}) != nil {
		_ = inner.Close()
		return
	}
	p.relayed.Add(1)
	p.relaying.Add(1)
	defer p.relaying.Add(-1)
	join(inner, c, false)
}

// Relayed is how many connections that other nodes relay are open, and how many
// there were.
func (p *Peers) Relayed() (open int64, total uint64) { return p.relaying.Load(), p.relayed.Load() }

// relayBuffer holds what is between reading from one side and writing to the
// other; as much again is in the kernel. A TLS record has no more.
const relayBuffer = 16 << 10

// Join carries bytes between a client and what Relay returned until both
// directions have ended, or one of them fails, and closes both. The end of one
// direction is passed on, and so is a client that breaks off.
func Join(client, up RelayedConn) { join(client, up, true) }

// join is Join. reset says to break b off after an error: just closed, TLS looks
// to the other side as if a had only said all it had to say. Where a is the end
// that serves, what it said last must still arrive.
func join(a, b RelayedConn, reset bool) {
	end := func() { shut(a); shut(b) }
	defer end()
	var wg sync.WaitGroup
	carry := func(to, from RelayedConn) {
		// Not the connections' own ReadFrom and WriteTo, which bring larger buffers.
		_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, relayBuffer))
		if err == nil {
			err = to.CloseWrite()
		}
		if err == nil {
			return
		}
		if t, ok := b.(*tls.Conn); ok && reset {
			if c, ok := t.NetConn().(*net.TCPConn); ok {
				_ = c.SetLinger(0) // it fails on a connection that is closed
			}
		}
		end()
	}
	wg.Go(func() { carry(a, b) })
	carry(b, a)
	wg.Wait()
}

// shut closes c at once: closing TLS waits for the other side to read.
func shut(c RelayedConn) {
	if t, ok := c.(*tls.Conn); ok {
		_ = t.NetConn().Close()
		return
	}
	_ = c.Close()
}

// Relay opens a connection to a listener of the node at address, which is
// refused with ErrNotServing if that node does not serve it.
func (p *Peers) Relay(ctx context.Context, address, listener string) (RelayedConn, error) {
	if len(listener) > maxRelayName {
		return nil, fmt.Errorf("ha: listener name %q is too long", listener)
	}
	nc, err := p.dial(ctx, address, forRelay)
	if err != nil {
		return nil, err
	}
	if err := askRelay(nc, listener); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return nc.(*tls.Conn), nil
}

func askRelay(c net.Conn, listener string) error {
	if err := c.SetDeadline(time.Now().Add(relayAnswerTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(append([]byte{byte(len(listener))}, listener...)); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return err
	}
	if answer[0] != relayAccepted {
		return ErrNotServing
	}
	return c.SetDeadline(time.Time{})
}

// Leader is the peer address of the leader this node knows, "" if none or if
// it is this node.
func (l *Log) Leader() string {
	_, address, self := l.whoLeads()
	if self {
		return ""
	}
	return address
}
