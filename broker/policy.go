package broker

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"sort"
)

// Policy gives configuration to all queues and exchanges whose names match.
// At most one policy and one operator policy apply to an object: that of the
// highest priority.
//
// Pattern is an RE2 expression searched for in the name; RabbitMQ's are PCRE,
// so look-around and back references are refused.
type Policy struct {
	VHost      string                     `json:"vhost"`
	Name       string                     `json:"name"`
	Pattern    string                     `json:"pattern"`
	ApplyTo    string                     `json:"apply-to"`
	Priority   int                        `json:"priority"`
	Definition map[string]json.RawMessage `json:"definition"`

	re      *regexp.Regexp
	numbers map[string]int64
	texts   map[string]string
}

// The values of Policy.ApplyTo.
const (
	applyAll       = "all"
	applyQueues    = "queues"
	applyClassic   = "classic_queues"
	applyQuorum    = "quorum_queues"
	applyStreams   = "streams"
	applyExchanges = "exchanges"
)

func applyOf(kind QueueKind) string {
	switch kind {
	case KindQuorum:
		return applyQuorum
	case KindStream:
		return applyStreams
	}
	return applyClassic
}

// policyKey says what a policy may set and how it is checked.
type policyKey struct {
	operator bool // an operator policy may set it
	number   bool
	min, max int64
	words    []string
	check    func(string) bool
}

var policyKeys = map[string]policyKey{
	"alternate-exchange":            {},
	"dead-letter-exchange":          {},
	"dead-letter-routing-key":       {},
	"dead-letter-strategy":          {words: []string{"at-most-once", "at-least-once"}},
	"message-ttl":                   {operator: true, number: true, max: maxExpiry},
	"expires":                       {operator: true, number: true, min: 1, max: maxExpiry},
	"max-length":                    {operator: true, number: true, max: math.MaxInt64},
	"max-length-bytes":              {operator: true, number: true, max: math.MaxInt64},
	"max-in-memory-length":          {operator: true, number: true, max: math.MaxInt64},
	"max-in-memory-bytes":           {operator: true, number: true, max: math.MaxInt64},
	"queue-mode":                    {words: []string{"default", "lazy"}},
	"queue-version":                 {operator: true, number: true, min: 1, max: 2},
	"overflow":                      {operator: true, words: []string{"drop-head", "reject-publish", "reject-publish-dlx"}},
	"delivery-limit":                {operator: true, number: true, min: math.MinInt32, max: math.MaxInt32},
	"max-age":                       {check: func(s string) bool { _, ok := parseAge(s); return ok }},
	"stream-max-segment-size-bytes": {number: true, max: 3_000_000_000},
	"stream-filter-size-bytes":      {number: true, min: 16, max: 255},
	"queue-leader-locator":          {words: []string{"client-local", "balanced", "random", "least-leaders"}},
	"queue-master-locator":          {words: []string{"client-local", "min-masters", "random"}},
	"initial-cluster-size":          {number: true, min: 1, max: math.MaxInt32},
	"target-group-size":             {operator: true, number: true, min: 1, max: math.MaxInt32},
	"consumer-timeout":              {number: true, max: math.MaxInt64},
	"federation-upstream":           {},
	"federation-upstream-set":       {},
	"ha-mode":                       {words: []string{"all", "exactly", "nodes"}},
	"ha-sync-mode":                  {words: []string{"automatic", "manual"}},
	"ha-promote-on-shutdown":        {words: []string{"always", "when-synced"}},
	"ha-promote-on-failure":         {words: []string{"always", "when-synced"}},
	"ha-sync-batch-size":            {number: true, max: math.MaxInt64},
}

// compile checks a policy and prepares it.
func (p *Policy) compile(operator bool) error {
	if p.Name == "" || len(p.Name) > maxName {
		return errf(Invalid, "Validation failed\n\nname is required")
	}
	switch p.ApplyTo {
	case "":
		p.ApplyTo = applyAll
		if operator {
			p.ApplyTo = applyQueues
		}
	case applyAll, applyExchanges, applyQueues, applyClassic, applyQuorum, applyStreams:
		// RabbitMQ takes all of them for operator policies, too, which then
		// apply to what they can: rabbitmqctl's default is "all".
	default:
		return errf(Invalid, "Validation failed\n\napply-to '%s' unrecognised", p.ApplyTo)
	}
	re, err := regexp.Compile(p.Pattern)
	if err != nil {
		return errf(Invalid, "Validation failed\n\npattern should be a regular expression, but: %v", err)
	}
	p.re = re
	if len(p.Definition) == 0 {
		return errf(Invalid, "Validation failed\n\nno policy provided")
	}
	p.numbers, p.texts = make(map[string]int64), make(map[string]string)
	for key, raw := range p.Definition {
		if err := p.take(key, raw, operator); err != nil {
			return err
		}
	}
	return nil
}

func (p *Policy) take(key string, raw json.RawMessage, operator bool) error {
	if key == "ha-params" && !operator {
		return nil // of mirrored queues: a number or a list, without effect
	}
	k, ok := policyKeys[key]
	if !ok || operator && !k.operator {
		return errf(Invalid, "Validation failed\n\n[{<<\"%s\">>,%s}] are not recognised policy settings", key, bytes.TrimSpace(raw))
	}
	bad := func() error {
		return errf(Invalid, "Validation failed\n\n%s is not a valid value for %s", bytes.TrimSpace(raw), key)
	}
	if k.number {
		var n int64
		if json.Unmarshal(raw, &n) != nil || n < k.min || n > k.max {
			return bad()
		}
		p.numbers[key] = n
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return bad()
	}
	if k.check != nil && !k.check(s) {
		return bad()
	}
	if k.words != nil {
		known := false
		for _, w := range k.words {
			known = known || w == s
		}
		if !known {
			return bad()
		}
	}
	p.texts[key] = s
	return nil
}

