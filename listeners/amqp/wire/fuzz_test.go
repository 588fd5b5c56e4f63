package wire

import (
	"bytes"
	"testing"
)

func FuzzFrame(f *testing.F) {
	f.Add(AppendHeartbeat(nil), uint32(4096))
	f.Add(AppendAck(nil, 1, 2, true), uint32(0))
	f.Add([]byte(ProtocolHeader), uint32(131072))
	f.Fuzz(func(t *testing.T, b []byte, max uint32) {
		ParsePreamble(b)
		frame, n, need, err := NextFrame(b, max)
		switch {
		case err != nil:
			if n != 0 || codeOf(err) == 0 {
				t.Fatalf("n %d with error %v", n, err)
			}
		case n == 0:
			if need <= len(b) {
				t.Fatalf("need %d of %d", need, len(b))
			}
		default:
			if again := AppendFrame(nil, frame.Type, frame.Channel, frame.Payload); !bytes.Equal(again, b[:n]) {
				t.Fatalf("appended %x, parsed %x", again, b[:n])
			}
			for i := range min(n, 64) {
				if _, n, _, err := NextFrame(b[:i], max); n != 0 || err != nil {
					t.Fatalf("prefix of %d: n %d, %v", i, n, err)
				}
			}
		}
	})
}

func FuzzMethod(f *testing.F) {
	for _, v := range readVectors(f, "methods.hex") {
		f.Add(v.bytes)
	}
	for _, id := range MethodIDs() {
		f.Add(filled(id).Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMethod(b)
		if id, _ := MethodIDOf(b); id == IDBasicPublish {
			var v PublishView
			if viewErr := v.Decode(b); (viewErr == nil) != (err == nil) {
				t.Fatalf("view: %v, method: %v", viewErr, err)
			}
		}
		if err != nil {
			if codeOf(err) == 0 {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		canonical := m.Append(nil)
		again, err := DecodeMethod(canonical)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if !bytes.Equal(again.Append(nil), canonical) {
			t.Fatalf("%+v is not stable", m)
		}
	})
}

func FuzzTable(f *testing.F) {
	for _, v := range readVectors(f, "tables.hex") {
		f.Add(v.bytes)
	}
	f.Add(AppendTable(nil, everyValue)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := RawTable(b).Decode()
		if check := checkTable(b, 1); (check == nil) != (err == nil) {
			t.Fatalf("check says %v, decode says %v", check, err)
		}
		RawTable(b).Lookup("x")
		if err != nil {
			return
		}
		canonical := AppendTable(nil, table)
		again, err := RawTable(canonical[4:]).Decode()
		if err != nil {
			t.Fatal(err)
		}
		if len(canonical)-4 != len(b) || !bytes.Equal(AppendTable(nil, again), canonical) {
			t.Fatalf("%x became %x", b, canonical)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, v := range readVectors(f, "headers.hex") {
		f.Add(v.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			if codeOf(err) == 0 {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		frame := AppendHeader(nil, 1, h.BodySize, h.Raw)
		if !bytes.Equal(frame[frameHead:len(frame)-1], b) {
			t.Fatalf("%x became %x", b, frame)
		}
		p, err := ParseProperties(h.Raw)
		if err != nil {
			t.Fatalf("accepted, then: %v", err)
		}
		canonical := p.Append(nil)
		again, err := ParseProperties(canonical)
		if err != nil || !bytes.Equal(again.Append(nil), canonical) {
			t.Fatalf("%+v is not stable: %v", p, err)
		}
	})
}

func FuzzPatchHeaders(f *testing.F) {
	f.Add([]byte{0, 0}, "a", "b")
	f.Add(listWith(exotic), "u", "l")
	f.Add(everyProperty.Append(nil), "S", "x")
	f.Fuzz(func(t *testing.T, raw []byte, set, remove string) {
		set, remove = Truncate(set), Truncate(remove)
		out, err := PatchHeaders(raw, []Field{{set, int64(1)}}, []string{remove})
		if err != nil {
			return
		}
		var before, after RawProperties
		if err := before.Decode(raw); err != nil {
			t.Fatal(err)
		}
		if err := after.Decode(out); err != nil {
			t.Fatalf("%x became %x: %v", raw, out, err)
		}
		if v, ok := after.Headers().Lookup(set); !ok || v.Tag != 'l' {
			t.Fatalf("%q is not set", set)
		}
		if _, ok := after.Headers().Lookup(remove); ok && set != remove {
			t.Fatalf("%q is still there", remove)
		}
		for i := range propertyCount {
			p := Property(1) << (15 - i)
			if p != PropHeaders && !bytes.Equal(before.encoded(p), after.encoded(p)) {
				t.Fatalf("property %d changed", i)
			}
		}
		cleared, err := ClearProperty(out, PropExpiration)
		if err != nil {
			t.Fatal(err)
		}
		if err := after.Decode(cleared); err != nil || after.Has(PropExpiration) {
			t.Fatalf("cleared: %v", err)
		}
	})
}

// FuzzWholePublish holds Cut against the way frame by frame.
func FuzzWholePublish(f *testing.F) {
	props := Properties{DeliveryMode: 2, Headers: Table{{Name: "CC", Value: Array{"a"}}}}
	f.Add(AppendPublish(nil, 1, "x", "key", true, props.Append(nil), []byte("body"), 4096))
	f.Add(AppendPublish(nil, 1, "", "", false, []byte{0, 0}, nil, 4096))
	f.Add(AppendPublish(nil, 2, "x", "key", true, []byte{0, 0}, make([]byte, 9000), 4096))
	f.Fuzz(func(t *testing.T, b []byte) {
		var w WholePublish
		n := w.Cut(b, 1, 4096)
		if n == 0 {
			return
		}
		if again := AppendPublish(nil, 1, string(w.Publish.Exchange), string(w.Publish.RoutingKey), w.Publish.Mandatory,
			w.Header.Raw, w.Body, 4096+FrameOverhead); len(again) != n {
			t.Fatalf("took %d bytes, a publish of these parts has %d", n, len(again))
		}
		rest := b[:n]
		for _, typ := range []byte{FrameMethod, FrameHeader, FrameBody} {
			if typ == FrameBody && w.Header.BodySize == 0 {
				break
			}
			frame, k, _, err := NextFrame(rest, 4096)
			if err != nil || frame.Type != typ || frame.Channel != 1 {
				t.Fatalf("frame %v, %v where type %d should be", frame, err, typ)
			}
			rest = rest[k:]
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes too many", len(rest))
		}
		for i := range min(n, 64) {
			if w.Cut(b[:i], 1, 4096) != 0 {
				t.Fatalf("a publish in %d of its %d bytes", i, n)
			}
		}
	})
}
