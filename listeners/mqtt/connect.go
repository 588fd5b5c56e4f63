package mqtt

import (
	"crypto/rand"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

var protocolNames = map[wire.Version]string{wire.V31: "MQTT 3.1", wire.V311: "MQTT 3.1.1", wire.V5: "MQTT 5.0"}

// onConnect checks a CONNECT and starts the login.
func (c *conn) onConnect(body []byte) error {
	p, err := wire.DecodeConnect(body)
	c.connect, c.version = &p, p.Version
	if err != nil {
		return c.refuseConnect(err)
	}
	c.clientID = p.ClientID
	if name := c.certified(); name != "" && c.clientID != name {
		if c.clientID != "" {
			return c.refuseWith(wire.ClientIDNotValid, "client identifier is not the certificate's name")
		}
		c.clientID, c.assigned = name, true
	}
	if c.clientID == "" {
		if p.Version == wire.V31 || p.Version == wire.V311 && !p.CleanStart {
			return c.refuseWith(wire.ClientIDNotValid, "client identifier is empty")
		}
		c.clientID, c.assigned = "auto-"+rand.Text(), true
	}
	c.readProperties()
	switch w := c.connect.Will; {
	case c.opt.Banned != nil && c.opt.Banned(c.clientID):
		return c.refuseWith(wire.Banned, "client is banned")
	case c.opt.Moved:
		return c.refuseWith(wire.ServerMoved, "server moved")
	case !c.srv.admits(c.turn.Now):
		return c.refuseWith(wire.ConnectionRateExceeded, "too many connections at once")
	case w != nil && w.QoS > c.opt.maxQoS():
		return c.refuseWith(wire.QoSNotSupported, "QoS of the will is not supported") // [MQTT-3.2.2-12]
	case w != nil && w.Retain && c.opt.NoRetain:
		return c.refuseWith(wire.RetainNotSupported, "retained messages are not supported") // [MQTT-3.2.2-13]
	}
	props := p.Props
	// What is kept beyond this call must not alias the transport's buffer.
	c.connect.Props = nil
	if w := c.connect.Will; w != nil {
		w.Payload = append([]byte(nil), w.Payload...)
		w.Props = append(wire.Properties(nil), w.Props...)
	}
	if v, ok := props.Find(wire.AuthMethod); ok {
		m := c.opt.method(string(v.Data))
		if m == nil {
			return c.refuseWith(wire.BadAuthenticationMethod, "authentication method is not supported")
		}
		c.connect.Password = nil
		v, _ = props.Find(wire.AuthData)
		if err := c.authenticate(m, v.Data); err != nil {
			return c.refuseConnect(err)
		}
		return nil
	}
	vhost, cred := c.credentials()
	c.connect.Password = nil
	return c.login(vhost, cred)
}

// certified is the client identifier that the client's certificate asks for; ""
// leaves the choice to the client.
func (c *conn) certified() string {
	if !c.opt.CertClientID || c.link == nil {
		return ""
	}
	return c.link.Info().Identity()
}

// readProperties takes what the client says about itself.
func (c *conn) readProperties() {
	p := c.connect
	c.maxPacket = int(p.Props.Number(wire.MaximumPacketSize, 0))
	c.aliasMax = min(uint16(p.Props.Number(wire.TopicAliasMaximum, 0)), c.opt.TopicAliases)
	c.quota = min(int(p.Props.Number(wire.ReceiveMaximum, 65535)), int(c.opt.Inflight))
	c.problems = p.Props.Number(wire.RequestProblemInfo, 1) == 1
	c.wantsInfo = p.Props.Number(wire.RequestResponseInfo, 0) == 1
	if p.Version == wire.V5 {
		c.asked = p.Props.Number(wire.SessionExpiry, 0)
		c.expiry = c.opt.sessionExpiry(c.asked)
	} else {
		c.expiry = c.opt.v3Expiry(p.CleanStart)
	}
	keepAlive := p.KeepAlive
	if most := c.opt.MaxKeepAlive; p.Version == wire.V5 && most > 0 && (keepAlive == 0 || keepAlive > most) {
		keepAlive = most
	}
	c.grace = int64(keepAlive) * 1500
}

// credentials are what the client presents, and the virtual host it wants.
func (c *conn) credentials() (vhost string, cred broker.Credentials) {
	p := c.connect
	cred = broker.Credentials{Mechanism: "PLAIN", User: p.Username, Password: string(p.Password), Loopback: c.link.Info().Loopback()}
	vhost = c.vhost()
	if !c.opt.IgnoreColons {
		if host, user, ok := strings.Cut(p.Username, ":"); ok {
			vhost, cred.User = host, user
		}
	}
	if p.HasUsername {
		return vhost, cred
	}
	if name := c.link.Info().Identity(); name != "" {
		cred.Mechanism = "EXTERNAL"
		cred.PeerIdentity, cred.User = name, name
	} else {
		cred.Mechanism = "ANONYMOUS"
	}
	return vhost, cred
}

// vhost is the virtual host of clients that name none.
func (c *conn) vhost() string {
	if c.link == nil || len(c.opt.CertVHosts)+len(c.opt.ListenerVHosts) == 0 {
		return c.opt.VHost
	}
	i := c.link.Info()
	if name := i.Identity(); name != "" {
		if vhost, ok := c.opt.CertVHosts[name]; ok {
			return vhost
		}
	}
	if i != nil {
		if vhost, ok := c.opt.ListenerVHosts[i.Listener]; ok {
			return vhost
		}
		_, port := transport.SplitAddr(i.Local)
		if vhost, ok := c.opt.ListenerVHosts[strconv.Itoa(port)]; ok {
			return vhost
		}
	}
	return c.opt.VHost
}

// loginResult comes back from the worker that checked a password.
type loginResult struct {
	user  *broker.User
	err   error
	vhost string
	how   string
}

// login checks credentials off the loop; input waits meanwhile.
func (c *conn) login(vhost string, cred broker.Credentials) error {
	if cred.Mechanism == "ANONYMOUS" && !c.opt.Anonymous {
		return c.refuseWith(wire.BadUserNameOrPassword, "user name is missing")
	}
	b, r := c.broker, &loginResult{vhost: vhost, how: cred.Mechanism}
	if u, ok := b.LoginAtOnce(cred); ok {
		r.user = u
		c.state = authenticating
		c.loggedIn(r)
		return nil
	}
	queued := c.link.Offload(func() transport.Event {
		r.user, r.err = b.Login(cred)
		return transport.Event{Kind: eventLogin, P: r}
	})
	if !queued {
		return c.refuseWith(wire.ServerBusy, "too many logins at once")
	}
	c.state = authenticating
	c.pause(whyLogin)
	return nil
}

// loggedIn goes on with a connection whose user is known, or ends it.
func (c *conn) loggedIn(r *loginResult) {
	if c.state != authenticating {
		return
	}
	if r.err != nil {
		c.opt.Logger.Warn("mqtt login refused", "peer", c.link.Info().RemoteString(), "client", c.clientID)
		_ = c.refuseWith(wire.BadUserNameOrPassword, "bad user name or password")
		return
	}
	if err := c.enter(r); err != nil {
		_ = c.refuseConnect(err)
		return
	}
	c.state = claiming
	switch c.srv.claim(c, sessionKey{r.vhost, c.clientID}, c.core.VHost()) {
	case claimGranted:
		c.granted()
	case claimWaits:
		c.pause(whyLogin)
	case claimRefused:
		c.opt.Logger.Warn("mqtt session changes hands too often", "peer", c.link.Info().RemoteString(), "client", c.clientID)
		_ = c.refuseWith(wire.ConnectionRateExceeded, "session is taken over too often")
	}
}

// enter registers the connection with the core and checks its will.
func (c *conn) enter(r *loginResult) error {
	o := broker.ConnectionOptions{
		User: r.user, VHost: r.vhost, Protocol: protocolNames[c.version], AuthMethod: r.how,
		ClientID: c.clientID, Heartbeat: int(c.grace / 1500), Control: (*control)(c),
		Client: broker.Table{{Name: "client_id", Value: c.clientID}},
	}
	delivery.Describe(&o, c.link.Info())
	core, err := c.broker.Connect(&c.turn, o)
	if err != nil {
		return err
	}
	c.core = core
	c.alarms = c.broker.Alarms()
	if w := c.connect.Will; w != nil {
		if !publishable(w.Topic) {
			return refuse(wire.NotAuthorized, "will topic is reserved")
		}
		c.key = appendKey(c.key[:0], w.Topic)
		if err := c.publisher().CheckTopic(true, exchange, string(c.key)); err != nil {
			return err
		}
	}
	return nil
}

// publisher is the client's conversation with the core. Clients that only listen
// have none.
func (c *conn) publisher() *broker.Session {
	if c.pub == nil {
		c.pub = c.core.VHost().OpenSession(c.core, (*publisher)(c))
	}
	return c.pub
}

// granted takes the session over. A client whose session or will is to outlive a
// crash is let in when that is stored, and so is one whose clean start ends such a
// session.
func (c *conn) granted() {
	if c.state != claiming {
		return
	}
	c.attached = true
	s := c.session
	forgets := c.connect.CleanStart && s.present && s.durable
	if c.connect.CleanStart && s.present {
		s.end(&c.turn)
	}
	present := s.present
	s.present, s.expiry, s.ended = true, c.expiry, 0
	s.durable = s.durable || c.expiry > 0
	s.will, s.willAt = c.connect.Will, 0
	c.present = present
	if !s.durable && !forgets {
		c.admit()
		return
	}
	c.pause(whyLogin)
	link := c.link
	var facts []broker.Definition // none: what end stored is waited for
	if s.durable {
		facts = append(facts, s.fact())
	}
	c.broker.StoreFacts(facts, func(*broker.Turn) { link.Post(transport.Event{Kind: eventAdmit}) })
}

// admit lets the client in.
func (c *conn) admit() {
	if c.state != claiming || !c.attached {
		return
	}
	s := c.session
	c.deadline = 0
	c.limit = c.opt.MaxPacketSize
	s.mail.open(c.link.Target())
	c.state = running
	c.srv.counters.connects.Add(1)
	n := &c.srv.counters.byVersion[c.version]
	n.connects.Add(1)
	n.connected.Add(1)
	c.admitted = true
	c.watchSys()
	c.connack(c.present)
	c.connect = nil
	c.resume(whyLogin)
	c.resend()
	if err := s.resume(&c.turn); err != nil {
		c.fail(reasonOf(err), "session cannot be resumed")
	}
}

// connack accepts the connection (section 3.2).
func (c *conn) connack(present bool) {
	a := wire.Connack{SessionPresent: present && c.version != wire.V31}
	if c.version == wire.V5 {
		p := wire.Properties(nil)
		if c.expiry != c.asked {
			p = p.AppendNumber(wire.SessionExpiry, c.expiry)
		}
		if c.opt.ReceiveMaximum != 65535 {
			p = p.AppendNumber(wire.ReceiveMaximum, uint32(c.opt.ReceiveMaximum))
		}
		p = p.AppendNumber(wire.MaximumPacketSize, uint32(c.opt.MaxPacketSize))
		p = p.AppendNumber(wire.TopicAliasMaximum, uint32(c.opt.TopicAliases))
		if most := c.opt.maxQoS(); most < 2 {
			p = p.AppendNumber(wire.MaximumQoS, uint32(most))
		}
		p = p.AppendNumber(wire.RetainAvailable, offered(!c.opt.NoRetain))
		p = p.AppendNumber(wire.WildcardAvailable, offered(!c.opt.NoWildcards))
		p = p.AppendNumber(wire.SubIDAvailable, offered(!c.opt.NoSubscriptionIDs))
		p = p.AppendNumber(wire.SharedSubAvailable, offered(!c.opt.NoShared))
		if info := c.responseInfo(); info != "" {
			p = p.AppendText(wire.ResponseInfo, info)
		}
		if c.auth != nil { // [MQTT-4.12.0-5]
			p = p.AppendText(wire.AuthMethod, c.auth.method.Name())
			if len(c.auth.data) > 0 {
				p = p.AppendText(wire.AuthData, string(c.auth.data))
				c.auth.data = nil
			}
		}
		if c.assigned {
			p = p.AppendText(wire.AssignedClientID, c.clientID)
		}
		if keepAlive := c.grace / 1500; keepAlive != int64(c.connect.KeepAlive) {
			p = p.AppendNumber(wire.ServerKeepAlive, uint32(keepAlive))
		}
		a.Props = p
	}
	c.out = a.Append(c.buffer(), c.version)
}

func offered(yes bool) uint32 {
	if yes {
		return 1
	}
	return 0
}

// responseInfo is where the client is to have its responses sent, if it asked
// (section 3.2.2.3.15); nothing for clients whose identifiers make no topic.
func (c *conn) responseInfo() string {
	if !c.wantsInfo || c.opt.ResponseInfo == "" {
		return ""
	}
	info := strings.ReplaceAll(c.opt.ResponseInfo, "{client_id}", c.clientID)
	if !wire.ValidTopicName([]byte(info)) || len(info) > maxFilter {
		return ""
	}
	return info
}

// refuseConnect answers a CONNECT that cannot be accepted.
func (c *conn) refuseConnect(err error) error {
	if err == wire.ErrNotMQTT {
		return errHangUp
	}
	text := ""
	if e, ok := err.(*wire.Error); ok {
		text = e.Text
	}
	return c.refuseWith(reasonOf(err), text)
}

// refuseWith sends a CONNACK with a reason and closes. MQTT 3 has no code for
// malformed packets.
func (c *conn) refuseWith(code wire.Reason, text string) error {
	a := wire.Connack{Reason: code}
	c.srv.counters.refused[code].Add(1)
	v := c.version
	switch {
	case v < wire.V31:
		v = wire.V311
	case v > wire.V5:
		v = wire.V5
	}
	if v != wire.V5 {
		if code == wire.MalformedPacket || code == wire.ProtocolError {
			return errHangUp
		}
		a.Reason = wire.Reason(code.V3())
	} else if text != "" {
		if code == wire.ServerMoved {
			a.Props = a.Props.AppendText(wire.ServerReference, c.opt.ServerReference)
		}
		a.Props = a.Props.AppendText(wire.ReasonString, text)
		if c.maxPacket > 0 && len(a.Append(nil, v)) > c.maxPacket {
			a.Props = nil // [MQTT-3.2.2-19]
		}
	}
	c.out = a.Append(c.buffer(), v)
	c.detach(false)
	c.hangUp()
	return nil
}

// onDisconnect is the client's goodbye (section 3.14).
func (c *conn) onDisconnect(body []byte) error {
	d, err := wire.DecodeDisconnect(body, c.version)
	if err != nil {
		return err
	}
	if v, ok := d.Props.Find(wire.SessionExpiry); ok {
		if c.session.expiry == 0 && v.Number != 0 {
			return refuse(wire.ProtocolError, "session expiry was 0")
		}
		c.session.expiry = c.opt.sessionExpiry(v.Number)
	}
	c.detach(d.Reason != wire.Success)
	c.hangUp()
	return nil
}
