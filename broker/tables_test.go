package broker

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestCanonicalTable(t *testing.T) {
	same := [][2]Table{
		{{{"a", int32(1)}, {"b", "x"}}, {{"b", "x"}, {"a", int64(1)}}},
		{{{"f", float32(0.5)}}, {{"f", 0.5}}},
		{nil, {}},
	}
	for _, pair := range same {
		if canonicalTable(pair[0]) != canonicalTable(pair[1]) {
			t.Errorf("%v and %v differ", pair[0], pair[1])
		}
	}
	different := []Table{
		nil, {{"a", nil}}, {{"a", "1"}}, {{"a", int32(1)}}, {{"a", []byte("1")}}, {{"a", true}}, {{"a", false}}, {{"a", 1.0}},
		{{"a", Timestamp(1)}}, {{"a", Decimal{0, 1}}}, {{"a", Array{}}}, {{"a", Table{}}}, {{"a", Array{"1"}}},
		{{"a", Table{{"1", nil}}}}, {{"b", "1"}}, {{"a", "1"}, {"a", "1"}},
	}
	for i := range different {
		for j := range i {
			if canonicalTable(different[i]) == canonicalTable(different[j]) {
				t.Errorf("%v and %v are the same", different[i], different[j])
			}
		}
	}
}

func TestPlainJSON(t *testing.T) {
	in := Table{{"n", math.NaN()}, {"d", Decimal{1, 15}}, {"x", []byte("b")}, {"t", Timestamp(5)}, {"a", Array{Table{{"k", nil}}}}, {"a", "second"}}
	out, err := json.Marshal(plainJSON(in))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a":[{"k":null}],"d":1.5,"n":null,"t":5,"x":"b"}`; string(out) != want {
		t.Errorf("got %s", out)
	}
	back, err := TableFromPlain(map[string]any{"i": 3.0, "f": 0.5, "l": []any{true, nil, map[string]any{"k": "v"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := Table{{"f", 0.5}, {"i", int64(3)}, {"l", Array{true, nil, Table{{"k", "v"}}}}}
	if !reflect.DeepEqual(back, want) {
		t.Errorf("got %v", back)
	}
}

func FuzzStoredTable(f *testing.F) {
	f.Add([]byte(`[{"n":"a","t":"array","v":[{"t":"decimal","v":[1,2]}]}]`))
	f.Add([]byte(`[{"n":"a","t":"longstr64","v":"/w=="},{"n":"d","t":"double","v":1}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var fields []jsonField
		if json.Unmarshal(data, &fields) != nil {
			return
		}
		table, err := tableFromJSON(fields, 0)
		if err != nil {
			return
		}
		again, err := tableFromJSON(tableJSON(table), 0)
		if err != nil || canonicalTable(again) != canonicalTable(table) {
			t.Errorf("%v became %v: %v", table, again, err)
		}
	})
}

func TestSplitKey(t *testing.T) {
	parts := []string{"", "a", strings.Repeat("x", 300), "\x00"}
	got, err := splitKey(vhostKey(parts...), 4)
	if err != nil || !reflect.DeepEqual(got, parts) {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"\x05abc", "\xff\xff", vhostKey("a")} {
		if _, err := splitKey(bad, 4); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
