package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// clientFrame is a masked frame with first as its first byte.
func clientFrame(first byte, payload []byte) []byte {
	mask := [4]byte{0x37, 0xfa, 0x21, byte(len(payload))}
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, maskBit|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskBit|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

type serverFrame struct {
	first   byte
	payload []byte
}

// cutServerFrame takes the frame at the head of b, which must be unmasked and of the shortest form; n is 0 if b is short.
func cutServerFrame(t testing.TB, b []byte) (f serverFrame, n int) {
	t.Helper()
	if len(b) < 2 {
		return f, 0
	}
	size, head := uint64(b[1]), 2
	switch {
	case size > 127:
		t.Fatalf("masked frame from the server: %q", b[:2])
	case size == 126 && len(b) >= 4:
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	case size >= 126:
		return f, 0
	}
	if head == 4 && size < 126 || head == 10 && size <= 0xffff {
		t.Fatalf("%d bytes with a header of %d", size, head)
	}
	if n = head + int(size); len(b) < n {
		return f, 0
	}
	return serverFrame{b[0], b[head:n]}, n
}

func serverFrames(t testing.TB, b []byte) (all []serverFrame) {
	t.Helper()
	for len(b) > 0 {
		f, n := cutServerFrame(t, b)
		if n == 0 {
			t.Fatalf("incomplete frame at the end: %q", b)
		}
		all = append(all, f)
		b = b[n:]
	}
	return all
}

func anyProtocol(string) bool { return true }

// MQTT-70: however packets are spread over frames, frames over reads, and however often the session pauses, the session
// gets the same bytes.
func TestWebSocket_AnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, 70_000)), 1, 10).Draw(t, "sizes")
		var stream []byte
		for i, n := range sizes {
			stream = append(stream, frame(bytes.Repeat([]byte{byte(i)}, n)...)...)
		}
		var wire []byte
		pings := 0
		more := false
		for rest := stream; len(rest) > 0 || more; {
			if rapid.IntRange(0, 4).Draw(t, "ping") == 0 {
				wire = append(wire, clientFrame(finBit|opPing, []byte{byte(pings)})...)
				pings++
			}
			n := min(len(rest), rapid.OneOf(rapid.IntRange(0, 8), rapid.IntRange(0, 70_000)).Draw(t, "frame"))
			first := byte(opBinary)
			if more {
				first = opContinuation
			}
			if more = rapid.Bool().Draw(t, "more"); !more {
				first |= finBit
			}
			wire = append(wire, clientFrame(first, rest[:n])...)
			rest = rest[n:]
		}

		pauses := rapid.SliceOfN(rapid.Bool(), len(sizes), len(sizes)).Draw(t, "pauses")
		next, paused := 0, false
		s := &pausingFrames{paused: &paused}
		var got []byte
		s.frames = &frames{
			frame: func(f *frames, p []byte) error {
				if paused {
					t.Error("Receive while paused")
				}
				got = append(got, frame(p...)...)
				if paused = pauses[next]; paused { // not drawn here: what panics in a session is its own end only
					f.Pause(1)
				}
				next++
				return nil
			},
			handle: func(f *frames, _ Event) { paused = false; f.Resume(1) },
		}
		m := NewManual(epoch)
		p := m.open(s, Info{}, Listener{WebSocket: &WebSocket{}})
		p.Send(upgradeHead("/"))
		p.Output()
		for len(wire) > 0 || paused {
			if paused && (len(wire) == 0 || rapid.Bool().Draw(t, "resume")) {
				p.Conn().Post(Event{})
				m.Turn()
				continue
			}
			n := min(len(wire), rapid.OneOf(rapid.IntRange(1, 8), rapid.IntRange(1, 64<<10)).Draw(t, "read"))
			p.Send(wire[:n])
			wire = wire[n:]
		}
		if p.EOF() || !bytes.Equal(got, stream) {
			t.Fatalf("%d bytes of %d, EOF %v", len(got), len(stream), p.EOF())
		}
		if w := p.conn.ws; p.conn.tail != nil || w.in != nil || w.control != nil {
			t.Fatalf("kept: a tail of %d, input of %d", len(p.conn.tail), len(w.in))
		}
		out := p.Output()
		for i := range pings {
			if !bytes.HasPrefix(out, []byte{finBit | opPong, 1, byte(i)}) {
				t.Fatalf("pong %d of %d missing before %q", i, pings, out)
			}
			out = out[3:]
		}
	})
}

