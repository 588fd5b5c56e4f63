package sqs

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/broker"
)

// settings are the attributes of a queue. They are immutable; a change
// replaces them. The JSON form is stored.
type settings struct {
	Visibility int    `json:"visibility"` // seconds, as all times here
	Delay      int    `json:"delay,omitempty"`
	Retention  int    `json:"retention"`
	MaxSize    int    `json:"max_size"` // bytes
	Wait       int    `json:"wait,omitempty"`
	Policy     string `json:"policy,omitempty"`
	Redrive    string `json:"redrive,omitempty"` // in the form in which it is shown
	Allow      string `json:"allow,omitempty"`
	KMS        string `json:"kms,omitempty"`
	KMSReuse   int    `json:"kms_reuse"`
	SSE        bool   `json:"sse"`

	Fifo         bool   `json:"fifo,omitempty"`
	Content      bool   `json:"content,omitempty"`
	Scope        string `json:"scope,omitempty"`
	DedupByGroup bool   `json:"dedup_by_group,omitempty"` // what is done: the scope at creation
	Throughput   string `json:"throughput,omitempty"`

	Created  int64  `json:"created"` // Unix seconds
	Modified int64  `json:"modified"`
	Tags     []pair `json:"tags,omitempty"`

	policy  *policy.Policy
	redrive redrivePolicy
	allow   allowPolicy
}

type redrivePolicy struct {
	target string // ARN; "" is none
	max    int
}

type allowPolicy struct {
	permission string
	sources    []string
}

func defaultSettings(fifo bool, now int64) settings {
	s := settings{
		Visibility: 30, Retention: 345_600, MaxSize: maxMessage, SSE: true, KMSReuse: 300, Fifo: fifo, Created: now / 1000, Modified: now / 1000,
	}
	if fifo {
		s.Scope, s.Throughput = "queue", "perQueue"
	}
	return s
}

// maxMessage is the default and largest MaximumMessageSize.
const maxMessage = 1 << 20

// numeric are the attributes that are numbers, with their ranges.
var numeric = map[string]struct {
	low, high int
	field     func(s *settings) *int
}{
	"VisibilityTimeout":             {0, 43_200, func(s *settings) *int { return &s.Visibility }},
	"DelaySeconds":                  {0, 900, func(s *settings) *int { return &s.Delay }},
	"MessageRetentionPeriod":        {60, 1_209_600, func(s *settings) *int { return &s.Retention }},
	"MaximumMessageSize":            {1024, maxMessage, func(s *settings) *int { return &s.MaxSize }},
	"ReceiveMessageWaitTimeSeconds": {0, 20, func(s *settings) *int { return &s.Wait }},
	"KmsDataKeyReusePeriodSeconds":  {60, 86_400, func(s *settings) *int { return &s.KMSReuse }},
}

// apply changes s by attributes. create says that the queue is new.
func (s *settings) apply(list []pair, create bool) *aws.Error {
	key, managed := false, false
	for _, p := range list {
		if err := s.applyOne(p, create); err != nil {
			return err
		}
		key = key || p.Name == "KmsMasterKeyId" && p.Value != ""
		managed = managed || p.Name == "SqsManagedSseEnabled" && s.SSE
	}
	if key && managed {
		return errEncryptions
	}
	if s.Throughput == "perMessageGroupId" && s.Scope != "messageGroup" {
		return badAttribute("FifoThroughputLimit", "perMessageGroupId needs DeduplicationScope messageGroup.")
	}
	return nil
}

func (s *settings) applyOne(p pair, create bool) *aws.Error {
	if n, ok := numeric[p.Name]; ok {
		v, err := strconv.Atoi(p.Value)
		if err != nil || v < n.low || v > n.high {
			return badAttribute(p.Name, "")
		}
		*n.field(s) = v
		return nil
	}
	switch p.Name {
	case "Policy":
		return s.setPolicy(p.Value)
	case "RedrivePolicy":
		return s.setRedrive(p.Value)
	case "RedriveAllowPolicy":
		return s.setAllow(p.Value)
	case "KmsMasterKeyId":
		if s.KMS = strings.Clone(p.Value); p.Value != "" {
			s.SSE = false
		}
		return nil
	case "SqsManagedSseEnabled":
		v, err := truth(p)
		if s.SSE = v; v {
			s.KMS = ""
		}
		return err
	}
	return s.applyFifo(p, create)
}

