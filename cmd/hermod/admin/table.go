package admin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// table turns a slice of JSON-tagged structs into columns and rows. Without
// wanted columns the defaults are shown; "*" in wanted shows all.
func table(list any, wanted, defaults []string) (*Reply, error) {
	v := reflect.ValueOf(list)
	columns := wanted
	if len(columns) == 0 {
		columns = defaults
	}
	for _, c := range columns {
		if names := fieldNames(v.Type().Elem()); !slices.Contains(names, field(c)) {
			return nil, fmt.Errorf("no such column %q; there are: %v", c, names)
		}
	}
	r := &Reply{Columns: columns, Rows: [][]any{}}
	for i := 0; i < v.Len(); i++ {
		fields, err := jsonFields(v.Index(i).Interface())
		if err != nil {
			return nil, err
		}
		row := make([]any, len(columns))
		for j, c := range columns {
			row[j] = fields[field(c)]
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

// field translates rabbitmqctl's column names that differ from ours: what
// identifies a connection is a process there and a number here.
func field(column string) string {
	if column == "pid" {
		return "id"
	}
	return column
}
