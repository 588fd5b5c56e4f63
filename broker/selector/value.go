package selector

import (
	"math"
	"strconv"
)

// Kind classifies a Value.
type Kind uint8

// The kinds of values a property can have. Null is a property that is not
// there, and the truth value unknown.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	list // within functions only
)

// Value is what a property or an expression evaluates to.
type Value struct {
	kind Kind
	num  int64 // Int; Bool as 0 or 1
	flt  float64
	str  string
	list []string
}

// BoolValue, IntValue, FloatValue and StringValue make values; the zero Value
// is Null.
func BoolValue(b bool) Value {
	if b {
		return Value{kind: Bool, num: 1}
	}
	return Value{kind: Bool}
}

// IntValue is the value of an integer of any width.
func IntValue(n int64) Value { return Value{kind: Int, num: n} }

// FloatValue is the value of a floating-point number.
func FloatValue(f float64) Value { return Value{kind: Float, flt: f} }

// StringValue is the value of a text.
func StringValue(s string) Value { return Value{kind: String, str: s} }

// Kind is the kind of the value.
func (v Value) Kind() Kind { return v.kind }

func (v Value) isTrue() bool  { return v.kind == Bool && v.num == 1 }
func (v Value) isFalse() bool { return v.kind == Bool && v.num == 0 }
func (v Value) number() bool  { return v.kind == Int || v.kind == Float }

func (v Value) float() float64 {
	if v.kind == Int {
		return float64(v.num)
	}
	return v.flt
}

// text is the value as concatenation writes it.
func (v Value) text() string {
	switch v.kind {
	case Bool:
		return strconv.FormatBool(v.num == 1)
	case Int:
		return strconv.FormatInt(v.num, 10)
	case Float:
		return strconv.FormatFloat(v.flt, 'g', -1, 64)
	}
	return v.str
}

// order compares two values; ok is false if they are of kinds that do not
// compare.
func order(a, b Value) (cmp int, ok bool) {
	switch {
	case a.kind == Int && b.kind == Int:
		return compare(a.num, b.num), true
	case a.number() && b.number():
		x, y := a.float(), b.float()
		if math.IsNaN(x) || math.IsNaN(y) {
			return 0, false
		}
		return compare(x, y), true
	case a.kind == String && b.kind == String:
		return compare(a.str, b.str), true
	case a.kind == Bool && b.kind == Bool:
		return compare(a.num, b.num), true
	}
	return 0, false
}

func compare[T int64 | float64 | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// converted makes two values comparable if one is a text that holds what the
// other is.
func converted(a, b Value) (Value, Value) {
	if a.kind == String && b.kind != String {
		return parseAs(a, b.kind), b
	}
	if b.kind == String && a.kind != String {
		return a, parseAs(b, a.kind)
	}
	return a, b
}

func parseAs(v Value, k Kind) Value {
	switch k {
	case Int, Float:
		if n, err := strconv.ParseInt(v.str, 10, 64); err == nil {
			return IntValue(n)
		}
		if f, err := strconv.ParseFloat(v.str, 64); err == nil {
			return FloatValue(f)
		}
	}
	return v
}
