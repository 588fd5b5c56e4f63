package amqp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

func TestExpirationTexts(t *testing.T) {
	for in, want := range map[string]string{
		"0":                       "",
		"60000":                   "",
		"+5":                      "",
		"315360000000":            "",
		"abc":                     "no_integer",
		"":                        "no_integer",
		"-":                       "no_integer",
		" 1":                      "no_integer",
		"-1":                      "{value_negative,-1}",
		"315360000001":            "{value_too_large,315360000001}",
		"99999999999999999999999": "{value_too_large,99999999999999999999999}",
		"10s":                     `{leftover_string,"s"}`,
		"1.5":                     `{leftover_string,".5"}`,
	} {
		got := ""
		if _, err := parseExpiration([]byte(in)); err != nil {
			got = strings.TrimPrefix(err.Error(), "PRECONDITION_FAILED - invalid expiration '"+in+"': ")
		}
		if got != want {
			t.Errorf("expiration %q: %q, want %q", in, got, want)
		}
	}
}

func readTraits(t *testing.T, p wire.Properties, user string) (traits, error) {
	t.Helper()
	var raw wire.RawProperties
	if err := raw.Decode(p.Append(nil)); err != nil {
		t.Fatal(err)
	}
	var tr traits
	err := tr.read(&raw, &broker.User{Name: user})
	return tr, err
}

func TestTraitsOfHeaders(t *testing.T) {
	tr, err := readTraits(t, wire.Properties{
		DeliveryMode: 2, Priority: 7, Expiration: "50", ReplyTo: "amq.rabbitmq.reply-to",
		Headers: wire.Table{
			{Name: "CC", Value: wire.Array{"a", int32(1), "b"}},
			{Name: "BCC", Value: wire.Array{"c"}},
			{Name: "x-delay", Value: int32(1500)},
			{Name: "x-deduplication-id", Value: "d1"},
			{Name: "JMSXGroupID", Value: "g1"},
			{Name: "x-stream-filter-value", Value: "eu"},
		},
	}, "guest")
	if err != nil {
		t.Fatal(err)
	}
	if !tr.persistent || tr.priority != 7 || tr.ttl != 50 || !tr.replyTo {
		t.Errorf("traits %+v", tr)
	}
	n := tr.notes(1000, "")
	if strings.Join(tr.keys, ",") != "a,b,c" || strings.Join(n.KeepKeys, ",") != "a,b" || strings.Join(n.DropHeaders, ",") != "BCC" {
		t.Errorf("keys %v, notes %+v", tr.keys, n)
	}
	if n.DeliverAt != 2500 || n.DedupID != "d1" || n.GroupID != "g1" || n.StreamFilter != "eu" {
		t.Errorf("notes %+v", n)
	}
}

func TestPlainMessagesHaveNoNotes(t *testing.T) {
	tr, err := readTraits(t, wire.Properties{Headers: wire.Table{{Name: "k", Value: int32(1)}}, ContentType: "x"}, "guest")
	if err != nil || tr.notes(1, "") != nil || tr.ttl != broker.NoTTL {
		t.Errorf("traits %+v, %v", tr, err)
	}
}