func (p *Policy) number(key string) (int64, bool) {
	if p == nil {
		return 0, false
	}
	n, ok := p.numbers[key]
	return n, ok
}

func (p *Policy) text(key string) (string, bool) {
	if p == nil {
		return "", false
	}
	s, ok := p.texts[key]
	return s, ok
}

func (p *Policy) covers(target string) bool {
	switch p.ApplyTo {
	case applyAll:
		return true
	case applyQueues:
		return target != applyExchanges
	}
	return p.ApplyTo == target
}

// policySet is a virtual host's policies, the first that fits wins. Guarded by
// vhost.mu.
type policySet struct {
	list []*Policy // by falling priority, then name
}

// find returns the policy for an object, or nil. target is one of the specific
// values of ApplyTo.
func (s *policySet) find(target, name string) *Policy {
	if name == ScheduleQueue {
		return nil
	}
	for _, p := range s.list {
		if p.covers(target) && p.re.MatchString(name) {
			return p
		}
	}
	return nil
}

func (s *policySet) put(p *Policy) {
	s.remove(p.Name)
	s.list = append(s.list, p)
	sort.Slice(s.list, func(i, j int) bool {
		a, b := s.list[i], s.list[j]
		if a.Priority != b.Priority {
			return a.Priority > b.Priority
		}
		return a.Name < b.Name
	})
}

func (s *policySet) remove(name string) bool {
	for i, p := range s.list {
		if p.Name == name {
			s.list = append(s.list[:i], s.list[i+1:]...)
			return true
		}
	}
	return false
}

// effective merges arguments, policy and operator policy: the smaller limit
// wins, and for the words the argument, then the operator policy.
func (m *queueMeta) effective() QueueConfig {
	cfg := m.declared
	if m.service != nil {
		m.service(&cfg)
	}
	for _, p := range []*Policy{m.policy, m.operator} {
		if p == nil {
			continue
		}
		smaller(p, "message-ttl", &cfg.MessageTTL)
		smaller(p, "expires", &cfg.Expires)
		smaller(p, "max-length", &cfg.MaxLength)
		smaller(p, "max-length-bytes", &cfg.MaxLengthBytes)
	}
	if cfg.Kind == KindStream {
		cfg.MessageTTL, cfg.Expires, cfg.MaxLength = -1, -1, -1
	}
	m.mergeDeliveryLimit(&cfg)
	m.mergeWords(&cfg)
	if n, ok := m.policy.number("consumer-timeout"); ok && cfg.ConsumerTTL < 0 {
		cfg.ConsumerTTL = n
	}
	if s, ok := m.policy.text("max-age"); ok && cfg.Kind == KindStream && cfg.MaxAge < 0 {
		cfg.MaxAge, _ = parseAge(s)
	}
	return cfg
}

func smaller(p *Policy, key string, limit *int64) {
	if n, ok := p.number(key); ok && (*limit < 0 || n < *limit) {
		*limit = n
	}
}

// mergeDeliveryLimit: the smallest of those that are set and not negative; a
// negative one set by an argument or policy lifts the default only.
func (m *queueMeta) mergeDeliveryLimit(cfg *QueueConfig) {
	if cfg.Kind != KindQuorum {
		return
	}
	limit, set := int64(-1), false
	consider := func(n int64, ok bool) {
		if !ok {
			return
		}
		set = true
		if n >= 0 && (limit < 0 || n < limit) {
			limit = n
		}
	}
	if v, ok := m.args.Get("x-delivery-limit"); ok {
		n, isInt := Int(v)
		consider(n, isInt)
	}
	consider(m.policy.number("delivery-limit"))
	consider(m.operator.number("delivery-limit"))
	if set {
		cfg.DeliveryLimit = int(limit)
	}
}

func (m *queueMeta) mergeWords(cfg *QueueConfig) {
	if cfg.Kind == KindStream {
		return
	}
	if s, ok := m.policy.text("dead-letter-exchange"); ok && !cfg.DeadLetterSet {
		cfg.DeadLetterExchange, cfg.DeadLetterSet = s, true
	}
	if s, ok := m.policy.text("dead-letter-routing-key"); ok && !cfg.DeadLetterKeySet {
		cfg.DeadLetterKey, cfg.DeadLetterKeySet = s, true
	}
	if _, ok := m.args.Get("x-overflow"); !ok {
		if s, ok := m.operator.text("overflow"); ok {
			cfg.Overflow = parseOverflow(s)
		} else if s, ok := m.policy.text("overflow"); ok {
			cfg.Overflow = parseOverflow(s)
		}
	}
}

// applyPolicies gives every queue and exchange of v the policies that fit it
// now. v.mu is held; queues are configured when it is not any more.
func (v *VHost) applyPolicies(c *change) {
	for q, m := range v.meta {
		target := applyOf(m.declared.Kind)
		policy, operator := v.policies.find(target, q.Name()), v.operatorPolicies.find(target, q.Name())
		if policy == m.policy && operator == m.operator {
			continue
		}
		m.policy, m.operator = policy, operator
		cfg := m.effective()
		c.later(func(t *Turn) { q.configure(t, cfg) })
	}
	for _, x := range v.exchanges.all() {
		x.policy = v.policies.find(applyExchanges, x.name)
		x.configure()
	}
	v.bump()
}
