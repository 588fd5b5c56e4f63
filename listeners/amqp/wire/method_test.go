package wire

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// everyValue has one value of each kind a table can hold.
var everyValue = Table{
	{"void", nil}, {"yes", true}, {"no", false}, {"b", int8(-8)}, {"B", uint8(200)},
	{"s", int16(-300)}, {"u", uint16(65000)}, {"I", int32(-70000)}, {"i", uint32(4e9)},
	{"l", int64(math.MinInt64)}, {"f", float32(1.25)}, {"d", 2.5}, {"D", Decimal{3, -12345}},
	{"S", "text \xff"}, {"x", []byte{0, 1, 255}}, {"T", Timestamp(1700000000)},
	{"A", Array{nil, int32(1), "two", Array{true}, Table{{"k", "v"}}}},
	{"F", Table{{"inner", Table{{"deep", nil}}}, {"inner", int64(2)}}},
	{"e", Array(nil)}, {"E", Table(nil)}, {"", "empty name"},
}

// filled returns a method with every field set to something that is not zero.
func filled(id MethodID) Method {
	m := NewMethod(id)
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(i%2 == 0)
		case reflect.String:
			f.SetString("text-" + v.Type().Field(i).Name)
		case reflect.Slice:
			f.Set(reflect.ValueOf(everyValue))
		default:
			f.SetUint(uint64(3 + i))
		}
	}
	return m
}

func TestMethodsRoundTrip(t *testing.T) {
	ids := MethodIDs()
	if len(ids) != 66 {
		t.Errorf("%d methods, want 66", len(ids))
	}
	for _, id := range ids {
		m := filled(id)
		payload := m.Append(nil)
		got, err := DecodeMethod(payload)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s:\n got %+v\nwant %+v", id, got, m)
		}
		if got.ID() != id || id.String() == "" || strings.ContainsAny(id.String(), "0123456789") {
			t.Errorf("id %s of method %T", id, got)
		}
		for n := range payload {
			if _, err := DecodeMethod(payload[:n]); err == nil {
				t.Errorf("%s: accepted %d of %d bytes", id, n, len(payload))
			}
		}
	}
}

func TestReservedArgumentsAreNotExported(t *testing.T) {
	for _, id := range MethodIDs() {
		v := reflect.TypeOf(NewMethod(id)).Elem()
		for i := range v.NumField() {
			if strings.HasPrefix(v.Field(i).Name, "Reserved") {
				t.Errorf("%s has a field %s", id, v.Field(i).Name)
			}
		}
	}
}

func TestHasContent(t *testing.T) {
	var with []string
	for _, id := range MethodIDs() {
		if id.HasContent() {
			with = append(with, id.String())
		}
	}
	want := "basic.publish basic.return basic.deliver basic.get-ok"
	if got := strings.Join(with, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestReplyCodes(t *testing.T) {
	tests := []struct {
		code uint16
		name string
		hard bool
	}{
		{NotFound, "NOT_FOUND", false},
		{PreconditionFailed, "PRECONDITION_FAILED", false},
		{NoRoute, "NO_ROUTE", false},
		{ConnectionForced, "CONNECTION_FORCED", true},
		{FrameError, "FRAME_ERROR", true},
		{NotImplemented, "NOT_IMPLEMENTED", true},
		{999, "UNKNOWN", false},
	}
	for _, tt := range tests {
		if got := ReplyName(tt.code); got != tt.name {
			t.Errorf("ReplyName(%d) = %s, want %s", tt.code, got, tt.name)
		}
		if got := IsHard(tt.code); got != tt.hard {
			t.Errorf("IsHard(%d) = %t", tt.code, got)
		}
	}
	err := &Error{NotFound, "no queue 'q' in vhost '/'"}
	if got, want := err.Error(), "NOT_FOUND - no queue 'q' in vhost '/'"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestShortstrIsCutAtACharacter(t *testing.T) {
	tests := []struct{ in, want string }{
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{strings.Repeat("a", 256), strings.Repeat("a", 255)},
		{strings.Repeat("a", 254) + "é", strings.Repeat("a", 254)},
		{strings.Repeat("a", 252) + "😀", strings.Repeat("a", 252)},
		{strings.Repeat("a", 253) + "é!", strings.Repeat("a", 253) + "é"},
	}
	for _, tt := range tests {
		m := &ConnectionClose{ReplyCode: InternalError, ReplyText: tt.in}
		var got ConnectionClose
		if err := got.Decode(m.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if got.ReplyText != tt.want {
			t.Errorf("%d bytes became %d, want %d", len(tt.in), len(got.ReplyText), len(tt.want))
		}
	}
}

// AMQP strings that never were UTF-8 must still be cut to size.
func TestTruncateWithoutCharacters(t *testing.T) {
	if got := Truncate(strings.Repeat("\x80", 300)); len(got) > MaxShortstr || len(got) < MaxShortstr-4 {
		t.Errorf("cut to %d bytes", len(got))
	}
}

func TestGeneratedCodeIsUpToDate(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go tool")
	}
	out := filepath.Join(t.TempDir(), "method_gen.go")
	if msg, err := exec.Command(goTool, "run", "gen.go", "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, msg)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("method_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("method_gen.go differs from what gen.go writes; run go generate")
	}
}
