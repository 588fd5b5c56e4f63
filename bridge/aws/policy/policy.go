// Package policy evaluates resource policies in the language of AWS IAM, as
// queues and topics carry them.
package policy

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Bounds of a policy.
const (
	MaxBytes      = 8192
	maxStatements = 20
)

// Words is a JSON value that is a string or a list of strings.
type Words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *Words) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var list []string
		err := json.Unmarshal(b, &list)
		*w = list
		return err
	}
	var one any
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	switch v := one.(type) {
	case string:
		*w = Words{v}
	case bool:
		*w = Words{strconv.FormatBool(v)}
	case float64:
		*w = Words{strconv.FormatFloat(v, 'g', -1, 64)}
	default:
		return errors.New("policy: want a string or a list of them")
	}
	return nil
}

// Principals says who is meant: "*" or lists by kind.
type Principals struct {
	Any bool
	By  map[string]Words
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *Principals) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		if s != "*" {
			return errors.New("policy: invalid principal")
		}
		p.Any = true
		return nil
	}
	return json.Unmarshal(b, &p.By)
}

// Statement is one rule.
type Statement struct {
	Sid          string
	Effect       string
	Principal    *Principals
	NotPrincipal *Principals
	Action       Words
	NotAction    Words
	Resource     Words
	NotResource  Words
	Condition    map[string]map[string]Words
}

// Policy is a list of rules.
type Policy struct {
	Version   string
	ID        string `json:"Id"`
	Statement []Statement
}

// UnmarshalJSON implements json.Unmarshaler: a single statement may stand
// without its list.
func (p *Policy) UnmarshalJSON(b []byte) error {
	var raw struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	p.Version, p.ID = raw.Version, raw.ID
	if len(raw.Statement) > 0 && raw.Statement[0] == '{' {
		p.Statement = make([]Statement, 1)
		return json.Unmarshal(raw.Statement, &p.Statement[0])
	}
	if len(raw.Statement) == 0 {
		return nil
	}
	return json.Unmarshal(raw.Statement, &p.Statement)
}

// Parse reads and checks a policy.
func Parse(text string) (*Policy, error) {
	if len(text) > MaxBytes {
		return nil, errors.New("policy: too large")
	}
	p := new(Policy)
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, err
	}
	if len(p.Statement) == 0 || len(p.Statement) > maxStatements {
		return nil, errors.New("policy: 1 to 20 statements")
	}
	for i := range p.Statement {
		s := &p.Statement[i]
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return nil, errors.New("policy: effect must be Allow or Deny")
		}
		if s.Principal == nil && s.NotPrincipal == nil || len(s.Action)+len(s.NotAction) == 0 {
			return nil, errors.New("policy: a statement needs principal and action")
		}
	}
	return p, nil
}

// Decision is what a policy says.
type Decision uint8

// The decisions.
const (
	None  Decision = iota // says nothing
	Allow                 //
	Deny                  // wins over everything
)

// Request is what is asked for.
type Request struct {
	Principal string // ARN of the user
	Account   string // of the user
	Service   string // principal of a service, as sns.amazonaws.com; "" if none
	Action    string // service:Action
	Resource  string // ARN
	// Condition returns the values of a condition key, in lower case, nil if
	// it is not in the request.
	Condition func(key string) []string
}

// Evaluate decides; a nil policy says nothing.
func (p *Policy) Evaluate(r *Request) Decision {
	d := None
	if p == nil {
		return d
	}
	for i := range p.Statement {
		s := &p.Statement[i]
		if !s.applies(r) {
			continue
		}
		if s.Effect == "Deny" {
			return Deny
		}
		d = Allow
	}
	return d
}

func (s *Statement) applies(r *Request) bool {
	switch {
	case s.Principal != nil && !s.Principal.match(r), s.NotPrincipal != nil && s.NotPrincipal.match(r):
		return false
	case len(s.Action) > 0 && !anyAction(s.Action, r.Action), len(s.NotAction) > 0 && anyAction(s.NotAction, r.Action):
		return false
	case len(s.Resource) > 0 && !anyLike(s.Resource, r.Resource), len(s.NotResource) > 0 && anyLike(s.NotResource, r.Resource):
		return false
	}
	for op, keys := range s.Condition {
		for key, values := range keys {
			if !holds(op, values, r.values(key)) {
				return false
			}
		}
	}
	return true
}

func (r *Request) values(key string) []string {
	if r.Condition == nil {
		return nil
	}
	return r.Condition(strings.ToLower(key))
}

