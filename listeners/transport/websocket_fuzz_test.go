package transport

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzUpgrade feeds any bytes as a request, at once and byte by byte: the answer is the same, and it is either an
// upgrade or a refusal that ends the connection.
func FuzzUpgrade(f *testing.F) {
	f.Add(upgradeHead("/mqtt"))
	f.Add(upgradeHead("/ws", "Origin: http://mq.example", "Sec-WebSocket-Protocol: a, mqttv3.1"))
	f.Add(upgradeHead("/mqtt", "Sec-WebSocket-Version: 8"))
	f.Add([]byte("GET / HTTP/1.1\r\nHost:\r\n\r\n"))
	f.Add([]byte("A\r\n\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		var outs [2][]byte
		for i, step := range []int{max(len(head), 1), 1} {
			started := false
			var end error
			s := &frames{start: func(*frames) { started = true }, closed: func(_ *frames, err error) { end = err }}
			p := NewManual(epoch).open(s, Info{}, Listener{Name: "ws", WebSocket: &mqttOnly})
			for rest := head; len(rest) > 0 && !started; {
				n := min(step, len(rest))
				p.Send(rest[:n])
				rest = rest[n:]
			}
			out := p.Output()
			outs[i] = out
			upgraded := bytes.HasPrefix(out, []byte("HTTP/1.1 101 "))
			switch {
			case upgraded != started:
				t.Fatalf("started %v with %q", started, out)
			case started && !bytes.Contains(head, []byte(wsKey)) && !bytes.Contains(out, []byte("Sec-WebSocket-Accept: ")):
				t.Fatalf("no accept in %q", out)
			case errors.Is(end, ErrPanic):
				t.Fatal(end)
			case !started && len(out) > 0 && (!p.EOF() || !errors.Is(end, ErrUpgrade)):
				t.Fatalf("refused with %q, closed %v, EOF %v", out, end, p.EOF())
			case len(p.conn.wsInput()) > maxRequestHead && !started:
				t.Fatalf("%d bytes kept", len(p.conn.wsInput()))
			}
		}
		if cut := min(len(outs[0]), len(outs[1])); !bytes.Equal(outs[0][:cut], outs[1][:cut]) || cut == 0 && len(outs[0])+len(outs[1]) > 0 {
			t.Fatalf("at once %q, byte by byte %q", outs[0], outs[1])
		}
	})
}

func (t *Conn) wsInput() []byte { return t.ws.in }

// FuzzWebSocketFrames feeds any bytes as frames, at once and in pieces of step bytes: the session gets the same payload,
// the peer gets well-formed frames, and a close frame is the last of them.
func FuzzWebSocketFrames(f *testing.F) {
	f.Add(clientFrame(finBit|opBinary, frame('x')), uint8(1), false)
	f.Add(append(clientFrame(opText, []byte("\xe2\x82")), clientFrame(finBit|opContinuation, []byte("\xac"))...), uint8(3), true)
	f.Add(append(clientFrame(finBit|opPing, []byte("p")), clientFrame(finBit|opClose, []byte{3, 0xe8})...), uint8(2), false)
	f.Add(clientFrame(finBit|opBinary, make([]byte, 70_000))[:100], uint8(200), false)
	f.Add([]byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, uint8(5), false)
	f.Fuzz(func(t *testing.T, in []byte, step uint8, text bool) {
		var payloads [2][]byte
		for i, step := range []int{max(len(in), 1), max(int(step), 1)} {
			var end error
			got := &payloads[i]
			s := &receiver{
				frames:  &frames{closed: func(_ *frames, err error) { end = err }},
				receive: func(p []byte) (int, int, error) { *got = append(*got, p...); return len(p), 0, nil },
			}
			cfg := WebSocket{MaxMessage: 1 << 20}
			if text {
				cfg.Text = anyProtocol
			}
			p := openWebSocket(t, NewManual(epoch), s, cfg)
			for rest := in; len(rest) > 0; {
				n := min(step, len(rest))
				p.Send(rest[:n])
				rest = rest[n:]
			}
			all := serverFrames(t, p.Output())
			for k, fr := range all {
				if closes := fr.first == finBit|opClose; closes != p.EOF() && k == len(all)-1 || closes && k < len(all)-1 {
					t.Fatalf("EOF %v, frames %v", p.EOF(), all)
				}
			}
			switch {
			case p.EOF() && end == nil, errors.Is(end, ErrPanic):
				t.Fatalf("closed: %v", end)
			case p.EOF() && !errors.Is(end, io.EOF) && !errors.Is(end, ErrWebSocket) && !errors.Is(end, ErrFrameTooLarge):
				t.Fatalf("closed: %v", end)
			case !p.EOF() && len(p.conn.ws.in) > 0:
				t.Fatalf("%d bytes kept", len(p.conn.ws.in))
			}
		}
		if text { // a text that is cut otherwise is found bad at another place
			n := min(len(payloads[0]), len(payloads[1]))
			payloads[0], payloads[1] = payloads[0][:n], payloads[1][:n]
		}
		if !bytes.Equal(payloads[0], payloads[1]) {
			t.Fatalf("at once %q, in pieces %q", payloads[0], payloads[1])
		}
	})
}
