package wire

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestTableRoundTrip(t *testing.T) {
	b := AppendTable(nil, everyValue)
	got, err := RawTable(b[4:]).Decode()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, everyValue) {
		t.Errorf("got  %+v\nwant %+v", got, everyValue)
	}
	if again := AppendTable(nil, got); string(again) != string(b) {
		t.Errorf("appended again: %x, first %x", again, b)
	}
}

func TestFloatBitsSurvive(t *testing.T) {
	in := Table{{"f", math.Float32frombits(0x7fa00001)}, {"d", math.Float64frombits(0x7ff4000000000001)}}
	b := AppendTable(nil, in)
	got, err := RawTable(b[4:]).Decode()
	if err != nil {
		t.Fatal(err)
	}
	if again := AppendTable(nil, got); string(again) != string(b) {
		t.Errorf("signalling NaN changed: %x, was %x", again, b)
	}
}

func TestTableNesting(t *testing.T) {
	nest := func(levels int, array bool) Table {
		inner := Table{{"leaf", nil}}
		for range levels - 1 {
			if array {
				inner = Table{{"a", Array{inner}}}
				continue
			}
			inner = Table{{"t", inner}}
		}
		return inner
	}
	tests := []struct {
		name string
		t    Table
		ok   bool
	}{
		{"32 tables", nest(MaxNesting, false), true},
		{"33 tables", nest(MaxNesting+1, false), false},
		{"arrays count too", nest(MaxNesting/2, true), true},
		{"arrays count too, one over", nest(MaxNesting/2+2, true), false},
	}
	for _, tt := range tests {
		body := AppendTable(nil, tt.t)[4:]
		_, err := RawTable(body).Decode()
		if (err == nil) != tt.ok {
			t.Errorf("%s: decode: %v", tt.name, err)
		}
		if err != nil && codeOf(err) != SyntaxError {
			t.Errorf("%s: %v, want code %d", tt.name, err, SyntaxError)
		}
		if err := checkTable(body, 1); (err == nil) != tt.ok {
			t.Errorf("%s: check: %v", tt.name, err)
		}
	}
}

// A hostile table of 100,000 levels must not exhaust the stack.
func TestTableNestingIsBounded(t *testing.T) {
	body := strings.Repeat("\x00F\xff\xff\xff\xff", 100000)
	if _, err := RawTable(body).Decode(); err == nil {
		t.Error("accepted")
	}
	var deep []byte
	for range 2000 {
		deep = append(appendLong([]byte{0, 'F'}, uint32(len(deep))), deep...)
	}
	if err := checkTable(deep, 1); err == nil || err.Code != SyntaxError {
		t.Errorf("2000 levels: %v", err)
	}
}

func TestRawLookup(t *testing.T) {
	raw := RawTable(AppendTable(nil, Table{
		{"CC", Array{"a", "b"}}, {"n", int32(5)}, {"n", int32(6)}, {"s", "text"},
	})[4:])
	v, ok := raw.Lookup("s")
	if !ok || v.Tag != 'S' || string(v.Data) != "text" {
		t.Errorf("s: %c %q %t", v.Tag, v.Data, ok)
	}
	v, _ = raw.Lookup("n")
	if n, err := v.Decode(); n != int32(5) || err != nil {
		t.Errorf("n: %v %v, want the first", n, err)
	}
	if _, ok := raw.Lookup("missing"); ok {
		t.Error("found what is not there")
	}
	v, _ = raw.Lookup("CC")
	var keys []string
	for a := RawArray(v.Data); ; {
		e, rest, ok := a.Next()
		if !ok {
			break
		}
		keys = append(keys, string(e.Data))
		a = rest
	}
	if strings.Join(keys, ",") != "a,b" {
		t.Errorf("CC: %v", keys)
	}
	if v, ok := everyValue.Get("u"); !ok || v != uint16(65000) {
		t.Errorf("Get: %v %t", v, ok)
	}
}

func TestUnknownValueTypePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a map was taken for a field value")
		}
	}()
	AppendTable(nil, Table{{"m", map[string]int{}}})
}
