package admin

import (
	"encoding/json"
	"fmt"
	"reflect"
)

// table turns a slice of JSON-tagged structs into columns and rows. Without
// wanted columns the defaults are shown; "*" in wanted shows all.
func table(list any, wanted, defaults []string) (*Reply, error) {
	v := reflect.ValueOf(list)
	columns := wanted
	if len(columns) == 0 {
		columns = defaults
	}
	r := &Reply{Columns: columns, Rows: [][]any{}}
	for i := 0; i < v.Len(); i++ {
		fields, err := jsonFields(v.Index(i).Interface())
		if err != nil {
			return nil, err
		}
		row := make([]any, len(columns))
		for j, c := range columns {
			value, ok := fields[c]
			if !ok && !hasField(v.Type().Elem(), c) {
				return nil, fmt.Errorf("no such column %q; there are: %v", c, fieldNames(v.Type().Elem()))
			}
			row[j] = value
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

func jsonFields(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	return fields, json.Unmarshal(raw, &fields)
}

func fieldNames(t reflect.Type) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names []string
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		if f.Anonymous {
			names = append(names, fieldNames(f.Type)...)
			continue
		}
		if tag := tagName(f.Tag.Get("json")); tag != "" && tag != "-" {
			names = append(names, tag)
		}
	}
	return names
}

func tagName(tag string) string {
	for i := range tag {
		if tag[i] == ',' {
			return tag[:i]
		}
	}
	return tag
}

func hasField(t reflect.Type, name string) bool {
	for _, n := range fieldNames(t) {
		if n == name {
			return true
		}
	}
	return false
}
