package selector

import (
	"regexp"
	"strings"
)

// function is a call of one of ActiveMQ's filter functions.
type function struct {
	call func(args []Value) Value
	args []node
}

func (n function) eval(e *env) Value {
	args := make([]Value, len(n.args))
	for i, a := range n.args {
		args[i] = a.eval(e)
	}
	return n.call(args)
}

// newFunction finds a function by its name and checks its arguments.
func newFunction(name token, args []node) (node, error) {
	wrong := func() error { return invalid(name.at, "wrong arguments for %s", name.text) }
	switch strings.ToUpper(name.text) {
	case "REGEX":
		if len(args) != 2 {
			return nil, wrong()
		}
		re, err := constantRegexp(args[0])
		if err != nil {
			return nil, invalid(name.at, "%v", err)
		}
		return function{args: args[1:], call: func(v []Value) Value {
			if v[0].kind != String {
				return v[0].orNull()
			}
			return BoolValue(re.MatchString(v[0].str))
		}}, nil
	case "REPLACE":
		if len(args) != 3 {
			return nil, wrong()
		}
		re, err := constantRegexp(args[1])
		if err != nil {
			return nil, invalid(name.at, "%v", err)
		}
		return function{args: []node{args[0], args[2]}, call: func(v []Value) Value {
			if v[0].kind != String || v[1].kind != String || len(v[0].str)*(1+len(v[1].str)) > maxText {
				return Value{}
			}
			return StringValue(re.ReplaceAllString(v[0].str, v[1].str))
		}}, nil
	case "SPLIT":
		if len(args) != 2 {
			return nil, wrong()
		}
		re, err := constantRegexp(args[1])
		if err != nil {
			return nil, invalid(name.at, "%v", err)
		}
		return function{args: args[:1], call: func(v []Value) Value {
			if v[0].kind != String {
				return Value{}
			}
			return Value{kind: list, list: re.Split(v[0].str, -1)}
		}}, nil
	case "MAKELIST":
		return function{args: args, call: makeList}, nil
	case "INLIST":
		if len(args) != 2 {
			return nil, wrong()
		}
		return function{args: args, call: inList}, nil
	}
	return nil, invalid(name.at, "unknown function %s", name.text)
}

func (v Value) orNull() Value {
	if v.kind == Null {
		return v
	}
	return BoolValue(false)
}

func makeList(args []Value) Value {
	out := Value{kind: list}
	for _, a := range args {
		if a.kind != Null {
			out.list = append(out.list, a.text())
		}
	}
	return out
}

func inList(args []Value) Value {
	if args[0].kind != list || args[1].kind == Null {
		return Value{}
	}
	want := args[1].text()
	for _, s := range args[0].list {
		if s == want {
			return BoolValue(true)
		}
	}
	return BoolValue(false)
}

// constantRegexp compiles an expression when the selector is compiled. It is
// RE2, whose time is linear.
func constantRegexp(n node) (*regexp.Regexp, error) {
	lit, ok := n.(literal)
	if !ok || lit.value.kind != String {
		return nil, &Error{Text: "a regular expression must be a string literal"}
	}
	return regexp.Compile(lit.value.str)
}
