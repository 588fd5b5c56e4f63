package wire

import (
	"bytes"
	"errors"
	"testing"
)

func codeOf(err error) uint16 {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func TestNextFrame(t *testing.T) {
	b := AppendMethod(nil, 7, &BasicAck{DeliveryTag: 3})
	first := len(b)
	b = AppendHeartbeat(b)
	b = AppendFrame(b, FrameBody, 7, []byte("hello"))

	f, n, _, err := NextFrame(b, 4096)
	if err != nil || n != first || f.Type != FrameMethod || f.Channel != 7 {
		t.Fatalf("first frame: %+v, %d, %v", f, n, err)
	}
	b = b[n:]
	f, n, _, err = NextFrame(b, 4096)
	if err != nil || n != 8 || f.Type != FrameHeartbeat || len(f.Payload) != 0 {
		t.Fatalf("heartbeat: %+v, %d, %v", f, n, err)
	}
	b = b[n:]
	f, n, _, err = NextFrame(b, 4096)
	if err != nil || n != len(b) || f.Type != FrameBody || string(f.Payload) != "hello" {
		t.Fatalf("body: %+v, %d, %v", f, n, err)
	}
}

func TestEveryPrefixNeedsMore(t *testing.T) {
	frames := [][]byte{
		AppendHeartbeat(nil),
		AppendFrame(nil, FrameBody, 1, nil),
		AppendFrame(nil, FrameBody, 1, make([]byte, 300)),
		AppendHeader(nil, 1, 5, []byte{0, 0}),
	}
	for _, id := range MethodIDs() {
		frames = append(frames, AppendMethod(nil, 1, filled(id)))
	}
	for _, b := range frames {
		for i := range b {
			_, n, need, err := NextFrame(b[:i], 131072)
			if n != 0 || err != nil {
				t.Fatalf("%d of %d bytes: n %d, err %v", i, len(b), n, err)
			}
			if need <= i || need > len(b) {
				t.Fatalf("%d of %d bytes: need %d", i, len(b), need)
			}
			if i >= frameHead && need != len(b) {
				t.Fatalf("head is there, need %d, want %d", need, len(b))
			}
		}
		if _, n, need, err := NextFrame(b, 131072); n != len(b) || need != 0 || err != nil {
			t.Fatalf("whole frame: n %d, need %d, err %v", n, need, err)
		}
	}
}

// Covers AMQP-9, AMQP-11 and the frame faults of AMQP-12.
func TestFrameFaults(t *testing.T) {
	tests := []struct {
		name string
		b    []byte
		want uint16
	}{
		{"AMQP-12 type 0", []byte{0}, FrameError},
		{"AMQP-12 type 4, found in the first byte", []byte{4}, FrameError},
		{"AMQP-12 protocol header where a frame belongs", []byte("AMQP"), FrameError},
		{"AMQP-12 end octet", []byte{1, 0, 1, 0, 0, 0, 0, 0xCD}, FrameError},
		{"AMQP-9 too large, found before the payload is there", []byte{3, 0, 1, 0, 0, 0x10, 1}, FrameError},
		{"AMQP-9 four gigabytes", []byte{3, 0, 1, 255, 255, 255, 255}, FrameError},
		{"AMQP-11 heartbeat on a channel", []byte{8, 0, 1, 0, 0, 0, 0}, UnexpectedFrame},
		{"heartbeat with a payload", []byte{8, 0, 0, 0, 0, 0, 1}, FrameError},
	}
	for _, tt := range tests {
		f, n, _, err := NextFrame(tt.b, 4096)
		if n != 0 || codeOf(err) != tt.want {
			t.Errorf("%s: %+v, n %d, %v; want %d", tt.name, f, n, err, tt.want)
		}
	}
}

func TestFrameMaxLimits(t *testing.T) {
	for _, size := range []int{4096 - 8, 4096} {
		if _, n, _, err := NextFrame(AppendFrame(nil, FrameBody, 1, make([]byte, size)), 4096); n == 0 || err != nil {
			t.Errorf("payload of %d: n %d, %v", size, n, err)
		}
	}
	if _, _, _, err := NextFrame(AppendFrame(nil, FrameBody, 1, make([]byte, 4097)), 4096); err == nil {
		t.Error("payload of frame_max+1 was taken")
	}
	if _, n, _, err := NextFrame(AppendFrame(nil, FrameBody, 1, make([]byte, 1<<20)), 0); n == 0 || err != nil {
		t.Errorf("no limit negotiated: n %d, %v", n, err)
	}
	if _, _, _, err := NextFrame([]byte{3, 0, 1, 0x7f, 0, 0, 0}, 0); err == nil {
		t.Error("a frame of 2 GB was taken")
	}
}

// Covers the recognition that AMQP-2 and AMQP-1 build on.
func TestParsePreamble(t *testing.T) {
	tests := []struct {
		in   string
		want Preamble
		n    int
	}{
		{"", PreambleIncomplete, 0},
		{"AMQ", PreambleIncomplete, 0},
		{"AMQP\x00\x00\x09", PreambleIncomplete, 0},
		{ProtocolHeader, Preamble091, 8},
		{ProtocolHeader + "\x01", Preamble091, 8},
		{"AMQP\x01\x01\x00\x09", Preamble091, 8},
		{"AMQP\x01\x01\x08\x00", PreambleOther, 8},
		{"AMQP\x01\x01\x09\x01", PreambleOther, 8},
		{"AMQP\x00\x00\x0a\x00", PreambleOther, 8},
		{"AMQP\x00\x01\x00\x00", Preamble10, 8},
		{"AMQP\x03\x01\x00\x00", Preamble10, 8},
		{"AMQP\x02\x01\x00\x00", Preamble10, 8},
		{"GET / HTTP/1.1\r\n", PreambleHTTP, 0},
		{"POST", PreambleHTTP, 0},
		{"\x16", PreambleTLS, 0},
		{"\x16\x03\x01\x02\x00", PreambleTLS, 0},
		{"SSH-2.0", PreambleUnknown, 0},
		{"AMQX\x00\x00\x09\x01", PreambleUnknown, 0},
	}
	for _, tt := range tests {
		if got, n := ParsePreamble([]byte(tt.in)); got != tt.want || n != tt.n {
			t.Errorf("%q: %v, %d; want %v, %d", tt.in, got, n, tt.want, tt.n)
		}
	}
	for p := range PreambleUnknown + 1 {
		answers := p == Preamble10 || p == PreambleOther || p == PreambleUnknown || p == PreambleHTTP
		if got := p.Refusal() != ""; got != answers {
			t.Errorf("%v: has refusal %t", p, got)
		}
		if p.String() == "" {
			t.Errorf("preamble %d has no name", p)
		}
	}
	if head, body, _ := bytes.Cut([]byte(PreambleHTTP.Refusal()), []byte("\r\n\r\n")); !bytes.Contains(head, []byte("Content-Length: 25")) || len(body) != 25 {
		t.Errorf("HTTP refusal: %d bytes of body", len(body))
	}
}
