package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestUTF(t *testing.T) {
	for _, c := range []struct{ name, text, encoded string }{
		{"nothing", "", ""},
		{"ASCII", "abc", "abc"},
		{"basic plane", "h\u00e9 \u20ac", "h\u00e9 \u20ac"},
		{"NUL", "a\x00b", "a\xc0\x80b"},
		{"beyond the basic plane", "\U0001F600", "\xed\xa0\xbd\xed\xb8\x80"},
		{"last character", "\U0010FFFF", "\xed\xaf\xbf\xed\xbf\xbf"},
		{"lone high surrogate", "x\xed\xa0\xbdy", "x\xed\xa0\xbdy"},
		{"lone low surrogate", "\xed\xb8\x80", "\xed\xb8\x80"},
		{"two high surrogates", "\xed\xa0\xbd\xed\xa0\xbd", "\xed\xa0\xbd\xed\xa0\xbd"},
	} {
		if got := AppendUTF(nil, c.text); string(got) != c.encoded {
			t.Errorf("%s: encoded to %x, want %x", c.name, got, c.encoded)
		}
		if got, err := DecodeUTF([]byte(c.encoded)); err != nil || got != c.text {
			t.Errorf("%s: decoded to %q, error %v", c.name, got, err)
		}
	}
	for _, c := range []struct{ name, encoded, text string }{
		{"NUL as it is", "a\x00b", "a\x00b"},
		{"four bytes", "\xf0\x9f\x98\x80\x00", "\U0001F600\x00"},
	} {
		if got, err := DecodeUTF([]byte(c.encoded)); err != nil || got != c.text {
			t.Errorf("%s: decoded to %q, error %v", c.name, got, err)
		}
	}
	for _, bad := range []string{"\xff", "\x80", "\xc3", "\xc0\x81", "\xe2\x82", "\xf8\x88\x80\x80\x80", "\xc0"} {
		if got, err := DecodeUTF([]byte(bad)); err != ErrUTF {
			t.Errorf("%x: decoded to %q, error %v", bad, got, err)
		}
	}
	if got := AppendUTF(nil, "a\xffb"); string(got) != "a\uFFFDb" {
		t.Errorf("invalid UTF-8 became %x", got)
	}
}

func TestLongStringsAreCutBetweenCharacters(t *testing.T) {
	for _, c := range []struct {
		text string
		want int
	}{
		{strings.Repeat("x", 70000), 65535},
		{strings.Repeat("\u20ac", 30000), 65535},
		{"x" + strings.Repeat("\u20ac", 30000), 65533},
		{strings.Repeat("\U0001F600", 20000), 65532},
		{"xyz" + strings.Repeat("\U0001F600", 20000), 65535},
	} {
		f := Format{Version: 12}
		d := Decoder{Format: f}
		s, _, err := d.Decode(Append(nil, f, &ControlCommand{Command: c.text}))
		if err != nil {
			t.Fatal(err)
		}
		got := s.(*ControlCommand).Command
		if n := len(AppendUTF(nil, got)); n != c.want || !strings.HasPrefix(c.text, got) {
			t.Errorf("%d bytes of %.8q, want %d", n, c.text, c.want)
		}
	}
}

