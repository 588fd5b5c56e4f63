package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"
)

// Session is one protocol connection as a state machine without I/O. Every method runs on the loop of its connection,
// one at a time and never re-entrantly: no method of [Link] calls back into the session. A panic in any of them is
// logged and closes this connection only.
type Session interface {
	// Start says that the transport is up: TCP, PROXY protocol, TLS and WebSocket upgrade are done, [Link.Info] is complete. It is the
	// first call, unless the connection fails before; then Closed is the only one.
	Start(l Link)

	// Receive consumes the whole frames at the head of p and returns in n how many bytes they took. The transport
	// keeps the rest and calls again once there are at least need bytes, counted from the first byte not consumed;
	// need 0 means as soon as there are any more. State need as soon as a frame's length is known: it sizes the
	// buffer. A need above [Listener.MaxFrame] closes the connection with [ErrFrameTooLarge].
	//
	// A session that pauses within Receive may stop early and return what it took so far; it is called again with
	// the rest after [Link.Resume].
	//
	// An error flushes the output and closes; write the protocol's farewell before returning it. p is valid only
	// during the call and may be modified by the session.
	Receive(p []byte) (n, need int, err error)

	// Handle takes an event from the core, the journal, an offloaded call or another session. Events arrive in the
	// order in which they were added. Events for a connection that is closing or closed are dropped.
	Handle(ev Event)

	// EndTurn is called once at the end of a turn in which Start, Receive, Handle, Tick, Drained or Drain ran, just
	// before the output is written: the place to coalesce acknowledgements.
	EndTurn()

	// Drained says that after [Link.Full] returned true the output has fallen under the low-water mark.
	Drained()

	// Tick is called about every [Options.TickInterval] between Start and Closed, for heartbeats and timeouts.
	Tick(now time.Time)

	// Drain says that the server shuts down: stop taking work, say goodbye in the protocol's way and call
	// [Link.CloseAfterFlush], now or when the peer has answered. At the shutdown's deadline the rest is cut.
	Drain()

	// Closed is the last call and comes exactly once, also when Start never ran. err is nil when the session itself
	// closed, io.EOF (wrapped) when the peer did, else the reason.
	Closed(err error)
}

// Event is what other goroutines send to a session. Kind, Flags, A and B are the sender's; P and Q should hold pointers,
// which makes an event free of allocations.
type Event struct {
	Kind  uint32
	Flags uint32
	A, B  uint64
	P, Q  any
}

// Link is a session's hold on its connection. Everything except Target, Post, Offload and Info is for the connection's
// loop only. All methods are harmless after the connection has closed.
type Link interface {
	// Write appends a copy of p to the output. Everything appended in one turn leaves with one write(2). Output
	// appended after CloseAfterFlush or Close is dropped.
	Write(p []byte)

	// Out returns the output buffer to append to and SetOut gives it back: l.SetOut(frame.Append(l.Out())). The
	// bytes already in it must not change, and the slice is the transport's again after SetOut. One Out/SetOut pair
	// is one message where the transport frames messages.
	Out() []byte
	SetOut(b []byte)

	// Full reports whether more than 512 KiB of output wait for the peer. The session should then take no more
	// deliveries; Drained follows.
	Full() bool

	// Pause stops reading for a reason, a bit set of the session's choosing; reading goes on when every reason has
	// been cleared with Resume. After Pause the session gets no more Receive calls than the one it may be in.
	// TCP FIN of a paused peer goes unseen: time it out by other means than received bytes.
	Pause(why uint8)
	Resume(why uint8)

	// CloseAfterFlush closes once the output is in the kernel, or when none of it has moved for some 5 seconds, after two
	// minutes or so at the latest. From now on the session gets only Closed. The farewell survives input the peer is
	// still sending.
	CloseAfterFlush()

	// Close closes at the end of the turn without waiting for output.
	Close()

	// Batch is the loop's own batch for posting to other connections; it is flushed at the end of the turn.
	Batch() *Batch

	// Target is the address of this session for [Batch.Add] and Post. It stays valid, as a dead letter box, after
	// the connection has closed.
	Target() *Conn

	// Post adds an event to this session's mailbox and rings. For goroutines that have no Batch.
	Post(ev Event)

	// Offload runs f on the bounded worker pool and delivers its event through Handle. Use it for whatever can
	// block: password hashing, LDAP, HTTP, DNS, disk. It reports false when the pool's queue is full; f will not
	// run then. A panic in f closes this connection.
	Offload(f func() Event) bool

	// Info describes the peer. It does not change after Start.
	Info() *Info

	// Arrived counts the bytes that have come for the session, those of frames that are not complete included: a peer
	// that sends a large frame slowly is alive.
	Arrived() int64

	// Now is the time of the current turn, read at most once per turn.
	Now() time.Time
}

