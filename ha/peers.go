package ha

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// peerALPN names the protocol between nodes and its version: nodes of
	// another one do not get past the handshake.
	peerALPN = "hermod-peer/1"

	// handshakeTimeout bounds TLS and the proof of the secret.
	handshakeTimeout = 3 * time.Second

	// maxHandshakes is how many strangers may be in a handshake at a time.
	maxHandshakes = 64

	// maxControl bounds a control request or answer.
	maxControl = 1 << 20

	// minSecret is the least a cluster secret may have.
	minSecret = 16

	proofLen = sha256.Size
)

// What a connection between nodes is for: its first byte behind the proof.
const (
	forRaft    = 'R'
	forControl = 'C'
	forSeed    = 'S'
	forRelay   = 'P'
)

// Errors of connections between nodes.
var (
	// ErrSecret: the other side does not know the cluster's secret, or is no
	// Hermod.
	ErrSecret = errors.New("ha: the peer does not share this cluster's secret")
)

// PeerOptions say how nodes find and trust each other.
type PeerOptions struct {
	Bind      string // host:port to listen on
	Advertise string // host:port under which the others reach this node; default: Bind
	Secret    []byte // shared by all nodes; at least 16 bytes

	// Certificate of this node and the authority that signs those of all
	// nodes, as PEM files; read at every handshake, so that they can be renewed.
	// All or none: without them connections are encrypted under throw-away keys
	// and the secret alone proves who may join.
	CertFile, KeyFile, CAFile string

	Logger *slog.Logger
}

// Peers is the one port through which nodes talk: raft, control requests and
// the transfer of segments. Every connection is TLS 1.3, and both sides prove
// that they know the secret, bound to that very TLS session, before anything
// else is read. It implements raft.StreamLayer.
type Peers struct {
	opts   PeerOptions
	ln     net.Listener
	logger *slog.Logger
	key    []byte
	self   *tls.Certificate // throw-away; nil with certificate files

	raft  chan net.Conn
	slots chan struct{}
	done  chan struct{}
	wg    sync.WaitGroup

	mu       sync.Mutex
	open     map[net.Conn]bool // inbound ones, and those that raft dialled
	closed   bool
	handlers map[string]handler
	seed     func(net.Conn)
	raftEnd  func() // told of the end of each inbound raft connection
	relay    func(listener string, from net.Addr) (RelayedConn, error)

	relaying atomic.Int64 // open ones
	relayed  atomic.Uint64
}

// handler answers one kind of control request.
type handler func(ctx context.Context, in json.RawMessage) (any, error)

var _ raft.StreamLayer = (*Peers)(nil)

