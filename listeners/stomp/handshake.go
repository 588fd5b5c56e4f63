package stomp

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strconv"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// hello is what CONNECT asked for, until the login is checked.
type hello struct {
	vhost      string
	sendEvery  int64 // ms, as the client wants to hear us
	hearEvery  int64 // ms, as the client promises
	receipt    string
	hasReceipt bool
}

// connect carries out CONNECT and STOMP.
func (c *conn) connect(f *wire.Frame) error {
	version, explicit, ok := negotiate(f)
	if !ok {
		return fatal("Version mismatch", "Supported versions are %s\n", versions)
	}
	if !explicit {
		if err := f.Decode(wire.V10, c.opt.Dialect == ActiveMQ); err != nil {
			return err
		}
	}
	h := hello{vhost: c.opt.DefaultVHost}
	if r, ok := f.Lookup("receipt"); ok {
		h.receipt, h.hasReceipt = string(r), true
	}
	if host := f.Get("host"); len(host) > 0 {
		if c.opt.UnknownHost == HostRefused || c.broker.VHost(string(host)) != nil {
			h.vhost = string(host)
		}
	}
	if h.hearEvery, h.sendEvery, ok = heartBeat(f.Get("heart-beat")); !ok {
		return fatal("Invalid header", "'heart-beat' must be two numbers of milliseconds\n")
	}
	c.version, c.hello = version, h
	c.clientID = string(f.Get("client-id"))
	if len(c.clientID) > maxClientID {
		return fatal("Invalid header", "'client-id' is longer than %d bytes\n", maxClientID)
	}
	cred := c.credentials(f)
	b := c.broker
	queued := c.link.Offload(func() transport.Event {
		r := new(loginResult)
		r.user, r.err = b.Login(cred)
		r.name, r.mechanism = cred.User, cred.Mechanism
		return transport.Event{Kind: eventLogin, P: r}
	})
	if !queued {
		return fatal("Bad CONNECT", "Too many logins at once\n")
	}
	c.state = authenticating
	c.pause(whyLogin)
	return nil
}

const maxClientID = 256

// negotiate chooses the highest version both sides speak; without
// accept-version that is 1.0.
func negotiate(f *wire.Frame) (v wire.Version, explicit, ok bool) {
	list, explicit := f.Lookup("accept-version")
	if !explicit {
		return wire.V10, false, true
	}
	for _, word := range bytes.Split(list, []byte(",")) {
		for known := wire.V10; known <= wire.V12; known++ {
			if string(bytes.TrimSpace(word)) == known.String() {
				v, ok = max(v, known), true
			}
		}
	}
	return v, true, ok
}

// Bounds of heart-beats in ms: ticks are no finer than the lower one, and
// nobody means more than the upper.
const (
	minBeat = 500
	maxBeat = 24 * 3600 * 1000
)

// heartBeat reads the header heart-beat: what the client sends, what it wants.
func heartBeat(v []byte) (sends, wants int64, ok bool) {
	if len(v) == 0 {
		return 0, 0, true
	}
	a, b, found := bytes.Cut(v, []byte(","))
	sends, ok = wire.Number(bytes.TrimSpace(a))
	if !ok || !found {
		return 0, 0, false
	}
	wants, ok = wire.Number(bytes.TrimSpace(b))
	return bounded(sends), bounded(wants), ok
}

func bounded(ms int64) int64 {
	if ms == 0 {
		return 0
	}
	return min(max(ms, minBeat), maxBeat)
}

// credentials are the client's login, else its certificate, else nobody's.
func (c *conn) credentials(f *wire.Frame) broker.Credentials {
	cred := broker.Credentials{Mechanism: "PLAIN", Loopback: c.link.Info().Loopback()}
	if login, ok := f.Lookup("login"); ok {
		cred.User, cred.Password = string(login), string(f.Get("passcode"))
		return cred
	}
	if name := c.link.Info().Identity(); name != "" {
		cred.Mechanism, cred.PeerIdentity, cred.User = "EXTERNAL", name, name
		return cred
	}
	cred.Mechanism = "ANONYMOUS"
	return cred
}

// loginResult comes back from the worker that checked a password.
type loginResult struct {
	user      *broker.User
	err       error
	name      string
	mechanism string
}

// loggedIn ends the handshake.
func (c *conn) loggedIn(r *loginResult) {
	if c.state != authenticating {
		return
	}
	h := c.hello
	c.hello = hello{}
	if r.err != nil {
		c.opt.Logger.Warn("stomp login refused", "peer", c.link.Info().RemoteString(), "mechanism", r.mechanism, "reason", r.err)
		c.failWith(&problem{message: "Bad CONNECT", detail: "Access refused for user '" + r.name + "'\n"}, h.receipt, h.hasReceipt)
		return
	}
	c.user = r.user
	if err := c.enter(&h, r.mechanism); err != nil {
		c.opt.Logger.Warn("stomp connection refused", "peer", c.link.Info().RemoteString(), "user", r.user.Name, "vhost", h.vhost, "reason", err)
		c.failWith(&problem{message: "Bad CONNECT", detail: "Virtual host '" + h.vhost + "' access denied"}, h.receipt, h.hasReceipt)
		return
	}
	c.resume(whyLogin)
	c.state, c.deadline = running, 0
	c.parser.Limits = c.opt.limits(c.broker.MaxMessageSize())
	c.sendEvery, c.hearEvery = h.sendEvery, h.hearEvery
	c.heard = c.turn.Now
	c.alarms = c.broker.Alarms()
	c.connected()
	if h.hasReceipt {
		c.answer(reply{receipt: h.receipt})
	}
}

// enter admits the client to its virtual host.
func (c *conn) enter(h *hello, mechanism string) error {
	o := broker.ConnectionOptions{
		User: c.user, VHost: h.vhost, Protocol: "STOMP " + c.version.String(),
		ClientID: c.clientID, AuthMethod: mechanism, ChannelMax: 1, Heartbeat: int(max(h.sendEvery, h.hearEvery) / 1000),
		Control: (*control)(c),
	}
	delivery.Describe(&o, c.link.Info())
	core, err := c.broker.Connect(&c.turn, o)
	if err != nil {
		return err
	}
	c.core = core
	c.session = core.VHost().OpenSession(core, (*sink)(c))
	c.id = newSessionID()
	return nil
}

// connected writes CONNECTED, whose headers no version escapes.
func (c *conn) connected() {
	dst := wire.AppendCommand(c.buffer(), "CONNECTED")
	dst = wire.AppendPlainHeader(dst, "server", c.opt.Server)
	dst = wire.AppendPlainHeader(dst, "session", c.id)
	dst = append(dst, "heart-beat:"...)
	dst = strconv.AppendInt(dst, c.sendEvery, 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, c.hearEvery, 10)
	dst = append(dst, '\n')
	dst = wire.AppendPlainHeader(dst, "version", c.version.String())
	c.out = wire.AppendBody(dst, nil)
}

func newSessionID() string { return "session-" + randomText() }

// randomText is 22 characters that need no escapes and are good in names.
func randomText() string {
	var raw [16]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
