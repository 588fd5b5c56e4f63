package wire

import "testing"

// The paths every message takes must not allocate.
func TestHotPathsDoNotAllocate(t *testing.T) {
	props := Properties{DeliveryMode: 2, ContentType: "text/plain", Expiration: "1000", Headers: Table{{"CC", Array{"a"}}}}
	raw := props.Append(nil)
	body := make([]byte, 10000)
	publish := AppendPublish(nil, 1, "exchange", "routing.key", false, raw, body, 4096)
	ack := (&BasicAck{DeliveryTag: 5}).Append(nil)
	nack := (&BasicNack{DeliveryTag: 5}).Append(nil)
	reject := (&BasicReject{DeliveryTag: 5}).Append(nil)
	deliver := (&BasicDeliver{ConsumerTag: "c", RoutingKey: "k"}).Append(nil)
	buf := make([]byte, 0, 1<<16)
	patch := []Field{{"x-delivery-count", int64(3)}}

	tests := []struct {
		name string
		run  func() error
	}{
		{"publish in", func() error { return readPublish(publish) }},
		{"ack in", func() error { var m BasicAck; return m.Decode(ack) }},
		{"nack in", func() error { var m BasicNack; return m.Decode(nack) }},
		{"reject in", func() error { var m BasicReject; return m.Decode(reject) }},
		{"deliver in", func() error { var v DeliverView; return v.Decode(deliver) }},
		{"deliver out", func() error {
			buf = AppendDeliver(buf[:0], 1, "ctag", 9, false, "exchange", "routing.key", raw, body, 4096)
			return nil
		}},
		{"get-ok out", func() error {
			buf = AppendGetOk(buf[:0], 1, 9, false, "exchange", "routing.key", 7, raw, body, 4096)
			return nil
		}},
		{"return out", func() error {
			buf = AppendReturn(buf[:0], 1, NoRoute, "NO_ROUTE", "exchange", "routing.key", raw, body, 4096)
			return nil
		}},
		{"ack out", func() error { buf = AppendAck(buf[:0], 1, 9, true); return nil }},
		{"nack out", func() error { buf = AppendNack(buf[:0], 1, 9, true, true); return nil }},
		{"patched headers out", func() error {
			var err error
			buf, err = AppendPatchedHeaders(buf[:0], raw, patch, nil)
			return err
		}},
	}
	for _, tt := range tests {
		var err error
		if n := testing.AllocsPerRun(100, func() { err = tt.run() }); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, error %v", tt.name, n, err)
		}
	}
}

// readPublish reads method, header and body as a listener does.
func readPublish(b []byte) error {
	for len(b) > 0 {
		f, n, _, err := NextFrame(b, 4096)
		if err != nil {
			return err
		}
		b = b[n:]
		switch f.Type {
		case FrameMethod:
			var v PublishView
			err = v.Decode(f.Payload)
		case FrameHeader:
			var p RawProperties
			if _, err = DecodeHeader(f.Payload, &p); err == nil {
				_, _ = p.Headers().Lookup("CC")
				_ = p.Expiration()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkReadPublish(b *testing.B) {
	props := Properties{DeliveryMode: 2, ContentType: "text/plain"}
	in := AppendPublish(nil, 1, "exchange", "routing.key", false, props.Append(nil), make([]byte, 1024), 131072)
	b.ReportAllocs()
	for b.Loop() {
		if err := readPublish(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDeliver(b *testing.B) {
	props := Properties{DeliveryMode: 2, ContentType: "text/plain"}
	raw, body := props.Append(nil), make([]byte, 1024)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendDeliver(buf[:0], 1, "ctag", 9, false, "exchange", "routing.key", raw, body, 131072)
	}
}
