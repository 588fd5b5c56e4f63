package message

import (
	"bytes"
	"strconv"
	"unsafe"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/filter"
)

// AppendAttribute implements broker.AttributeReader: what a filter policy sees
// of an attribute. Binary ones are not for filters; a String.Array is its
// elements, and nothing if it is no array of JSON.
func (Converter) AppendAttribute(dst []filter.Value, m *broker.Message, name string) ([]filter.Value, bool) {
	c, err := Parse(m)
	if err != nil {
		return dst, false
	}
	for i := range c.Attributes {
		a := &c.Attributes[i]
		if a.Name != name {
			continue
		}
		text := unsafe.String(unsafe.SliceData(a.Value), len(a.Value))
		switch {
		case a.Binary():
			return dst, false
		case a.Type == "String.Array":
			return appendArray(dst, a.Value), true
		case len(a.Type) >= 6 && a.Type[:6] == "Number":
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return dst, true
			}
			return append(dst, filter.Value{Kind: filter.Number, Num: n}), true
		}
		return append(dst, filter.Value{Kind: filter.String, Text: text}), true
	}
	return dst, false
}

// appendArray appends the scalars of a JSON array.
func appendArray(dst []filter.Value, raw []byte) []filter.Value {
	var d filter.Document
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '[' || !d.Parse(raw) {
		return dst
	}
	return d.AppendElements(dst)
}
