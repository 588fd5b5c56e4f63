package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// Scope says what a policy looks at.
type Scope uint8

// The scopes. In a policy about attributes every key names one attribute; a
// policy about bodies may nest.
const (
	Attributes Scope = iota
	Body
)

// String returns SNS's word.
func (s Scope) String() string {
	if s == Body {
		return "MessageBody"
	}
	return "MessageAttributes"
}

// Bounds of a policy, as in SNS.
const (
	MaxKeys         = 5
	MaxCombinations = 150
)

// Policy is a compiled filter policy: all of its keys must match.
type Policy struct {
	scope Scope
	root  branch
}

// Scope returns what the policy looks at.
func (p *Policy) Scope() Scope { return p.scope }

// branch is an object of a policy: every key and every $or must match.
type branch struct {
	keys []key
	ors  [][]branch // of each, one alternative must match
}

// key is one entry of a branch: a leaf with values, or a nested branch.
type key struct {
	name  string
	leaf  []matcher // any must match; nil: a nested branch
	below *branch
}

// refusal is what SNS says of a policy it does not take.
type refusal string

// Error implements error.
func (r refusal) Error() string { return string(r) }

// ErrNested reports a nested policy about attributes.
var ErrNested error = refusal("Filter policy scope MessageAttributes does not support nested filter policy")

// Compile reads a policy. Except for [ErrNested], the texts of errors are what
// SNS says after "FilterPolicy: ".
func Compile(text string, scope Scope) (*Policy, error) {
	root, err := compile(text)
	if err != nil {
		return nil, explain(text, err)
	}
	if scope == Attributes && root.nested() {
		return nil, ErrNested
	}
	if root.width() > MaxKeys {
		return nil, refusal("Filter policy can not have more than 5 keys")
	}
	if root.combinations(1) > MaxCombinations {
		return nil, refusal("Filter policy is too complex")
	}
	if scope == Body {
		root.unfold()
	}
	return &Policy{scope, *root}, nil
}

// unfold makes paths of names with dots: "a.b" means the field b of a.
func (b *branch) unfold() {
	for i := range b.keys {
		k := &b.keys[i]
		if k.below != nil {
			k.below.unfold()
		}
		if !isPath(k.name) {
			continue
		}
		parts := strings.Split(k.name, ".")
		for n := len(parts) - 1; n > 0; n-- {
			*k = key{name: parts[n-1], below: &branch{keys: []key{{name: parts[n], leaf: k.leaf, below: k.below}}}}
		}
	}
	for _, or := range b.ors {
		for i := range or {
			or[i].unfold()
		}
	}
}

func compile(text string) (*branch, error) {
	c := compiler{lexer: lexer{src: text}}
	return c.policy()
}

// explain is the error of a policy in SNS's words. SNS looks first whether the
// text is JSON, then at the policy without its white space: that is what
// positions count.
func explain(text string, err error) error {
	var bad *syntaxError
	if !errors.As(err, &bad) {
		for l := (lexer{src: text}); ; {
			t, wrong := l.next()
			if errors.As(wrong, &bad) || t == tokenEnd {
				break
			}
		}
	}
	if bad != nil {
		return refusal("failed to parse JSON. " + bad.msg)
	}
	var dense bytes.Buffer
	if json.Compact(&dense, []byte(text)) == nil {
		if _, again := compile(dense.String()); again != nil {
			return again
		}
	}
	return err
}

func (b *branch) nested() bool {
	for i := range b.keys {
		if b.keys[i].below != nil {
			return true
		}
	}
	for _, or := range b.ors {
		for i := range or {
			if or[i].nested() {
				return true
			}
		}
	}
	return false
}

// width counts the keys of the outermost object, those of alternatives
// included.
func (b *branch) width() int {
	n := len(b.keys)
	for _, or := range b.ors {
		for i := range or {
			n += or[i].width()
		}
	}
	return n
}

// combinations is SNS's measure of a policy: the product over all leaves of
// the number of values, each weighted by its depth.
func (b *branch) combinations(depth int) int {
	n := 1
	for i := range b.keys {
		k := &b.keys[i]
		if k.below != nil {
			n = saturate(n, k.below.combinations(depth+1))
		} else {
			n = saturate(n, len(k.leaf)*depth)
		}
	}
	for _, or := range b.ors {
		sum := 0
		for i := range or {
			sum += or[i].combinations(depth)
		}
		n = saturate(n, sum)
	}
	return n
}

