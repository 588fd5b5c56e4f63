package amqpconf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Frame types of the 0-9-1 specification, section 4.2.3.
const (
	frameMethod    = 1
	frameHeader    = 2
	frameBody      = 3
	frameHeartbeat = 8
	frameEnd       = 0xCE
)

// Method ids used by the raw client: class<<16 | method.
const (
	connectionStart   = 10<<16 | 10
	connectionStartOK = 10<<16 | 11
	connectionTune    = 10<<16 | 30
	connectionTuneOK  = 10<<16 | 31
	connectionOpen    = 10<<16 | 40
	connectionOpenOK  = 10<<16 | 41
	connectionClose   = 10<<16 | 50
	connectionCloseOK = 10<<16 | 51
	channelOpen       = 20<<16 | 10
	channelOpenOK     = 20<<16 | 11
	channelFlow       = 20<<16 | 20
	channelFlowOK     = 20<<16 | 21
	channelClose      = 20<<16 | 40
	channelCloseOK    = 20<<16 | 41
	accessRequest     = 30<<16 | 10
	accessRequestOK   = 30<<16 | 11
	exchangeDeclare   = 40<<16 | 10
	queueDeclare      = 50<<16 | 10
	queueDeclareOK    = 50<<16 | 11
	basicQos          = 60<<16 | 10
	basicQosOK        = 60<<16 | 11
	basicConsume      = 60<<16 | 20
	basicConsumeOK    = 60<<16 | 21
	basicCancel       = 60<<16 | 30
	basicCancelOK     = 60<<16 | 31
	basicPublish      = 60<<16 | 40
	basicDeliver      = 60<<16 | 60
	basicGet          = 60<<16 | 70
	basicGetOK        = 60<<16 | 71
	basicAck          = 60<<16 | 80
	basicRecoverAsync = 60<<16 | 100
	basicRecover      = 60<<16 | 110
	basicRecoverOK    = 60<<16 | 111
	confirmSelect     = 85<<16 | 10
	confirmSelectOK   = 85<<16 | 11
)

var protocolHeader = []byte("AMQP\x00\x00\x09\x01")

// rawTimeout bounds every wait of the raw client.
const rawTimeout = 20 * time.Second

// frame is one frame as read from the wire, without its end octet.
type frame struct {
	kind    byte
	channel uint16
	payload []byte
}

// id is the method id of a method frame, 0 of any other.
func (f frame) id() int {
	if f.kind != frameMethod || len(f.payload) < 4 {
		return 0
	}
	return int(binary.BigEndian.Uint32(f.payload))
}

// rawConn speaks frames and nothing else: it sends what it is told, right or
// wrong, and reports what comes back.
type rawConn struct {
	t          *testing.T
	conn       net.Conn
	r          *bufio.Reader
	heartbeats int // heartbeat frames skipped so far
}

// rawDial opens a TCP connection to the broker without sending anything.
func rawDial(t *testing.T, addr string) *rawConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, rawTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &rawConn{t: t, conn: c, r: bufio.NewReader(c)}
}

// login says who opens a raw connection and what it negotiates. A negative
// number takes over what the server proposes.
type login struct {
	mechanism  string // PLAIN when empty
	response   string // guest's when empty
	clientProp []byte // encoded table; capabilities of a good client when nil
	vhost      string // "/" when empty
	channelMax int
	frameMax   int
	heartbeat  int
}

var guest = login{channelMax: -1, frameMax: -1, heartbeat: 0}

// rawOpen performs the whole handshake.
func rawOpen(t *testing.T, l login) *rawConn {
	t.Helper()
	r := rawDial(t, shared.addr)
	r.start(l)
	r.tune(l)
	r.expect(0, connectionOpenOK)
	return r
}

// start sends the protocol header and answers connection.start.
func (r *rawConn) start(l login) {
	r.t.Helper()
	r.write(protocolHeader)
	r.expect(0, connectionStart)
	if l.mechanism == "" {
		l.mechanism = "PLAIN"
	}
	if l.response == "" {
		l.response = "\x00guest\x00guest"
	}
	if l.clientProp == nil {
		caps := table("consumer_cancel_notify", "t\x01", "authentication_failure_close", "t\x01", "connection.blocked", "t\x01", "basic.nack", "t\x01", "publisher_confirms", "t\x01")
		l.clientProp = table("capabilities", "F"+string(caps))
	}
	r.method(0, connectionStartOK, new(args).raw(l.clientProp).shortstr(l.mechanism).longstr(l.response).shortstr("en_US"))
}