func TestWebSocket_Violations(t *testing.T) {
	unmasked := append([]byte{finBit | opBinary, 1}, 'x')
	long := binary.BigEndian.AppendUint64([]byte{finBit | opBinary, maskBit | 127}, 1<<63)
	for _, c := range []struct {
		name string
		in   []byte
		code uint16
		err  error
	}{
		{"unmasked", unmasked, 1002, ErrWebSocket},
		{"unmasked, from its second byte on", unmasked[:2], 1002, ErrWebSocket},
		{"RSV1", clientFrame(finBit|0x40|opBinary, nil), 1002, ErrWebSocket},
		{"RSV2", clientFrame(finBit|0x20|opBinary, nil), 1002, ErrWebSocket},
		{"RSV3", clientFrame(finBit|0x10|opPing, nil), 1002, ErrWebSocket},
		{"opcode 3", clientFrame(finBit|3, nil), 1002, ErrWebSocket},
		{"opcode 7", clientFrame(finBit|7, nil), 1002, ErrWebSocket},
		{"opcode 11", clientFrame(finBit|11, nil), 1002, ErrWebSocket},
		{"opcode 15", clientFrame(finBit|15, nil), 1002, ErrWebSocket},
		{"fragmented ping", clientFrame(opPing, nil), 1002, ErrWebSocket},
		{"ping of 126 bytes", clientFrame(finBit|opPing, make([]byte, 126)), 1002, ErrWebSocket},
		{"close of 126 bytes", clientFrame(finBit|opClose, make([]byte, 126)), 1002, ErrWebSocket},
		{"continuation of nothing", clientFrame(finBit|opContinuation, nil), 1002, ErrWebSocket},
		{"message within a message", append(clientFrame(opBinary, nil), clientFrame(finBit|opBinary, nil)...), 1002, ErrWebSocket},
		{"continuation after the end", append(clientFrame(finBit|opBinary, nil), clientFrame(opContinuation, nil)...), 1002, ErrWebSocket},
		{"highest bit of the length", append(long, 1, 2, 3, 4), 1002, ErrWebSocket},
		{"MQTT-70 text", clientFrame(finBit|opText, []byte("x")), 1003, ErrWebSocket},
		{"oversized", clientFrame(finBit|opBinary, make([]byte, 1001)), 1009, ErrFrameTooLarge},
		{"oversized, announced", clientFrame(finBit|opBinary, make([]byte, 1001))[:8], 1009, ErrFrameTooLarge},
		{"oversized by a fragment", append(clientFrame(opBinary, frame(make([]byte, 996)...)), clientFrame(opContinuation, []byte{1})...), 1009, ErrFrameTooLarge},
		{"close of one byte", clientFrame(finBit|opClose, []byte{3}), 1002, ErrWebSocket},
		{"session refuses", clientFrame(finBit|opBinary, frame('!')), 1008, errRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			var end error
			s := &frames{
				frame: func(f *frames, p []byte) error {
					if string(p) == "!" {
						f.Write([]byte("farewell"))
						return errRefused
					}
					return nil
				},
				closed: func(_ *frames, err error) { end = err },
			}
			p := openWebSocket(t, NewManual(epoch), s, WebSocket{MaxMessage: 1000})
			p.Send(append(clientFrame(finBit|opPing, []byte("still")), c.in...))
			out := serverFrames(t, p.Output())
			if last := out[len(out)-1]; last.first != finBit|opClose || binary.BigEndian.Uint16(last.payload) != c.code {
				t.Errorf("last frame %#x %q, want close with %d", last.first, last.payload, c.code)
			}
			if !slicesHas(out, finBit|opPong, "still") {
				t.Errorf("the ping before is not answered: %q", out)
			}
			if c.err == errRefused && !slicesHas(out, finBit|opBinary, "farewell") {
				t.Errorf("no farewell: %q", out)
			}
			if !errors.Is(end, c.err) || !p.EOF() {
				t.Errorf("closed: %v, EOF %v", end, p.EOF())
			}
		})
	}
}

var errRefused = errors.New("refused")

func slicesHas(all []serverFrame, first byte, payload string) bool {
	for _, f := range all {
		if f.first == first && string(f.payload) == payload {
			return true
		}
	}
	return false
}

func TestWebSocket_PeerCloses(t *testing.T) {
	codes := map[int]bool{ // whether a peer may send it
		0: false, 999: false, 1000: true, 1001: true, 1002: true, 1003: true, 1004: false, 1005: false, 1006: false,
		1007: true, 1011: true, 1014: true, 1015: false, 1016: false, 2000: false, 2999: false, 3000: true, 4999: true,
		5000: false, 65535: false,
	}
	for code, ok := range codes {
		want := uint16(1002)
		if ok {
			want = uint16(code)
		}
		checkPeerClose(t, append(binary.BigEndian.AppendUint16(nil, uint16(code)), "bye, ☺"...), want, ok)
	}
	checkPeerClose(t, nil, 0, true)
	checkPeerClose(t, []byte{0x03, 0xe8, 0xff}, 1007, false)
	checkPeerClose(t, append([]byte{0x03, 0xe8}, strings.Repeat("x", 123)...), 1000, true)
}