func saturate(a, b int) int { return min(min(a, 1<<20)*min(b, 1<<20), 1<<20) }

// compiler turns tokens into a policy.
type compiler struct {
	lexer
}

func (c *compiler) fail(words ...string) error { return refusal(strings.Join(words, "") + c.here()) }

func (c *compiler) policy() (*branch, error) {
	t, err := c.next()
	if err != nil {
		return nil, err
	}
	if t != tokenObject {
		return nil, c.fail("Filter is not an object")
	}
	root, err := c.branch()
	if err != nil {
		return nil, err
	}
	if _, err := c.next(); err != nil {
		return nil, err
	}
	return root, nil
}

// branch reads an object that was entered.
func (c *compiler) branch() (*branch, error) {
	b := new(branch)
	for {
		t, err := c.next()
		if err != nil {
			return nil, err
		}
		if t == tokenObjectEnd {
			return b, nil
		}
		if err := c.entry(b); err != nil {
			return nil, err
		}
	}
}

// entry reads the value of a field.
func (c *compiler) entry(b *branch) error {
	name := c.name
	t, err := c.next()
	if err != nil {
		return err
	}
	switch t {
	case tokenObject:
		below, err := c.branch()
		if err != nil {
			return err
		}
		b.put(key{name: name, below: below})
		return nil
	case tokenArray:
		if name == "$or" && c.alternatives() {
			return c.or(b)
		}
		leaf, err := c.leaf()
		if err != nil {
			return err
		}
		b.put(key{name: name, leaf: leaf})
		return nil
	}
	return c.fail(`"`, name, `" must be an object or an array`)
}

// put adds a key; of two of one name the later one counts.
func (b *branch) put(k key) {
	for i := range b.keys {
		if b.keys[i].name == k.name {
			b.keys[i] = k
			return
		}
	}
	b.keys = append(b.keys, k)
}

// operators are the names a match expression may have.
var operators = map[string]bool{
	"prefix": true, "suffix": true, "numeric": true, "exists": true, "anything-but": true, "cidr": true,
	"equals-ignore-case": true, "wildcard": true, "exactly": true,
}

// alternatives looks ahead: "$or" is the operator only if its array holds two
// objects or more, none of which is a match expression; else it is a name like
// any other. The lexer has entered the array.
func (c *compiler) alternatives() bool {
	ahead := c.lexer
	ahead.stack = append([]token(nil), c.stack...)
	depth, objects := len(ahead.stack), 0
	for {
		t, err := ahead.next()
		if err != nil {
			return false
		}
		level := len(ahead.stack) - depth // 0: the array
		if t == tokenField && (ahead.ready == tokenObject || ahead.ready == tokenArray) {
			level-- // the value was entered with its name
		}
		switch {
		case t == tokenArrayEnd && level == -1:
			return objects >= 2
		case t == tokenObject && level == 1:
			objects++
		case t == tokenObjectEnd:
		case level == 0 || t == tokenArray && level == 1:
			return false
		case t == tokenField && level == 1 && operators[ahead.name]:
			return false
		}
	}
}

func (c *compiler) or(b *branch) error {
	var list []branch
	for {
		t, err := c.next()
		if err != nil {
			return err
		}
		if t == tokenArrayEnd {
			b.ors = append(b.ors, list)
			return nil
		}
		alternative, err := c.branch()
		if err != nil {
			return err
		}
		list = append(list, *alternative)
	}
}

// leaf reads the values of a key, whose array was entered.
func (c *compiler) leaf() ([]matcher, error) {
	leaf := []matcher{}
	for {
		t, err := c.next()
		if err != nil {
			return nil, err
		}
		var m matcher
		switch t {
		case tokenArrayEnd:
			if len(leaf) == 0 {
				return nil, c.fail("Empty arrays are not allowed")
			}
			return leaf, nil
		case tokenObject:
			if m, err = c.expression(); err != nil {
				return nil, err
			}
		case tokenString:
			if err := c.load(); err != nil {
				return nil, err
			}
			m = matcher{op: opString, text: c.text}
		case tokenNumber:
			m = matcher{op: opNumber, low: c.num}
		case tokenTrue, tokenFalse:
			m = matcher{op: opBool, open: t == tokenTrue}
		case tokenNull:
			m = matcher{op: opNull}
		default:
			return nil, c.fail("Match value must be String, number, true, false, or null")
		}
		leaf = append(leaf, m)
	}
}
