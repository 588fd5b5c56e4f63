package stomp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// reply is an answer to a frame. Answers leave in the order of the frames.
type reply struct {
	ready    bool
	rejected bool   // a queue refused what the frame published
	receipt  string // id of the RECEIPT to send
	silent   bool   // no RECEIPT was asked for
	frame    []byte // an ERROR to send instead
	then     func() // after the answer, may be nil
}

// replies is the queue of answers that wait. Their numbers rise by one; base
// is that of list[0].
type replies struct {
	list []reply
	base uint64
}

// expect queues an answer that the core decides the time of and returns its
// number.
func (c *conn) expect(r reply) uint64 {
	q := &c.replies
	if q.base == 0 {
		q.base = 1
	}
	q.list = append(q.list, r)
	if len(q.list) >= c.opt.PendingReplies {
		c.pause(whyReplies)
	}
	return q.base + uint64(len(q.list)) - 1
}

// withdraw undoes the latest expect.
func (c *conn) withdraw(ref uint64) {
	q := &c.replies
	if n := len(q.list); n > 0 && ref == q.base+uint64(n)-1 {
		q.list = q.list[:n-1]
	}
}

// answered notes that an answer may leave; accepted is false if the core
// refused what it is about.
func (c *conn) answered(ref uint64, accepted bool) {
	q := &c.replies
	if ref < q.base || ref-q.base >= uint64(len(q.list)) {
		return
	}
	r := &q.list[ref-q.base]
	r.ready, r.rejected = true, !accepted
	c.sendReplies()
}

// afterCommits queues r to be sent when everything given to the store so far
// is durable.
func (c *conn) afterCommits(r reply) {
	ref := c.expect(r)
	c.flushSettles()
	c.session.Commit(&c.turn, func(t *broker.Turn, err error) {
		c.inbox.Tell(t, &note{kind: noteReply, ref: ref, ok: err == nil})
	})
}

// answer sends r behind the answers that wait.
func (c *conn) answer(r reply) {
	r.ready = true
	if len(c.replies.list) == 0 {
		c.sendReply(&r)
		return
	}
	c.expect(r)
}

// sendReplies sends the answers whose turn has come.
func (c *conn) sendReplies() {
	q := &c.replies
	n := 0
	for n < len(q.list) && q.list[n].ready {
		r := q.list[n]
		q.list[n] = reply{}
		n++
		q.base++
		if r.then != nil { // it may come back here: let it find the queue consistent
			q.list = q.list[n:]
			n = 0
		}
		c.sendReply(&r)
	}
	q.list = q.list[n:]
	if len(q.list) == 0 {
		q.list = q.list[:0:0]
	}
	if len(q.list) < (c.opt.PendingReplies+1)/2 {
		c.resume(whyReplies)
	}
}

func (c *conn) sendReply(r *reply) {
	switch {
	case c.state == over:
		return
	case r.frame != nil:
		c.out = append(c.buffer(), r.frame...)
	case r.rejected:
		p := &problem{message: "Message rejected", detail: "The queue refused the message: it is full.\n"}
		c.out = p.append(c.buffer(), c.version, r.receipt, !r.silent)
	case !r.silent:
		dst := wire.AppendCommand(c.buffer(), "RECEIPT")
		dst = wire.AppendHeader(dst, c.version, "receipt-id", r.receipt)
		c.out = wire.AppendBody(dst, nil)
	}
	if r.then != nil {
		r.then()
	}
}
