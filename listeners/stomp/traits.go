package stomp

import (
	"bytes"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// traits are what the headers of a SEND ask of the broker beyond carrying
// them.
type traits struct {
	persistent bool
	priority   uint8
	ttl        int64
	delay      int64 // ms
	period     int64 // ms between occurrences
	repeat     int64 // how many follow the first; negative: without end
	cron       string
	due        int64            // Unix ms of the first occurrence if it is not after delay
	schedule   *broker.Schedule // nil: it comes once
	dedup      string
	group      string
	kind       byte // bodyText, bodyBytes or bodyMap

	receipt     string
	hasReceipt  bool
	transaction []byte
}

// readHeaders takes the traits of a SEND and puts what travels with the
// message, in canonical form, into c.native. The first of repeated headers
// counts.
func (c *conn) readHeaders(f *wire.Frame, t *traits) error {
	*t = traits{ttl: broker.NoTTL, kind: bodyText}
	if f.HasLength {
		t.kind = bodyBytes
	}
	if cap(c.native) > nativeKeep {
		c.native = nil
	}
	c.native = append(c.native[:0], bodyText)
	c.native = append(c.native, c.origin...)
	var r headerReader
	for i := range f.Headers {
		h := &f.Headers[i]
		travels, err := r.read(c, t, unsafeString(h.Name), h.Value)
		if err != nil {
			return err
		}
		if travels {
			c.native = wire.AppendLine(c.native, unsafeString(h.Name), h.Value)
		}
	}
	if r.kind != 0 {
		t.kind = r.kind
	} else if r.text && !c.opt.ContentTypeBinary {
		t.kind = bodyText
	}
	if r.transformation != nil {
		c.receiveMap(t, r.transformation, f.Body)
	}
	c.native[0] = t.kind
	if c.origin != "" {
		c.native[0] |= hasOrigin
	}
	return t.plan(c.turn.Now)
}

// headerReader remembers which headers it has seen.
type headerReader struct {
	seen uint32
	kind byte // of amq-msg-type
	text bool // content-type says text

	transformation []byte
}

// firstOf reports whether header number n was not seen before.
func (r *headerReader) firstOf(n uint) bool {
	is := r.seen&(1<<n) == 0
	r.seen |= 1 << n
	return is
}

// read takes one header; travels says that it belongs to the message.
func (r *headerReader) read(c *conn, t *traits, name string, value []byte) (travels bool, err error) {
	switch name {
	case "destination", "content-length", "message-id", "subscription", "redelivered", "ack":
		return false, nil
	case "receipt":
		if r.firstOf(0) {
			t.receipt, t.hasReceipt = string(value), true
		}
		return false, nil
	case "transaction":
		if r.firstOf(1) {
			t.transaction = value
			if value == nil {
				t.transaction = []byte{}
			}
		}
		return false, nil
	case "persistent":
		if r.firstOf(2) {
			t.persistent = string(value) == "true"
		}
	case "priority":
		if n, ok := wire.Number(value); ok && r.firstOf(3) {
			t.priority = uint8(min(n, 255))
		}
	case "expiration":
		if r.firstOf(4) {
			return true, r.expiration(t, value)
		}
	case "expires":
		if n, ok := wire.Number(value); ok && n > 0 && r.firstOf(5) && t.ttl == broker.NoTTL {
			t.ttl = min(max(n-c.turn.Now, 0), maxTTL)
		}
	case "AMQ_SCHEDULED_DELAY", "x-delay":
		if n, ok := wire.Number(value); ok && r.firstOf(6) {
			t.delay = min(n, maxTTL)
		}
	case "AMQ_SCHEDULED_PERIOD":
		if n, ok := wire.Number(value); ok && r.firstOf(13) {
			t.period = min(n, maxTTL)
		}
		return false, nil
	case "AMQ_SCHEDULED_REPEAT":
		if r.firstOf(14) {
			return false, r.repeat(t, value)
		}
		return false, nil
	case "AMQ_SCHEDULED_CRON":
		if r.firstOf(15) {
			t.cron = string(value)
		}
		return false, nil
	case "x-deduplication-id":
		if r.firstOf(7) {
			t.dedup = string(value)
		}
	case "JMSXGroupID":
		if r.firstOf(8) {
			t.group = string(value)
		}
	case "amq-msg-type":
		if r.firstOf(9) {
			r.kind = messageType(value)
		}
	case "content-type":
		if r.firstOf(10) {
			r.text = textual(value)
		}
	case "transformation":
		if r.firstOf(16) {
			r.transformation = value
		}
	case "user-id":
		if string(value) != c.user.Name && !c.user.HasTag("impersonator") && r.firstOf(11) {
			return false, refuse("precondition_failed", "PRECONDITION_FAILED - user_id property set to '%s' but authenticated user was '%s'", value, c.user.Name)
		}
	case "reply-to":
		if r.firstOf(12) {
			return c.replyTo(value)
		}
	}
	return true, nil
}

// maxTTL is the longest time to live or delay in ms: ten years.
const maxTTL = 315360000000

func (r *headerReader) expiration(t *traits, value []byte) error {
	n, ok := wire.Number(value)
	if !ok || n > maxTTL {
		return refuse("Invalid header", "'expiration' must be a number of milliseconds, up to %d\n", int64(maxTTL))
	}
	t.ttl = n
	return nil
}

func (r *headerReader) repeat(t *traits, value []byte) error {
	digits, negative := bytes.CutPrefix(value, []byte("-"))
	n, ok := wire.Number(digits)
	if !ok {
		return refuse("Invalid header", "'AMQ_SCHEDULED_REPEAT' must be a number\n")
	}
	if t.repeat = min(n, 1<<30); negative {
		t.repeat = -1
	}
	return nil
}

// plan finds out when a message with a schedule comes first, and whether it
// comes again.
func (t *traits) plan(now int64) error {
	if t.cron == "" && t.period <= 0 {
		return nil
	}
	s := &broker.Schedule{Cron: t.cron, Delay: t.delay, Period: t.period, Repeat: int32(t.repeat)}
	if t.due = s.FirstDue(now, t.delay); t.due == 0 {
		return refuse("Invalid header", "'AMQ_SCHEDULED_CRON' is no schedule, or one that never applies\n")
	}
	if s.Cron != "" || s.Repeat != 0 {
		t.schedule = s
	}
	return nil
}

// messageType reads amq-msg-type; 0 is neither.
func messageType(v []byte) byte {
	switch string(v) {
	case "text":
		return bodyText
	case "bytes":
		return bodyBytes
	}
	return 0
}

// textual reports whether a content type is one of text.
func textual(v []byte) bool {
	v, _, _ = bytes.Cut(v, []byte(";"))
	v = bytes.TrimSpace(v)
	return bytes.HasPrefix(v, []byte("text/")) || string(v) == "application/json" || string(v) == "application/xml"
}
