package sns

import (
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

const codeNoQueue = "AWS.SimpleQueueService.NonExistentQueue"

// commitTimeout is how long a delivery into a queue of ours may take before it
// counts as failed, and is made again later.
const commitTimeout = 30 * time.Second

// deliverSQS delivers to a queue that a binding cannot reach: in another
// account, or not there when the message was published.
func (s *Service) deliverSQS(t *topic, sub *subscription, m *broker.Message, n *notice) *failure {
	q, account, why := s.target(sub.Endpoint, t)
	if why != nil {
		return why
	}
	turn, end := s.opt.Turn()
	defer end()
	formed, why := s.queueMessage(turn.Now, t, sub, q.Name(), m, n, false)
	if formed == nil {
		return why
	}
	if formed == m {
		c := *m
		c.Exchange, c.RoutingKey = "", q.Name()
		formed = &c
	}
	return s.enqueue(turn, account, q, formed)
}

// target finds a queue by its name and checks that the topic may send to it.
func (s *Service) target(arn string, t *topic) (q *broker.Queue, account string, why *failure) {
	a, _, ok := aws.ParseARN(arn)
	if !ok || a.Service != "sqs" {
		return nil, "", permanent("InvalidParameterValue", "The endpoint is not the ARN of a queue.")
	}
	if s.endpoint.VHostOf(a.Account) == nil {
		return nil, "", permanent(codeNoQueue, "The specified queue does not exist.")
	}
	q, ok = s.opt.Queues.Resolve(a.Account, a.Resource)
	if !ok {
		return nil, "", permanent(codeNoQueue, "The specified queue does not exist.")
	}
	if !s.opt.Queues.Allows(arn, t.ARN, t.account) {
		return nil, "", permanent("AccessDenied", "Access to the resource "+arn+" is denied.")
	}
	return q, a.Account, nil
}

// enqueue publishes into a queue and waits for the commit.
func (s *Service) enqueue(turn *broker.Turn, account string, q *broker.Queue, m *broker.Message) *failure {
	ch := make(chan bool, 1)
	_, err := s.endpoint.System(s.endpoint.VHostOf(account)).Publish(turn, broker.Publish{Msg: m}, func(_ *broker.Turn, accepted bool) { ch <- accepted })
	if err != nil {
		return temporary("InternalError", err.Error())
	}
	timer := time.NewTimer(commitTimeout)
	defer timer.Stop()
	select {
	case accepted := <-ch:
		if !accepted {
			return temporary("OverLimit", "The queue takes no messages now.")
		}
		return nil
	case <-timer.C:
		return temporary("InternalError", "The queue did not answer in time.")
	}
}

// deadLetter sends what could not be delivered to the subscription's
// dead-letter queue, in the form in which the subscriber would have got it. It
// tells done whether it is stored there.
func (s *Service) deadLetter(t *topic, sub *subscription, m *broker.Message, why *failure, done func(ok bool)) {
	q, account, refused := s.target(sub.deadARN, t)
	if refused != nil {
		s.log.Warn("dead-letter queue cannot be used", "subscription", sub.ARN, "queue", sub.deadARN, "error", refused)
		done(false)
		return
	}
	turn, end := s.opt.Turn()
	defer end()
	n := noticeOf(s.core, m)
	if !s.protect(t, sub, &n) {
		done(true)
		return
	}
	text := n.textFor(sub.Protocol)
	c := message.Content{ID: aws.NewUUID(), Sender: serviceID, Trace: n.trace}
	fifo := isFIFO(q.Name())
	if fifo {
		c.Sequence = s.opt.Queues.Sequence(turn.Now)
	}
	body := []byte(text)
	if sub.raw {
		c.Attributes = n.attributes
	} else {
		body = s.envelope(t, sub, &n, text)
	}
	if !sub.raw && sub.Protocol != "sqs" { // AWS says nothing of queues that failed
		for _, a := range [][2]string{{"RequestID", aws.NewRequestID()}, {"ErrorCode", why.code}, {"ErrorMessage", why.message}} {
			if a[1] != "" {
				c.Attributes = append(c.Attributes, message.Attribute{Name: a[0], Type: "String", Value: []byte(a[1])})
			}
		}
	}
	dead := queueCopy(turn.Now, m, &c, q.Name(), body, s.queueNotes(t, fifo, &n))
	dead.Persistent = true
	if failed := s.enqueue(turn, account, q, dead); failed != nil {
		s.log.Warn("dead-letter queue takes nothing", "subscription", sub.ARN, "queue", sub.deadARN, "error", failed)
		done(false)
		return
	}
	s.stats.dead.Add(1)
	done(true)
}

// deadLetterLater is deadLetter for those who must not wait.
func (s *Service) deadLetterLater(t *topic, sub *subscription, m *broker.Message, why *failure) {
	if sub.deadARN == "" {
		s.stats.dropped.Add(1)
		return
	}
	s.background(func() { s.deadLetter(t, sub, m, why, func(bool) {}) })
}
