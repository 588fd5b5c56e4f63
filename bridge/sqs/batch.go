package sqs

import (
	"strconv"
	"sync/atomic"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// checkBatch checks what holds for all entries together. kind is the name of
// the entries in the Query protocol.
func checkBatch(r *request, kind string) *aws.Error {
	n := r.count
	switch {
	case n == 0:
		return batchError("EmptyBatchRequest", "There should be at least one "+kind+" in the request.")
	case n > maxEntries:
		return batchError("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent "+strconv.Itoa(n)+".")
	}
	list := r.in.entries
	for i := range list {
		if id := list[i].id; id == "" || len(id) > 80 || !plainName(id) {
			return errBatchIDs
		}
		for j := range i {
			if list[j].id == list[i].id {
				return batchError("BatchEntryIdsNotDistinct", "Id "+list[i].id+" repeated.")
			}
		}
	}
	return nil
}

// failed is an entry that was refused.
type failed struct {
	id  string
	err *aws.Error
}

// writeFailed writes the entries that were refused; none is no member.
func writeFailed(w *writer, list []failed) {
	if len(list) == 0 {
		return
	}
	w.list("Failed", "BatchResultErrorEntry", len(list), func(i int) {
		f := &list[i]
		code := f.err.Code
		w.text("Code", code)
		w.text("Id", f.id)
		w.text("Message", f.err.Message)
		w.truth("SenderFault", !f.err.Receiver)
	})
}

// batch is a SendMessageBatch whose messages are on their way.
type batch struct {
	request *request
	left    atomic.Int32 // messages that are not settled yet, and one for the caller
	list    []*sending   // nil where refused
	bad     []*aws.Error
	ids     []string
}

func (s *Service) sendBatch(r *request, q *queue, actor *endpoint.Caller) {
	if err := checkBatch(r, "SendMessageBatchRequestEntry"); err != nil {
		r.fail(err)
		return
	}
	if s.blocked() {
		r.fail(errThrottled)
		return
	}
	set := q.settings()
	total := 0
	for i := range r.in.entries {
		total += r.in.entries[i].size()
	}
	if total > maxMessage {
		r.fail(batchError("BatchRequestTooLong",
			"Batch requests cannot be longer than "+strconv.Itoa(maxMessage)+" bytes. You have sent "+strconv.Itoa(total)+" bytes."))
		return
	}
	if set.Fifo {
		q.sending.Lock()
		defer q.sending.Unlock()
		for i := range r.in.entries {
			if _, err := checkFifo(set, &r.in.entries[i], true); err != nil && !r.in.entries[i].group.set || err == errNoDedup {
				r.fail(err)
				return
			}
		}
	}
	n := len(r.in.entries)
	b := &batch{request: r, list: make([]*sending, n), bad: make([]*aws.Error, n), ids: make([]string, n)}
	for i := range r.in.entries {
		e := &r.in.entries[i]
		b.ids[i] = string(append([]byte(nil), e.id...))
		b.list[i], b.bad[i] = s.prepare(r, q, set, e, true)
	}
	if set.Fifo {
		b.publishEach(r.Turn, actor)
	} else {
		b.publishAll(r.Turn, actor)
	}
}

// publishAll publishes the messages of a standard queue as one.
func (b *batch) publishAll(t *broker.Turn, actor *endpoint.Caller) {
	list := make([]broker.Publish, 0, len(b.list))
	for _, x := range b.list {
		if x != nil {
			list = append(list, x.publish)
		}
	}
	if len(list) == 0 {
		b.finish(t)
		return
	}
	_, err := actor.PublishAll(t, list, func(t *broker.Turn, res broker.PublishResult, accepted bool) {
		for i, x := range b.list {
			if x != nil {
				b.bad[i] = x.outcome(res, accepted)
			}
		}
		b.finish(t)
	})
	if err != nil {
		b.request.fail(coreError(err))
	}
}

// publishEach publishes the messages of a FIFO queue one after the other: each
// may be a duplicate.
func (b *batch) publishEach(t *broker.Turn, actor *endpoint.Caller) {
	b.left.Store(1)
	for i, x := range b.list {
		if x == nil {
			continue
		}
		b.left.Add(1)
		_, err := actor.PublishFully(t, x.publish, func(t *broker.Turn, res broker.PublishResult, accepted bool) {
			b.bad[i] = x.outcome(res, accepted)
			b.settled(t)
		})
		if err != nil {
			b.bad[i] = coreError(err)
			b.settled(t)
		}
	}
	b.settled(t)
}

func (b *batch) settled(t *broker.Turn) {
	if b.left.Add(-1) == 0 {
		b.finish(t)
	}
}

func (b *batch) finish(t *broker.Turn) {
	var good []int
	var bad []failed
	for i := range b.list {
		if b.bad[i] == nil {
			good = append(good, i)
		} else {
			bad = append(bad, failed{b.ids[i], b.bad[i]})
		}
	}
	w := b.request.writer(256 + 320*len(b.list))
	w.list("Successful", "SendMessageBatchResultEntry", len(good), func(i int) {
		w.text("Id", b.ids[good[i]])
		b.list[good[i]].write(w)
	})
	writeFailed(w, bad)
	b.request.finish(t, w)
}
