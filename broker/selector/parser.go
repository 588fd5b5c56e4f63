package selector

import (
	"fmt"
	"strings"
)

// Bounds of what Compile accepts.
const (
	maxLength = 8 << 10
	maxDepth  = 100
)

// convertPrefix asks that texts be compared with numbers by what they say.
const convertPrefix = "convert_string_expressions:"

// Error says where and why a text is no selector.
type Error struct {
	At   int // byte offset
	Text string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("invalid selector at %d: %s", e.At, e.Text) }

func invalid(at int, format string, args ...any) error {
	return &Error{At: at, Text: fmt.Sprintf(format, args...)}
}

// Selector is a compiled condition. It is immutable and safe for concurrent
// use.
type Selector struct {
	root    node
	convert bool
}

// Compile reads a selector. convert makes texts compare with numbers by what
// they say, as messages of protocols whose headers are all texts need; the
// prefix convert_string_expressions: does the same. The error is an *Error.
func Compile(text string, convert bool) (*Selector, error) {
	if rest, ok := strings.CutPrefix(text, convertPrefix); ok {
		text, convert = rest, true
	}
	if len(text) > maxLength {
		return nil, invalid(maxLength, "longer than %d bytes", maxLength)
	}
	p := &parser{lexer: lexer{in: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected()
	}
	if root, err = p.condition(root); err != nil {
		return nil, err
	}
	return &Selector{root: root, convert: convert}, nil
}

type parser struct {
	lexer
	tok   token
	depth int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

func (p *parser) unexpected() error {
	if p.tok.kind == tokEnd {
		return invalid(p.tok.at, "unexpected end")
	}
	return invalid(p.tok.at, "unexpected %s", p.in[p.tok.at:p.at])
}

// take advances if the token is the symbol or keyword text.
func (p *parser) take(text string) (bool, error) {
	if (p.tok.kind == tokSymbol || p.tok.kind == tokKeyword) && p.tok.text == text {
		return true, p.advance()
	}
	return false, nil
}

func (p *parser) demand(text string) error {
	ok, err := p.take(text)
	if err == nil && !ok {
		return p.unexpected()
	}
	return err
}

// deeper counts one level of nesting, undone by p.depth--.
func (p *parser) deeper() error {
	if p.depth++; p.depth > maxDepth {
		return invalid(p.tok.at, "nested deeper than %d levels", maxDepth)
	}
	return nil
}

// condition is n where a truth value is wanted: a property that is no boolean
// counts as false there.
func (p *parser) condition(n node) (node, error) {
	switch n := n.(type) {
	case property:
		return truth{n}, nil
	case literal:
		if n.value.kind == Bool {
			return n, nil
		}
	case function:
		return truth{n}, nil
	default:
		if isCondition(n) {
			return n, nil
		}
	}
	return nil, invalid(p.tok.at, "an expression that is no condition")
}

func (p *parser) or() (node, error)  { return p.chain("OR", p.and) }
func (p *parser) and() (node, error) { return p.chain("AND", p.not) }

// chain reads operands joined by a logical operator.
func (p *parser) chain(op string, operand func() (node, error)) (node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	var all []node
	for {
		ok, err := p.take(op)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			if left, err = p.condition(left); err != nil {
				return nil, err
			}
			all = append(all, left)
		}
		if right, err = p.condition(right); err != nil {
			return nil, err
		}
		all = append(all, right)
	}
	if len(all) == 0 {
		return left, nil
	}
	return logic{isOr: op == "OR", operands: all}, nil
}

func (p *parser) not() (node, error) {
	negated, err := p.take("NOT")
	if err != nil {
		return nil, err
	}
	if !negated {
		return p.comparison()
	}
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	n, err := p.not()
	if err != nil {
		return nil, err
	}
	if n, err = p.condition(n); err != nil {
		return nil, err
	}
	return negation{n}, nil
}

// comparison reads a sum and the comparisons that follow it.
func (p *parser) comparison() (node, error) {
	left, err := p.sum()
	if err != nil {
		return nil, err
	}
	for {
		n, err := p.compared(left)
		if err != nil || n == nil {
			return left, err
		}
		left = n
	}
}

// compared reads one comparison of left; nil if none follows.
func (p *parser) compared(left node) (node, error) {
	if p.tok.kind == tokSymbol {
		switch op := p.tok.text; op {
		case "=", "<>", "<", "<=", ">", ">=":
			if err := p.advance(); err != nil {
				return nil, err
			}
			right, err := p.sum()
			if err != nil {
				return nil, err
			}
			return p.relate(op, left, right)
		}
		return nil, nil
	}
	if ok, err := p.take("IS"); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return p.isNull(left)
	}
	negated, err := p.take("NOT")
	if err != nil {
		return nil, err
	}
	n, err := p.membership(left)
	switch {
	case err != nil:
		return nil, err
	case n == nil && negated:
		return nil, p.unexpected()
	case negated:
		return negation{n}, nil
	}
	return n, nil
}