// tune reads connection.tune, answers it and opens the vhost.
func (r *rawConn) tune(l login) (channelMax uint16, frameMax uint32, heartbeat uint16) {
	r.t.Helper()
	p := r.expect(0, connectionTune)
	channelMax, frameMax, heartbeat = p.short(), p.long(), p.short()
	pick := func(ask int, offer uint32) uint32 {
		if ask < 0 {
			return offer
		}
		return uint32(ask)
	}
	r.method(0, connectionTuneOK, new(args).
		short(uint16(pick(l.channelMax, uint32(channelMax)))).
		long(pick(l.frameMax, frameMax)).
		short(uint16(pick(l.heartbeat, uint32(heartbeat)))))
	if l.vhost == "" {
		l.vhost = "/"
	}
	r.method(0, connectionOpen, new(args).shortstr(l.vhost).shortstr("").octet(0))
	return channelMax, frameMax, heartbeat
}

// channel opens a channel and waits for open-ok.
func (r *rawConn) channel(n uint16) {
	r.t.Helper()
	r.method(n, channelOpen, new(args).shortstr(""))
	r.expect(n, channelOpenOK)
}

func (r *rawConn) write(b []byte) {
	r.t.Helper()
	_ = r.conn.SetWriteDeadline(time.Now().Add(rawTimeout))
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatalf("write: %v", err)
	}
}

// frame sends one frame with a correct length and end octet.
func (r *rawConn) frame(kind byte, channel uint16, payload []byte) {
	r.t.Helper()
	r.write(encodeFrame(kind, channel, payload))
}

func (r *rawConn) method(channel uint16, id int, a *args) {
	r.t.Helper()
	r.frame(frameMethod, channel, methodPayload(id, a))
}

// publish sends method, header and one body frame (none for an empty body).
func (r *rawConn) publish(channel uint16, exchange, key string, header, body []byte) {
	r.t.Helper()
	out := encodeFrame(frameMethod, channel, publishPayload(exchange, key))
	out = append(out, encodeFrame(frameHeader, channel, header)...)
	if len(body) > 0 {
		out = append(out, encodeFrame(frameBody, channel, body)...)
	}
	r.write(out)
}

func publishPayload(exchange, key string) []byte {
	return methodPayload(basicPublish, new(args).short(0).shortstr(exchange).shortstr(key).octet(0))
}

func methodPayload(id int, a *args) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(id))
	if a != nil {
		p = append(p, a.b...)
	}
	return p
}

// contentHeader encodes a basic content header; properties are the encoded
// flag words and values.
func contentHeader(bodySize uint64, properties []byte) []byte {
	p := []byte{0, 60, 0, 0}
	p = binary.BigEndian.AppendUint64(p, bodySize)
	if properties == nil {
		properties = []byte{0, 0}
	}
	return append(p, properties...)
}

func encodeFrame(kind byte, channel uint16, payload []byte) []byte {
	f := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	f = binary.BigEndian.AppendUint32(f, uint32(len(payload)))
	f = append(f, payload...)
	return append(f, frameEnd)
}

var errTimeout = errors.New("nothing arrived in time")

// next reads one frame, heartbeats included.
func (r *rawConn) next(limit time.Duration) (frame, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(limit))
	var head [7]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errTimeout
		}
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > 1<<20 {
		r.t.Fatalf("broker sent a frame of %d bytes", size)
	}
	payload := make([]byte, size+1)
	if _, err := io.ReadFull(r.r, payload); err != nil {
		return frame{}, err
	}
	if payload[size] != frameEnd {
		r.t.Fatalf("broker sent a frame that ends in %#x", payload[size])
	}
	return frame{kind: head[0], channel: binary.BigEndian.Uint16(head[1:]), payload: payload[:size]}, nil
}

// read returns the next frame that is not a heartbeat.
func (r *rawConn) read() frame {
	r.t.Helper()
	for {
		f, err := r.next(rawTimeout)
		if err != nil {
			r.t.Fatalf("read frame: %v", err)
		}
		if f.kind == frameHeartbeat {
			r.heartbeats++
			continue
		}
		return f
	}
}

// expect reads the next frame, which must be that method, and returns its
// arguments.
func (r *rawConn) expect(channel uint16, id int) *parser {
	r.t.Helper()
	f := r.read()
	if f.channel != channel || f.id() != id {
		r.t.Fatalf("got %s, want method %d.%d on channel %d", describe(f), id>>16, id&0xffff, channel)
	}
	return &parser{t: r.t, b: f.payload[4:]}
}

// closing is the content of a connection.close or channel.close.
type closing struct {
	code   int
	text   string
	class  int
	method int
}

