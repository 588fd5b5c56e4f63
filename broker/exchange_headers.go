package broker

import (
	"bytes"
	"reflect"
	"strings"
)

// headersRouter: the binding's arguments are compared with the message's
// headers.
type headersRouter struct {
	all bucket
}

// headerMatch says how a binding of a headers exchange compares.
type headerMatch uint8

// The values of the argument x-match. Without -with-x, arguments whose names
// start with x- do not take part.
const (
	matchAll headerMatch = iota
	matchAny
	matchAllWithX
	matchAnyWithX
)

func parseHeaderMatch(args Table) (headerMatch, error) {
	v, ok := args.Get("x-match")
	if !ok {
		return matchAll, nil
	}
	switch s, isText := v.(string); {
	case !isText:
		return 0, errf(Precondition, "Invalid x-match field type %s (value %s); expected longstr",
			typeName(v), erlangValue(v))
	case s == "all":
		return matchAll, nil
	case s == "any":
		return matchAny, nil
	case s == "all-with-x":
		return matchAllWithX, nil
	case s == "any-with-x":
		return matchAnyWithX, nil
	}
	return 0, errf(Precondition, "Invalid x-match field value %s; expected all, any, all-with-x, or any-with-x",
		erlangValue(v))
}

func (r *headersRouter) check(b *binding) error {
	m, err := parseHeaderMatch(b.args)
	b.match = m
	return err
}

func (r *headersRouter) byKey() bool       { return false }
func (r *headersRouter) add(b *binding)    { r.all.add(b) }
func (r *headersRouter) remove(b *binding) { r.all.remove(b) }

func (r *headersRouter) match(rt *routing, _ string) {
	if len(r.all.list) == 0 {
		return
	}
	headers := rt.headers()
	for _, b := range r.all.list {
		if b.match.fits(b.args, headers) {
			rt.take(b)
		}
	}
}

// fits compares. No argument that takes part: all fits everything, any
// nothing.
func (m headerMatch) fits(args, headers Table) bool {
	any := m == matchAny || m == matchAnyWithX
	withX := m == matchAllWithX || m == matchAnyWithX
	for i := range args {
		name := args[i].Name
		if name == "x-match" || !withX && strings.HasPrefix(name, "x-") {
			continue
		}
		got, ok := headers.Get(name)
		if ok && sameHeader(args[i].Value, got) == any {
			return any
		}
		if !ok && !any {
			return false
		}
	}
	return !any
}

// sameHeader: a void argument asks for presence only; otherwise type and value
// must be equal, where all integer widths are one type.
func sameHeader(want, got Value) bool {
	if want == nil {
		return true
	}
	if a, ok := Int(want); ok {
		b, ok := Int(got)
		return ok && a == b
	}
	switch a := want.(type) {
	case string:
		b, ok := got.(string)
		return ok && a == b
	case bool:
		b, ok := got.(bool)
		return ok && a == b
	case []byte:
		b, ok := got.([]byte)
		return ok && bytes.Equal(a, b)
	case float32:
		return sameFloat(float64(a), got)
	case float64:
		return sameFloat(a, got)
	}
	return reflect.DeepEqual(want, got)
}

func sameFloat(a float64, got Value) bool {
	switch b := got.(type) {
	case float32:
		return a == float64(b)
	case float64:
		return a == b
	}
	return false
}
