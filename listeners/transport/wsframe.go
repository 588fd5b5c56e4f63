package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Opcodes, RFC 6455 section 5.2. Those with bit 3 are control frames.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	opControl = 0x8
	finBit    = 0x80
	maskBit   = 0x80
)

// Status codes of closing, RFC 6455 section 7.4.1.
const (
	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeUnsupported = 1003
	closeNotUTF8     = 1007
	closePolicy      = 1008
	closeTooBig      = 1009
)

const (
	maxControl   = 125     // payload of a control frame
	maxReplies   = 4 << 10 // control frames of one turn; further pings of the turn go unanswered, as 5.5.3 allows
	frameReserve = 4       // room for an outgoing header; right for payloads of 126 bytes to 64 KiB
	maxWSHeader  = 14
)

// wsError is a violation of RFC 6455 and the code that tells the peer.
type wsError struct {
	code uint16
	text string
}

func (e *wsError) Error() string { return ErrWebSocket.Error() + ": " + e.text }
func (e *wsError) Unwrap() error { return ErrWebSocket }

func badFrame(code uint16, text string) error { return &wsError{code, text} }

// wsLayer speaks WebSocket on one connection. Payload goes to the session as it arrives; between reads the layer keeps
// at most a header or a control frame.
type wsLayer struct {
	cfg     *WebSocket
	in      []byte // input that has to wait: for the rest of the request, or for Resume
	control []byte // payload of a control frame
	replies []byte // control frames to be sent at the end of the turn

	left     uint64 // payload bytes of the frame still to come
	size     uint64 // of the message, as far as its frames have announced it
	nextPing time.Time

	header  [maxWSHeader]byte // of a frame, as far as it has arrived
	mask    [4]byte
	partial [utf8.UTFMax]byte // a character that a text frame has cut
	nHeader uint8
	nPart   uint8
	at      uint8 // position in mask
	opcode  uint8 // of the frame
	message uint8 // opcode of the message, 0 between messages

	up        bool // the upgrade is done
	inFrame   bool
	fin       bool
	text      bool
	heard     bool // since the last ping was due
	goingAway bool
	byPeer    bool // the peer has closed
	closed    bool // our close frame is out
	code      uint16
}

// decode takes plaintext and feeds the session with what it contains, until the session pauses.
func (w *wsLayer) decode(t *Conn, p []byte) (err error) {
	held := len(w.in) > 0
	if held {
		w.in = append(w.in, p...)
		p = w.in
	}
	w.heard = true
	if !w.up && len(p) > 0 {
		p, err = w.handshake(t, p)
	}
	for err == nil && w.up && len(p) > 0 && t.reading() {
		var n int
		if w.inFrame {
			n, err = w.payload(t, p)
		} else {
			n, err = w.begin(t, p)
		}
		p = p[n:]
	}
	switch {
	case len(p) == 0 || err != nil:
		w.in = nil
	case held:
		w.in = p
	default:
		w.in = bytes.Clone(p)
	}
	return err
}

// handshake answers the request once its head is complete and returns what follows it.
func (w *wsLayer) handshake(t *Conn, p []byte) (rest []byte, err error) {
	head := p[:min(len(p), maxRequestHead)]
	end := bytes.Index(head, []byte("\r\n\r\n")) + 4
	if end >= 4 {
		head = head[:end]
	}
	err = checkHead(head)
	switch {
	case err != nil:
		w.respond(t, refusal(http.StatusBadRequest))
		return nil, fmt.Errorf("%w: %w", ErrUpgrade, err)
	case end < 4 && len(head) == maxRequestHead:
		w.respond(t, refusal(http.StatusRequestHeaderFieldsTooLarge))
		return nil, fmt.Errorf("%w: request head exceeds %d bytes", ErrUpgrade, maxRequestHead)
	case end < 4:
		return p, nil
	}
	r := upgradeRequest{cfg: w.cfg}
	response, err := r.upgrade(head)
	w.respond(t, response)
	if err != nil {
		return nil, err
	}
	t.info.Subprotocol, t.info.Path, t.info.Host = r.protocol, r.path, r.host
	w.text = w.cfg.Text != nil && w.cfg.Text(r.protocol)
	w.up = true
	t.start()
	return p[end:], nil
}

func (w *wsLayer) respond(t *Conn, response []byte) {
	t.out = append(t.loop.getBuf(), response...)
	t.touch()
}

