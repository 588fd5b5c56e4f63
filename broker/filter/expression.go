package filter

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// expression reads a match expression, {"operator": operand}, whose object was
// entered.
func (c *compiler) expression() (matcher, error) {
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	if t != tokenField {
		return matcher{}, c.fail("Match expression name not found")
	}
	var m matcher
	switch name := c.name; name {
	case "prefix":
		m, err = c.operand(opPrefix, name)
	case "suffix":
		m, err = c.operand(opSuffix, name)
	case "equals-ignore-case":
		m, err = c.operand(opFold, name)
	case "wildcard":
		if m, err = c.operand(opWildcard, name); err == nil {
			err = checkWildcard(m.text)
		}
	case "cidr":
		if m, err = c.operand(opCIDR, "prefix"); err == nil {
			m.net, err = parseCIDR(m.text)
		}
	case "numeric":
		m, err = c.numeric()
	case "exists":
		m, err = c.exists()
	case "anything-but":
		m, err = c.anythingBut()
	default:
		return matcher{}, c.fail("Unrecognized match type ", name)
	}
	if err != nil {
		return matcher{}, err
	}
	return m, c.close()
}

// close reads the end of a match expression.
func (c *compiler) close() error {
	t, err := c.next()
	if err != nil {
		return err
	}
	if t != tokenObjectEnd {
		return c.fail("Only one key allowed in match expression")
	}
	return nil
}

// operand reads an operand that must be a string.
func (c *compiler) operand(op operator, name string) (matcher, error) {
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	if t != tokenString {
		return matcher{}, c.fail(name, " match pattern must be a string")
	}
	if err := c.load(); err != nil {
		return matcher{}, err
	}
	return matcher{op: op, text: c.text}, nil
}

func (c *compiler) exists() (matcher, error) {
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	if t != tokenTrue && t != tokenFalse {
		return matcher{}, c.fail("exists match pattern must be either true or false.")
	}
	return matcher{op: opExists, open: t == tokenTrue}, nil
}

// numeric reads ["=", 1], [">", 1], [">", 1, "<=", 2] and the like.
func (c *compiler) numeric() (matcher, error) {
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	if t != tokenArray {
		return matcher{}, c.fail("Value of numeric must be an array.")
	}
	if t, err = c.next(); err != nil {
		return matcher{}, err
	}
	if t != tokenString {
		return matcher{}, c.fail("Invalid member in numeric match: ", c.spelling(t))
	}
	if err := c.load(); err != nil {
		return matcher{}, err
	}
	op := c.text
	if t, err = c.next(); err != nil {
		return matcher{}, err
	}
	switch op {
	case "=", "<", "<=", ">", ">=":
	default:
		return matcher{}, c.fail("Unrecognized numeric range operator: ", op)
	}
	if t != tokenNumber {
		if op == "=" {
			op = "equals"
		}
		return matcher{}, c.fail("Value of ", op, " must be numeric")
	}
	m := matcher{op: opRange, low: math.Inf(-1), high: math.Inf(1)}
	switch op {
	case "=":
		m.low, m.high = c.num, c.num
	case "<", "<=":
		m.high, m.openHigh = c.num, op == "<"
	case ">", ">=":
		m.low, m.open = c.num, op == ">"
	}
	if t, err = c.next(); err != nil || t == tokenArrayEnd {
		return m, err
	}
	if op == "=" || op[0] == '<' {
		return matcher{}, c.fail("Too many elements in numeric expression")
	}
	return c.upper(m, t)
}

// upper reads the second half of a numeric range.
func (c *compiler) upper(m matcher, t token) (matcher, error) {
	if t != tokenString {
		return matcher{}, c.fail("Bad value in numeric range: ", c.spelling(t))
	}
	if err := c.load(); err != nil {
		return matcher{}, err
	}
	op := c.text
	if op != "<" && op != "<=" {
		return matcher{}, c.fail("Bad numeric range operator: ", op)
	}
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	if t != tokenNumber {
		return matcher{}, c.fail("Value of ", op, " must be numeric")
	}
	m.high, m.openHigh = c.num, op == "<"
	if t, err = c.next(); err != nil {
		return matcher{}, err
	}
	if t != tokenArrayEnd {
		return matcher{}, c.fail("Too many terms in numeric range expression")
	}
	if m.low >= m.high {
		return matcher{}, c.fail("Bottom must be less than top")
	}
	return m, nil
}

// spelling is how the current token is written.
func (c *compiler) spelling(t token) string {
	switch t {
	case tokenNumber:
		return c.text
	case tokenArray:
		return "["
	case tokenArrayEnd:
		return "]"
	case tokenObject:
		return "{"
	case tokenObjectEnd:
		return "}"
	case tokenTrue:
		return "true"
	case tokenFalse:
		return "false"
	}
	return "null"
}

