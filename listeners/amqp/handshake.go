package amqp

import (
	"bytes"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/transport"
)

// clientProperties is what a client said about itself.
type clientProperties struct {
	table        broker.Table
	name         string // connection_name
	cancelNotify bool   // understands basic.cancel from the broker
	blocked      bool   // understands connection.blocked
	authFailure  bool   // understands connection.close for a failed login
}

// capabilities is what this server can do beyond the specification.
var capabilities = wire.Table{
	{Name: "authentication_failure_close", Value: true},
	{Name: "basic.nack", Value: true},
	{Name: "connection.blocked", Value: true},
	{Name: "consumer_cancel_notify", Value: true},
	{Name: "consumer_priorities", Value: true},
	{Name: "direct_reply_to", Value: true},
	{Name: "exchange_exchange_bindings", Value: true},
	{Name: "per_consumer_qos", Value: true},
	{Name: "publisher_confirms", Value: true},
}

// preamble takes the protocol header (AMQP 4.2.2).
func (c *conn) preamble(b []byte) (n, need int, err error) {
	p, n := wire.ParsePreamble(b)
	switch p {
	case wire.PreambleIncomplete:
		return 0, 8, nil
	case wire.Preamble091:
		c.state = awaitingStartOk
		c.send(0, &wire.ConnectionStart{
			VersionMajor: 0, VersionMinor: 9,
			ServerProperties: c.serverProperties(),
			Mechanisms:       strings.Join(c.mechanisms(), " "),
			Locales:          "en_US",
		})
		return n, 0, nil
	}
	c.out = append(c.buffer(), p.Refusal()...)
	c.hangUp()
	return len(b), 0, nil
}

func (c *conn) serverProperties() wire.Table {
	t := wire.Table{
		{Name: "capabilities", Value: capabilities},
		{Name: "cluster_name", Value: c.opt.ClusterName},
	}
	if c.opt.Copyright != "" {
		t = append(t, wire.Field{Name: "copyright", Value: c.opt.Copyright})
	}
	return append(t,
		wire.Field{Name: "information", Value: c.opt.Information},
		wire.Field{Name: "platform", Value: c.opt.Platform},
		wire.Field{Name: "product", Value: c.opt.Product},
		wire.Field{Name: "version", Value: c.opt.Version},
	)
}

func (c *conn) mechanisms() []string {
	list := []string{"PLAIN", "AMQPLAIN"}
	if c.link.Info().Identity() != "" {
		list = append(list, "EXTERNAL")
	}
	if c.opt.Anonymous {
		list = append(list, "ANONYMOUS")
	}
	return list
}

// connectionMethod carries out a method of class connection, in the order in
// which a connection's life brings them.
func (c *conn) connectionMethod(m wire.Method) error {
	if m, ok := m.(*wire.ConnectionClose); ok {
		c.connectionClose(m)
		return nil
	}
	switch m := m.(type) {
	case *wire.ConnectionStartOk:
		if c.state == awaitingStartOk {
			return c.connectionStartOk(m)
		}
	case *wire.ConnectionTuneOk:
		if c.state == awaitingTuneOk {
			return c.connectionTuneOk(m)
		}
	case *wire.ConnectionOpen:
		if c.state == awaitingOpen {
			return c.connectionOpen(m)
		}
	case *wire.ConnectionUpdateSecret:
		if c.state == running {
			return c.connectionUpdateSecret(m)
		}
	}
	return refuse(wire.CommandInvalid, "%s on channel 0 in state %s", m.ID(), c.state)
}

func (c *conn) connectionStartOk(m *wire.ConnectionStartOk) error {
	c.readClient(m.ClientProperties)
	cred, err := c.credentials(m.Mechanism, m.Response)
	if err != nil {
		return err
	}
	c.state = authenticating
	return c.login(&loginResult{mechanism: cred.Mechanism}, cred)
}

// login checks credentials off the loop; input waits meanwhile.
func (c *conn) login(r *loginResult, cred broker.Credentials) error {
	b := c.broker
	queued := c.link.Offload(func() transport.Event {
		r.user, r.err = b.Login(cred)
		return transport.Event{Kind: eventLogin, P: r}
	})
	if !queued {
		return refuse(wire.ResourceError, "too many logins at once")
	}
	c.pause(whyLogin)
	return nil
}

func (c *conn) readClient(t wire.Table) {
	c.client.table = tableIn(t)
	if name, ok := t.Get("connection_name"); ok {
		c.client.name, _ = name.(string)
	}
	v, _ := t.Get("capabilities")
	caps, _ := v.(wire.Table)
	can := func(name string) bool {
		v, _ := caps.Get(name)
		b, _ := v.(bool)
		return b
	}
	c.client.cancelNotify = can("consumer_cancel_notify")
	c.client.blocked = can("connection.blocked")
	c.client.authFailure = can("authentication_failure_close")
}