// expectClose reads frames until connection.close (channel 0) or the
// channel's close; frames of other channels on the way are dropped.
func (r *rawConn) expectClose(channel uint16) closing {
	r.t.Helper()
	want := channelClose
	if channel == 0 {
		want = connectionClose
	}
	for {
		f := r.read()
		if f.id() != want || f.channel != channel {
			if f.id() == connectionClose || f.id() == channelClose {
				p := &parser{t: r.t, b: f.payload[4:]}
				r.t.Fatalf("got close %d %q on channel %d, want it on channel %d", p.short(), p.shortstr(), f.channel, channel)
			}
			continue
		}
		p := &parser{t: r.t, b: f.payload[4:]}
		c := closing{code: int(p.short()), text: p.shortstr(), class: int(p.short()), method: int(p.short())}
		if channel == 0 {
			r.method(0, connectionCloseOK, nil)
		}
		return c
	}
}

// expectEOF waits until the broker closes the TCP connection; frames on the
// way are dropped.
func (r *rawConn) expectEOF() {
	r.t.Helper()
	for {
		f, err := r.next(rawTimeout)
		if errors.Is(err, errTimeout) {
			r.t.Fatal("connection still open")
		}
		if err != nil {
			return
		}
		if f.kind == frameHeartbeat {
			r.heartbeats++
		}
	}
}

// content is one delivered message with the sizes of its body frames.
type content struct {
	args       *parser // of the method
	header     []byte  // payload of the header frame
	body       []byte
	bodyFrames []int
}

// expectContent reads a deliver, get-ok or return with header and body.
func (r *rawConn) expectContent(channel uint16, id int) content {
	r.t.Helper()
	c := content{args: r.expect(channel, id)}
	h := r.read()
	if h.kind != frameHeader || h.channel != channel || len(h.payload) < 14 {
		r.t.Fatalf("got %s, want a content header on channel %d", describe(h), channel)
	}
	c.header = h.payload
	size := binary.BigEndian.Uint64(h.payload[4:])
	for uint64(len(c.body)) < size {
		f := r.read()
		if f.kind != frameBody || f.channel != channel {
			r.t.Fatalf("got %s, want a body frame on channel %d", describe(f), channel)
		}
		c.body = append(c.body, f.payload...)
		c.bodyFrames = append(c.bodyFrames, len(f.payload))
	}
	return c
}

func describe(f frame) string {
	if f.kind != frameMethod {
		return strings.TrimSpace("frame type " + string('0'+rune(f.kind)))
	}
	id := f.id()
	text := ""
	if id == connectionClose || id == channelClose {
		p := &parser{b: f.payload[6:]}
		text = " " + p.shortstr()
	}
	return "method " + itoa(id>>16) + "." + itoa(id&0xffff) + " on channel " + itoa(int(f.channel)) + text
}

// args builds method arguments.
type args struct{ b []byte }

func (a *args) octet(v byte) *args   { a.b = append(a.b, v); return a }
func (a *args) short(v uint16) *args { a.b = binary.BigEndian.AppendUint16(a.b, v); return a }
func (a *args) long(v uint32) *args  { a.b = binary.BigEndian.AppendUint32(a.b, v); return a }
func (a *args) llong(v uint64) *args { a.b = binary.BigEndian.AppendUint64(a.b, v); return a }
func (a *args) raw(v []byte) *args   { a.b = append(a.b, v...); return a }
func (a *args) shortstr(s string) *args {
	a.b = append(append(a.b, byte(len(s))), s...)
	return a
}
func (a *args) longstr(s string) *args {
	a.long(uint32(len(s)))
	a.b = append(a.b, s...)
	return a
}

// table encodes a field table from names and already encoded values (type
// octet and value).
func table(pairs ...string) []byte {
	body := new(args)
	for i := 0; i < len(pairs); i += 2 {
		body.shortstr(pairs[i]).raw([]byte(pairs[i+1]))
	}
	return new(args).long(uint32(len(body.b))).raw(body.b).b
}

// parser reads method arguments.
type parser struct {
	t *testing.T
	b []byte
}

func (p *parser) take(n int) []byte {
	if len(p.b) < n {
		if p.t != nil {
			p.t.Fatalf("method arguments end too early")
		}
		return make([]byte, n)
	}
	v := p.b[:n]
	p.b = p.b[n:]
	return v
}
func (p *parser) octet() byte      { return p.take(1)[0] }
func (p *parser) short() uint16    { return binary.BigEndian.Uint16(p.take(2)) }
func (p *parser) long() uint32     { return binary.BigEndian.Uint32(p.take(4)) }
func (p *parser) llong() uint64    { return binary.BigEndian.Uint64(p.take(8)) }
func (p *parser) shortstr() string { return string(p.take(int(p.octet()))) }
func (p *parser) longstr() string  { return string(p.take(int(p.long()))) }