// begin reads a frame's header, which may arrive in pieces, and returns how many bytes of p belong to it.
func (w *wsLayer) begin(t *Conn, p []byte) (n int, err error) {
	b, had := p, int(w.nHeader)
	if had > 0 {
		b = w.header[:had+copy(w.header[had:], p)]
	}
	if len(b) >= 2 {
		if err := w.check(b[0], b[1]); err != nil {
			return 0, err
		}
	}
	size := wsHeaderSize(b)
	if len(b) < size {
		w.nHeader += uint8(copy(w.header[had:], p))
		return len(p), nil
	}
	w.nHeader = 0
	w.inFrame, w.fin, w.opcode, w.at = true, b[0]&finBit != 0, b[0]&0xf, 0
	copy(w.mask[:], b[size-4:size])
	switch w.left = uint64(b[1] & 0x7f); w.left {
	case 126:
		w.left = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		w.left = binary.BigEndian.Uint64(b[2:])
	}
	if err := w.account(); err != nil {
		return 0, err
	}
	if w.left == 0 {
		err = w.end(t)
	}
	return size - had, err
}

// wsHeaderSize is the size of the header that b begins with, or of as much of it as has to be known first.
func wsHeaderSize(b []byte) int {
	if len(b) < 2 {
		return 2
	}
	switch b[1] & 0x7f {
	case 126:
		return 2 + 2 + 4
	case 127:
		return 2 + 8 + 4
	}
	return 2 + 4
}

// check is for a header's first two bytes: 5.1 to 5.5.
func (w *wsLayer) check(b0, b1 byte) error {
	opcode := b0 & 0xf
	switch {
	case b0&0x70 != 0:
		return badFrame(closeProtocol, "reserved bit without extension")
	case b1&maskBit == 0:
		return badFrame(closeProtocol, "frame without mask")
	case opcode > opPong || opcode > opBinary && opcode < opClose:
		return badFrame(closeProtocol, "unknown opcode")
	case opcode&opControl != 0:
		if b0&finBit == 0 || b1&0x7f > maxControl {
			return badFrame(closeProtocol, "fragmented or oversized control frame")
		}
	case (opcode == opContinuation) != (w.message != 0):
		return badFrame(closeProtocol, "frame out of sequence")
	case opcode == opText && !w.text:
		return badFrame(closeUnsupported, "text message where binary is spoken")
	}
	return nil
}

// account adds a frame to its message.
func (w *wsLayer) account() error {
	if w.opcode&opControl != 0 {
		return nil
	}
	if w.opcode != opContinuation {
		w.message, w.size = w.opcode, 0
	}
	if w.left > 1<<63-1 {
		return badFrame(closeProtocol, "length with its highest bit set")
	}
	if w.size += w.left; w.size > uint64(w.cfg.MaxMessage) {
		return fmt.Errorf("websocket message: %w", ErrFrameTooLarge)
	}
	return nil
}

// payload takes what p has of the frame's payload.
func (w *wsLayer) payload(t *Conn, p []byte) (n int, err error) {
	if uint64(len(p)) > w.left {
		p = p[:w.left]
	}
	ws.Cipher(p, w.mask, int(w.at))
	w.at = (w.at + uint8(len(p)&3)) & 3
	w.left -= uint64(len(p))
	switch {
	case w.opcode&opControl != 0:
		w.control = append(w.control, p...)
	case w.message == opText && !w.validText(p):
		err = badFrame(closeNotUTF8, "text that is not UTF-8")
	default:
		err = t.consume(p)
	}
	if w.left == 0 && err == nil {
		err = w.end(t)
	}
	return len(p), err
}

func (w *wsLayer) end(t *Conn) (err error) {
	w.inFrame = false
	switch w.opcode {
	case opPing:
		w.pong(t)
	case opPong:
	case opClose:
		err = w.peerCloses()
	default:
		if w.fin {
			if w.message == opText && w.nPart > 0 {
				err = badFrame(closeNotUTF8, "text that ends within a character")
			}
			w.message = 0
		}
	}
	w.control = nil
	return err
}

// pong does not answer a peer that sends pings and reads nothing.
func (w *wsLayer) pong(t *Conn) {
	if len(w.replies) < maxReplies && t.sock.OutboundBuffered() <= highWater {
		w.replies = append(w.replies, finBit|opPong, byte(len(w.control)))
		w.replies = append(w.replies, w.control...)
		t.touch()
	}
}

