package openwire

import (
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// greet takes the client's offer. What both agree on holds from here on, in
// both directions.
func (c *conn) greet(info *wire.WireFormatInfo) error {
	theirs, err := info.Options()
	if err != nil {
		return err
	}
	if c.agreed, err = wire.Negotiate(c.ours, theirs); err != nil {
		return err
	}
	c.format = c.agreed.Format()
	c.decoder.Format = c.format
	c.state = awaitingLogin
	c.send(&wire.BrokerInfo{
		BrokerID: c.server.hub.brokerID, BrokerURL: c.opt.URL, BrokerName: c.opt.Broker,
	})
	return nil
}

// connect carries out ConnectionInfo.
func (c *conn) connect(info *wire.ConnectionInfo) {
	switch {
	case c.state == running && info.ConnectionID == c.id:
		c.respond(&info.Header) // told twice, after a failover
		return
	case c.state != awaitingLogin:
		c.fail(&info.Header, refuse(classIllegalState, "the connection is logged in already"))
		return
	case info.ConnectionID.IsNull() || len(info.ConnectionID.Value) > maxID || len(info.ClientID) > maxID:
		c.fail(&info.Header, refuse(classClientID, "a connection needs an id of up to %d bytes", maxID))
		c.leave(farewellTime)
		return
	}
	c.login = info
	cred, vhost := c.credentials(info)
	b := c.broker
	queued := c.link.Offload(func() transport.Event {
		r := &loginResult{name: cred.User, vhost: vhost, mechanism: cred.Mechanism}
		r.user, r.err = b.Login(cred)
		return transport.Event{Kind: eventLogin, P: r}
	})
	if !queued {
		c.fail(&info.Header, refuse(classResourceAllocation, "too many logins at once"))
		c.leave(farewellTime)
		return
	}
	c.state = authenticating
	c.pause(whyLogin)
}

// maxID bounds the ids that clients choose, in bytes.
const maxID = 1 << 10

// credentials are what the client gives, else its certificate, else the
// listener's own. A user name may name a virtual host: "vhost:user".
func (c *conn) credentials(info *wire.ConnectionInfo) (cred broker.Credentials, vhost string) {
	vhost = c.opt.DefaultVHost
	cred = broker.Credentials{Mechanism: "PLAIN", Loopback: c.link.Info().Loopback(), User: info.UserName, Password: info.Password}
	if host, user, ok := strings.Cut(info.UserName, ":"); ok && c.broker.VHost(host) != nil {
		vhost, cred.User = host, user
	}
	if cred.User != "" {
		return cred, vhost
	}
	if name := c.link.Info().Identity(); name != "" {
		cred.Mechanism, cred.PeerIdentity, cred.User = "EXTERNAL", name, name
		return cred, vhost
	}
	if c.opt.DefaultUser != "" {
		cred.User, cred.Password = c.opt.DefaultUser, c.opt.DefaultPassword
		return cred, vhost
	}
	cred.Mechanism = "ANONYMOUS"
	return cred, vhost
}

// loginResult comes back from the worker that checked a password.
type loginResult struct {
	user      *broker.User
	err       error
	name      string
	vhost     string
	mechanism string
}

// loggedIn goes on with the handshake: an older connection of the same client
// has to leave first.
func (c *conn) loggedIn(r *loginResult) {
	if c.state != authenticating {
		return
	}
	if r.err != nil {
		c.opt.Logger.Warn("openwire login refused", "peer", c.link.Info().RemoteString(), "mechanism", r.mechanism, "reason", r.err)
		c.refuseLogin(refuse(classSecurity, "User name [%s] or password is invalid.", r.name))
		return
	}
	c.user, c.mechanism = r.user, r.mechanism
	o := c.connectionOptions(r.vhost)
	core, err := c.broker.Connect(&c.turn, o)
	if err != nil {
		c.opt.Logger.Warn("openwire connection refused", "peer", c.link.Info().RemoteString(), "user", r.user.Name, "vhost", r.vhost, "reason", err)
		c.refuseLogin(err)
		return
	}
	c.core = core
	c.enter()
}

func (c *conn) refuseLogin(err error) {
	h := c.login.Header
	c.login = nil
	h.ResponseRequired = true // nobody connects without waiting
	c.fail(&h, err)
	c.leave(farewellTime)
}

func (c *conn) connectionOptions(vhost string) broker.ConnectionOptions {
	o := broker.ConnectionOptions{
		User: c.user, VHost: vhost, Protocol: "OpenWire " + strconv.Itoa(int(c.format.Version)),
		ClientID: c.login.ClientID, AuthMethod: c.mechanism, Heartbeat: int(c.agreed.MaxInactivity / 1000),
		Client: broker.Table{
			{Name: "connection_id", Value: c.login.ConnectionID.Value},
			{Name: "product", Value: c.agreed.ProviderName}, {Name: "version", Value: c.agreed.ProviderVersion},
			{Name: "platform", Value: c.agreed.Platform},
		},
		Control: (*control)(c),
	}
	delivery.Describe(&o, c.link.Info())
	return o
}

// enter registers the connection with the others. If one with the same id is
// still there, enter runs again when it has gone.
func (c *conn) enter() {
	if c.state != authenticating {
		return
	}
	wait, err := c.server.hub.enter(c)
	switch {
	case err != nil:
		c.core.Close(&c.turn)
		c.core = nil
		c.refuseLogin(err)
		return
	case wait:
		return
	}
	info := c.login
	c.login = nil
	c.id, c.clientID = info.ConnectionID, info.ClientID
	c.survives, c.returned = info.FaultTolerant, info.FailoverReconnect
	c.session = c.core.VHost().OpenSession(c.core, (*sink)(c))
	c.consumers = make(map[wire.ConsumerID]*consumer)
	c.producers = make(map[wire.ProducerID]*producer)
	c.state, c.deadline = running, 0
	c.decoder.MaxFrameSize = c.opt.MaxFrame
	c.alarms = c.broker.Alarms()
	c.resume(whyLogin)
	c.respond(&info.Header)
	if c.manageable = info.Manageable || info.FaultTolerant; c.manageable {
		c.tellCluster()
	}
	c.server.hub.advise(&c.turn, c.room, &advice{topic: adviceConnection, data: withoutPassword(info)})
}

// withoutPassword is what others may know of a connection.
func withoutPassword(info *wire.ConnectionInfo) *wire.ConnectionInfo {
	public := *info
	public.Header, public.Password, public.BrokerPath = wire.Header{}, "", nil
	return &public
}