// Info describes a connection. It is complete and immutable from Start on.
type Info struct {
	// Listener is the name of the listener that accepted the connection.
	Listener string
	// Local and Remote are the two ends as the client sees them: from the PROXY header if there was one, else those
	// of the socket.
	Local, Remote net.Addr
	// Peer is the other end of the socket: the proxy's, when there is one.
	Peer net.Addr
	// Subprotocol, Path and Host are of the WebSocket upgrade: the protocol selected, the request's path without query
	// and its Host header. Empty without WebSocket.
	Subprotocol, Path, Host string
	// TLS is nil on a plain connection. With client certificates its PeerCertificates and VerifiedChains are set.
	TLS *tls.ConnectionState
	// Opened is when the connection was accepted.
	Opened time.Time

	identify func(*x509.Certificate) string
}

// Identity is the name that the client's certificate proves, "" without one that was verified. i may be nil.
func (i *Info) Identity() string {
	if i == nil || i.TLS == nil || len(i.TLS.VerifiedChains) == 0 || len(i.TLS.PeerCertificates) == 0 {
		return ""
	}
	cert := i.TLS.PeerCertificates[0]
	if i.identify == nil {
		return cert.Subject.CommonName
	}
	return i.identify(cert)
}

// Listener describes one listening socket. The zero value of a field is its default.
type Listener struct {
	// Name stands in logs, counters and [Info]; it must be unique in the server.
	Name string
	// Network is tcp, tcp4, tcp6 or unix; default tcp.
	Network string
	// Address is host:port, or a path for unix. A stale socket file is replaced; no other file ever is.
	Address string
	// SocketMode is the permission of a unix socket file; default 0660.
	SocketMode os.FileMode

	// TLS, when set, is spoken on every connection. Use GetConfigForClient or GetCertificate to change certificates
	// while running.
	TLS *tls.Config
	// Identify says what a verified client certificate is called in [Info.Identity]; default its common name.
	Identify func(*x509.Certificate) string
	// ProxyProtocol demands a PROXY protocol header, version 1 or 2, before anything else. Danger: every client that
	// can reach the listener can then claim any address, unless ProxyTrusted says who may.
	ProxyProtocol bool
	// ProxyTrusted are the networks of the proxies, with ProxyProtocol: connections from elsewhere are closed at once.
	// Default: from everywhere.
	ProxyTrusted []netip.Prefix

	// MaxConnections bounds the connections of this listener; default only the server's limit.
	MaxConnections int
	// MaxFrame bounds in bytes what a session may ask for with Receive's need, and so what one connection can pin
	// before its frame is complete; default 64 MiB.
	MaxFrame int
	// WebSocket, when set, is spoken on every connection, over TLS if there is TLS.
	WebSocket *WebSocket

	// HandshakeTimeout bounds PROXY header, TLS handshake and WebSocket upgrade together; default 10 s. What follows
	// Start is the session's to time out.
	HandshakeTimeout time.Duration
	// StallTimeout is how long output may wait without a byte of it reaching the kernel before the connection is
	// closed with [ErrStalled]: a peer that does not read must not pin memory and messages for ever. Default 60 s;
	// negative: any time. What is in the kernel may stay unacknowledged for as long, but at least for 2 minutes.
	StallTimeout time.Duration

	// New makes the session of a new connection, on its loop. Required.
	New func() Session
}

// Options configure a server. The zero value of a field is its default.
type Options struct {
	// Loops is the number of event loops; default one per CPU but one, and at least one.
	Loops int
	// MaxConnections bounds the connections of all listeners together; default the limit of open files less 256.
	MaxConnections int
	// TickInterval is the time between two Tick calls; default 250 ms.
	TickInterval time.Duration
	// OffloadWorkers bounds the calls that run at once for Offload; default 64.
	OffloadWorkers int
	// OffloadQueue bounds the calls that wait for a worker; default 1024.
	OffloadQueue int
	// TLSHandshakes bounds the TLS handshakes that compute at once; default 64. Waiting for the peer does not count.
	TLSHandshakes int
	// Clock is the time that Turns and Ticks carry; default time.Now.
	Clock func() time.Time
	// Logger gets what goes wrong at the edges; default slog.Default().
	Logger *slog.Logger
}

// Why the transport closes a connection: what Closed gets, possibly wrapped.
var (
	ErrFrameTooLarge    = errors.New("transport: frame exceeds the listener's limit")
	ErrHandshakeTimeout = errors.New("transport: handshake timed out")
	ErrOverrun          = errors.New("transport: peer keeps sending while reading is paused")
	ErrProxyHeader      = errors.New("transport: malformed PROXY protocol header")
	ErrPanic            = errors.New("transport: session panicked")
	ErrServerClosed     = errors.New("transport: server closed")
	ErrStalled          = errors.New("transport: peer does not read")
	ErrUpgrade          = errors.New("transport: websocket upgrade refused")
	ErrWebSocket        = errors.New("transport: websocket protocol error")
)

const (
	highWater = 512 << 10 // output bytes above which Full is true
	lowWater  = 128 << 10 // output bytes at which Drained is due

	flushTimeout  = 5 * time.Second // CloseAfterFlush, while no output moves
	lingerTimeout = 2 * time.Second // from our FIN to the peer's, while no output moves
	maxRenewals   = 20              // of either

	maxEarlyData = 128 << 10 // ciphertext held during a TLS handshake
	maxHeldBack  = 1 << 20   // input held for a paused connection
)
