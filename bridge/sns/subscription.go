package sns

import (
	"encoding/json"
	"maps"

	"github.com/hermodmq/hermod/broker"
)

// subscriptionRecord is the stored form of a subscription.
type subscriptionRecord struct {
	ARN           string            `json:"arn"`
	Topic         string            `json:"topic"`
	Protocol      string            `json:"protocol"`
	Endpoint      string            `json:"endpoint"`
	Owner         string            `json:"owner"`
	Principal     string            `json:"principal"`
	Attributes    map[string]string `json:"attributes,omitempty"`
	Token         string            `json:"token,omitempty"` // of the confirmation
	TokenUntil    int64             `json:"token_until,omitempty"`
	Pending       bool              `json:"pending,omitempty"`
	Authenticated bool              `json:"authenticated,omitempty"` // the confirmation was signed
	Locked        bool              `json:"locked,omitempty"`        // only signed calls may end it
	Created       int64             `json:"created"`                 // Unix ms
	Replay        *replayRecord     `json:"replay,omitempty"`
}

// subscription is a subscription. It is replaced, never changed.
type subscription struct {
	subscriptionRecord
	id   string // behind the topic's name
	raw  bool
	fifo bool // of a FIFO topic

	delivery *deliveryPolicy // of HTTP; nil: the topic's
	deadARN  string          // where undeliverable messages go; "" is nowhere
}

func (s *subscription) fact() broker.Definition {
	raw, _ := json.Marshal(&s.subscriptionRecord)
	return broker.Definition{Kind: subKind, Key: s.ARN, Value: raw}
}

func (s *subscription) with() *subscription {
	c := *s
	c.Attributes = maps.Clone(s.Attributes)
	if c.Attributes == nil {
		c.Attributes = make(map[string]string)
	}
	return &c
}

// derive computes what follows from the record. The attributes were checked.
func (s *subscription) derive() {
	s.id = s.ARN[len(s.Topic)+1:]
	s.raw = s.Attributes["RawMessageDelivery"] == "true"
	s.fifo = isFIFO(s.Topic)
	s.deadARN, s.delivery = "", nil
	if p := s.Attributes["RedrivePolicy"]; p != "" {
		var r redrivePolicy
		if json.Unmarshal([]byte(p), &r) == nil {
			s.deadARN = r.DeadLetterTargetARN
		}
	}
	if p := s.Attributes["DeliveryPolicy"]; p != "" {
		s.delivery, _, _ = parseDelivery(p)
	}
}

type redrivePolicy struct {
	DeadLetterTargetARN string `json:"deadLetterTargetArn"`
}

// shown are the attributes that GetSubscriptionAttributes returns.
func (s *subscription) shown(t *topic) map[string]string {
	a := map[string]string{
		"ConfirmationWasAuthenticated": flag(s.Authenticated), "Endpoint": s.Endpoint, "Owner": s.Owner,
		"PendingConfirmation": flag(s.Pending), "Protocol": s.Protocol, "RawMessageDelivery": "false",
		"SubscriptionArn": s.ARN, "SubscriptionPrincipal": s.Principal, "TopicArn": s.Topic,
	}
	maps.Copy(a, s.Attributes)
	if s.Attributes["FilterPolicy"] == "" {
		delete(a, "FilterPolicyScope") // it is kept, and shown with a policy
	} else if a["FilterPolicyScope"] == "" {
		a["FilterPolicyScope"] = "MessageAttributes"
	}
	if s.Protocol == "http" || s.Protocol == "https" {
		a["EffectiveDeliveryPolicy"] = s.effective(t).renderSubscription()
	}
	if s.Replay != nil {
		a["ReplayStatus"] = s.Replay.Status
	}
	return a
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
