package sns

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// failure says why a delivery did not succeed, in the words of the attributes
// that dead letters have.
type failure struct {
	code, message string
	final         bool // another attempt would fail alike
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func permanent(code, message string) *failure { return &failure{code, message, true} }

func temporary(code, message string) *failure { return &failure{code, message, false} }

// courier takes messages out of the hidden queue of a subscription and
// delivers them, several at a time, each again and again as its delivery policy
// says. How often a message was tried is a fact in the store, so that a restart
// goes on where it was. Messages of one group of a FIFO topic go one after the
// other: while one is tried or rests, those behind it wait.
type courier struct {
	s       *Service
	arn     string
	queue   string
	session *broker.Session
	sub     *broker.Subscription

	settling sync.Mutex // the session belongs to one goroutine at a time

	ordered bool // of a FIFO topic

	mu      sync.Mutex
	box     []parcel // to be tried now
	running int
	groups  map[string]bool // ordered: of messages that are tried or rest
	resting map[broker.Lease]*time.Timer
	next    time.Time // throttle: the earliest next attempt
	closed  bool
}

// parcel is a message with its history.
type parcel struct {
	d      broker.Delivery
	tried  int
	opened bool // its place in the window was given back and its history read
}

// Bounds of a courier.
const (
	courierPrefetch = 64 // messages in memory, waiting for their next attempt included
	courierLimit    = 16 // attempts at a time
)

// retryRecord is the stored history of a message, by subscription and sequence
// number.
type retryRecord struct {
	Tried int   `json:"tried"`
	Next  int64 `json:"next"` // Unix ms of the next attempt
}

var retryKind = broker.FactKind("sns.retry")

func retryKey(arn string, seq uint64) string { return arn + "\x00" + strconv.FormatUint(seq, 10) }

func (s *Service) openCourier(t *broker.Turn, arn string, v *broker.VHost, queue string) (*courier, error) {
	c := &courier{s: s, arn: arn, queue: queue, resting: make(map[broker.Lease]*time.Timer), groups: make(map[string]bool)}
	if sub, _ := s.subscription(arn); sub != nil {
		c.ordered = sub.fifo
	}
	c.session = v.OpenSession(nil, c)
	sub, err := c.session.Subscribe(t, broker.SubscribeOptions{Queue: queue, Tag: "sns", Prefetch: courierPrefetch})
	if err != nil {
		c.session.Close(t)
		return nil, err
	}
	c.mu.Lock()
	c.sub = sub
	c.kick()
	c.mu.Unlock()
	return c, nil
}

// close gives back what is not delivered.
func (c *courier) close(t *broker.Turn) {
	c.mu.Lock()
	c.closed = true
	c.box = nil
	for lease, timer := range c.resting {
		timer.Stop()
		delete(c.resting, lease)
	}
	c.mu.Unlock()
	c.settling.Lock()
	c.session.Close(t)
	c.settling.Unlock()
}

// idle reports whether nothing is left in the hidden queue.
func (c *courier) idle() bool {
	c.mu.Lock()
	busy := len(c.box)+c.running+len(c.resting) > 0
	c.mu.Unlock()
	if busy {
		return false
	}
	q := c.session.VHost().Queue(c.queue)
	if q == nil {
		return true
	}
	st := q.Stats()
	return st.Ready == 0 && st.Unsettled == 0
}

// Deliver implements broker.Sink.
func (c *courier) Deliver(_ *broker.Turn, d broker.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.box = append(c.box, parcel{d: d})
	c.kick()
}

// GetResult implements broker.Sink.
func (c *courier) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}

// Receipt implements broker.Sink.
func (c *courier) Receipt(*broker.Turn, uint64, bool) {}

// Cancelled implements broker.Sink.
func (c *courier) Cancelled(*broker.Turn, *broker.Subscription) {}

// kick starts attempts while there is room. c.mu is held.
func (c *courier) kick() {
	if c.sub == nil || c.closed {
		return
	}
	for i := 0; i < len(c.box) && c.running < courierLimit; {
		p := c.box[i]
		if c.ordered && c.groups[p.group()] {
			i++
			continue
		}
		if c.ordered {
			c.groups[p.group()] = true
		}
		if i == 0 {
			c.box[0] = parcel{}
			c.box = c.box[1:]
		} else {
			c.box = slices.Delete(c.box, i, i+1)
		}
		c.running++
		go c.carry(p)
	}
}

// group is the group of a message of a FIFO topic.
func (p *parcel) group() string {
	if n := p.d.Msg.Notes; n != nil {
		return n.GroupID
	}
	return ""
}

// carry makes one attempt.
func (c *courier) carry(p parcel) {
	t, end := c.s.opt.Turn()
	fresh := !p.opened
	if fresh {
		c.sub.Written(t, 1, p.d.Msg.Size())
		p.opened = true
	}
	end()
	rests := c.attempt(p, fresh)
	c.mu.Lock()
	c.running--
	if !rests {
		delete(c.groups, p.group())
	}
	c.kick()
	c.mu.Unlock()
}

