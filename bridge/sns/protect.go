package sns

import (
	"encoding/json"
	"math/rand/v2"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/protection"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// screen applies the Inbound statements of a topic's data protection policy to
// posts. It returns those that may go on, with their places among the posts,
// and tells done of the others.
func (s *Service) screen(turn *broker.Turn, caller *endpoint.Caller, t *topic, posts []*post, done func(*broker.Turn, sent)) (kept []*post, places []int) {
	for i, p := range posts {
		if !t.protection.Has(protection.Inbound) {
			kept, places = append(kept, p), append(places, i)
			continue
		}
		o := s.apply(t, protection.Inbound, caller.ARN(), &p.text, &p.structure, &p.subject)
		if o.Denied {
			done(turn, sent{index: i, err: refuse(403, "AuthorizationError", "User: "+caller.ARN()+" is not authorized to perform: SNS:Publish on resource: "+
				t.ARN+" with an explicit deny in a data protection policy")})
			continue
		}
		kept, places = append(kept, p), append(places, i)
	}
	return kept, places
}

// protect applies the Outbound statements to what a subscriber is about to get.
// false means that nobody gets it.
func (s *Service) protect(t *topic, sub *subscription, n *notice) bool {
	if !t.protection.Has(protection.Outbound) {
		return true
	}
	o := s.apply(t, protection.Outbound, "", &n.text, &n.structure, &n.subject)
	n.masked = o.Changed
	if o.Denied {
		s.stats.dropped.Add(1)
		s.log.Info("notification denied by a data protection policy", "subscription", sub.ARN, "message", n.id.String(),
			"statement", o.Denials[0].Sid, "identifiers", o.Denials[0].Found)
	}
	return !o.Denied
}

// apply applies a policy to a message, each text of a message with a text per
// protocol for itself, and writes what is audited to the log. The data
// themselves are never written.
func (s *Service) apply(t *topic, d protection.Direction, principal string, text, structure, subject *string) protection.Outcome {
	texts := []*string{text, subject}
	var each map[string]any
	parts := make(map[string]*string)
	if *structure != "" && json.Unmarshal([]byte(*structure), &each) == nil {
		for k, v := range each {
			if part, ok := v.(string); ok {
				parts[k] = &part
				texts = append(texts, &part)
			}
		}
	}
	o := t.protection.Apply(d, principal, rand.IntN(100), texts...)
	if o.Changed && len(parts) > 0 {
		for k, v := range parts {
			each[k] = *v
		}
		if raw, err := json.Marshal(each); err == nil {
			*structure = string(raw)
		}
	}
	for _, f := range o.Audits {
		s.log.Info("data protection audit", "topic", t.ARN, "principal", principal, "statement", f.Sid, "identifiers", f.Found, "findings", f.Count, "denied", o.Denied)
	}
	return o
}

// setProtection puts a data protection policy in force; "" is none. What cannot
// be enforced is refused.
func (t *topic) setProtection(text string) *aws.Error {
	t.DataProtection, t.protection = text, nil
	if text == "" {
		return nil
	}
	if len(text) > maxDataProtection {
		return invalid("DataProtectionPolicy")
	}
	p, err := protection.Parse(text)
	if err != nil {
		return invalid("DataProtectionPolicy Reason: " + err.Error())
	}
	t.protection = p
	return nil
}
