package wire

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// vector is one record of a testdata file; methods.hex explains the form.
type vector struct {
	name  string
	bytes []byte
	want  string // value, or "" for an error
	lossy bool   // appending the value gives other bytes
	err   string // "code text"
}

func readVectors(t testing.TB, file string) []vector {
	t.Helper()
	f, err := os.Open("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []vector
	var digits strings.Builder
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '>':
			all = append(all, vector{name: line[2:]})
			digits.Reset()
		case line[0] == '=' || line[0] == '!':
			v := &all[len(all)-1]
			if v.bytes, err = hex.DecodeString(digits.String()); err != nil {
				t.Fatalf("%s: %s: %v", file, v.name, err)
			}
			if line[0] == '!' {
				v.err = line[2:]
				break
			}
			v.want, v.lossy = strings.CutPrefix(line[2:], "~")
		default:
			digits.WriteString(strings.ReplaceAll(line, " ", ""))
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s: no vectors", file)
	}
	return all
}

// checkVector compares the outcome of decoding v with what it says. again is
// the value appended.
func checkVector(t *testing.T, v vector, got string, again []byte, err error) {
	t.Helper()
	if v.err != "" {
		var e *Error
		if !errors.As(err, &e) || fmt.Sprintf("%d %s", e.Code, e.Text) != v.err {
			t.Errorf("%s: error %v, want %s", v.name, err, v.err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", v.name, err)
		return
	}
	if got != v.want {
		t.Errorf("%s:\n got %s\nwant %s", v.name, got, v.want)
	}
	if same := string(again) == string(v.bytes); same == v.lossy {
		t.Errorf("%s: appended %x, decoded from %x", v.name, again, v.bytes)
	}
}

func TestMethodVectors(t *testing.T) {
	for _, v := range readVectors(t, "methods.hex") {
		m, err := DecodeMethod(v.bytes)
		if err != nil {
			checkVector(t, v, "", nil, err)
			continue
		}
		got := strings.ReplaceAll(fmt.Sprintf("%+v", m), "\x00", "|")
		checkVector(t, v, got, m.Append(nil), nil)
	}
}

func TestTableVectors(t *testing.T) {
	for _, v := range readVectors(t, "tables.hex") {
		table, err := RawTable(v.bytes).Decode()
		checkVector(t, v, fmt.Sprintf("%+v", table), AppendTable(nil, table)[4:], err)
		if check := checkTable(v.bytes, 1); (check == nil) != (err == nil) {
			t.Errorf("%s: check says %v, decode says %v", v.name, check, err)
		}
	}
}

func TestHeaderVectors(t *testing.T) {
	for _, v := range readVectors(t, "headers.hex") {
		h, err := ParseHeader(v.bytes)
		if err != nil {
			checkVector(t, v, "", nil, err)
			continue
		}
		p, err := ParseProperties(h.Raw)
		if err != nil {
			t.Errorf("%s: accepted, then: %v", v.name, err)
			continue
		}
		frame := AppendHeader(nil, 1, h.BodySize, p.Append(nil))
		got := fmt.Sprintf("size=%d {%s}", h.BodySize, describe(&p))
		checkVector(t, v, got, frame[frameHead:len(frame)-1], nil)
	}
}

// describe lists the properties that are present.
func describe(p *Properties) string {
	var parts []string
	fields := reflect.ValueOf(*p)
	for i := range propertyCount {
		if p.Flags&(1<<(15-i)) != 0 {
			parts = append(parts, fmt.Sprintf("%s:%+v", fields.Type().Field(i+1).Name, fields.Field(i+1)))
		}
	}
	return strings.Join(parts, " ")
}
