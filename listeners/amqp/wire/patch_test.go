package wire

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// exotic has entries that decoding and appending would not bring back as they
// were: types U and L, a boolean of 7.
const exotic = "\x01u\x55\x00\x01" + "\x01l\x4c\x00\x00\x00\x00\x00\x00\x00\x01" + "\x01t\x74\x07"

func listWith(table string) []byte {
	list := []byte{0xb0, 0, 1, 'c'} // content-type, headers, delivery-mode
	list = appendLong(list, uint32(len(table)))
	list = append(list, table...)
	return append(list, 2)
}

func TestPatchHeaders(t *testing.T) {
	const a, b, a2 = "\x01a\x74\x01", "\x01b\x56", "\x01a\x56"
	tests := []struct {
		name   string
		table  string
		set    []Field
		remove []string
		want   string
	}{
		{"nothing", exotic, nil, nil, exotic},
		{"append", exotic, []Field{{"n", nil}}, nil, exotic + "\x01n\x56"},
		{"replace in place", a + exotic + b, []Field{{"a", nil}}, nil, a2 + exotic + b},
		{"replace drops the others of the name", a + b + a2 + a, []Field{{"a", true}}, nil, a + b},
		{"remove all of a name", a + exotic + a2 + b, nil, []string{"a", "none"}, exotic + b},
		{"remove the last", a, nil, []string{"a"}, ""},
		{"set wins over remove", a + b, []Field{{"a", nil}}, []string{"a", "b"}, a2},
		{"set twice, first wins", b, []Field{{"a", true}, {"a", nil}}, nil, b + a},
		{"names are case-sensitive", "\x02cc\x56", nil, []string{"CC"}, "\x02cc\x56"},
		{"into an empty table", "", []Field{{"a", true}}, nil, a},
	}
	for _, tt := range tests {
		raw := listWith(tt.table)
		got, err := PatchHeaders(raw, tt.set, tt.remove)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if want := listWith(tt.want); string(got) != string(want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, got, want)
		}
		if string(raw) != string(listWith(tt.table)) {
			t.Errorf("%s: the original changed", tt.name)
		}
	}
}

func TestPatchManyFields(t *testing.T) {
	var set []Field
	for i := range 100 {
		set = append(set, Field{fmt.Sprint("k", i), int32(i)})
	}
	raw, err := PatchHeaders([]byte{0, 0}, set, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err = PatchHeaders(raw, set, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseProperties(raw)
	if err != nil || !reflect.DeepEqual(p.Headers, Table(set)) {
		t.Errorf("%v, %v", p.Headers, err)
	}
}

func TestPatchWithoutHeaders(t *testing.T) {
	tests := []struct {
		name, raw, want string
		set             []Field
	}{
		{"nothing to set", "0000", "0000", nil},
		{"empty list", "0000", "2000 00000003 016156", []Field{{"a", nil}}},
		{"between content-encoding and delivery-mode", "5000 0162 02", "7000 0162 00000003 016156 02", []Field{{"a", nil}}},
		{"second flag word stays", "1001 0000 02", "3001 0000 00000003 016156 02", []Field{{"a", nil}}},
	}
	for _, tt := range tests {
		got, err := PatchHeaders(unhex(t, tt.raw), tt.set, []string{"x"})
		if err != nil || string(got) != string(unhex(t, tt.want)) {
			t.Errorf("%s: %x, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSetAndClearProperty(t *testing.T) {
	values := map[Property]any{
		PropContentType: "text/plain", PropContentEncoding: "gzip", PropHeaders: Table{{"k", "v"}},
		PropDeliveryMode: uint8(2), PropPriority: uint8(5), PropCorrelationID: "c", PropReplyTo: "amq.gen",
		PropExpiration: "60000", PropMessageID: "m", PropTimestamp: Timestamp(7), PropType: "t",
		PropUserID: "u", PropAppID: "a", PropClusterID: "z",
	}
	full := everyProperty.Append(nil)
	for p, value := range values {
		alone, err := SetProperty([]byte{0, 0}, p, value)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ClearProperty(alone, p); err != nil || string(got) != "\x00\x00" {
			t.Errorf("%#04x: set and cleared is %x, %v", uint16(p), got, err)
		}
		without, err := ClearProperty(full, p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseProperties(without); err != nil || got.Flags != flagsKnown&^p {
			t.Errorf("%#04x cleared: flags %#04x, %v", uint16(p), uint16(got.Flags), err)
		}
		replaced, err := SetProperty(full, p, value)
		if err != nil {
			t.Fatal(err)
		}
		inserted, err := SetProperty(without, p, value)
		if err != nil || string(inserted) != string(replaced) {
			t.Errorf("%#04x: inserted and replaced differ:\n%x\n%x", uint16(p), inserted, replaced)
		}
	}
}

func TestPatchRefusesMalformedLists(t *testing.T) {
	bad := []byte{0x20, 0, 0, 0, 0, 9, 1}
	if _, err := PatchHeaders(bad, []Field{{"a", nil}}, nil); codeOf(err) != FrameError {
		t.Errorf("PatchHeaders: %v", err)
	}
	if _, err := SetProperty(bad, PropType, "x"); codeOf(err) != FrameError {
		t.Errorf("SetProperty: %v", err)
	}
	if _, err := ClearProperty(nil, PropType); codeOf(err) != FrameError {
		t.Errorf("ClearProperty: %v", err)
	}
}
