package mqtt

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Method is a method of enhanced authentication (section 4.12): a hook for those
// who know their clients by other means than passwords. Its methods may be called
// from any goroutine.
type Method interface {
	// Name is the authentication method clients ask for, for example
	// "SCRAM-SHA-256".
	Name() string

	// Start begins an exchange with a client. It must not block.
	Start(p Peer) Exchange
}

// Exchange is one authentication or re-authentication of one client.
type Exchange interface {
	// Step takes what the client has sent, nil if it has sent no authentication
	// data, and returns what it is told. If user is not nil the client has proved
	// to be that user and the exchange is over; if err is not nil it is refused,
	// with reason 0x87 unless err is a *wire.Error; else the client has to go on.
	// Step runs on a goroutine that may wait. data is the callee's.
	Step(data []byte) (reply []byte, user *broker.User, err error)
}

// Peer is what is known of a client that begins to authenticate.
type Peer struct {
	ClientID string
	Username string // of CONNECT, as it came; "" if there is none
	Loopback bool   // the client connects from this machine
	Again    bool   // it is authenticated already
}

// ScramSHA256 is the method SCRAM-SHA-256 (RFC 5802, RFC 7677) over the users of
// a broker. Users whose passwords were imported as hashes cannot use it.
func ScramSHA256(b *broker.Broker) Method { return scram{b} }

type scram struct{ broker *broker.Broker }

// Name implements Method.
func (scram) Name() string { return broker.ScramName }

// Start implements Method.
func (m scram) Start(p Peer) Exchange {
	return &scramExchange{broker: m.broker, loopback: p.Loopback, x: m.broker.NewScram()}
}

// scramServer is the server's side of the mechanism.
type scramServer interface {
	First(message []byte) ([]byte, error)
	Final(message []byte) (user string, reply []byte, err error)
}

type scramExchange struct {
	broker   *broker.Broker
	loopback bool
	x        scramServer
	proof    bool // the client's next message is its proof
}

// Step implements Exchange. A client that sends nothing with CONNECT is asked for
// its first message.
func (e *scramExchange) Step(data []byte) (reply []byte, user *broker.User, err error) {
	switch {
	case e.proof:
		name, reply, err := e.x.Final(data)
		if err != nil {
			return nil, nil, err
		}
		user, err := e.broker.LoginProved(broker.Credentials{Mechanism: broker.ScramName, User: name, Loopback: e.loopback})
		return reply, user, err
	case len(data) == 0:
		return nil, nil, nil
	}
	e.proof = true
	reply, err = e.x.First(data)
	return reply, nil, err
}

// authentication is the state of enhanced authentication on a connection.
type authentication struct {
	method   Method
	exchange Exchange // nil while none is under way
	asked    bool     // it is the client's turn
	vhost    string
	data     []byte // for CONNACK
}

// authResult comes back from the worker that ran a step.
type authResult struct {
	reply []byte
	user  *broker.User
	err   error
}

// method returns the method a client asks for, or nil.
func (o *Options) method(name string) Method {
	for _, m := range o.Methods {
		if m.Name() == name {
			return m
		}
	}
	return nil
}

// authenticate begins the enhanced authentication that a CONNECT asks for.
func (c *conn) authenticate(m Method, data []byte) error {
	vhost, _ := c.credentials()
	c.userName = c.connect.Username
	c.auth = &authentication{method: m, vhost: vhost}
	c.auth.exchange = m.Start(c.authPeer(false))
	return c.authStep(data)
}

func (c *conn) authPeer(again bool) Peer {
	return Peer{ClientID: c.clientID, Username: c.userName, Loopback: c.link.Info().Loopback(), Again: again}
}

// authStep gives data to the exchange, off the loop; input waits meanwhile.
func (c *conn) authStep(data []byte) error {
	x, r := c.auth.exchange, &authResult{}
	data = append([]byte(nil), data...)
	queued := c.link.Offload(func() transport.Event {
		r.reply, r.user, r.err = x.Step(data)
		return transport.Event{Kind: eventAuth, P: r}
	})
	if !queued {
		return refuse(wire.ServerBusy, "too many logins at once")
	}
	c.auth.asked = false
	if c.state == awaitingConnect || c.state == challenged {
		c.state = authenticating
	}
	c.pause(whyLogin)
	return nil
}

// authStepped goes on with an exchange.
func (c *conn) authStepped(r *authResult) {
	if c.auth == nil || c.state != authenticating && c.state != running {
		return
	}
	a := c.auth
	if r.err != nil || r.user != nil {
		a.exchange = nil
	}
	if c.state == running {
		c.reauthStepped(r)
		return
	}
	switch {
	case r.err != nil:
		c.opt.Logger.Warn("mqtt authentication refused", "peer", c.link.Info().RemoteString(), "client", c.clientID, "method", a.method.Name())
		_ = c.refuseWith(authReason(r.err), "authentication failed")
	case r.user != nil:
		a.data = r.reply
		c.loggedIn(&loginResult{user: r.user, vhost: a.vhost, how: a.method.Name()})
	default:
		c.state = challenged
		c.challenge(wire.ContinueAuthentication, r.reply)
		c.resume(whyLogin)
	}
}

func authReason(err error) wire.Reason {
	if e, ok := err.(*wire.Error); ok {
		return e.Code
	}
	return wire.NotAuthorized
}

// challenge sends an AUTH.
func (c *conn) challenge(reason wire.Reason, data []byte) {
	a := wire.Auth{Reason: reason, Props: wire.Properties(nil).AppendText(wire.AuthMethod, c.auth.method.Name())}
	if len(data) > 0 {
		a.Props = a.Props.AppendText(wire.AuthData, string(data))
	}
	c.out = a.Append(c.buffer())
}

// reauthStepped goes on with a re-authentication (section 4.12.1). The client
// stays who it is.
func (c *conn) reauthStepped(r *authResult) {
	switch {
	case r.err != nil:
		c.fail(authReason(r.err), "re-authentication failed") // [MQTT-4.12.1-2]
		return
	case r.user == nil:
		c.auth.asked = true
		c.challenge(wire.ContinueAuthentication, r.reply)
	case r.user.Name != c.core.User().Name:
		c.fail(wire.NotAuthorized, "re-authentication as another user")
		return
	default:
		c.core.UpdateUser(&c.turn, r.user)
		c.challenge(wire.Success, r.reply)
	}
	c.resume(whyLogin)
}

// onAuth takes an AUTH: the next message of an exchange, or the start of a
// re-authentication.
func (c *conn) onAuth(body []byte) error {
	p, err := wire.DecodeAuth(body, c.version)
	if err != nil {
		return err
	}
	a := c.auth
	switch {
	case a == nil:
		return refuse(wire.ProtocolError, "AUTH without an authentication method") // [MQTT-4.12.0-6]
	case p.Props.Text(wire.AuthMethod) != a.method.Name():
		return refuse(wire.ProtocolError, "AUTH with another authentication method") // [MQTT-4.12.0-5]
	case p.Reason == wire.ReAuthenticate && c.state == running && a.exchange == nil:
		a.exchange = a.method.Start(c.authPeer(true))
	case p.Reason != wire.ContinueAuthentication || a.exchange == nil || c.state == running && !a.asked:
		return refuse(wire.ProtocolError, "AUTH out of turn")
	}
	v, _ := p.Props.Find(wire.AuthData)
	return c.authStep(v.Data)
}