// relate checks what operands can tell before there is a message.
func (p *parser) relate(op string, left, right node) (node, error) {
	ordered := op != "=" && op != "<>"
	for _, n := range []node{left, right} {
		lit, isLiteral := n.(literal)
		switch {
		case isLiteral && lit.value.kind == Null:
			return nil, invalid(p.tok.at, "NULL does not compare; use IS NULL")
		case ordered && isLiteral && !lit.value.number(), ordered && !isLiteral && isCondition(n):
			return nil, invalid(p.tok.at, "%s compares numbers only", op)
		}
	}
	if op == "<>" {
		return negation{relation{"=", left, right}}, nil
	}
	return relation{op, left, right}, nil
}

func (p *parser) isNull(left node) (node, error) {
	negated, err := p.take("NOT")
	if err != nil {
		return nil, err
	}
	if err := p.demand("NULL"); err != nil {
		return nil, err
	}
	if negated {
		return negation{nullTest{left}}, nil
	}
	return nullTest{left}, nil
}

// membership reads LIKE, BETWEEN and IN.
func (p *parser) membership(left node) (node, error) {
	if p.tok.kind != tokKeyword {
		return nil, nil
	}
	op := p.tok.text
	if op != "LIKE" && op != "BETWEEN" && op != "IN" {
		return nil, nil
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch op {
	case "LIKE":
		return p.like(left)
	case "BETWEEN":
		return p.between(left)
	}
	return p.inSet(left)
}

// literalText reads a string literal.
func (p *parser) literalText() (string, error) {
	if p.tok.kind != tokValue || p.tok.value.kind != String {
		return "", p.unexpected()
	}
	s := p.tok.value.str
	return s, p.advance()
}

func (p *parser) like(left node) (node, error) {
	pattern, err := p.literalText()
	if err != nil {
		return nil, err
	}
	ok, err := p.take("ESCAPE")
	if err != nil {
		return nil, err
	}
	escape, has := rune(0), false
	if ok {
		at := p.tok.at
		s, err := p.literalText()
		if err != nil {
			return nil, err
		}
		r := []rune(s)
		if len(r) != 1 {
			return nil, invalid(at, "ESCAPE takes one character")
		}
		escape, has = r[0], true
	}
	return likeTest{left, compilePattern(pattern, escape, has)}, nil
}

func (p *parser) between(left node) (node, error) {
	low, err := p.sum()
	if err != nil {
		return nil, err
	}
	if err := p.demand("AND"); err != nil {
		return nil, err
	}
	high, err := p.sum()
	if err != nil {
		return nil, err
	}
	from, err := p.relate(">=", left, low)
	if err != nil {
		return nil, err
	}
	to, err := p.relate("<=", left, high)
	if err != nil {
		return nil, err
	}
	return logic{operands: []node{from, to}}, nil
}

func (p *parser) inSet(left node) (node, error) {
	if err := p.demand("("); err != nil {
		return nil, err
	}
	set := map[string]bool{}
	for {
		s, err := p.literalText()
		if err != nil {
			return nil, err
		}
		set[s] = true
		if more, err := p.take(","); err != nil {
			return nil, err
		} else if !more {
			break
		}
	}
	return setTest{left, set}, p.demand(")")
}

func (p *parser) sum() (node, error) { return p.arithmetic("+-", p.product) }
func (p *parser) product() (node, error) {
	return p.arithmetic("*/%", p.unary)
}

func (p *parser) arithmetic(ops string, operand func() (node, error)) (node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for n := 0; p.tok.kind == tokSymbol && len(p.tok.text) == 1 && strings.Contains(ops, p.tok.text); n++ {
		if n == maxDepth {
			return nil, invalid(p.tok.at, "more than %d operators in a row", maxDepth)
		}
		op := p.tok.text[0]
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		left = calculation{op, left, right}
	}
	return left, nil
}

func (p *parser) unary() (node, error) {
	if err := p.deeper(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	if ok, err := p.take("+"); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return p.unary()
	}
	if ok, err := p.take("-"); ok || err != nil {
		if err != nil {
			return nil, err
		}
		n, err := p.unary()
		if err != nil {
			return nil, err
		}
		if lit, ok := n.(literal); ok && lit.value.number() {
			return literal{negative(lit.value)}, nil
		}
		return minus{n}, nil
	}
	return p.primary()
}

func (p *parser) primary() (node, error) {
	tok := p.tok
	switch tok.kind {
	case tokValue:
		return literal{tok.value}, p.advance()
	case tokName:
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.tok.kind == tokSymbol && p.tok.text == "(" {
			return p.call(tok)
		}
		return property{tok.text}, nil
	case tokKeyword:
		switch tok.text {
		case "TRUE", "FALSE":
			return literal{BoolValue(tok.text == "TRUE")}, p.advance()
		case "NULL":
			return literal{}, p.advance()
		}
	case tokSymbol:
		if tok.text == "(" {
			if err := p.advance(); err != nil {
				return nil, err
			}
			n, err := p.or()
			if err != nil {
				return nil, err
			}
			return n, p.demand(")")
		}
	}
	return nil, p.unexpected()
}

// call reads the arguments of a function.
func (p *parser) call(name token) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	var args []node
	for p.tok.kind != tokSymbol || p.tok.text != ")" {
		if len(args) > 0 {
			if err := p.demand(","); err != nil {
				return nil, err
			}
		}
		if len(args) == maxDepth {
			return nil, invalid(p.tok.at, "more than %d arguments", maxDepth)
		}
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		args = append(args, n)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	return newFunction(name, args)
}