func TestTraitsRefused(t *testing.T) { // AMQP-40, AMQP-66
	for want, p := range map[string]wire.Properties{
		"user_id property set to 'a' but authenticated user was 'guest'": {UserID: "a"},
		`invalid message: {unacceptable_type_in_header,"CC",longstr}`:    {Headers: wire.Table{{Name: "CC", Value: "a"}}},
		`invalid message: {unacceptable_type_in_header,"BCC",signedint}`: {Headers: wire.Table{{Name: "BCC", Value: int32(1)}}},
	} {
		_, err := readTraits(t, p, "guest")
		if err == nil || err.Error() != "PRECONDITION_FAILED - "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestAssemblyInPieces(t *testing.T) { // AMQP-64
	for _, size := range []int{1, 63, 64, 65, 1000, 5000, 100_000, 3 << 20} {
		for _, piece := range []int{1, 7, 4096, 1 << 20} {
			if size/piece > 20000 {
				continue
			}
			body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			p := pendingPublish{size: size, key: []byte("key"), native: []byte{0, 0}}
			for off := 0; off < size; {
				if _, err := p.append(nil); err != nil {
					t.Fatal(err)
				}
				end := min(off+piece, size)
				done, err := p.append(body[off:end])
				if err != nil || done != (end == size) {
					t.Fatalf("size %d piece %d at %d: %v %v", size, piece, end, done, err)
				}
				if len(p.buf) > 4*(end+firstRoom) {
					t.Fatalf("%d bytes of buffer after %d of %d", len(p.buf), end, size)
				}
				off = end
			}
			if m := p.message; !bytes.Equal(m.Body, body) || m.RoutingKey != "key" || !bytes.Equal(m.Native, []byte{0, 0}) {
				t.Errorf("size %d in pieces of %d came out wrong", size, piece)
			}
			if _, err := p.append([]byte{1}); err == nil {
				t.Error("a byte too much was taken")
			}
		}
	}
}

func TestAnnouncedBodyCostsNothing(t *testing.T) {
	p := pendingPublish{size: 16 << 20, key: []byte("k"), native: []byte{0, 0}}
	if _, err := p.append([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if len(p.buf) > 64 {
		t.Errorf("%d bytes taken for one that arrived", len(p.buf))
	}
}

func TestMessagesAreOneOrTwoAllocations(t *testing.T) {
	body := make([]byte, 200)
	p := pendingPublish{key: []byte("key"), native: []byte{0, 0}}
	if n := testing.AllocsPerRun(100, func() {
		p.size = len(body)
		if done, err := p.append(body); !done || err != nil {
			t.Fatal(err)
		}
		p.release()
	}); n > 1 {
		t.Errorf("%v allocations for a small message", n)
	}
}

func patched(t *testing.T, m *broker.Message) wire.Properties {
	t.Helper()
	var p patch
	p.note(m)
	props, err := wire.ParseProperties(p.apply(m.Native))
	if err != nil {
		t.Fatal(err)
	}
	return props
}

func TestDeathHeaders(t *testing.T) { // AMQP-72
	native := wire.Properties{Expiration: "100", Headers: wire.Table{
		{Name: "mine", Value: int32(1)}, {Name: "x-death", Value: "forged"}, {Name: "BCC", Value: wire.Array{"s"}},
	}}
	d := broker.Death{Queue: "q", Exchange: "x", Reason: broker.DeathExpired, Count: 2, Time: 5000, RoutingKeys: []string{"a", "b"}, OriginalExpiration: 100}
	got := patched(t, &broker.Message{Native: native.Append(nil), Notes: &broker.Notes{
		Deaths: []broker.Death{d}, FirstDeath: &d, LastDeath: &d, StripTTL: true, DropHeaders: []string{"BCC"}, ReplyTo: "somewhere",
	}})
	if got.Expiration != "" || got.Flags&wire.PropExpiration != 0 || got.ReplyTo != "somewhere" {
		t.Errorf("properties %+v", got)
	}
	if _, ok := got.Headers.Get("BCC"); ok {
		t.Error("BCC was sent")
	}
	if v, _ := got.Headers.Get("mine"); v != int32(1) {
		t.Errorf("own header is %v", v)
	}
	list, _ := got.Headers.Get("x-death")
	entry, ok := list.(wire.Array)[0].(wire.Table)
	if !ok {
		t.Fatalf("x-death is %v", list)
	}
	for name, want := range map[string]any{"count": int64(2), "reason": "expired", "queue": "q", "exchange": "x", "time": wire.Timestamp(5), "original-expiration": "100"} {
		if v, _ := entry.Get(name); v != want {
			t.Errorf("%s = %v, want %v", name, v, want)
		}
	}
	for _, name := range []string{"x-first-death-queue", "x-last-death-queue"} {
		if v, _ := got.Headers.Get(name); v != "q" {
			t.Errorf("%s = %v", name, v)
		}
	}
}

func TestTablesKeepTheirTypes(t *testing.T) { // AMQP-65
	in := wire.Table{
		{Name: "t", Value: true}, {Name: "b", Value: int8(-1)}, {Name: "B", Value: uint8(1)}, {Name: "s", Value: int16(-2)},
		{Name: "u", Value: uint16(2)}, {Name: "I", Value: int32(-3)}, {Name: "i", Value: uint32(3)}, {Name: "l", Value: int64(-4)},
		{Name: "f", Value: float32(1.5)}, {Name: "d", Value: 2.5}, {Name: "D", Value: wire.Decimal{Scale: 2, Value: 314}},
		{Name: "S", Value: "text"}, {Name: "x", Value: []byte{1, 2}}, {Name: "T", Value: wire.Timestamp(9)},
		{Name: "A", Value: wire.Array{"a", int32(1)}}, {Name: "F", Value: wire.Table{{Name: "n", Value: nil}}}, {Name: "V", Value: nil},
	}
	want := wire.AppendTable(nil, in)
	if got := wire.AppendTable(nil, tableOut(tableIn(in))); !bytes.Equal(got, want) {
		t.Errorf("came back as %x, went in as %x", got, want)
	}
}