func checkPeerClose(t *testing.T, payload []byte, code uint16, clean bool) {
	t.Helper()
	var end error
	s := &frames{
		frame:  func(*frames, []byte) error { t.Error("data behind the close frame"); return nil },
		closed: func(_ *frames, err error) { end = err },
	}
	p := openWebSocket(t, NewManual(epoch), s, WebSocket{})
	p.Send(append(clientFrame(finBit|opClose, payload), clientFrame(finBit|opBinary, frame('x'))...))
	var want []byte
	if code != 0 {
		want = binary.BigEndian.AppendUint16(nil, code)
	}
	out := serverFrames(t, p.Output())
	if len(out) != 1 || out[0].first != finBit|opClose || !bytes.Equal(out[0].payload, want) {
		t.Errorf("answer to %q: %v, want code %d", payload, out, code)
	}
	if !p.EOF() || errors.Is(end, io.EOF) != clean || clean == errors.Is(end, ErrWebSocket) {
		t.Errorf("answer to %q: closed %v, EOF %v", payload, end, p.EOF())
	}
}

// A close frame does not hide what was sent before it, and the answer follows the session's own last output.
func TestWebSocket_DataBeforeClose(t *testing.T) {
	p := openWebSocket(t, NewManual(epoch), new(frames), WebSocket{})
	p.Send(append(clientFrame(finBit|opBinary, frame('x')), clientFrame(finBit|opClose, []byte{0x03, 0xe9})...))
	if got, want := p.Output(), append([]byte{0x82, 5}, append(frame('x'), 0x88, 2, 0x03, 0xe9)...); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWebSocket_SessionCloses(t *testing.T) {
	m := NewManual(epoch)
	p := openWebSocket(t, m, &frames{frame: func(f *frames, _ []byte) error { f.CloseAfterFlush(); return nil }}, WebSocket{})
	p.Send(append(clientFrame(finBit|opBinary, frame('x')), clientFrame(finBit|opPing, []byte("late"))...))
	if got := p.Output(); !bytes.Equal(got, []byte{0x88, 2, 0x03, 0xe8}) || !p.EOF() {
		t.Errorf("CloseAfterFlush: %q", got)
	}
	p = openWebSocket(t, m, new(frames), WebSocket{})
	m.Drain()
	if got := p.Output(); !bytes.Equal(got, []byte{0x88, 2, 0x03, 0xe9}) || !p.EOF() {
		t.Errorf("Drain: %q", got)
	}
	p = openWebSocket(t, m, &frames{frame: func(f *frames, _ []byte) error { f.Write([]byte("x")); f.Close(); return nil }}, WebSocket{})
	p.Send(clientFrame(finBit|opBinary, frame('x')))
	if got := p.Output(); len(got) > 0 || !p.EOF() {
		t.Errorf("Close: %q", got)
	}
}

func TestWebSocket_OneMessagePerSetOut(t *testing.T) {
	sizes := []int{1, 125, 126, 127, 4000, 65535, 65536, 70_000, 0, 2}
	held := []byte(nil)
	s := &frames{
		frame: func(f *frames, _ []byte) error {
			f.Out() // looked at, not given back
			for i, n := range sizes {
				if i%2 == 0 {
					f.Write(bytes.Repeat([]byte{byte(i)}, n))
				} else {
					f.SetOut(append(f.Out(), bytes.Repeat([]byte{byte(i)}, n)...))
				}
			}
			held = append(f.Out(), "held over"...)
			return nil
		},
		endTurn: func(f *frames) {
			if held != nil {
				f.SetOut(append(held, " a ping"...))
				held = nil
			}
		},
	}
	p := openWebSocket(t, NewManual(epoch), s, WebSocket{})
	p.Send(append(clientFrame(finBit|opBinary, frame('x')), clientFrame(finBit|opPing, []byte("p"))...))
	out := serverFrames(t, p.Output())
	for i, n := range sizes {
		if n == 0 {
			continue
		}
		if f := out[0]; f.first != finBit|opBinary || !bytes.Equal(f.payload, bytes.Repeat([]byte{byte(i)}, n)) {
			t.Fatalf("message %d: %#x, %d bytes, want %d", i, f.first, len(f.payload), n)
		}
		out = out[1:]
	}
	if len(out) != 2 || string(out[0].payload) != "held over a ping" || out[1].first != finBit|opPong {
		t.Errorf("at the end: %q", out)
	}
}

func TestWebSocket_Text(t *testing.T) {
	m := NewManual(epoch)
	s := &frames{frame: func(f *frames, p []byte) error { f.Write(p); return nil }}
	p := openWebSocket(t, m, s, WebSocket{Text: anyProtocol})
	p.Send(clientFrame(finBit|opText, frame([]byte("žluťoučký")...)))
	p.Send(clientFrame(finBit|opBinary, frame(0xff, 0xfe)))
	out := serverFrames(t, p.Output())
	if len(out) != 2 || out[0].first != finBit|opText || out[1].first != finBit|opBinary {
		t.Errorf("echo: %v", out)
	}
	for _, bad := range []string{"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "a\xe2b", "\xf0\x9f\x92"} {
		for cut := range len(bad) + 1 {
			p := openWebSocket(t, m, new(frames), WebSocket{Text: anyProtocol})
			p.Send(append(clientFrame(opText, []byte(bad[:cut])), clientFrame(finBit|opContinuation, []byte(bad[cut:]))...))
			if got := p.Output(); !bytes.Equal(got, []byte{0x88, 2, 0x03, 0xef}) {
				t.Errorf("%q cut at %d: %q", bad, cut, got)
			}
		}
	}
}

// The check of text in pieces agrees with the check of the whole.
func TestWebSocket_TextInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) []byte { return []byte(rapid.String().Draw(t, "s")) }),
			rapid.SliceOf(rapid.SampledFrom([]byte{'a', 0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0xf0, 0x90, 0xf4, 0xff})),
		).Draw(t, "text")
		w, ok := new(wsLayer), true
		for rest := text; len(rest) > 0 && ok; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			ok = w.validText(rest[:n])
			rest = rest[n:]
		}
		if ok = ok && w.nPart == 0; ok != utf8.Valid(text) {
			t.Fatalf("%q: %v", text, ok)
		}
	})
}