// anythingBut reads a value, a list of values, or {"prefix": ...} and the
// like.
func (c *compiler) anythingBut() (matcher, error) {
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	not := matcher{op: opNot}
	switch {
	case t == tokenObject:
		return c.anythingButPattern()
	case t == tokenArray:
		not.list, err = c.excluded()
		return not, err
	case t == tokenString:
		if err := c.load(); err != nil {
			return matcher{}, err
		}
		not.list = []matcher{{op: opString, text: c.text}}
		return not, nil
	case t == tokenNumber:
		not.list = []matcher{{op: opNumber, low: c.num}}
		return not, nil
	}
	return matcher{}, c.fail("Value of anything-but must be an array or single string/number value.")
}

// excluded reads the values of a list that was entered.
func (c *compiler) excluded() ([]matcher, error) {
	var list []matcher
	for {
		t, err := c.next()
		if err != nil {
			return nil, err
		}
		var m matcher
		switch t {
		case tokenArrayEnd:
			if len(list) == 0 {
				return nil, c.fail("Empty arrays are not allowed")
			}
			return list, nil
		case tokenString:
			if err := c.load(); err != nil {
				return nil, err
			}
			m = matcher{op: opString, text: c.text}
		case tokenNumber:
			m = matcher{op: opNumber, low: c.num}
		default:
			return nil, c.fail("Inside anything but list, start|null|boolean is not supported.")
		}
		if len(list) > 0 && list[0].op != m.op {
			return nil, c.fail("Inside anything but list, either all values are number or string, mixed type is not supported")
		}
		list = append(list, m)
	}
}

// anythingButPattern reads {"prefix": "a"} or {"prefix": ["a", "b"]}, whose
// object was entered.
func (c *compiler) anythingButPattern() (matcher, error) {
	t, err := c.next()
	if err != nil {
		return matcher{}, err
	}
	if t != tokenField {
		return matcher{}, c.fail("Anything-But expression name not found")
	}
	name := c.name
	op, ok := map[string]operator{
		"prefix": opPrefix, "suffix": opSuffix, "equals-ignore-case": opFold, "wildcard": opWildcard,
	}[name]
	if !ok {
		return matcher{}, c.fail("Unsupported anything-but pattern: ", name)
	}
	if t, err = c.next(); err != nil {
		return matcher{}, err
	}
	not := matcher{op: opNot}
	list := t == tokenArray
	if list {
		if t, err = c.next(); err != nil {
			return matcher{}, err
		}
		if t == tokenArrayEnd {
			return matcher{}, c.fail("Empty arrays are not allowed")
		}
	}
	for {
		if t != tokenString {
			return matcher{}, c.fail(name, " match pattern must be a string")
		}
		if err := c.load(); err != nil {
			return matcher{}, err
		}
		if op == opWildcard {
			if err := checkWildcard(c.text); err != nil {
				return matcher{}, err
			}
		}
		not.list = append(not.list, matcher{op: op, text: c.text})
		if !list {
			break
		}
		if t, err = c.next(); err != nil {
			return matcher{}, err
		}
		if t == tokenArrayEnd {
			break
		}
	}
	return not, c.close()
}

// checkWildcard refuses what a pattern cannot say: two asterisks in a row, or
// a backslash before anything but an asterisk or backslash.
func checkWildcard(pattern string) error {
	star := false
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '*':
			if star {
				return refusal("Consecutive wildcard characters at pos " + strconv.Itoa(i-1))
			}
			star = true
			continue
		case '\\':
			if i+1 == len(pattern) || pattern[i+1] != '*' && pattern[i+1] != '\\' {
				return refusal("Invalid escape character at pos " + strconv.Itoa(i))
			}
			i++
		}
		star = false
	}
	return nil
}

func parseCIDR(text string) (netip.Prefix, error) {
	ip, mask, ok := strings.Cut(text, "/")
	if !ok || strings.Contains(mask, "/") {
		return netip.Prefix{}, refusal("Malformed CIDR, one '/' required")
	}
	bits, err := strconv.Atoi(mask)
	if err != nil {
		return netip.Prefix{}, refusal("Malformed CIDR, mask bits must be an integer")
	}
	if bits < 0 {
		return netip.Prefix{}, refusal("Malformed CIDR, mask bits must not be negative")
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, refusal("Nonstandard IP address: " + ip)
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		if addr.Is4() {
			return netip.Prefix{}, refusal("IPv4 mask bits must be < 32")
		}
		return netip.Prefix{}, refusal("IPv6 mask bits must be < 128")
	}
	return prefix, nil
}