func TestPrimitives(t *testing.T) {
	m := Map{
		{"null", nil}, {"bool", true}, {"byte", int8(-3)}, {"char", Char(0x20ac)}, {"short", int16(-300)}, {"int", int32(-70000)}, {"long", int64(-1) << 40},
		{"double", 1.25}, {"float", float32(-0.5)}, {"string", "\U0001F600\x00"}, {"bytes", []byte{0, 1}}, {"map", Map{{"inner", "v"}}},
		{"list", List{int32(1), nil, List{"x"}}}, {"big", strings.Repeat("y", 9000)}, {"n\U0001F600", ""},
	}
	b := AppendMap(nil, m)
	got, err := ParseMap(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%v, error %v", got, err)
	}
	for _, e := range m {
		if v, ok, err := Property(b, e.Name); err != nil || !ok || !reflect.DeepEqual(v, e.Value) {
			t.Errorf("%s = %v, %v, %v", e.Name, v, ok, err)
		}
	}
	if v, ok, err := Property(b, "absent"); v != nil || ok || err != nil {
		t.Errorf("absent = %v, %v, %v", v, ok, err)
	}
	if _, ok, err := Property(nil, "absent"); ok || err != nil {
		t.Errorf("null map: %v, %v", ok, err)
	}
	for n := range b {
		if _, err := ParseMap(b[:n:n]); n > 0 && err == nil {
			t.Errorf("%d of %d bytes are a map", n, len(b))
		}
	}
	// What the Java client reads in a map is standard UTF-8.
	if !bytes.Contains(b, []byte("\x09\x00\x05\U0001F600\x00")) {
		t.Error("strings in maps are not standard UTF-8")
	}
	var stream []byte
	want := List{"\U0001F600", int64(4), []byte{9}}
	for _, v := range want {
		stream = AppendPrimitive(stream, v)
	}
	if got, err := ParseStream(stream); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, error %v", got, err)
	}
	if !bytes.Contains(stream, []byte("\xed\xa0\xbd\xed\xb8\x80")) {
		t.Error("strings in streams are not modified UTF-8")
	}
	if got, err := ParseMap([]byte{0xff, 0xff, 0xff, 0xff}); got != nil || err != nil {
		t.Errorf("null map: %v, %v", got, err)
	}
}

// OW-3, OW-7: what two peers agree on.
func TestNegotiate(t *testing.T) {
	ours := Options{Version: 12, MaxFrameSize: 1000, TCPNoDelay: true, MaxInactivity: 30000, MaxInactivityInitialDelay: 10000, ProviderName: "us"}
	stock := Options{Version: 12, MaxFrameSize: math.MaxInt64, StackTrace: true, Cache: true, CacheSize: 1024, TightEncoding: true, TCPNoDelay: true,
		MaxInactivity: 30000, MaxInactivityInitialDelay: 10000, Host: "localhost", ProviderName: "ActiveMQ", ProviderVersion: "5.18.7"}
	info := stock.Info()
	theirs, err := info.Options()
	if err != nil || theirs != stock {
		t.Fatalf("%+v, error %v", theirs, err)
	}
	got, err := Negotiate(ours, theirs)
	want := Options{Version: 12, MaxFrameSize: 1000, TCPNoDelay: true, MaxInactivity: 30000, MaxInactivityInitialDelay: 10000,
		Host: "localhost", ProviderName: "ActiveMQ", ProviderVersion: "5.18.7"}
	if err != nil || got != want {
		t.Errorf("%+v, error %v", got, err)
	}
	old, err := Negotiate(ours, Options{Version: 3})
	if err != nil || old.Version != 3 || old.MaxFrameSize != 1000 || old.MaxInactivity != 0 || old.TCPNoDelay {
		t.Errorf("%+v, error %v", old, err)
	}
	if newer, err := Negotiate(ours, Options{Version: 99}); err != nil || newer.Format().Version != 12 {
		t.Errorf("%+v, error %v", newer, err)
	}
	if _, err := Negotiate(Options{}, Options{Version: -1}); err != ErrVersion {
		t.Errorf("error %v", err)
	}
	if _, err := (&WireFormatInfo{Version: 12}).Options(); err != ErrMagic {
		t.Errorf("error %v", err)
	}
	if o, err := (&WireFormatInfo{Magic: magic, Version: 5}).Options(); err != nil || o.Version != 5 {
		t.Errorf("null properties: %+v, error %v", o, err)
	}
}

func frameOf(t Type, fields ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(fields)))
	return append(append(b, byte(t)), fields...)
}