func truth(p pair) (bool, *aws.Error) {
	switch p.Value {
	case "true", "True":
		return true, nil
	case "false", "False":
		return false, nil
	}
	return false, badAttribute(p.Name, "")
}

// applyFifo sets the attributes that FIFO queues alone have.
func (s *settings) applyFifo(p pair, create bool) (err *aws.Error) {
	onlyFifo := func() *aws.Error {
		return modelled(400, "InvalidAttributeName", "InvalidAttributeName", "You can specify the "+p.Name+" only when FifoQueue is set to true.")
	}
	switch p.Name {
	case "FifoQueue":
		v, err := truth(p)
		switch {
		case err != nil:
			return err
		case create && v && s.Fifo:
			return nil
		case create || !s.Fifo:
			return unknownAttribute(p.Name)
		case v:
			return nil
		}
		return badAttribute("FifoQueue", "Modifying queue type is not supported.")
	case "ContentBasedDeduplication":
		if !s.Fifo {
			return unknownAttribute(p.Name)
		}
		s.Content, err = truth(p)
		return err
	case "DeduplicationScope":
		if !s.Fifo {
			return onlyFifo()
		}
		if p.Value != "queue" && p.Value != "messageGroup" {
			return badAttribute(p.Name, "")
		}
		s.Scope = strings.Clone(p.Value)
		if create {
			s.DedupByGroup = s.Scope == "messageGroup"
		}
		return nil
	case "FifoThroughputLimit":
		if !s.Fifo {
			return onlyFifo()
		}
		if p.Value != "perQueue" && p.Value != "perMessageGroupId" {
			return badAttribute(p.Name, "")
		}
		s.Throughput = strings.Clone(p.Value)
		return nil
	}
	return unknownAttribute(p.Name)
}

func (s *settings) setPolicy(v string) *aws.Error {
	if strings.TrimSpace(v) == "" {
		s.Policy, s.policy = "", nil
		return nil
	}
	p, err := policy.Parse(v)
	if err != nil {
		return badAttribute("Policy", "")
	}
	s.Policy, s.policy = strings.Clone(v), p
	return nil
}

func (s *settings) setRedrive(v string) *aws.Error {
	if strings.TrimSpace(v) == "" {
		s.Redrive, s.redrive = "", redrivePolicy{}
		return nil
	}
	bad := func(reason string) *aws.Error { return badValue(v, "RedrivePolicy", reason) }
	var raw struct {
		Target *string         `json:"deadLetterTargetArn"`
		Max    json.RawMessage `json:"maxReceiveCount"`
	}
	if json.Unmarshal([]byte(v), &raw) != nil {
		return bad("Redrive policy is not a valid JSON map.")
	}
	switch {
	case raw.Target == nil:
		return bad("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.")
	case raw.Max == nil:
		return bad("Redrive policy does not contain mandatory attribute: maxReceiveCount.")
	}
	word := strings.Trim(string(raw.Max), `"`)
	n, err := strconv.Atoi(word)
	if err != nil || n < 1 || n > 1000 {
		return bad("Invalid value for maxReceiveCount: " + word + ", valid values are from 1 to 1000 both inclusive.")
	}
	if a, _, ok := aws.ParseARN(*raw.Target); !ok || a.Service != "sqs" {
		return bad("Invalid value for deadLetterTargetArn.")
	}
	s.redrive = redrivePolicy{strings.Clone(*raw.Target), n}
	s.Redrive = string(append(aws.AppendJSONString([]byte(`{"deadLetterTargetArn":`), *raw.Target), `,"maxReceiveCount":`+strconv.Itoa(n)+`}`...))
	return nil
}

