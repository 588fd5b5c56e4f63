package openwire

import "github.com/hermodmq/hermod/listeners/openwire/wire"

// socket is what the transport knows of a client: its connection, and when that
// was removed and the client logs in again, as resource adapters do between two
// users of a pooled one, the next.
type socket struct{ *conn }

// Receive implements transport.Session.
func (s *socket) Receive(p []byte) (n, need int, err error) {
	for {
		taken, need, err := s.conn.Receive(p[n:])
		n += taken
		next := s.successor
		if next == nil {
			return n, need, err
		}
		s.conn = next
	}
}

// anew lets a client that removed its connection log in again. What the core
// still says to the old one goes nowhere.
func (c *conn) anew(info *wire.ConnectionInfo) {
	if !c.removed {
		return // it was refused
	}
	n := &conn{
		server: c.server, broker: c.broker, opt: c.opt, link: c.link, turn: c.turn, state: awaitingLogin,
		out: c.out, full: c.full, decoder: c.decoder, format: c.format, ours: c.ours, agreed: c.agreed,
		heard: c.heard, arrived: c.arrived, spoke: c.spoke,
	}
	n.inbox.Open(c.link.Target(), eventInbox)
	n.deadline = c.turn.Now + c.opt.HandshakeTimeout.Milliseconds()
	c.state, c.out, c.successor = over, nil, n
	n.connect(info)
}
