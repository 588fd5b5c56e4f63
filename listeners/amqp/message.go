package amqp

import (
	"math"
	"unsafe"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
)

// assembly says which frame a channel expects next.
type assembly uint8

const (
	expectMethod assembly = iota
	expectHeader
	expectBody
)

// pendingPublish is a basic.publish on its way in: method seen, header and
// body to come. Its buffers are the channel's and are reused.
type pendingPublish struct {
	expect    assembly
	mandatory bool
	exchange  string
	key       []byte // routing key, copied from the method frame

	size    int // of the body, as announced
	native  []byte
	traits  traits
	message *broker.Message // set with the first bytes of the body
	buf     []byte          // the message's: routing key, properties, body
	at      int             // where in buf the body begins
	counted int             // in conn.assembling
}

// release drops what a message left behind, its traits excepted, which are
// good until the next one.
func (p *pendingPublish) release() {
	p.expect, p.message, p.buf, p.counted = expectMethod, nil, nil, 0
	if cap(p.native) > nativeKeep {
		p.native = nil
	}
}

// nativeKeep is the size of property list a channel keeps room for.
const nativeKeep = 4096

// firstRoom is the most body room that is taken when a body's first frame
// arrives, unless that frame is bigger: memory follows what has arrived, not
// what was announced.
const firstRoom = 256 << 10

// start makes the message once its properties are known. arrived is the size
// of the first body frame.
func (p *pendingPublish) start(arrived int) {
	room := min(p.size, max(arrived, min(4*arrived, firstRoom)))
	m, buf := delivery.NewMessage(len(p.key) + len(p.native) + room)
	p.message = m
	p.place(buf)
}

// place lays out routing key, properties and what there is of the body in buf.
func (p *pendingPublish) place(buf []byte) {
	m := p.message
	k := copy(buf, p.key)
	m.RoutingKey = unsafe.String(unsafe.SliceData(buf), k)
	p.at = k + copy(buf[k:], p.native)
	m.Native = buf[k:p.at:p.at]
	end := p.at + copy(buf[p.at:], m.Body)
	m.Body = buf[p.at:end:end]
	p.buf = buf
}

// append adds a piece of the body. It reports whether the body is complete.
func (p *pendingPublish) append(piece []byte) (complete bool, err error) {
	have := 0
	if p.message != nil {
		have = len(p.message.Body)
	}
	if len(piece) > p.size-have {
		return false, refuse(wire.FrameError, "content body of more than the announced %d bytes", p.size)
	}
	if p.message == nil {
		if len(piece) == 0 {
			return false, nil
		}
		p.start(len(piece))
	}
	end := p.at + have + len(piece)
	if end > len(p.buf) {
		p.place(make([]byte, p.at+min(p.size, max(2*have, have+len(piece)))))
	}
	copy(p.buf[p.at+have:], piece)
	p.message.Body = p.buf[p.at:end:end]
	return have+len(piece) == p.size, nil
}

// traits are what a content header asks of the broker beyond carrying it.
type traits struct {
	persistent bool
	priority   uint8
	ttl        int64
	unusual    bool // any of the following may be set

	delay   int64 // ms; 0: none
	dedup   string
	group   string
	filter  string   // x-stream-filter-value
	keys    []string // CC, then BCC
	keep    int      // keys[:keep] are CC
	bcc     bool
	replyTo bool // the direct reply-to pseudo queue
}

// special reports whether the message needs notes.
func (t *traits) special() bool {
	return t.delay > 0 || t.dedup != "" || t.group != "" || t.filter != "" || len(t.keys) > 0 || t.bcc
}

// notes are the broker's annotations that the traits ask for; nil for most.
func (t *traits) notes(now int64, replyTo string) *broker.Notes {
	if !t.special() && replyTo == "" {
		return nil
	}
	n := &broker.Notes{KeepKeys: t.keys[:t.keep:t.keep], GroupID: t.group, DedupID: t.dedup, StreamFilter: t.filter, ReplyTo: replyTo}
	if t.bcc {
		n.DropHeaders = []string{headerBCC}
	}
	if t.delay > 0 {
		n.DeliverAt = now + t.delay
	}
	return n
}

