package sns

import (
	"slices"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// form implements broker.Former: messages of a topic enter the queue of an SQS
// subscription as the service would send them.
func (s *Service) form(t *broker.Turn, q *broker.Queue, arn string, m *broker.Message) *broker.Message {
	sub, topic := s.subscription(arn)
	if sub == nil || topic == nil {
		return m
	}
	n := noticeOf(s.core, m)
	if !s.protect(topic, sub, &n) {
		return nil
	}
	formed, reason := s.queueMessage(t.Now, topic, sub, q.Name(), m, &n, true)
	if formed == nil {
		s.log.Warn("notification cannot be delivered", "subscription", arn, "error", reason)
		s.deadLetterLater(topic, sub, m, reason)
	}
	return formed
}

// queueMessage is what an SQS queue gets of a message. It is m itself if that
// says all. nil means that the queue cannot have it, and why. In a hurry,
// a signature that is not there yet is left to those who read the queue.
func (s *Service) queueMessage(now int64, t *topic, sub *subscription, queue string, m *broker.Message, n *notice, hurry bool) (*broker.Message, *failure) {
	fifo := isFIFO(queue)
	text := n.textFor("sqs")
	c := message.Content{ID: aws.NewUUID(), Sequence: 0, Sender: serviceID, Trace: n.trace}
	if fifo {
		c.Sequence = s.opt.Queues.Sequence(now)
	}
	notes := s.queueNotes(t, fifo, n)
	if fifo {
		notes.Origin = c.ID.String() + " " + sequenceText(c.Sequence)
	}
	if delay := s.opt.Queues.Delay(sub.Endpoint); delay > 0 {
		if notes == nil {
			notes = new(broker.Notes)
		}
		notes.DeliverAt = now + 1000*delay
	}
	if sub.raw {
		if len(n.attributes) > message.MaxAttributes {
			return nil, permanent("InvalidParameterValue", "The message has more than 10 attributes, which raw delivery to a queue cannot have.")
		}
		if notes == nil && m.Notes == nil && m.Format == broker.FormatAWS && !fifo && !t.fifo && n.structure == "" && n.subject == "" && !n.masked {
			return m, nil
		}
		c.Attributes = n.attributes
		body := []byte(text)
		if raw, ok := message.Decode(text, c.Attributes); ok {
			c.Encoded, body = true, raw
		}
		return queueCopy(now, m, &c, queue, body, notes), nil
	}
	if !hurry {
		return queueCopy(now, m, &c, queue, s.envelope(t, sub, n, text), notes), nil
	}
	sig, ok := s.readySignature(t, sub, n, text)
	c.Unsigned = !ok
	return queueCopy(now, m, &c, queue, s.draft(t, sub, n, text, sig), notes), nil
}

// queueNotes are group and deduplication id in the queue. Those of a FIFO topic
// go to FIFO queues only, the group of a standard topic to any.
func (s *Service) queueNotes(t *topic, fifo bool, n *notice) *broker.Notes {
	switch {
	case fifo:
		notes := &broker.Notes{GroupID: n.group, DedupID: n.dedup}
		if notes.GroupID == "" {
			notes.GroupID = t.name // of a publisher who knows no groups
		}
		if notes.DedupID == "" {
			notes.DedupID = n.id.String()
		}
		return notes
	case !t.fifo && n.group != "":
		return &broker.Notes{GroupID: n.group}
	}
	return nil
}

func queueCopy(now int64, m *broker.Message, c *message.Content, queue string, body []byte, notes *broker.Notes) *broker.Message {
	return &broker.Message{
		RoutingKey: queue, Format: broker.FormatAWS, Native: c.AppendNative(nil), Body: body,
		Persistent: m.Persistent, TTL: broker.NoTTL, Received: now, Notes: notes,
	}
}

// filterArgs are the arguments of a binding that say what a subscription
// takes.
func (s *subscription) filterArgs() broker.Table {
	p := s.Attributes["FilterPolicy"]
	if p == "" {
		return nil
	}
	args := broker.Table{{Name: broker.FilterArgument, Value: p}}
	if s.Attributes["FilterPolicyScope"] == "MessageBody" {
		args = append(args, broker.Field{Name: broker.FilterScopeArgument, Value: "MessageBody"})
	}
	return args
}

func (s *subscription) formArgs() broker.Table {
	return append(slices.Clip(s.filterArgs()), broker.Field{Name: broker.FormArgument, Value: s.ARN})
}
