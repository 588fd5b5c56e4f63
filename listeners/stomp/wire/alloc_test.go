package wire

import (
	"bytes"
	"testing"
)

func sendFrame(size int) []byte {
	b := AppendCommand(nil, "SEND")
	b = AppendHeader(b, V12, "destination", "/queue/orders")
	b = AppendHeader(b, V12, "content-type", "text/plain")
	b = AppendHeader(b, V12, "persistent", "true")
	b = AppendHeader(b, V12, "x-key", "a:b")
	b = AppendNumber(b, "content-length", int64(size))
	return AppendBody(b, bytes.Repeat([]byte("x"), size))
}

func messageFrame(dst, native, body []byte, v Version) []byte {
	dst = AppendCommand(dst, "MESSAGE")
	dst = AppendHeader(dst, v, "subscription", "sub-1")
	dst = AppendHeader(dst, v, "destination", "/queue/orders")
	dst = AppendHeader(dst, v, "message-id", "T_sub-1@@session-abc@@1")
	dst = AppendPlainHeader(dst, "redelivered", "false")
	for {
		name, value, rest, ok := NextLine(native)
		if !ok {
			break
		}
		native = rest
		dst = AppendLineFor(dst, v, name, value)
	}
	dst = AppendNumber(dst, "content-length", int64(len(body)))
	return AppendBody(dst, body)
}

// TestNoAllocations covers STOMP-42.
func TestNoAllocations(t *testing.T) {
	for _, size := range []int{16, 1024} {
		in := sendFrame(size)
		scratch := make([]byte, len(in))
		p := Parser{Limits: wide}
		if n := testing.AllocsPerRun(200, func() {
			copy(scratch, in)
			f, _, _, err := p.Next(scratch)
			if err != nil || f == nil || f.Decode(V12, false) != nil || len(f.Body) != size {
				t.Fatal("not parsed")
			}
			p.Next(scratch[:1])
			p = Parser{Limits: wide, spans: p.spans, frame: p.frame}
		}); n != 0 {
			t.Errorf("parsing SEND of %d: %v allocations", size, n)
		}
		native := AppendLine(AppendLine(nil, "x-key", "a:b"), "persistent", "true")
		body := bytes.Repeat([]byte("x"), size)
		out := make([]byte, 0, 4096)
		for _, v := range []Version{V10, V11, V12} {
			if n := testing.AllocsPerRun(200, func() { out = messageFrame(out[:0], native, body, v) }); n != 0 {
				t.Errorf("writing MESSAGE of %d in %s: %v allocations", size, v, n)
			}
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for name, size := range map[string]int{"16B": 16, "1KB": 1024} {
		b.Run(name, func(b *testing.B) {
			in := sendFrame(size)
			p := Parser{Limits: wide}
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if f, _, _, err := p.Next(in); err != nil || f.Decode(V12, false) != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, size := range map[string]int{"16B": 16, "1KB": 1024} {
		b.Run(name, func(b *testing.B) {
			native := AppendLine(AppendLine(nil, "x-key", "a:b"), "persistent", "true")
			body := bytes.Repeat([]byte("x"), size)
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				out = messageFrame(out[:0], native, body, V12)
			}
		})
	}
}
