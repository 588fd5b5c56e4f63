package sqs

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// counters are what a queue's clients of this service did since the process
// began.
type counters struct {
	sent, sentBytes, repeated, received, deleted, empty atomic.Uint64
}

// Metrics are the metrics of a queue in the namespace AWS/SQS of CloudWatch,
// by their names there. Those that count, count since the process began.
type Metrics struct {
	Account, Queue string
	Fifo           bool

	NumberOfMessagesSent             uint64 // by SendMessage and SendMessageBatch
	SentMessageSize                  uint64 // bytes of all of them, as the size limit counts
	NumberOfDeduplicatedSentMessages uint64 // FIFO
	NumberOfMessagesReceived         uint64
	NumberOfMessagesDeleted          uint64
	NumberOfEmptyReceives            uint64

	ApproximateNumberOfMessagesVisible    int
	ApproximateNumberOfMessagesNotVisible int
	ApproximateNumberOfMessagesDelayed    int
	ApproximateAgeOfOldestMessage         int64 // ms; of the oldest visible message that is in memory, 0: there is none
}

// Metrics returns the metrics of all queues, by account and name.
func (s *Service) Metrics() []Metrics {
	now := s.endpoint.Now().UnixMilli()
	var list []Metrics
	for _, account := range s.endpoint.Accounts() {
		v := s.endpoint.VHostOf(account)
		if v == nil {
			continue
		}
		for _, core := range v.Queues() {
			name := Alias(core)
			if name == "" {
				continue
			}
			if q := s.find(account, name); q != nil && q.core == core {
				list = append(list, q.metrics(now))
			}
		}
	}
	slices.SortFunc(list, func(a, b Metrics) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Queue, b.Queue))
	})
	return list
}

func (q *queue) metrics(now int64) Metrics {
	c := &q.did
	m := Metrics{
		Account: q.account, Queue: q.name, Fifo: q.settings().Fifo,
		NumberOfMessagesSent: c.sent.Load(), SentMessageSize: c.sentBytes.Load(), NumberOfDeduplicatedSentMessages: c.repeated.Load(),
		NumberOfMessagesReceived: c.received.Load(), NumberOfMessagesDeleted: c.deleted.Load(), NumberOfEmptyReceives: c.empty.Load(),
	}
	m.ApproximateNumberOfMessagesVisible, m.ApproximateNumberOfMessagesNotVisible, m.ApproximateNumberOfMessagesDelayed = q.core.Counts()
	if at := q.core.Oldest(); at != 0 {
		m.ApproximateAgeOfOldestMessage = max(now-at, 0)
	}
	return m
}
