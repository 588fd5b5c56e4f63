package sns

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/bridge/aws/protection"
	"github.com/hermodmq/hermod/broker"
)

// tag is a tag of a topic.
type tag struct{ Key, Value string }

// topicRecord is the stored form of a topic.
type topicRecord struct {
	ARN            string            `json:"arn"`
	Attributes     map[string]string `json:"attributes,omitempty"` // those that were set
	Tags           []tag             `json:"tags,omitempty"`
	DataProtection string            `json:"data_protection,omitempty"`
	ArchiveFrom    int64             `json:"archive_from,omitempty"` // Unix ms
	Deleted        int               `json:"deleted,omitempty"`      // subscriptions that ended
	Created        int64             `json:"created"`                // Unix ms
}

// topic is a topic. The record is replaced, never changed.
type topic struct {
	topicRecord
	name    string
	account string
	vhost   *broker.VHost
	fifo    bool
	policy  *policy.Policy // nil: the default one

	protection *protection.Policy // of data; nil: none

	state *topicState // shared by the versions of one topic
}

// topicState is what changes with every publish.
type topicState struct {
	subs atomic.Pointer[[]*subscription] // in the order of their creation

	mu       sync.Mutex // orders the publishes of a FIFO topic
	sequence uint64
	recent   map[string]dedup
	expiry   []expiring // of recent, by time
}

var (
	topicKind = broker.FactKind("sns.topic")
	subKind   = broker.FactKind("sns.subscription")
)

func (t *topic) fact() broker.Definition {
	raw, _ := json.Marshal(&t.topicRecord) // strings and numbers
	return broker.Definition{Kind: topicKind, Key: t.ARN, Value: raw}
}

// with is a copy that may be changed before others see it.
func (t *topic) with() *topic {
	c := *t
	c.Attributes = maps.Clone(t.Attributes)
	if c.Attributes == nil {
		c.Attributes = make(map[string]string)
	}
	c.Tags = slices.Clone(t.Tags)
	return &c
}

func (t *topic) subscriptions() []*subscription {
	if p := t.state.subs.Load(); p != nil {
		return *p
	}
	return nil
}

// contentBased says that a message's text is its deduplication id unless it
// has another.
func (t *topic) contentBased() bool { return t.Attributes["ContentBasedDeduplication"] == "true" }

// signatureVersion is "1" or "2".
func (t *topic) signatureVersion() string {
	if t.Attributes["SignatureVersion"] == "2" {
		return "2"
	}
	return "1"
}

// topicName reports whether name may be a topic's.
func topicName(name string, fifo bool) bool {
	base, suffix := strings.CutSuffix(name, ".fifo")
	if suffix != fifo || len(name) > 256 || base == "" {
		return false
	}
	for i := range len(base) {
		c := base[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

const defaultEffectivePolicy = `{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":20,"maxDelayTarget":20,"numRetries":3,"numMaxDelayRetries":0,` +
	`"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false,` +
	`"defaultRequestPolicy":{"headerContentType":"text/plain; charset=UTF-8"}}}`

// defaultPolicy lets the owner do everything.
func defaultPolicy(arn, account string) string {
	return `{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},` +
		`"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe",` +
		`"SNS:ListSubscriptionsByTopic","SNS:Publish"],"Resource":"` + arn + `","Condition":{"StringEquals":{"AWS:SourceOwner":"` + account + `"}}}]}`
}

// shown are the attributes that GetTopicAttributes returns, beside the counts.
func (t *topic) shown() map[string]string {
	a := map[string]string{
		"DisplayName": "", "EffectiveDeliveryPolicy": defaultEffectivePolicy, "Owner": t.account,
		"Policy": defaultPolicy(t.ARN, t.account), "TopicArn": t.ARN,
	}
	if t.fifo {
		a["FifoTopic"], a["ContentBasedDeduplication"] = "true", "false"
	}
	maps.Copy(a, t.Attributes)
	if p := t.Attributes["DeliveryPolicy"]; p != "" {
		if d, _, err := parseTopicDelivery(p); err == nil {
			a["EffectiveDeliveryPolicy"] = d.renderTopic()
		}
	}
	if t.ArchiveFrom != 0 {
		a["BeginningArchiveTime"] = timestamp(t.ArchiveFrom)
	}
	return a
}