// peerCloses checks the peer's close frame and returns the error that answers it, RFC 6455 section 5.5.1.
func (w *wsLayer) peerCloses() error {
	p := w.control
	switch {
	case len(p) == 0:
		w.byPeer = true
		return fmt.Errorf("websocket closed by the peer: %w", io.EOF)
	case len(p) == 1:
		return badFrame(closeProtocol, "close frame of one byte")
	}
	code := binary.BigEndian.Uint16(p)
	switch {
	case code < 1000, code > 4999, 1004 <= code && code <= 1006, 1015 <= code && code < 3000:
		return badFrame(closeProtocol, fmt.Sprintf("close code %d", code))
	case !utf8.Valid(p[2:]):
		return badFrame(closeNotUTF8, "close reason that is not UTF-8")
	}
	w.byPeer, w.code = true, code
	return fmt.Errorf("websocket closed by the peer, code %d: %w", code, io.EOF)
}

// validText checks a piece of a text message. A character may be cut anywhere.
func (w *wsLayer) validText(p []byte) bool {
	for w.nPart > 0 && len(p) > 0 {
		w.partial[w.nPart] = p[0]
		w.nPart++
		p = p[1:]
		if part := w.partial[:w.nPart]; utf8.FullRune(part) {
			if _, n := utf8.DecodeRune(part); n != len(part) {
				return false
			}
			w.nPart = 0
		}
	}
	for i := 1; i < utf8.UTFMax && i <= len(p); i++ {
		if last := p[len(p)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				w.nPart = uint8(copy(w.partial[:], last))
				p = p[:len(p)-i]
			}
			break
		}
	}
	return utf8.Valid(p)
}

// ---- output

// frame puts the header in front of the message that a session has appended to b: b is out[:start], frameReserve bytes
// of room, the payload. An empty message is not sent.
func (w *wsLayer) frame(b []byte, start int) []byte {
	n := len(b) - start - frameReserve
	if n <= 0 {
		return b[:min(start, len(b))]
	}
	first := byte(finBit | opBinary)
	if w.text && utf8.Valid(b[start+frameReserve:]) {
		first = finBit | opText
	}
	switch {
	case n <= 125:
		copy(b[start+2:], b[start+frameReserve:])
		b = b[:start+2+n]
		b[start+1] = byte(n)
	case n <= 0xffff:
		b[start+1] = 126
		binary.BigEndian.PutUint16(b[start+2:], uint16(n))
	default:
		b = append(b, make([]byte, 10-frameReserve)...)
		copy(b[start+10:], b[start+frameReserve:start+frameReserve+n])
		b[start+1] = 127
		binary.BigEndian.PutUint64(b[start+2:], uint64(n))
	}
	b[start] = first
	return b
}

// flush appends to the turn's output what the layer itself has to say. That waits for the end of the turn since the
// session may be holding the buffer before.
func (w *wsLayer) flush(t *Conn, out []byte) []byte {
	closes := t.state == stateClosing && w.up && !w.closed
	if len(w.replies) == 0 && !closes {
		return out
	}
	if out == nil {
		out = t.loop.getBuf()
	}
	out = append(out, w.replies...)
	w.replies = nil
	if !closes {
		return out
	}
	w.closed = true
	code := w.closeCode(t.cause)
	if code == 0 {
		return append(out, finBit|opClose, 0)
	}
	return append(out, finBit|opClose, 2, byte(code>>8), byte(code))
}

// closeCode tells the peer why we close, or repeats what it told us.
func (w *wsLayer) closeCode(cause error) uint16 {
	var bad *wsError
	switch {
	case w.byPeer:
		return w.code
	case errors.As(cause, &bad):
		return bad.code
	case errors.Is(cause, ErrFrameTooLarge):
		return closeTooBig
	case cause != nil:
		return closePolicy
	case w.goingAway:
		return closeGoingAway
	}
	return closeNormal
}

func (w *wsLayer) tick(t *Conn, now time.Time) {
	if w.cfg.PingInterval <= 0 || now.Before(w.nextPing) {
		return
	}
	if !w.heard && !w.nextPing.IsZero() {
		w.replies = append(w.replies, finBit|opPing, 0)
		t.touch()
	}
	w.heard = false
	w.nextPing = now.Add(w.cfg.PingInterval)
}