func (p *Principals) match(r *Request) bool {
	if p.Any {
		return true
	}
	for _, w := range p.By["AWS"] {
		if w == "*" || r.Principal != "" && w == r.Principal || r.Account != "" && (w == r.Account || rootOf(w) == r.Account) {
			return true
		}
	}
	for _, w := range p.By["Service"] {
		if r.Service != "" && w == r.Service {
			return true
		}
	}
	return false
}

// rootOf is the account of arn:aws:iam::account:root.
func rootOf(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) == 6 && parts[2] == "iam" && parts[5] == "root" {
		return parts[4]
	}
	return "-"
}

// anyAction compares without regard to case; a batch action needs the same
// right as the single one.
func anyAction(patterns Words, action string) bool {
	action = strings.ToLower(action)
	for _, p := range patterns {
		if p = strings.ToLower(p); like(p, action) || strings.HasSuffix(action, "batch") && like(p, strings.TrimSuffix(action, "batch")) {
			return true
		}
	}
	return false
}

func anyLike(patterns Words, s string) bool {
	for _, p := range patterns {
		if like(p, s) {
			return true
		}
	}
	return false
}

// like matches * and ?.
func like(p, s string) bool {
	star, back := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, back = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// holds evaluates one condition. An operator that is not known never holds.
func holds(op string, want Words, have []string) bool {
	all := false
	if rest, ok := strings.CutPrefix(op, "ForAllValues:"); ok {
		op, all = rest, true
		if len(have) == 0 {
			return true
		}
	}
	op = strings.TrimPrefix(op, "ForAnyValue:")
	if op == "Null" {
		return len(want) > 0 && (want[0] == "true") == (len(have) == 0)
	}
	op, ifExists := strings.CutSuffix(op, "IfExists")
	if len(have) == 0 && ifExists {
		return true
	}
	test, negated := operator(op)
	if test == nil {
		return false
	}
	if len(have) == 0 {
		return negated
	}
	matches := func(v string) bool {
		for _, w := range want {
			if test(w, v) {
				return true
			}
		}
		return false
	}
	for _, v := range have {
		if ok := matches(v) != negated; ok != all {
			return ok
		}
	}
	return all
}

func operator(op string) (test func(want, have string) bool, negated bool) {
	switch op {
	case "StringEquals":
		return func(w, v string) bool { return w == v }, false
	case "StringNotEquals":
		return func(w, v string) bool { return w == v }, true
	case "StringEqualsIgnoreCase":
		return strings.EqualFold, false
	case "StringNotEqualsIgnoreCase":
		return strings.EqualFold, true
	case "StringLike", "ArnLike", "ArnEquals":
		return like, false
	case "StringNotLike", "ArnNotLike", "ArnNotEquals":
		return like, true
	case "Bool":
		return strings.EqualFold, false
	case "IpAddress":
		return inNetwork, false
	case "NotIpAddress":
		return inNetwork, true
	}
	if rest, ok := strings.CutPrefix(op, "Numeric"); ok {
		return ordered(rest, func(s string) (float64, bool) {
			f, err := strconv.ParseFloat(s, 64)
			return f, err == nil
		})
	}
	if rest, ok := strings.CutPrefix(op, "Date"); ok {
		return ordered(rest, func(s string) (float64, bool) {
			if t, err := time.Parse(time.RFC3339, s); err == nil {
				return float64(t.Unix()), true
			}
			f, err := strconv.ParseFloat(s, 64)
			return f, err == nil
		})
	}
	return nil, false
}

func ordered(op string, parse func(string) (float64, bool)) (func(want, have string) bool, bool) {
	compare := func(f func(have, want float64) bool) func(string, string) bool {
		return func(want, have string) bool {
			w, ok1 := parse(want)
			v, ok2 := parse(have)
			return ok1 && ok2 && f(v, w)
		}
	}
	switch op {
	case "Equals":
		return compare(func(v, w float64) bool { return v == w }), false
	case "NotEquals":
		return compare(func(v, w float64) bool { return v == w }), true
	case "LessThan":
		return compare(func(v, w float64) bool { return v < w }), false
	case "LessThanEquals":
		return compare(func(v, w float64) bool { return v <= w }), false
	case "GreaterThan":
		return compare(func(v, w float64) bool { return v > w }), false
	case "GreaterThanEquals":
		return compare(func(v, w float64) bool { return v >= w }), false
	}
	return nil, false
}

func inNetwork(want, have string) bool {
	a, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	if p, err := netip.ParsePrefix(want); err == nil {
		return p.Contains(a.Unmap())
	}
	w, err := netip.ParseAddr(want)
	return err == nil && w.Unmap() == a.Unmap()
}