// read takes the traits from a message's properties. user is who publishes.
func (t *traits) read(p *wire.RawProperties, user *broker.User) error {
	if t.unusual {
		*t = traits{}
	}
	t.persistent, t.priority, t.ttl = p.DeliveryMode() == 2, p.Priority(), broker.NoTTL
	const unusual = wire.PropUserID | wire.PropExpiration | wire.PropReplyTo | wire.PropHeaders
	if t.unusual = p.Flags&unusual != 0; !t.unusual {
		return nil
	}
	if id := p.UserID(); p.Has(wire.PropUserID) && string(id) != user.Name && !user.HasTag("impersonator") {
		return refuse(wire.PreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", id, user.Name)
	}
	if p.Has(wire.PropExpiration) {
		ttl, err := parseExpiration(p.Expiration())
		if err != nil {
			return err
		}
		t.ttl = ttl
	}
	t.replyTo = string(p.ReplyTo()) == broker.ReplyQueue
	return t.readHeaders(p.Headers())
}

// The headers that mean something to the broker.
const (
	headerCC     = "CC"
	headerBCC    = "BCC"
	headerDelay  = "x-delay"
	headerDedup  = "x-deduplication-id"
	headerGroup  = "JMSXGroupID"
	headerFilter = "x-stream-filter-value"
)

// readHeaders looks for them in one pass; the first of a name counts.
func (t *traits) readHeaders(table wire.RawTable) error {
	var cc, bcc wire.RawArray
	var hasCC, hasDelay bool
	for {
		name, v, rest, ok := table.Next()
		if !ok {
			break
		}
		table = rest
		switch string(name) {
		case headerCC:
			if v.Tag != 'A' {
				return badRoutingHeader(headerCC, v.Tag)
			}
			if !hasCC {
				cc, hasCC = wire.RawArray(v.Data), true
			}
		case headerBCC:
			if v.Tag != 'A' {
				return badRoutingHeader(headerBCC, v.Tag)
			}
			if !t.bcc {
				bcc, t.bcc = wire.RawArray(v.Data), true
			}
		case headerDelay:
			if !hasDelay {
				t.delay, hasDelay = delayOf(v), true
			}
		case headerDedup:
			setText(&t.dedup, v)
		case headerGroup:
			setText(&t.group, v)
		case headerFilter:
			setText(&t.filter, v)
		}
	}
	t.keys = appendKeys(t.keys, cc)
	t.keep = len(t.keys)
	t.keys = appendKeys(t.keys, bcc)
	return nil
}

func setText(dst *string, v wire.RawValue) {
	if *dst == "" && v.Tag == 'S' {
		*dst = string(v.Data)
	}
}

// appendKeys appends the routing keys of a CC or BCC array; elements that are
// no text are passed over, as RabbitMQ does.
func appendKeys(dst []string, a wire.RawArray) []string {
	for {
		v, rest, ok := a.Next()
		if !ok {
			return dst
		}
		a = rest
		if v.Tag == 'S' && len(v.Data) <= wire.MaxShortstr {
			dst = append(dst, string(v.Data))
		}
	}
}

// maxDelay bounds x-delay, in ms: ten years, as for expiration.
const maxDelay = maxExpiration

// delayOf reads x-delay, which may be a number or digits.
func delayOf(v wire.RawValue) int64 {
	x, err := v.Decode()
	if err != nil {
		return 0
	}
	n, ok := broker.Int(x)
	switch d := x.(type) {
	case string:
		n, err = parseExpiration([]byte(d))
		ok = err == nil
	case float64:
		n, ok = int64(d), d > 0 && d < maxDelay
	case float32:
		n, ok = int64(d), d > 0 && d < maxDelay
	}
	if !ok || n < 0 {
		return 0
	}
	return min(n, maxDelay)
}

func badRoutingHeader(name string, tag byte) error {
	return refuse(wire.PreconditionFailed, `invalid message: {unacceptable_type_in_header,"%s",%s}`, name, erlangType(tag))
}

// erlangType is RabbitMQ's word for a field type.
func erlangType(tag byte) string {
	switch tag {
	case 'S':
		return "longstr"
	case 'I':
		return "signedint"
	case 'i':
		return "unsignedint"
	case 'D':
		return "decimal"
	case 'T':
		return "timestamp"
	case 'F':
		return "table"
	case 'A':
		return "array"
	case 'B':
		return "unsignedbyte"
	case 'b':
		return "byte"
	case 'd':
		return "double"
	case 'f':
		return "float"
	case 'l', 'L':
		return "long"
	case 's', 'U':
		return "short"
	case 'u':
		return "unsignedshort"
	case 't':
		return "bool"
	case 'x':
		return "binary"
	}
	return "void"
}

// maxExpiration is the longest time to live in ms: ten years.
const maxExpiration = 315360000000

// parseExpiration reads the expiration property: ms as decimal digits. The
// texts of the refusals are those of Erlang's string:to_integer.
func parseExpiration(s []byte) (int64, error) {
	digits := s
	negative := false
	if len(digits) > 0 && (digits[0] == '+' || digits[0] == '-') {
		negative = digits[0] == '-'
		digits = digits[1:]
	}
	n, i := int64(0), 0
	for ; i < len(digits) && digits[i] >= '0' && digits[i] <= '9'; i++ {
		if n > (math.MaxInt64-9)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + int64(digits[i]-'0')
	}
	var why string
	switch number := string(s[:len(s)-len(digits)+i]); {
	case i == 0:
		why = "no_integer"
	case i < len(digits):
		why = `{leftover_string,"` + string(digits[i:]) + `"}`
	case negative && n > 0:
		why = "{value_negative," + number + "}"
	case n > maxExpiration:
		why = "{value_too_large," + number + "}"
	default:
		return n, nil
	}
	return 0, refuse(wire.PreconditionFailed, "invalid expiration '%s': %s", s, why)
}