// OW-6: what is no frame is refused for a reason, and before anything is
// allocated for it.
func TestHostileFrames(t *testing.T) {
	header := []byte{0, 0, 0, 1, 0}
	with := func(t Type, more ...byte) []byte { return frameOf(t, append(append([]byte{}, header...), more...)...) }
	deep := []byte{}
	for range 100 {
		deep = append(append(append(deep, header...), 0, 0, 0, 0), 1, byte(TypeDataResponse))
	}
	for _, c := range []struct {
		name  string
		input []byte
		want  error
	}{
		{"negative size", []byte{0xff, 0xff, 0xff, 0xff, 1}, ErrFrameSize},
		{"size of nothing", []byte{0, 0, 0, 0}, ErrFrameSize},
		{"size above the limit", []byte{0x7f, 0xff, 0xff, 0xff}, ErrFrameTooLarge},
		{"unknown type", frameOf(200), ErrUnknownType},
		{"record of a journal", frameOf(50), ErrUnknownType},
		{"string past the end", with(TypeControlCommand, 1, 0xff, 0xff, 'x'), ErrTruncated},
		{"bytes past the end", frameOf(TypePartialCommand, 0, 0, 0, 1, 1, 0x7f, 0xff, 0xff, 0xff), ErrTruncated},
		{"bytes of negative length", frameOf(TypePartialCommand, 0, 0, 0, 1, 1, 0x80, 0, 0, 0), ErrTruncated},
		{"array past the end", with(TypeDataArrayResponse, 0, 0, 0, 1, 1, 0x7f, 0xff), ErrTruncated},
		{"deep nesting", frameOf(TypeDataResponse, append(deep, make([]byte, 10)...)...), ErrDepth},
		{"a session where a connection belongs", with(TypeConnectionInfo, 1, byte(TypeSessionID), 0), ErrWrongType},
		{"a queue where a transaction belongs", with(TypeTransactionInfo, 0, 1, byte(TypeQueue), 0), ErrWrongType},
		{"an id where a destination belongs", with(TypeDestinationInfo, 0, 1, byte(TypeBrokerID), 0), ErrWrongType},
		{"a command where a message belongs", with(TypeMessageDispatch, 0, 0, 1, byte(TypeResponse)), ErrWrongType},
		{"boolean of 2", with(TypeControlCommand, 2), ErrBool},
		{"too short", with(TypeIntegerResponse), ErrTruncated},
		{"too long", with(TypeKeepAliveInfo, 0), ErrTrailing},
		{"no UTF-8", with(TypeControlCommand, 1, 0, 1, 0xff), ErrUTF},
		{"stack trace past the end", with(TypeExceptionResponse, 0, 0, 0, 1, 1, 0, 0, 0xff, 0xff), ErrTruncated},
	} {
		d := Decoder{Format: Format{Version: 12, StackTrace: true}, MaxFrameSize: 1 << 20}
		s, n, err := d.Decode(c.input)
		if err != c.want || s != nil || n != 0 {
			t.Errorf("%s: %v, %d, error %v; want error %v", c.name, s, n, err, c.want)
		}
		var e Error
		if !errors.As(err, &e) || !strings.HasPrefix(e.Error(), "openwire: ") {
			t.Errorf("%s: error %v", c.name, err)
		}
	}
}

func TestEndlessCauses(t *testing.T) {
	var first *Throwable
	for range maxCauses + 1 {
		first = &Throwable{ClassName: "C", Cause: first}
	}
	f := Format{Version: 12, StackTrace: true}
	d := Decoder{Format: f}
	if _, _, err := d.Decode(Append(nil, f, &ExceptionResponse{Exception: first})); err != ErrDepth {
		t.Errorf("%d causes: error %v", maxCauses+1, err)
	}
	if _, _, err := d.Decode(Append(nil, f, &ExceptionResponse{Exception: first.Cause})); err != nil {
		t.Errorf("%d causes: error %v", maxCauses, err)
	}
	if b := Append(nil, Format{Version: 12}, &ExceptionResponse{Exception: first}); len(b) > 40 {
		t.Errorf("%d bytes of causes that were not asked for", len(b))
	}
}

func TestNullFrame(t *testing.T) {
	var d Decoder
	if s, n, err := d.Decode([]byte{0, 0, 0, 1, 0, 9}); s != nil || n != 5 || err != nil {
		t.Errorf("%v, %d, error %v", s, n, err)
	}
}

func TestNamesAreBounded(t *testing.T) {
	d := Decoder{Format: Format{Version: 12}}
	for i := range 5000 {
		id := ProducerID{ConnectionID: strings.Repeat("x", 1+i%300) + string(rune('a'+i/300))}
		if _, _, err := d.Decode(Append(nil, d.Format, &ProducerAck{ProducerID: id})); err != nil {
			t.Fatal(err)
		}
		if len(d.names) > maxNames {
			t.Fatalf("%d names", len(d.names))
		}
	}
}