func (s *settings) setAllow(v string) *aws.Error {
	if strings.TrimSpace(v) == "" {
		s.Allow, s.allow = "", allowPolicy{}
		return nil
	}
	var raw struct {
		Permission string   `json:"redrivePermission"`
		Sources    []string `json:"sourceQueueArns"`
	}
	bad := func(reason string) *aws.Error { return badValue(v, "RedriveAllowPolicy", reason) }
	if json.Unmarshal([]byte(v), &raw) != nil {
		return bad("RedriveAllowPolicy is not a valid JSON map.")
	}
	switch {
	case !slices.Contains([]string{"allowAll", "denyAll", "byQueue"}, raw.Permission):
		return bad("Invalid value for redrivePermission.")
	case (raw.Permission == "byQueue") != (len(raw.Sources) > 0):
		return bad("Amazon SQS can't create the redrive allow policy. When you specify the byQueue permission type, you must also specify one or more sourceQueueArns values.")
	case len(raw.Sources) > 10:
		return bad("Amazon SQS can't create the redrive allow policy. You can specify up to 10 source queue ARNs.")
	}
	s.Allow, s.allow = strings.Clone(v), allowPolicy{raw.Permission, raw.Sources}
	return nil
}

// restore fills in what the stored form leaves out.
func (s *settings) restore() {
	c := *s
	_ = c.setPolicy(s.Policy) // they were checked when they were set
	_ = c.setRedrive(s.Redrive)
	_ = c.setAllow(s.Allow)
	s.policy, s.redrive, s.allow = c.policy, c.redrive, c.allow
}

// configure is what the settings mean to the core. target is the name of the
// dead-letter queue, "" if there is none.
func (s *settings) configure(target string, cfg *broker.QueueConfig) {
	cfg.MessageTTL = int64(s.Retention) * 1000
	cfg.AgedTTL, cfg.DropExpired, cfg.KeepCounts = true, true, true
	if s.Fifo {
		cfg.LeaseGroups, cfg.DedupWindow, cfg.DedupGroups = true, dedupWindow, s.DedupByGroup
	}
	if s.redrive.target != "" && target != "" {
		cfg.DeadLetterExchange, cfg.DeadLetterSet = "", true
		cfg.DeadLetterKey, cfg.DeadLetterKeySet = target, true
		cfg.DeliveryLimit = s.redrive.max - 1
	}
}

// dedupWindow is how long, in ms, a deduplication id is remembered.
const dedupWindow = 300_000

// settable are the attributes in the order in which GetQueueAttributes gives
// them, readOnly ones excepted.
var settable = []string{
	"VisibilityTimeout", "MaximumMessageSize", "MessageRetentionPeriod", "DelaySeconds", "ReceiveMessageWaitTimeSeconds", "Policy", "RedrivePolicy",
	"RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled", "FifoQueue", "ContentBasedDeduplication",
	"DeduplicationScope", "FifoThroughputLimit",
}

// value is a settable attribute; ok is false if the queue does not show it.
func (s *settings) value(name string) (v string, ok bool) {
	switch name {
	case "Policy":
		return s.Policy, s.Policy != ""
	case "RedrivePolicy":
		return s.Redrive, s.Redrive != ""
	case "RedriveAllowPolicy":
		return s.Allow, s.Allow != ""
	case "KmsMasterKeyId":
		return s.KMS, s.KMS != ""
	case "KmsDataKeyReusePeriodSeconds":
		return strconv.Itoa(s.KMSReuse), s.KMSReuse != 300
	case "SqsManagedSseEnabled":
		return strconv.FormatBool(s.SSE), true
	case "FifoQueue":
		return "true", s.Fifo
	case "ContentBasedDeduplication":
		return strconv.FormatBool(s.Content), s.Fifo
	case "DeduplicationScope":
		return s.Scope, s.Fifo
	case "FifoThroughputLimit":
		return s.Throughput, s.Fifo
	}
	if n, ok := numeric[name]; ok {
		return strconv.Itoa(*n.field(s)), true
	}
	return "", false
}

// differs is the first attribute of list whose value is another one here.
func (s *settings) differs(list []pair) (name string, err *aws.Error) {
	wanted := *s
	if err := wanted.apply(list, true); err != nil {
		return "", err
	}
	for _, p := range list {
		a, _ := s.value(p.Name)
		b, _ := wanted.value(p.Name)
		if a != b {
			return p.Name, nil
		}
	}
	return "", nil
}
