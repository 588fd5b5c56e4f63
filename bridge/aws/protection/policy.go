// Package protection is message data protection as topics of SNS have it:
// policies that name kinds of sensitive data and say what becomes of messages
// that hold some. It finds data by their form alone. What a policy asks for and
// nothing here can find is refused when the policy is set, never ignored.
package protection

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Direction is the way of a message: from publishers to the topic, or from the
// topic to subscribers.
type Direction string

// The directions.
const (
	Inbound  Direction = "Inbound"
	Outbound Direction = "Outbound"
)

// Bounds of a policy.
const (
	maxStatements = 50
	maxCustom     = 10
	maxRegex      = 200 // bytes of a regular expression
)

// Policy is a policy in force. It is for use by all goroutines; nil has no
// statements.
type Policy struct {
	inbound, outbound []statement
}

type statement struct {
	sid        string
	principals []string // ARNs, or "*"
	finders    []named
	audit      bool
	sample     int  // percent of messages that are audited
	unfound    bool // also those without findings are told
	deny       bool
	mask       string // in place of each character; "" redacts
}

type named struct {
	name string
	find finder
}

// Finding is sensitive data that a statement found.
type Finding struct {
	Sid   string
	Found []string // names of the identifiers, sorted
	Count int      // 0: an audit that found nothing and was asked to say so
}

// Outcome is what a policy makes of the texts of a message.
type Outcome struct {
	Denied  bool
	Changed bool
	Audits  []Finding
	Denials []Finding // the first, if Denied
}

// Has reports whether statements look at messages that go this way.
func (p *Policy) Has(d Direction) bool { return p != nil && len(*p.of(d)) > 0 }

func (p *Policy) of(d Direction) *[]statement {
	if d == Outbound {
		return &p.outbound
	}
	return &p.inbound
}

// Apply looks at the texts of a message and masks what is to be masked, in
// place. roll is a number from 0 to 99 that decides whether the message is
// among those that are audited. The time it takes is linear in the length of
// the texts for managed identifiers; a custom regular expression may look at the
// rest of the text again after each finding. Audits see the message as it came.
func (p *Policy) Apply(d Direction, principal string, roll int, texts ...*string) (o Outcome) {
	if p == nil {
		return o
	}
	list := *p.of(d)
	for i := range list {
		s := &list[i]
		if !s.applies(principal) || !s.audit && !s.deny || s.audit && roll >= s.sample {
			continue
		}
		f := s.look(texts)
		switch {
		case s.audit && (f.Count > 0 || s.unfound):
			o.Audits = append(o.Audits, f)
		case s.deny && f.Count > 0:
			o.Denied, o.Denials = true, append(o.Denials, f)
		}
	}
	if o.Denied {
		return o
	}
	for i := range list {
		if s := &list[i]; s.applies(principal) && !s.audit && !s.deny {
			for _, t := range texts {
				if out, ok := s.replace(*t); ok {
					*t, o.Changed = out, true
				}
			}
		}
	}
	return o
}

func (s *statement) applies(principal string) bool {
	return slices.Contains(s.principals, "*") || slices.Contains(s.principals, principal)
}

func (s *statement) look(texts []*string) Finding {
	f := Finding{Sid: s.sid}
	for _, n := range s.finders {
		before := f.Count
		for _, t := range texts {
			for from := 0; ; {
				start, end := n.find(*t, from)
				if start < 0 {
					break
				}
				f.Count++
				from = max(end, start+1)
			}
		}
		if f.Count > before {
			f.Found = append(f.Found, n.name)
		}
	}
	slices.Sort(f.Found)
	return f
}

// replace masks or redacts everything that the statement finds.
func (s *statement) replace(text string) (out string, changed bool) {
	for _, n := range s.finders {
		var b strings.Builder
		done := 0
		for from := 0; ; {
			start, end := n.find(text, from)
			if start < 0 {
				break
			}
			b.WriteString(text[done:start])
			if s.mask != "" {
				b.WriteString(strings.Repeat(s.mask, utf8.RuneCountInString(text[start:end])))
			}
			done = end
			from = max(end, start+1)
		}
		if done > 0 {
			b.WriteString(text[done:])
			text, changed = b.String(), true
		}
	}
	return text, changed
}

// document is a policy as clients write it.
type document struct {
	Name          string
	Description   string
	Version       string
	Statement     []clause
	Configuration struct {
		CustomDataIdentifier []struct{ Name, Regex string }
	}
}

type clause struct {
	Sid            string
	DataDirection  Direction
	Principal      oneOrMore
	DataIdentifier oneOrMore
	Operation      struct {
		Audit      *auditing
		Deny       *struct{}
		Deidentify *struct {
			MaskConfig   *struct{ MaskWithCharacter string }
			RedactConfig *struct{}
		}
	}
}

type auditing struct {
	SampleRate            json.RawMessage
	FindingsDestination   json.RawMessage
	NoFindingsDestination json.RawMessage
}

// oneOrMore is a list that may be a single string.
type oneOrMore []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *oneOrMore) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		err := json.Unmarshal(b, &s)
		*l = oneOrMore{s}
		return err
	}
	return json.Unmarshal(b, (*[]string)(l))
}