// attempt tries to deliver a message and reports whether it rests then.
func (c *courier) attempt(p parcel, fresh bool) (rests bool) {
	s := c.s
	sub, topic := s.subscription(c.arn)
	if sub == nil {
		return false // it is being removed
	}
	key := retryKey(c.arn, p.d.Seq)
	if fresh && p.d.Seq != 0 {
		if r, ok := s.takeRetry(key); ok {
			p.tried = r.Tried
			if wait := time.UnixMilli(r.Next).Sub(s.opt.Now()); wait > 0 {
				c.rest(p, wait)
				return true
			}
		}
	}
	if wait := c.throttle(sub, topic); wait > 0 {
		c.rest(p, wait)
		return true
	}
	var failed *failure
	s.calling(func() { failed = s.deliver(topic, sub, p.d.Msg, p.tried) })
	if failed == nil {
		s.stats.delivered.Add(1)
		c.settle(p)
		return false
	}
	s.stats.failed.Add(1)
	p.tried++
	if !failed.final {
		policy := sub.retries(topic)
		if wait, more := policy.delay(p.tried); more {
			c.postpone(p, key, wait)
			return true
		}
	}
	return c.giveUp(p, key, sub, topic, failed)
}

// throttle says how long to wait so that the endpoint gets no more than it
// wants, and takes the turn if that is now.
func (c *courier) throttle(sub *subscription, topic *topic) time.Duration {
	if sub.Protocol != "http" && sub.Protocol != "https" {
		return 0
	}
	rate := sub.effective(topic).throttle
	if rate == 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.s.opt.Now()
	if wait := c.next.Sub(now); wait > 0 {
		return wait
	}
	c.next = now.Add(time.Second / time.Duration(rate))
	return 0
}

// rest puts a message aside for a while, in memory.
func (c *courier) rest(p parcel, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.resting[p.d.Lease] = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, ok := c.resting[p.d.Lease]; !ok || c.closed {
			return
		}
		delete(c.resting, p.d.Lease)
		delete(c.groups, p.group())
		if c.ordered {
			c.box = slices.Insert(c.box, 0, p) // before those of its group
		} else {
			c.box = append(c.box, p)
		}
		c.kick()
	})
}

// hurry tries everything again that rests: what stood in the way is gone.
func (c *courier) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, timer := range c.resting {
		timer.Reset(0)
	}
}

// postpone records that a message was tried and when it is tried again.
func (c *courier) postpone(p parcel, key string, wait time.Duration) {
	if p.d.Seq != 0 {
		raw, _ := json.Marshal(retryRecord{p.tried, c.s.opt.Now().Add(wait).UnixMilli()})
		c.s.core.StoreFacts([]broker.Definition{{Kind: retryKind, Key: key, Value: raw}}, nil)
	}
	c.rest(p, wait)
}

// settle ends a message; its history goes with it.
func (c *courier) settle(p parcel) {
	t, end := c.s.opt.Turn()
	defer end()
	var facts []broker.Definition
	if p.d.Seq != 0 && p.tried > 0 {
		facts = []broker.Definition{{Kind: retryKind, Key: retryKey(c.arn, p.d.Seq), Delete: true}}
	}
	c.settling.Lock()
	defer c.settling.Unlock()
	c.session.SettleWith(t, p.d.Queue, []broker.Lease{p.d.Lease}, broker.Accepted, facts)
}

// giveUp sends a message to the dead-letter queue of the subscription. Without
// one it is dropped if another attempt makes no sense, else it is tried now and
// then for as long as messages are kept, and rests in between.
func (c *courier) giveUp(p parcel, key string, sub *subscription, topic *topic, why *failure) (rests bool) {
	s := c.s
	if sub.deadARN != "" {
		s.deadLetter(topic, sub, p.d.Msg, why, func(ok bool) {
			if rests = !ok; ok {
				c.settle(p)
			} else {
				c.postpone(p, key, s.opt.Parked)
			}
		})
		return rests
	}
	age := s.opt.Now().Sub(time.UnixMilli(p.d.Msg.Received))
	if why.final && why.code != codeNoQueue || age > s.opt.Retention {
		s.stats.dropped.Add(1)
		s.log.Warn("notification dropped", "subscription", sub.ARN, "attempts", p.tried, "error", why)
		c.settle(p)
		return false
	}
	c.postpone(p, key, s.opt.Parked)
	if why.code == codeNoQueue {
		// The queue may have come while this attempt was failing.
		if _, _, gone := s.target(sub.Endpoint, topic); gone == nil {
			c.hurry()
		}
	}
	return true
}

// retries is the policy by which a subscription's deliveries are repeated.
func (s *subscription) retries(t *topic) *retryPolicy {
	switch s.Protocol {
	case "http", "https":
		return &s.effective(t).retries
	case "sqs", "lambda", "firehose":
		return &managedRetries
	}
	return &peopleRetries
}

// takeRetry returns the history of a message from before a restart.
func (s *Service) takeRetry(key string) (retryRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.retried[key]
	delete(s.retried, key)
	return r, ok
}

// recoverRetries reads the histories. Those of messages that are gone cost a
// little memory until the next restart.
func (s *Service) recoverRetries() {
	for _, d := range s.core.TakeFacts(retryKind) {
		var r retryRecord
		if json.Unmarshal(d.Value, &r) == nil {
			s.retried[d.Key] = r
		}
	}
}

// deliver makes one attempt; it may take seconds.
func (s *Service) deliver(t *topic, sub *subscription, m *broker.Message, tried int) *failure {
	n := noticeOf(s.core, m)
	if !s.protect(t, sub, &n) {
		return nil
	}
	switch sub.Protocol {
	case "http", "https":
		return s.deliverHTTP(t, sub, &n)
	case "sqs":
		return s.deliverSQS(t, sub, m, &n)
	case "email", "email-json":
		return s.deliverMail(t, sub, &n)
	case "lambda", "firehose", "sms", "application":
		return s.deliverWebhook(t, sub, &n)
	}
	return permanent("InvalidProtocol", fmt.Sprintf("nothing delivers %s", sub.Protocol))
}