// ListenPeers opens the port. Nothing but control requests is answered until
// a Log uses it.
func ListenPeers(o PeerOptions) (*Peers, error) {
	if len(o.Secret) < minSecret {
		return nil, fmt.Errorf("ha: the cluster secret must have at least %d bytes", minSecret)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	sum := sha256.Sum256(append([]byte("hermod cluster secret\x00"), o.Secret...))
	p := &Peers{
		opts: o, logger: o.Logger, key: sum[:],
		raft: make(chan net.Conn), slots: make(chan struct{}, maxHandshakes), done: make(chan struct{}),
		open: map[net.Conn]bool{}, handlers: map[string]handler{},
	}
	if o.CertFile == "" {
		var err error
		if p.self, err = throwAwayCertificate(); err != nil {
			return nil, err
		}
	}
	if _, err := p.tlsConfig(); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", o.Bind)
	if err != nil {
		return nil, fmt.Errorf("ha: %w", err)
	}
	p.ln = ln
	if p.opts.Advertise == "" {
		p.opts.Advertise = ln.Addr().String()
	}
	p.wg.Go(p.serve)
	return p, nil
}

// Advertised is the address under which the others reach this node.
func (p *Peers) Advertised() string { return p.opts.Advertise }

// throwAwayCertificate makes a key pair that nobody needs to trust: the proof
// of the secret is bound to the session it makes.
func throwAwayCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hermod peer"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// tlsConfig is the configuration of both sides, from the files as they are now.
func (p *Peers) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{peerALPN},
		// A resumed session has a keying material of its own, and tickets
		// outlive a renewed certificate: neither is worth the round trip saved.
		SessionTicketsDisabled: true,
	}
	if p.self != nil {
		c.Certificates = []tls.Certificate{*p.self}
		c.InsecureSkipVerify = true // the proof of the secret stands in for it
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(p.opts.CertFile, p.opts.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("ha: %w", err)
	}
	pem, err := os.ReadFile(p.opts.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ha: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ha: %s holds no certificate", p.opts.CAFile)
	}
	c.Certificates = []tls.Certificate{pair}
	c.RootCAs, c.ClientCAs = pool, pool
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// prove runs the handshake and exchanges proofs. Each side's proof names its
// role, so that neither can be reflected.
func (p *Peers) prove(c *tls.Conn, client bool) error {
	if err := c.Handshake(); err != nil {
		return err
	}
	state := c.ConnectionState()
	if state.NegotiatedProtocol != peerALPN {
		return ErrSecret
	}
	material, err := state.ExportKeyingMaterial("EXPERIMENTAL hermod peer", nil, 32)
	if err != nil {
		return err
	}
	proof := func(role string) []byte {
		mac := hmac.New(sha256.New, p.key)
		mac.Write([]byte(role))
		mac.Write(material)
		return mac.Sum(nil)
	}
	mine, theirs := proof("client"), proof("server")
	if !client {
		mine, theirs = theirs, mine
	}
	var got [proofLen]byte
	if !client { // strangers hear nothing before they have proved themselves
		if _, err := io.ReadFull(c, got[:]); err != nil {
			return err
		}
		if !hmac.Equal(got[:], theirs) {
			return ErrSecret
		}
	}
	if _, err := c.Write(mine); err != nil {
		return err
	}
	if client {
		if _, err := io.ReadFull(c, got[:]); err != nil {
			return fmt.Errorf("%w (%v)", ErrSecret, err)
		}
		if !hmac.Equal(got[:], theirs) {
			return ErrSecret
		}
	}
	return nil
}

// Dial implements raft.StreamLayer.
func (p *Peers) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	c, err := p.dial(ctx, string(address), forRaft)
	if err != nil {
		return nil, err
	}
	nc := c.(*tls.Conn).NetConn()
	if !p.track(nc) {
		return nil, net.ErrClosed
	}
	return &raftConn{peerConn: peerConn{c.(*tls.Conn), func() { p.forget(nc) }}}, nil
}

func (p *Peers) dial(ctx context.Context, address string, purpose byte) (net.Conn, error) {
	config, err := p.tlsConfig()
	if err != nil {
		return nil, err
	}
	if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
		return nil, err
	}
	d := net.Dialer{KeepAlive: 10 * time.Second}
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, config)
	deadline, ok := ctx.Deadline()
	if limit := time.Now().Add(handshakeTimeout); !ok || limit.Before(deadline) {
		deadline = limit
	}
	err = c.SetDeadline(deadline)
	if err == nil {
		err = p.prove(c, true)
	}
	if err == nil {
		_, err = c.Write([]byte{purpose})
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = nc.Close() // the handshake's error is the one that matters
		return nil, err
	}
	return c, nil
}

// serve accepts until Close.
func (p *Peers) serve() {
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			select {
			case <-p.done:
				return
			case <-time.After(10 * time.Millisecond): // out of descriptors, as a rule
				continue
			}
		}
		select {
		case p.slots <- struct{}{}:
		default:
			_ = nc.Close() // too many strangers at a time
			continue
		}
		if !p.track(nc) {
			continue
		}
		p.wg.Go(func() { p.welcome(nc) })
	}
}

// track notes an inbound connection, or closes it if the port is closed.
func (p *Peers) track(nc net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = nc.Close()
		return false
	}
	p.open[nc] = true
	return true
}

func (p *Peers) forget(nc net.Conn) {
	p.mu.Lock()
	delete(p.open, nc)
	p.mu.Unlock()
	_ = nc.Close()
}

// welcome takes a stranger through the handshake and to what it came for.
func (p *Peers) welcome(nc net.Conn) {
	c, purpose, err := p.handshake(nc)
	<-p.slots
	if err != nil {
		p.logger.Warn("a connection to the peer port was refused", "from", nc.RemoteAddr(), "error", err)
		p.forget(nc)
		return
	}
	switch purpose {
	case forRaft:
		select {
		case p.raft <- &peerConn{c, func() { p.forget(nc); p.raftEnded() }}:
		case <-p.done:
			p.forget(nc)
		}
	case forControl:
		p.control(c)
		p.forget(nc)
	case forSeed:
		p.mu.Lock()
		seed := p.seed
		p.mu.Unlock()
		if seed != nil {
			seed(c)
		}
		p.forget(nc)
	case forRelay:
		p.serveRelay(c)
		p.forget(nc)
	default:
		p.forget(nc)
	}
}