// credentials reads a response by the rules of its mechanism.
func (c *conn) credentials(mechanism, response string) (broker.Credentials, error) {
	cred := broker.Credentials{Mechanism: mechanism, Loopback: c.link.Info().Loopback()}
	switch mechanism {
	case "PLAIN":
		parts := bytes.SplitN([]byte(response), []byte{0}, 3)
		if len(parts) != 3 || len(parts[0]) != 0 {
			return cred, refuse(wire.SyntaxError, "PLAIN response is malformed")
		}
		cred.User, cred.Password = string(parts[1]), string(parts[2])
		return cred, nil
	case "AMQPLAIN":
		t := wire.RawTable(response)
		user, hasUser := t.Lookup("LOGIN")
		password, hasPassword := t.Lookup("PASSWORD")
		if !hasUser || !hasPassword || user.Tag != 'S' || password.Tag != 'S' {
			return cred, refuse(wire.SyntaxError, "AMQPLAIN auth info has no LOGIN or PASSWORD")
		}
		cred.User, cred.Password = string(user.Data), string(password.Data)
		return cred, nil
	case "EXTERNAL":
		if name := c.link.Info().Identity(); name != "" {
			cred.PeerIdentity, cred.User = name, name
			return cred, nil
		}
	case "ANONYMOUS":
		if c.opt.Anonymous {
			return cred, nil
		}
	}
	return cred, refuse(wire.CommandInvalid, "unknown authentication mechanism '%s'", mechanism)
}

// loginResult comes back from the worker that checked a password.
type loginResult struct {
	user      *broker.User
	err       error
	mechanism string
}

// loggedIn goes on with the handshake, or ends it.
func (c *conn) loggedIn(r *loginResult) {
	if c.state != authenticating {
		return
	}
	if r.err != nil {
		c.loginRefused(r)
		return
	}
	c.resume(whyLogin)
	c.user, c.mechanism = r.user, r.mechanism
	c.state = awaitingTuneOk
	c.send(0, &wire.ConnectionTune{ChannelMax: c.opt.ChannelMax, FrameMax: c.opt.FrameMax, Heartbeat: c.opt.Heartbeat})
}

// loginRefused explains if the client can understand; else it is hung up on a
// moment later, its input unread.
func (c *conn) loginRefused(r *loginResult) {
	c.opt.Logger.Warn("amqp login refused", "peer", c.link.Info().RemoteString(), "mechanism", r.mechanism, "reason", r.err)
	if !c.client.authFailure {
		c.state = refusing
		c.deadline = c.turn.Now + c.opt.RefusalDelay.Milliseconds()
		return
	}
	c.current = wire.IDConnectionStartOk
	c.fail(&exception{wire.AccessRefused, "Login was refused using authentication mechanism " + r.mechanism +
		". For details see the broker logfile."})
}

func (c *conn) connectionTuneOk(m *wire.ConnectionTuneOk) error {
	if err := negotiated("frame_max", m.FrameMax, lowestFrameMax, c.opt.FrameMax); err != nil {
		return err
	}
	if err := negotiated("channel_max", uint32(m.ChannelMax), 1, uint32(c.opt.ChannelMax)); err != nil {
		return err
	}
	c.frameMax, c.channelMax = m.FrameMax, m.ChannelMax
	c.heartbeat = int64(m.Heartbeat) * 1000
	c.state = awaitingOpen
	return nil
}

// negotiated checks a value of tune-ok against what was offered; 0 asks for
// no limit, which is not on offer.
func negotiated(name string, asked, lowest, offered uint32) error {
	switch {
	case asked != 0 && asked < lowest:
		return refuse(wire.NotAllowed, "negotiated %s = %d is lower than the minimum allowed value (%d)", name, asked, lowest)
	case asked == 0 || asked > offered:
		return refuse(wire.NotAllowed, "negotiated %s = %d is higher than the maximum allowed value (%d)", name, asked, offered)
	}
	return nil
}

func (c *conn) connectionOpen(m *wire.ConnectionOpen) error {
	o := broker.ConnectionOptions{
		User: c.user, VHost: m.VirtualHost, Protocol: "AMQP 0-9-1", Client: c.client.table,
		AuthMethod: c.mechanism, ChannelMax: int(c.channelMax), FrameMax: int(c.frameMax), Heartbeat: int(c.heartbeat / 1000),
		Control: (*control)(c),
	}
	delivery.Describe(&o, c.link.Info())
	core, err := c.broker.Connect(&c.turn, o)
	if err != nil {
		return err
	}
	c.core = core
	c.state = running
	c.deadline = 0
	c.channels = make(map[uint16]*channel)
	c.alarms = c.broker.Alarms()
	c.send(0, &wire.ConnectionOpenOk{})
	return nil
}

// connectionClose is the client's goodbye: its exclusive queues are gone
// before it is answered, so that a client that comes back may declare them.
func (c *conn) connectionClose(*wire.ConnectionClose) {
	c.teardown()
	c.send(0, &wire.ConnectionCloseOk{})
	c.hangUp()
}

// connectionUpdateSecret renews the user's rights: consumers that lost read are
// cancelled.
func (c *conn) connectionUpdateSecret(*wire.ConnectionUpdateSecret) error {
	user, err := c.broker.Renew(c.user.Name)
	if err != nil {
		return &exception{wire.NotAllowed, err.Error()}
	}
	c.user = user
	c.core.UpdateUser(&c.turn, user)
	c.send(0, &wire.ConnectionUpdateSecretOk{})
	return nil
}
