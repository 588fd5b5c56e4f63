package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermodmq/hermod/cmd/hermod/config"
	"github.com/hermodmq/hermod/ha"
	"github.com/hermodmq/hermod/listeners/http"
	"github.com/hermodmq/hermod/listeners/transport"
)

const (
	// relayDialTimeout bounds how long a client of a standby waits for the
	// active node.
	relayDialTimeout = 3 * time.Second

	// relayDials is how many connections to the active node are made at once:
	// its peer port takes no more than four times that, and raft needs it, too.
	relayDials = 16

	// relayLook is how often a standby looks who leads, and relayPatience how
	// long it may know of nobody until what it relays ends: a standby that was
	// short of processor time hears of the same leader again.
	relayLook     = 50 * time.Millisecond
	relayPatience = 2 * time.Second
)

// relayPort is a listener as a standby needs to know it.
type relayPort struct {
	name, address string
	proxy         bool // clients bring a PROXY header themselves
}

// relayPorts lists the listeners for clients under the names that the active
// node gives them.
func relayPorts(c *config.Config) []relayPort {
	l := &c.Listeners
	list := []relayPort{
		{"amqp", l.AMQP.Address, l.AMQP.ProxyProtocol},
		{"amqps", l.AMQP.TLSAddress, l.AMQP.ProxyProtocol},
		{"mqtt", l.MQTT.Address, l.MQTT.ProxyProtocol},
		{"mqtts", l.MQTT.TLSAddress, l.MQTT.ProxyProtocol},
		{"mqtt-websocket", l.MQTT.WebSocket, l.MQTT.ProxyProtocol},
		{"mqtt-websocket-tls", l.MQTT.WebSocketTLS, l.MQTT.ProxyProtocol},
		{"stomp", l.STOMP.Address, l.STOMP.ProxyProtocol},
		{"stomps", l.STOMP.TLSAddress, l.STOMP.ProxyProtocol},
		{"stomp-websocket", l.STOMP.WebSocket, l.STOMP.ProxyProtocol},
		{"stomp-websocket-tls", l.STOMP.WebSocketTLS, l.STOMP.ProxyProtocol},
		{"openwire", l.OpenWire.Address, l.OpenWire.ProxyProtocol},
		{"openwire-tls", l.OpenWire.TLSAddress, l.OpenWire.ProxyProtocol},
		{"aws", l.AWS.Address, l.AWS.ProxyProtocol},
		{"aws-tls", l.AWS.TLSAddress, l.AWS.ProxyProtocol},
	}
	open := list[:0]
	for _, p := range list {
		if p.address != config.Off {
			open = append(open, p)
		}
	}
	return open
}

// relays are a standby's listeners for clients, and the connections through
// them. Bytes pass unread: TLS, WebSocket and protocol are between the client
// and the active node.
type relays struct {
	n         *node
	limit     int64
	dials     chan struct{}
	quit      chan struct{}
	listeners []net.Listener

	open    atomic.Int64
	total   atomic.Uint64
	refused atomic.Uint64

	mu     sync.Mutex
	conns  map[net.Conn]string // clients, and the peer address of the node that serves them
	closed bool
}

// openRelays opens the listeners of a standby that relays.
func (n *node) openRelays() error {
	if n.config.HA.Standby != "relay" {
		return nil
	}
	r := &relays{
		n: n, limit: relayLimit(n.config.Limits.MaxConnections),
		dials: make(chan struct{}, relayDials), quit: make(chan struct{}), conns: map[net.Conn]string{},
	}
	n.cluster.relays = r
	for _, p := range relayPorts(n.config) {
		ln, err := net.Listen("tcp", p.address)
		if err != nil {
			return fmt.Errorf("listener %s: %w", p.name, err)
		}
		r.listeners = append(r.listeners, ln)
		go r.accept(ln, p)
		n.announce(p.name+"-relay", ln.Addr())
	}
	go r.watch()
	return nil
}

// relayLimit is how many connections may be relayed at a time: each takes two
// descriptors.
func relayLimit(configured int) int64 {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		r.Cur = 10_000
	}
	files := max((int64(min(r.Cur, 1<<30))-256)/2, 64)
	return min(cmp.Or(int64(configured), files), files)
}

// closeRelays makes room for the listeners of the active node. The node that
// served the relayed connections does so no more.
func (n *node) closeRelays() error {
	r := n.cluster.relays
	if r == nil {
		return nil
	}
	for _, ln := range r.listeners {
		_ = ln.Close()
	}
	close(r.quit)
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.drop("")
	return nil
}

