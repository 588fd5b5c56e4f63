package broker

import (
	"github.com/hermodmq/hermod/broker/filter"
)

// The arguments by which a binding of any exchange takes only some of the
// messages that match its key.
const (
	// FilterArgument holds a filter policy as JSON.
	FilterArgument = "x-hermod-filter"
	// FilterScopeArgument says what it is about: MessageAttributes, the
	// default, or MessageBody.
	FilterScopeArgument = "x-hermod-filter-scope"
	// FormArgument names the form in which messages that come by the binding
	// enter the queue; see [Broker.SetFormer].
	FormArgument = "x-hermod-form"
)

// maxFilter bounds the text of a filter policy, in bytes.
const maxFilter = 256 << 10

// maxFilterBody bounds the bodies that filters look into, in bytes: a larger one
// satisfies no filter. SNS takes messages of up to 256 KiB.
const maxFilterBody = 1 << 20

// AttributeReader is what a [Converter] may be, too: it reads one attribute of
// a message for a filter, without decoding the rest.
type AttributeReader interface {
	// AppendAttribute appends the values of an attribute: one, or the elements
	// of a list. there is false if the message has no such attribute.
	AppendAttribute(dst []filter.Value, m *Message, name string) (values []filter.Value, there bool)
}

// refine reads the arguments of a binding that every exchange understands.
func (b *binding) refine() error {
	if v, ok := b.args.Get(FormArgument); ok {
		form, isText := v.(string)
		if !isText || b.queue == nil {
			return errf(Precondition, "invalid arg '%s' for a binding of %s", FormArgument, b.source.text())
		}
		b.form = form
	}
	v, ok := b.args.Get(FilterArgument)
	if !ok {
		return nil
	}
	text, isText := v.(string)
	if !isText || len(text) > maxFilter {
		return errf(Precondition, "invalid arg '%s' for a binding of %s: expected a filter policy", FilterArgument, b.source.text())
	}
	scope := filter.Attributes
	if v, ok := b.args.Get(FilterScopeArgument); ok {
		switch v {
		case filter.Attributes.String():
		case filter.Body.String():
			scope = filter.Body
		default:
			return errf(Precondition, "invalid arg '%s' for a binding of %s", FilterScopeArgument, b.source.text())
		}
	}
	p, err := filter.Compile(text, scope)
	if err != nil {
		return errf(Precondition, "invalid arg '%s' for a binding of %s: %v", FilterArgument, b.source.text(), err)
	}
	b.filter = p
	return nil
}

// wants says whether the message being routed satisfies a binding's filter. A
// body is parsed once per route, however many filters look at it.
func (rt *routing) wants(p *filter.Policy) bool {
	rt.keyOnly = false
	if p.Scope() == filter.Body {
		if !rt.parsed {
			rt.parsed = true
			if len(rt.msg.Body) <= maxFilterBody {
				rt.body.Parse(rt.msg.Body)
			}
		}
		return p.MatchBody(&rt.body)
	}
	if cap(rt.values) == 0 {
		rt.values = make([]filter.Value, 0, 8)
	}
	return p.MatchAttributes(rt, rt.values)
}

// AppendAttribute implements filter.AttributeSet.
func (rt *routing) AppendAttribute(dst []filter.Value, name string) ([]filter.Value, bool) {
	m := rt.msg
	if int(m.Format) < formatCount {
		if r, ok := rt.vhost.broker.options.Converters[m.Format].(AttributeReader); ok {
			return r.AppendAttribute(dst, m, name)
		}
	}
	v, ok := rt.headers().Get(name)
	if !ok {
		return dst, false
	}
	return appendFilterValue(dst, v, true), true
}

// appendFilterValue appends what a filter sees of a header: a scalar, or the
// elements of an array.
func appendFilterValue(dst []filter.Value, v Value, arrays bool) []filter.Value {
	if n, ok := Int(v); ok {
		return append(dst, filter.Value{Kind: filter.Number, Num: float64(n)})
	}
	switch x := v.(type) {
	case nil:
		return append(dst, filter.Value{Kind: filter.Null})
	case string:
		return append(dst, filter.Value{Kind: filter.String, Text: x})
	case bool:
		return append(dst, filter.Value{Kind: filter.Bool, True: x})
	case float32:
		return append(dst, filter.Value{Kind: filter.Number, Num: float64(x)})
	case float64:
		return append(dst, filter.Value{Kind: filter.Number, Num: x})
	case Timestamp:
		return append(dst, filter.Value{Kind: filter.Number, Num: float64(x)})
	case Array:
		for _, e := range x {
			if arrays {
				dst = appendFilterValue(dst, e, false)
			}
		}
	}
	return dst
}
