package stomp

import (
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// frame carries out one frame and tells what went wrong with it.
func (c *conn) frame(f *wire.Frame) {
	err := c.accept(f)
	if err == nil {
		return
	}
	p := problemOf(err)
	value, ok := f.Lookup("receipt")
	receipt := string(value)
	if p.fatal || c.state == awaitingConnect {
		c.failWith(p, receipt, ok)
		return
	}
	c.opt.Logger.Debug("stomp frame refused", "peer", c.link.Info().RemoteString(), "user", c.userName(), "reason", p.message, "detail", p.detail)
	c.answer(reply{frame: p.append(nil, c.version, receipt, ok)})
}

// accept checks whether a frame is in its place and carries it out.
func (c *conn) accept(f *wire.Frame) error {
	if c.state == awaitingConnect {
		if f.Command != wire.Connect {
			return fatal("Illegal command", "You must log in using CONNECT first")
		}
		return c.connect(f)
	}
	if err := f.Decode(c.version, c.opt.Dialect == ActiveMQ); err != nil {
		return err
	}
	if f.Command == wire.Send {
		return c.send(f)
	}
	return c.command(f)
}

// command is the table of contents of the protocol.
func (c *conn) command(f *wire.Frame) error {
	switch f.Command {
	case wire.Ack:
		return c.ack(f)
	case wire.Nack:
		return c.nack(f)
	case wire.Subscribe:
		return c.subscribe(f)
	case wire.Unsubscribe:
		return c.unsubscribe(f)
	case wire.Begin:
		return c.beginTransaction(f)
	case wire.Commit:
		return c.commit(f)
	case wire.Abort:
		return c.abort(f)
	case wire.Disconnect:
		return c.disconnect(f)
	case wire.Connect:
		return refuse("Already connected", "A connection logs in once\n")
	}
	return refuse("Bad command", "Could not interpret command \"%s\"\n", f.Word)
}

// receiptOf is the answer a frame asks for, if it does.
func receiptOf(f *wire.Frame) reply {
	id, ok := f.Lookup("receipt")
	return reply{receipt: string(id), silent: !ok}
}

// confirm answers a frame that has taken effect.
func (c *conn) confirm(f *wire.Frame) {
	if r := receiptOf(f); !r.silent {
		c.answer(r)
	}
}

// disconnect finishes everything that was begun, answers and closes.
func (c *conn) disconnect(f *wire.Frame) error {
	c.session.SetFlow(&c.turn, false)
	r := receiptOf(f)
	r.then = func() {
		c.endSessions()
		c.hangUp()
	}
	c.afterCommits(r)
	c.state = leaving
	return nil
}
