package selector

import "math"

// Lookup finds a property or header (JMSPriority and so on) of a message; the
// zero Value if it has none of that name.
type Lookup func(name string) Value

// Matches reports whether a message with these properties is selected.
func (s *Selector) Matches(lookup Lookup) bool {
	e := env{lookup: lookup, convert: s.convert}
	return s.root.eval(&e).isTrue()
}

type env struct {
	lookup  Lookup
	convert bool
}

// node is a part of a condition.
type node interface{ eval(e *env) Value }

// isCondition reports whether n is a truth value by its form.
func isCondition(n node) bool {
	switch n.(type) {
	case logic, negation, relation, nullTest, likeTest, setTest, truth:
		return true
	}
	return false
}

type literal struct{ value Value }

func (n literal) eval(*env) Value { return n.value }

type property struct{ name string }

func (n property) eval(e *env) Value { return e.lookup(n.name) }

// truth is a property in the place of a condition.
type truth struct{ of node }

func (n truth) eval(e *env) Value {
	v := n.of.eval(e)
	if v.kind == Null || v.kind == Bool {
		return v
	}
	return BoolValue(false)
}

// logic is AND or OR of any number of operands.
type logic struct {
	isOr     bool
	operands []node
}

func (n logic) eval(e *env) Value {
	unknown := false
	for _, o := range n.operands {
		v := o.eval(e)
		switch {
		case v.kind == Null:
			unknown = true
		case v.isTrue() == n.isOr:
			return BoolValue(n.isOr)
		}
	}
	if unknown {
		return Value{}
	}
	return BoolValue(!n.isOr)
}

type negation struct{ of node }

func (n negation) eval(e *env) Value {
	v := n.of.eval(e)
	if v.kind == Null {
		return v
	}
	return BoolValue(v.isFalse())
}

// relation compares; unlike kinds are unequal and in no order.
type relation struct {
	op          string
	left, right node
}

func (n relation) eval(e *env) Value {
	a, b := n.left.eval(e), n.right.eval(e)
	if a.kind == Null || b.kind == Null {
		return Value{}
	}
	if e.convert {
		a, b = converted(a, b)
	}
	cmp, ok := order(a, b)
	if ok && n.op != "=" && !a.number() {
		ok = false
	}
	if !ok {
		return BoolValue(false)
	}
	switch n.op {
	case "=":
		return BoolValue(cmp == 0)
	case "<":
		return BoolValue(cmp < 0)
	case "<=":
		return BoolValue(cmp <= 0)
	case ">":
		return BoolValue(cmp > 0)
	}
	return BoolValue(cmp >= 0)
}

type nullTest struct{ of node }

func (n nullTest) eval(e *env) Value { return BoolValue(n.of.eval(e).kind == Null) }

type likeTest struct {
	of      node
	pattern pattern
}

func (n likeTest) eval(e *env) Value {
	v := n.of.eval(e)
	switch v.kind {
	case Null:
		return v
	case String:
		return BoolValue(n.pattern.match(v.str))
	}
	return BoolValue(false)
}

type setTest struct {
	of  node
	set map[string]bool
}

func (n setTest) eval(e *env) Value {
	v := n.of.eval(e)
	if v.kind != String {
		return Value{}
	}
	return BoolValue(n.set[v.str])
}

type minus struct{ of node }

func (n minus) eval(e *env) Value { return negative(n.of.eval(e)) }

func negative(v Value) Value {
	switch v.kind {
	case Int:
		return IntValue(-v.num)
	case Float:
		if v.flt == -math.MinInt64 { // the literal 9223372036854775808
			return IntValue(math.MinInt64)
		}
		return FloatValue(-v.flt)
	}
	return Value{}
}

// calculation is arithmetic; + joins texts. Division is never of integers.
type calculation struct {
	op          byte
	left, right node
}

// maxText bounds the texts that + makes.
const maxText = 64 << 10

func (n calculation) eval(e *env) Value {
	a, b := n.left.eval(e), n.right.eval(e)
	if a.kind == Null || b.kind == Null {
		return Value{}
	}
	if n.op == '+' && a.kind == String {
		if s := b.text(); len(a.str)+len(s) <= maxText {
			return StringValue(a.str + s)
		}
		return Value{}
	}
	if e.convert {
		a, b = numeric(a), numeric(b)
	}
	if !a.number() || !b.number() {
		return Value{}
	}
	if a.kind == Int && b.kind == Int {
		switch n.op {
		case '+':
			return IntValue(a.num + b.num)
		case '-':
			return IntValue(a.num - b.num)
		case '*':
			return IntValue(a.num * b.num)
		}
	}
	x, y := a.float(), b.float()
	switch n.op {
	case '+':
		return FloatValue(x + y)
	case '-':
		return FloatValue(x - y)
	case '*':
		return FloatValue(x * y)
	case '/':
		return FloatValue(x / y)
	}
	return FloatValue(math.Mod(x, y))
}

func numeric(v Value) Value {
	if v.kind == String {
		return parseAs(v, Int)
	}
	return v
}