// Parse reads a policy. The error says what in it cannot be enforced.
func Parse(text string) (*Policy, error) {
	var doc document
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("the policy is malformed: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the policy is malformed: something follows it")
	}
	switch {
	case doc.Name == "":
		return nil, errors.New("the Name is missing")
	case doc.Version != "2021-06-01":
		return nil, errors.New("the Version must be 2021-06-01")
	case len(doc.Statement) > maxStatements:
		return nil, fmt.Errorf("more than %d statements", maxStatements)
	}
	custom, err := doc.custom()
	if err != nil {
		return nil, err
	}
	p, audits := new(Policy), 0
	for i := range doc.Statement {
		c := &doc.Statement[i]
		s, err := c.statement(custom)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if s.audit {
			audits++
		}
		list := p.of(c.DataDirection)
		*list = append(*list, s)
	}
	if audits > 1 {
		return nil, errors.New("more than one Audit statement")
	}
	return p, nil
}

func (doc *document) custom() (map[string]finder, error) {
	list := doc.Configuration.CustomDataIdentifier
	if len(list) > maxCustom {
		return nil, fmt.Errorf("more than %d custom data identifiers", maxCustom)
	}
	custom := make(map[string]finder, len(list))
	for _, c := range list {
		if c.Name == "" || len(c.Name) > 128 || len(c.Regex) == 0 || len(c.Regex) > maxRegex {
			return nil, fmt.Errorf("custom data identifier %q: a name of up to 128 and a Regex of up to %d characters are wanted", c.Name, maxRegex)
		}
		re, err := regexp.Compile(c.Regex)
		if err != nil {
			return nil, fmt.Errorf("custom data identifier %q: %w", c.Name, err)
		}
		if custom[c.Name] != nil {
			return nil, fmt.Errorf("custom data identifier %q is there twice", c.Name)
		}
		custom[c.Name] = pattern(re)
	}
	return custom, nil
}

func (c *clause) statement(custom map[string]finder) (s statement, err error) {
	s.sid, s.principals = c.Sid, c.Principal
	switch {
	case c.DataDirection != Inbound && c.DataDirection != Outbound:
		return s, errors.New("DataDirection must be Inbound or Outbound")
	case len(c.Principal) == 0 || len(c.Principal) > 50:
		return s, errors.New("the Principal must name between 1 and 50 principals")
	case c.DataDirection == Outbound && !slices.Contains(c.Principal, "*"):
		return s, errors.New(`this broker does not know who made a subscription: the Principal of an Outbound statement must be "*"`)
	case len(c.DataIdentifier) == 0:
		return s, errors.New("DataIdentifier is missing")
	}
	for _, id := range c.DataIdentifier {
		name, managed := managedName(id)
		f := custom[id]
		switch {
		case managed:
			if f = finders[name]; f == nil {
				return s, fmt.Errorf("this broker cannot find %s; it finds %s, and custom data identifiers", id, strings.Join(Identifiers(), ", "))
			}
		case f == nil:
			return s, fmt.Errorf("DataIdentifier %s is neither the ARN of a managed one nor a custom one of this policy", id)
		case c.DataDirection == Outbound:
			return s, fmt.Errorf("custom data identifier %s: this broker looks for those in Inbound statements only", id)
		default:
			name = id
		}
		s.finders = append(s.finders, named{name, f})
	}
	return s, c.operation(&s)
}

func (c *clause) operation(s *statement) error {
	op := &c.Operation
	count := 0
	if op.Audit != nil {
		count++
		s.audit, s.unfound = true, len(op.Audit.NoFindingsDestination) > 0
		rate, err := strconv.Atoi(strings.Trim(string(op.Audit.SampleRate), `"`))
		if err != nil || rate < 0 || rate > 99 {
			return errors.New("SampleRate must be a number from 0 to 99")
		}
		if s.sample = rate; rate == 99 {
			s.sample = 100 // the most that can be asked for
		}
		if c.DataDirection != Inbound {
			return errors.New("an Audit is for Inbound statements")
		}
		if len(op.Audit.FindingsDestination) == 0 && len(op.Audit.NoFindingsDestination) == 0 {
			return errors.New("an Audit needs a destination; this broker tells its log")
		}
	}
	if op.Deny != nil {
		count++
		s.deny = true
	}
	if how := op.Deidentify; how != nil {
		count++
		switch {
		case (how.MaskConfig != nil) == (how.RedactConfig != nil):
			return errors.New("a Deidentify needs MaskConfig or RedactConfig")
		case how.MaskConfig != nil:
			if s.mask = how.MaskConfig.MaskWithCharacter; s.mask == "" {
				s.mask = "#"
			}
			if len(s.mask) != 1 || s.mask[0] <= ' ' || s.mask[0] > '~' {
				return errors.New("MaskWithCharacter must be one printable ASCII character")
			}
		}
	}
	if count != 1 {
		return errors.New("the Operation must be one of Audit, Deny and Deidentify")
	}
	return nil
}

// managedName is the name in the ARN of a managed data identifier.
func managedName(arn string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:")
	if !ok {
		return "", false
	}
	_, rest, _ = strings.Cut(rest, ":") // the partition
	if rest, ok = strings.CutPrefix(rest, "dataprotection:"); !ok {
		return "", false
	}
	// The documentation names no region and the account aws, the console a region and no account.
	region, rest, _ := strings.Cut(rest, ":")
	account, rest, _ := strings.Cut(rest, ":")
	if account != "aws" && (account != "" || region == "") {
		return "", false
	}
	return strings.CutPrefix(rest, "data-identifier/")
}
