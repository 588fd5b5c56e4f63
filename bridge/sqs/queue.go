package sqs

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// queue is a queue of the broker as this service sees it.
type queue struct {
	core    *broker.Queue
	name    string // as the service names it
	account string
	arn     string
	managed bool // the settings are kept and in force in the core; under service.mu

	now atomic.Pointer[settings]
	did counters

	sending sync.Mutex // orders what is sent to a FIFO queue

	mu       sync.Mutex
	purged   int64 // Unix ms of the last purge
	attempts map[string]*attempt
}

func (q *queue) settings() *settings { return q.now.Load() }

// fifoSuffix ends the names of FIFO queues and of no others.
const fifoSuffix = ".fifo"

// checkName checks the name of a new queue.
func checkName(name string, fifo bool) *aws.Error {
	base, suffixed := strings.CutSuffix(name, fifoSuffix)
	if fifo && (!suffixed || !plainName(base) || len(name) > 80) {
		return errFifoName
	}
	if !fifo && (!plainName(name) || len(name) > 80) {
		return errQueueName
	}
	return nil
}

// plainName reports whether s is made of the characters of names.
func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

func legalName(s string) bool {
	return len(s) <= 80 && plainName(strings.TrimSuffix(s, fifoSuffix))
}

// Alias is the name by which the services know a queue of the broker: what its
// argument x-aws-name says, its own name if that is legal, or that with every
// dot, slash, colon and angle bracket as an underscore; "" if that is not legal
// either, or if the queue is private.
func Alias(q *broker.Queue) string {
	if q.Owned() || q.Kind() == broker.KindStream || strings.HasPrefix(q.Name(), "amq.") || strings.HasPrefix(q.Name(), "sns-subscription-") {
		return ""
	}
	if v, _ := q.Args().Get("x-hidden"); v == true {
		return ""
	}
	if v, ok := q.Args().Get("x-aws-name"); ok {
		if s, _ := v.(string); legalName(s) {
			return s
		}
		return ""
	}
	name := q.Name()
	if legalName(name) {
		return name
	}
	base, fifo := strings.CutSuffix(name, fifoSuffix)
	s := strings.Map(func(r rune) rune {
		if r == '.' || r == '/' || r == ':' || r == '>' {
			return '_'
		}
		return r
	}, base)
	if fifo {
		s += fifoSuffix
	}
	if !legalName(s) {
		return ""
	}
	return s
}

// queueKey names a queue.
type queueKey struct{ account, name string }

// find returns a queue by account and name; nil if there is none.
func (s *Service) find(account, name string) *queue {
	k := queueKey{account, name}
	s.mu.RLock()
	q := s.queues[k]
	s.mu.RUnlock()
	if q != nil && !q.core.Closed() {
		return q
	}
	v := s.endpoint.VHostOf(account)
	if v == nil || !legalName(name) {
		return nil
	}
	core := v.Queue(name)
	if core == nil || Alias(core) != name {
		core = searchAlias(v, name)
	}
	if core == nil {
		if q != nil {
			s.mu.Lock()
			delete(s.queues, k)
			s.mu.Unlock()
		}
		return nil
	}
	return s.adopt(core, account, name)
}

// searchAlias finds the queue another name of which is name. If several have
// it, none does.
func searchAlias(v *broker.VHost, name string) (found *broker.Queue) {
	for _, q := range v.Queues() {
		if q.Name() != name && Alias(q) == name {
			if found != nil {
				return nil
			}
			found = q
		}
	}
	return found
}

// adopt begins to serve a queue that somebody else made.
func (s *Service) adopt(core *broker.Queue, account, name string) *queue {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := queueKey{strings.Clone(account), strings.Clone(name)}
	if q := s.queues[k]; q != nil && q.core == core {
		return q
	}
	q := s.newQueue(core, k)
	fifo := core.Config().LeaseGroups
	set := defaultSettings(fifo, s.endpoint.Now().UnixMilli())
	q.now.Store(&set)
	s.queues[k] = q
	return q
}

func (s *Service) newQueue(core *broker.Queue, k queueKey) *queue {
	return &queue{core: core, name: k.name, account: k.account, arn: s.arn(k.account, k.name)}
}

func (s *Service) arn(account, name string) string {
	region := s.endpoint.Region()
	return "arn:" + aws.Partition(region) + ":sqs:" + region + ":" + account + ":" + name
}

// byARN finds the queue of a resource name.
func (s *Service) byARN(arn string) *queue {
	a, _, ok := aws.ParseARN(arn)
	if !ok || a.Service != "sqs" {
		return nil
	}
	return s.find(a.Account, a.Resource)
}

// settingsKind is the kind of the facts that hold settings; the key is the
// virtual host, a zero byte and the queue's number.
var settingsKind = broker.FactKind("sqs.queue")

// change replaces the settings of a queue and has them stored and in force.
// done is called when they are durable.
func (s *Service) change(t *broker.Turn, q *queue, set settings, done func(t *broker.Turn)) {
	s.mu.Lock()
	q.managed = true
	q.now.Store(&set)
	value, _ := json.Marshal(&set) // nothing in it can fail
	s.endpoint.Core().StoreFacts([]broker.Definition{{Kind: settingsKind, Key: s.factKey(q), Value: value}}, done)
	s.mu.Unlock()
	s.enforce(t, q)
}

func (s *Service) factKey(q *queue) string {
	return q.core.VHost().Name() + "\x00" + string(strconvID(q.core.ID()))
}

// enforce has the core obey the settings of a queue.
func (s *Service) enforce(t *broker.Turn, q *queue) {
	set := *q.settings()
	target := ""
	if set.redrive.target != "" {
		if d := s.byARN(set.redrive.target); d != nil {
			target = d.core.Name()
		} else if a, _, ok := aws.ParseARN(set.redrive.target); ok {
			target = a.Resource // it may come yet
		}
	}
	q.core.VHost().ConfigureQueue(t, q.core, func(cfg *broker.QueueConfig) { set.configure(target, cfg) })
}

// recover puts the stored settings in force again.
func (s *Service) recover(t *broker.Turn) {
	core := s.endpoint.Core()
	byID := make(map[string]*broker.Queue)
	for _, account := range s.endpoint.Accounts() {
		if v := s.endpoint.VHostOf(account); v != nil {
			for _, q := range v.Queues() {
				byID[v.Name()+"\x00"+string(strconvID(q.ID()))] = q
			}
		}
	}
	var facts []broker.Definition
	var managed []*queue
	for _, d := range core.TakeFacts(settingsKind) {
		host, _, _ := strings.Cut(d.Key, "\x00")
		q := byID[d.Key]
		var set settings
		if q == nil || json.Unmarshal(d.Value, &set) != nil {
			if s.endpoint.AccountOf(host) != "" {
				facts = append(facts, broker.Definition{Kind: d.Kind, Key: d.Key, Delete: true}) // the queue is gone
			}
			continue
		}
		set.restore()
		k := queueKey{s.endpoint.AccountOf(host), Alias(q)}
		x := s.newQueue(q, k)
		x.managed = true
		x.now.Store(&set)
		s.queues[k] = x
		managed = append(managed, x)
	}
	for _, q := range managed {
		s.enforce(t, q)
	}
	core.StoreFacts(facts, nil)
}

// url is the address of a queue as the caller reaches it.
func (s *Service) url(c *endpoint.Call, q *queue) string {
	return c.BaseURL() + "/" + q.account + "/" + q.name
}