func TestWebSocket_Pings(t *testing.T) {
	m := NewManual(epoch)
	s := &frames{endTurn: func(*frames) {}}
	p := openWebSocket(t, m, s, WebSocket{PingInterval: 10 * time.Second})
	at := func(sec int) []byte {
		m.Tick(epoch.Add(time.Duration(sec) * time.Second))
		return p.Output()
	}
	for _, step := range []struct {
		at     int
		speaks bool
		want   string
	}{
		{1, false, ""}, {10, true, ""}, {12, false, ""}, {20, false, ""}, {22, false, "\x89\x00"}, {23, true, ""}, {32, false, ""}, {42, false, "\x89\x00"},
	} {
		if step.speaks {
			p.Send(clientFrame(finBit|opPong, nil))
		}
		if got := at(step.at); string(got) != step.want {
			t.Errorf("at %d s: %q, want %q", step.at, got, step.want)
		}
	}
}

// Nobody makes the server buffer pongs.
func TestWebSocket_PingFlood(t *testing.T) {
	m := NewManual(epoch)
	p := openWebSocket(t, m, new(frames), WebSocket{})
	p.Window(0)
	flood := bytes.Repeat(clientFrame(finBit|opPing, make([]byte, 125)), 500)
	for range 200 {
		p.Send(flood)
	}
	if n := p.pending.Len(); n > highWater+maxReplies+200 {
		t.Errorf("%d bytes of pongs", n)
	}
	if m.Tick(epoch); p.EOF() {
		t.Error("closed at once")
	}
	if m.Tick(epoch.Add(2 * time.Minute)); !p.EOF() {
		t.Error("not closed")
	}
}

func BenchmarkWebSocketEcho(b *testing.B) {
	for _, size := range []int{100, 4096} {
		b.Run(fmt.Sprintf("%d bytes, 64 per read", size), func(b *testing.B) {
			m := NewManual(epoch)
			n := 0
			s := &frames{frame: func(f *frames, p []byte) error { n++; f.SetOut(append(f.Out(), p...)); return nil }}
			p := openWebSocket(b, m, s, WebSocket{})
			read := bytes.Repeat(clientFrame(finBit|opBinary, frame(make([]byte, size)...)), 64)
			buf := make([]byte, len(read))
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += 64 {
				copy(buf, read)
				m.turn(func() { p.conn.received(buf) })
				p.sent.Reset()
			}
			if n < b.N {
				b.Fatalf("%d messages of %d", n, b.N)
			}
		})
	}
}