func (p *Peers) handshake(nc net.Conn) (*tls.Conn, byte, error) {
	config, err := p.tlsConfig()
	if err != nil {
		return nil, 0, err
	}
	c := tls.Server(nc, config)
	if err := c.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, 0, err
	}
	if err := p.prove(c, false); err != nil {
		return nil, 0, err
	}
	var purpose [1]byte
	if _, err := io.ReadFull(c, purpose[:]); err != nil {
		return nil, 0, err
	}
	return c, purpose[0], c.SetDeadline(time.Time{})
}

// peerConn forgets itself when it is closed.
type peerConn struct {
	*tls.Conn
	forget func()
}

func (c *peerConn) Close() error {
	c.forget()
	return nil
}

// minSpeed is what a link between nodes, and the disk behind it, must manage in
// bytes per second. A request that raft repeats from its beginning because it
// was too large for its deadline would never get through.
const minSpeed = 256 << 10

// raftConn is a connection that raft has dialled. A deadline is for the answer
// to a small request: it is put off by the time that what is written takes at
// minSpeed. One goroutine uses it at a time.
type raftConn struct {
	peerConn
	patience time.Duration // of the last deadline; 0: none
	written  int64         // bytes since
}

func (c *raftConn) SetDeadline(t time.Time) error {
	c.patience, c.written = 0, 0
	if !t.IsZero() {
		c.patience = time.Until(t)
	}
	return c.peerConn.SetDeadline(t)
}

func (c *raftConn) Write(b []byte) (int, error) {
	if c.written += int64(len(b)); c.patience > 0 && c.written > minSpeed/16 {
		extra := time.Duration(c.written) * time.Second / minSpeed
		if err := c.peerConn.SetDeadline(time.Now().Add(c.patience + extra)); err != nil {
			return 0, err
		}
	}
	return c.peerConn.Write(b)
}

// Accept implements raft.StreamLayer.
func (p *Peers) Accept() (net.Conn, error) {
	select {
	case c := <-p.raft:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// Addr implements raft.StreamLayer: the address the others know.
func (p *Peers) Addr() net.Addr { return peerAddr(p.opts.Advertise) }

type peerAddr string

func (peerAddr) Network() string  { return "tcp" }
func (a peerAddr) String() string { return string(a) }

// Close closes the port, every connection that came through it and those that
// raft dialled.
func (p *Peers) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	err := p.ln.Close()
	for nc := range p.open {
		_ = nc.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}

// onRaftEnd sets what is told, on raft's goroutines, when a raft connection
// from another node has ended. It must not block.
func (p *Peers) onRaftEnd(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.raftEnd = f
}

func (p *Peers) raftEnded() {
	p.mu.Lock()
	f := p.raftEnd
	p.mu.Unlock()
	if f != nil {
		f()
	}
}

// handle sets what answers control requests of a name.
func (p *Peers) handle(name string, h handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handlers[name] = h
}

// controlRequest and controlReply travel as one JSON document each.
type controlRequest struct {
	Name string          `json:"name"`
	In   json.RawMessage `json:"in"`
}

type controlReply struct {
	Out   json.RawMessage `json:"out,omitempty"`
	Error string          `json:"error,omitempty"`
}

// controlTimeout bounds one request on the side that answers.
const controlTimeout = 30 * time.Second

// control answers requests on c until the other side closes it.
func (p *Peers) control(c net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), controlTimeout)
	defer cancel()
	if c.SetDeadline(time.Now().Add(controlTimeout)) != nil {
		return
	}
	var req controlRequest
	if json.NewDecoder(io.LimitReader(c, maxControl)).Decode(&req) != nil {
		return
	}
	p.mu.Lock()
	h := p.handlers[req.Name]
	p.mu.Unlock()
	reply := controlReply{Error: fmt.Sprintf("unknown request %q", req.Name)}
	if h != nil {
		reply = answer(h(ctx, req.In))
	}
	_ = json.NewEncoder(c).Encode(reply) // the other side notices
}

func answer(out any, err error) controlReply {
	if err != nil {
		return controlReply{Error: err.Error()}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return controlReply{Error: err.Error()}
	}
	return controlReply{Out: raw}
}

// call asks the node at address and waits for its answer.
func (p *Peers) call(ctx context.Context, address, name string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	c, err := p.dial(ctx, address, forControl)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(c).Encode(controlRequest{name, raw}); err != nil {
		return err
	}
	var reply controlReply
	if err := json.NewDecoder(io.LimitReader(c, maxControl)).Decode(&reply); err != nil {
		return err
	}
	if reply.Error != "" {
		return fmt.Errorf("%s: %s", address, reply.Error)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(reply.Out, out)
}
