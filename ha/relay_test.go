package ha

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// tcpPair is a client's connection: its own end, and the one that was accepted.
func tcpPair(t *testing.T) (client, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	a, err := ln.Accept()
	must(t, err)
	t.Cleanup(func() { _ = c.Close(); _ = a.Close() })
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// relayed is two nodes: what a client sends to the first arrives, through both,
// at inner, a connection of the second one's listener "amqp".
type relayed struct {
	standby, active *Peers
	inner           chan *net.TCPConn // our end of it
}

func newRelayed(t *testing.T) *relayed {
	t.Helper()
	listen := func() *Peers {
		p, err := ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: testSecret, Logger: quiet})
		must(t, err)
		t.Cleanup(func() { _ = p.Close() })
		return p
	}
	r := &relayed{standby: listen(), active: listen(), inner: make(chan *net.TCPConn, 1)}
	r.active.OnRelay(func(listener string, _ net.Addr) (RelayedConn, error) {
		if listener != "amqp" {
			return nil, errors.New("no such listener")
		}
		ours, theirs := tcpPair(t)
		r.inner <- ours
		return theirs, nil
	})
	return r
}

func (r *relayed) connect(t *testing.T) (client, inner *net.TCPConn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	up, err := r.standby.Relay(ctx, r.active.Advertised(), "amqp")
	must(t, err)
	client, accepted := tcpPair(t)
	go Join(accepted, up)
	return client, <-r.inner
}

func TestRelayCarriesBothDirectionsToTheirEnds(t *testing.T) {
	r := newRelayed(t)
	client, inner := r.connect(t)
	data := make([]byte, 3<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data)
	go func() {
		_, _ = client.Write(data)
		_ = client.CloseWrite() // the answer comes after the end of the question
	}()
	got, err := io.ReadAll(inner)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatalf("%d bytes arrived, or others than the %d sent", len(got), len(data))
	}
	if open, total := r.active.Relayed(); open != 1 || total != 1 {
		t.Errorf("%d open of %d, want 1 of 1", open, total)
	}
	go func() {
		_, _ = inner.Write(data)
		_ = inner.Close()
	}()
	got, err = io.ReadAll(client)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back, or others than the %d sent", len(got), len(data))
	}
	until(t, "the end of the relay", func() bool { open, _ := r.active.Relayed(); return open == 0 })
}

func TestRelayEndsWhenOneSideBreaks(t *testing.T) {
	for name, break_ := range map[string]func(client, inner *net.TCPConn, r *relayed){
		"client":      func(client, _ *net.TCPConn, _ *relayed) { _ = client.SetLinger(0); _ = client.Close() },
		"listener":    func(_, inner *net.TCPConn, _ *relayed) { _ = inner.SetLinger(0); _ = inner.Close() },
		"active node": func(_, _ *net.TCPConn, r *relayed) { _ = r.active.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRelayed(t)
			client, inner := r.connect(t)
			break_(client, inner, r)
			if name != "client" {
				if _, err := io.ReadAll(client); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Log("the client sees", err)
				}
			}
			if name != "listener" {
				_, _ = io.ReadAll(inner) // returns
			}
			until(t, "the end of the relay", func() bool { open, _ := r.active.Relayed(); return open == 0 })
		})
	}
}

func TestRelaysThatAreRefused(t *testing.T) {
	r := newRelayed(t)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := r.standby.Relay(ctx, r.active.Advertised(), "nothing"); !errors.Is(err, ErrNotServing) {
		t.Errorf("an unknown listener: %v", err)
	}
	if _, err := r.active.Relay(ctx, r.standby.Advertised(), "amqp"); !errors.Is(err, ErrNotServing) {
		t.Errorf("a node that serves nobody: %v", err)
	}
	if _, err := r.standby.Relay(ctx, r.active.Advertised(), string(make([]byte, maxRelayName+1))); err == nil {
		t.Error("a name that is too long went out")
	}
	stranger, err := ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: []byte("another secret, also long"), Logger: quiet})
	must(t, err)
	defer stranger.Close()
	if _, err := stranger.Relay(ctx, r.active.Advertised(), "amqp"); !errors.Is(err, ErrSecret) {
		t.Errorf("a stranger: %v", err)
	}
	// A name longer than allowed, from a peer that is none of ours.
	c, err := r.standby.dial(ctx, r.active.Advertised(), forRelay)
	must(t, err)
	defer c.Close()
	_, err = c.Write(append([]byte{255}, make([]byte, 255)...))
	must(t, err)
	if got, _ := io.ReadAll(c); len(got) != 0 {
		t.Errorf("it was answered %x", got)
	}
}
