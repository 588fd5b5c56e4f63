package wire

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// recorded is one frame of testdata: written by ActiveMQ's own marshallers
// (golden) or recorded between its client and its broker (captures), with the
// values of its fields.
type recorded struct {
	Name, Variant, Capture, Hex string
	Conn, N                     int
	Dir                         string
	Version                     int32
	Stack                       bool
	Fields                      map[string]any
}

func (r *recorded) String() string {
	if r.Capture != "" {
		return fmt.Sprintf("%s connection %d frame %d", r.Capture, r.Conn, r.N)
	}
	return fmt.Sprintf("%s version %d %s stack=%v", r.Name, r.Version, r.Variant, r.Stack)
}

func (r *recorded) format() Format { return Format{Version: r.Version, StackTrace: r.Stack} }

func (r *recorded) bytes(t testing.TB) []byte {
	b, err := hex.DecodeString(r.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t testing.TB, file string) []*recorded {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []*recorded
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		r := new(recorded)
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.UseNumber()
		if err := d.Decode(r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return out
}

// OW-1: every frame of ActiveMQ's marshallers in the loose encoding decodes to
// the recorded fields and is encoded to the same bytes.
func TestGolden(t *testing.T) {
	all := load(t, "golden.jsonl.gz")
	if len(all) != 1240 {
		t.Fatalf("%d frames, want 1240", len(all))
	}
	for _, r := range all {
		check(t, r, &Decoder{Format: r.format()})
	}
}

// OW-2: what a stock client and a stock broker said to each other.
func TestCaptures(t *testing.T) {
	for _, r := range load(t, "captures.jsonl.gz") {
		r.Stack = true // both sides had offered it
		check(t, r, &Decoder{Format: r.format()})
	}
}

func check(t *testing.T, r *recorded, d *Decoder) {
	t.Helper()
	b := r.bytes(t)
	s, n, err := d.Decode(b)
	if err != nil || n != len(b) {
		t.Errorf("%v: decoded %d of %d bytes: %v", r, n, len(b), err)
		return
	}
	if s == nil {
		t.Errorf("%v: nothing", r)
		return
	}
	for _, diff := range compare("", s, r.Fields) {
		t.Errorf("%v: %s", r, diff)
	}
	f := d.Format
	if s.Type() == TypeWireFormatInfo {
		f = InitialFormat
	}
	if got := Append(nil, f, s); !bytes.Equal(got, b) {
		t.Errorf("%v: encoded to\n%x, want\n%x", r, got, b)
	}
	if c, ok := s.(Command); ok && c.Head() == nil {
		t.Errorf("%v: command without header", r)
	}
}

// OW-2: frames are cut the same however the stream is split.
func TestSplitIntoBytes(t *testing.T) {
	streams := map[string][]*recorded{}
	for _, r := range load(t, "captures.jsonl.gz") {
		key := fmt.Sprint(r.Capture, r.Conn, r.Dir)
		streams[key] = append(streams[key], r)
	}
	for key, frames := range streams {
		d := new(Decoder)
		var buf []byte
		var got int
		for _, r := range frames {
			d.Format = Format{Version: r.Version, StackTrace: true}
			for i, c := range r.bytes(t) {
				buf = append(buf, c)
				need, err := d.Need(buf)
				if err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				s, n, err := d.Decode(buf)
				if err != nil {
					t.Fatalf("%s frame %d byte %d: %v", key, got, i, err)
				}
				if (n == 0) != (len(buf) < need || len(buf) == sizePrefix) {
					t.Fatalf("%s frame %d byte %d: n = %d, need = %d", key, got, i, n, need)
				}
				if n > 0 {
					if diffs := compare("", s, frames[got].Fields); diffs != nil {
						t.Errorf("%s frame %d: %v", key, got, diffs)
					}
					got++
					buf = buf[n:]
				}
			}
		}
		if got != len(frames) || len(buf) != 0 {
			t.Errorf("%s: %d of %d frames, %d bytes left", key, got, len(frames), len(buf))
		}
	}
}

// aliases are the names that Go's fields have in the table of the wire.
var aliases = map[string]string{
	"WireFormatInfo.properties": "marshalledproperties", "Message.properties": "marshalledproperties",
	"TransactionInfo.operation": "type", "DestinationInfo.operation": "operationtype",
	"MessagePull.correlation": "correlationid", "Message.jmstype": "type", "Message.data": "datastructure",
	"Message.receivedbydfbridge": "recievedbydfbridge", "Message.groupfirst": "jmsxgroupfirstforconsumer",
	"Destination.name": "physicalname", "Blob.remoteurl": "remotebloburl", "TransactionID.globalid": "globaltransactionid",
}

// compare reports where a structure differs from the recorded values. Values
// that are null or of another version may be absent in want.
func compare(path string, s any, want any) []string {
	switch v := s.(type) {
	case []byte:
		if v == nil {
			return differ(path, nil, want)
		}
		return differ(path, map[string]any{"_hex": hex.EncodeToString(v)}, want)
	case [8]byte:
		return differ(path, map[string]any{"_hex": hex.EncodeToString(v[:])}, want)
	case string:
		if v == "" && want == nil {
			return nil
		}
		return differ(path, v, want)
	case bool:
		return differ(path, v, want)
	case int8, int32, int64:
		return differ(path, json.Number(fmt.Sprint(v)), want)
	case []Structure:
		list, _ := want.([]any)
		if len(list) != len(v) || (v == nil) != (want == nil) {
			return []string{fmt.Sprintf("%s: %d elements, want %v", path, len(v), want)}
		}
		var out []string
		for i := range v {
			out = append(out, compare(fmt.Sprintf("%s[%d]", path, i), v[i], list[i])...)
		}
		return out
	case *Throwable:
		return compareThrowable(path, v, want)
	}
	return compareStructure(path, s, want)
}

func differ(path string, got, want any) []string {
	if reflect.DeepEqual(got, want) {
		return nil
	}
	return []string{fmt.Sprintf("%s = %v, want %v", path, got, want)}
}

func compareThrowable(path string, v *Throwable, want any) []string {
	if v == nil || want == nil {
		if v == nil && want == nil {
			return nil
		}
		return []string{fmt.Sprintf("%s = %v, want %v", path, v, want)}
	}
	w := want.(map[string]any)
	out := append(compare(path+".class", v.ClassName, w["class"]), compare(path+".message", v.Message, w["message"])...)
	stack, _ := w["stack"].([]any)
	if len(stack) != len(v.Trace) {
		out = append(out, fmt.Sprintf("%s has %d elements, want %d", path, len(v.Trace), len(stack)))
		return out
	}
	for i, e := range v.Trace {
		if got := fmt.Sprint([]any{e.Class, e.Method, e.File, e.Line}); got != strings.ReplaceAll(fmt.Sprint(stack[i]), "<nil>", "") {
			out = append(out, fmt.Sprintf("%s element %d = %s, want %v", path, i, got, stack[i]))
		}
	}
	return append(out, compareThrowable(path+".cause", v.Cause, w["cause"])...)
}

func compareStructure(path string, s any, want any) []string {
	v := reflect.ValueOf(s)
	if s == nil || v.Kind() == reflect.Pointer && v.IsNil() || v.Kind() == reflect.Struct && v.IsZero() {
		return differ(path, nil, want)
	}
	w, ok := want.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s = %+v, want %v", path, s, want)}
	}
	if st, ok := s.(Structure); ok && fmt.Sprint(int(st.Type())) != fmt.Sprint(w["_type"]) {
		return []string{fmt.Sprintf("%s is %v, want %v", path, st.Type(), w["_type"])}
	}
	v = reflect.Indirect(v)
	lower := map[string]any{}
	for k, x := range w {
		if !strings.HasPrefix(k, "_") {
			lower[strings.ToLower(k)] = x
		}
	}
	out := fieldsOf(path, v, lower)
	for k := range lower {
		out = append(out, path+": field "+k+" was not decoded")
	}
	return out
}

// fieldsOf compares the fields of v with want and deletes them there.
func fieldsOf(path string, v reflect.Value, want map[string]any) []string {
	var out []string
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case !f.IsExported() || f.Type == reflect.TypeFor[Type]():
			continue
		case f.Name == "Header":
			out = append(out, fieldsOf(path, v.Field(i), want)...)
			continue
		case f.Name == "Blob":
			if !v.Field(i).IsNil() {
				out = append(out, fieldsOf(path, v.Field(i).Elem(), want)...)
			}
			continue
		}
		key := strings.ToLower(f.Name)
		if a := aliases[v.Type().Name()+"."+key]; a != "" {
			key = a
		}
		x, ok := want[key]
		delete(want, key)
		if !ok && v.Field(i).IsZero() {
			continue // of another version, or of the other kind
		}
		if v.Type().Name() == "TransactionID" && f.Type.Kind() == reflect.String {
			var b []byte // the encoding tells empty from null
			if s := v.Field(i).String(); s != "" || x != nil {
				b = append([]byte{}, s...)
			}
			out = append(out, compare(path+"."+f.Name, b, x)...)
			continue
		}
		out = append(out, compare(path+"."+f.Name, v.Field(i).Interface(), x)...)
	}
	return out
}

func TestRegeneratingChangesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "structures_gen.go")
	if out, err := exec.Command("go", "run", "gen.go", "-o", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("structures_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("structures_gen.go is not what gen.go writes; run go generate")
	}
}