// accept takes clients until the listener is closed.
func (r *relays) accept(ln net.Listener, p relayPort) {
	trusted, _ := r.n.config.Listeners.TrustedProxies() // checked with the configuration
	for {
		c, err := ln.Accept()
		if err != nil {
			select {
			case <-r.quit:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors, as a rule
				continue
			}
		}
		if p.proxy && !transport.TrustsProxy(trusted, c.RemoteAddr()) {
			r.refuse(c)
			continue
		}
		if r.open.Add(1) > r.limit {
			r.open.Add(-1)
			r.refuse(c)
			continue
		}
		go func() {
			defer r.open.Add(-1)
			r.relay(c.(*net.TCPConn), p)
		}()
	}
}

// refuse closes at once, so that the client tries the next address it has.
func (r *relays) refuse(c net.Conn) {
	r.refused.Add(1)
	_ = c.Close()
}

// relay is the life of one client's connection.
func (r *relays) relay(c *net.TCPConn, p relayPort) {
	leader := r.n.raft.Leader()
	if leader == "" {
		r.refuse(c)
		return
	}
	up, err := r.dial(leader, p.name)
	if err != nil {
		r.n.log.Debug("a client cannot be relayed", "listener", p.name, "error", err)
		r.refuse(c)
		return
	}
	if !p.proxy {
		_, err = up.Write(transport.AppendProxyHeader(nil, c.RemoteAddr(), c.LocalAddr()))
	}
	if err != nil || !r.note(c, leader) {
		_ = up.Close()
		r.refuse(c)
		return
	}
	r.total.Add(1)
	ha.Join(c, up)
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

func (r *relays) dial(leader, listener string) (ha.RelayedConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), relayDialTimeout)
	defer cancel()
	select {
	case r.dials <- struct{}{}:
		defer func() { <-r.dials }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.quit:
		return nil, net.ErrClosed
	}
	return r.n.cluster.peers.Relay(ctx, leader, listener)
}

// note counts c among those that end with the leader; false if that has
// changed already.
func (r *relays) note(c net.Conn, leader string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.n.raft.Leader() != leader {
		return false
	}
	r.conns[c] = leader
	return true
}

// watch ends the connections to a node that leads no more, or has not been heard
// for some time: it may be unable to say so.
func (r *relays) watch() {
	tick := time.NewTicker(relayLook)
	defer tick.Stop()
	last, heard := "", time.Now()
	for {
		select {
		case now := <-tick.C:
			leader := r.n.raft.Leader()
			if leader != "" {
				heard = now
			} else if now.Sub(heard) < relayPatience {
				continue
			}
			if leader != last {
				last = leader
				r.drop(leader)
			}
		case <-r.quit:
			return
		}
	}
}

// drop closes what is not served by leader.
func (r *relays) drop(leader string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c, served := range r.conns {
		if served != leader {
			_ = c.Close() // Join ends, and closes the other side
		}
	}
}

// acceptRelayed connects a client that a standby relays to the listener it
// meant.
func (n *node) acceptRelayed(listener string, from net.Addr) (ha.RelayedConn, error) {
	c, err := n.server.Attach(listener, from)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// relaySamples are the numbers of relaying for /metrics.
func (n *node) relaySamples() []http.Sample {
	open, total := n.cluster.peers.Relayed()
	list := []http.Sample{
		{Name: "hermod_ha_relayed_clients", Help: "Connections of clients of standbys that this node serves", Value: float64(open)},
		{Name: "hermod_ha_relayed_clients_total", Help: "Connections of clients of standbys that this node has served", Counter: true, Value: float64(total)},
	}
	r := n.cluster.relays
	if r == nil {
		return list
	}
	r.mu.Lock()
	open = int64(len(r.conns))
	r.mu.Unlock()
	return append(list,
		http.Sample{Name: "hermod_ha_relayed_connections", Help: "Connections of clients that this standby relays to the active node", Value: float64(open)},
		http.Sample{Name: "hermod_ha_relayed_connections_total", Help: "Connections of clients that this node has relayed", Counter: true, Value: float64(r.total.Load())},
		http.Sample{Name: "hermod_ha_relays_refused_total", Help: "Connections closed at once: no active node, or a limit", Counter: true, Value: float64(r.refused.Load())})
}