// What arrives and leaves once per message allocates nothing.
func TestHotPathDoesNotAllocate(t *testing.T) {
	f := Format{Version: 12}
	producer := ProducerID{ConnectionID: "ID:host-1-2-0:1", SessionID: 1, Value: 1}
	id := MessageID{ProducerID: producer, ProducerSequenceID: 5, BrokerSequenceID: 6}
	queue := Destination{Kind: TypeQueue, Name: "A.B"}
	consumer := ConsumerID{ConnectionID: "ID:host-1-2-0:1", SessionID: 1, Value: 1}
	message := &Message{Kind: TypeBytesMessage, ProducerID: producer, Destination: queue, MessageID: id, Content: make([]byte, 1024)}
	for _, s := range []Structure{
		&MessageAck{Destination: queue, ConsumerID: consumer, AckType: AckStandard, FirstMessageID: id, LastMessageID: id, MessageCount: 1},
		&ProducerAck{ProducerID: producer, Size: 1024},
		message,
		&MessageDispatch{ConsumerID: consumer, Destination: queue, Message: message},
	} {
		d := Decoder{Format: f}
		b := Append(nil, f, s)
		if n := testing.AllocsPerRun(100, func() {
			if _, _, err := d.Decode(b); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("decoding a %v: %v allocations", s.Type(), n)
		}
		if n := testing.AllocsPerRun(100, func() { b = Append(b[:0], f, s) }); n > 1 {
			t.Errorf("encoding a %v: %v allocations", s.Type(), n)
		}
	}
}

// FuzzDecode: whatever decodes is encoded to something that decodes to the
// same, byte by byte, and a prefix of a frame is never an error.
func FuzzDecode(f *testing.F) {
	for i, r := range append(load(f, "golden.jsonl.gz"), load(f, "captures.jsonl.gz")...) {
		if i%7 == 0 {
			f.Add(uint8(r.Version), r.Stack, r.bytes(f))
		}
	}
	f.Fuzz(func(t *testing.T, version uint8, stack bool, b []byte) {
		format := Format{Version: int32(version%MaxVersion) + 1, StackTrace: stack}
		d := Decoder{Format: format, MaxFrameSize: 1 << 20}
		s, n, err := d.Decode(b)
		if err != nil || s == nil {
			return
		}
		if s.Type() == TypeWireFormatInfo {
			format = InitialFormat
		}
		for i := range n {
			if _, m, err := d.Decode(b[:i]); m != 0 || err != nil {
				t.Fatalf("%d of %d bytes: n = %d, error %v", i, n, m, err)
			}
		}
		s, _, _ = d.Decode(b)
		once := Append(nil, format, s)
		again := Decoder{Format: format}
		s2, n2, err := again.Decode(once)
		if err != nil || n2 != len(once) {
			t.Fatalf("%x: encoded to %x: decoded %d bytes, error %v", b[:n], once, n2, err)
		}
		if twice := Append(nil, format, s2); !bytes.Equal(once, twice) {
			t.Fatalf("encoded to\n%x, then to\n%x", once, twice)
		}
	})
}

// FuzzPrimitives: maps and streams.
func FuzzPrimitives(f *testing.F) {
	f.Add(AppendMap(nil, Map{{"a", int32(1)}, {"b", List{"x", Map{}}}, {"c", []byte("y")}}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseStream(b)
		m, err := ParseMap(b)
		if err != nil {
			return
		}
		if len(m) > 0 {
			if _, ok, err := Property(b, m[0].Name); !ok || err != nil {
				t.Fatalf("property %q: %v, %v", m[0].Name, ok, err)
			}
		}
		once := AppendMap(nil, m)
		again, err := ParseMap(once)
		if err != nil {
			t.Fatalf("%x: encoded to %x: %v", b, once, err)
		}
		if twice := AppendMap(nil, again); !bytes.Equal(once, twice) {
			t.Fatalf("encoded to\n%x, then to\n%x", once, twice)
		}
	})
}

// FuzzUTF: decoding what was encoded gives the same.
func FuzzUTF(f *testing.F) {
	f.Add([]byte("a\xc0\x80\xed\xa0\xbd\xed\xb8\x80\xed\xa0\xbd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeUTF(b)
		if err != nil {
			return
		}
		encoded := AppendUTF(nil, s)
		if again, err := DecodeUTF(encoded); err != nil || again != s {
			t.Fatalf("%q: encoded to %x, decoded to %q, error %v", s, encoded, again, err)
		}
	})
}
