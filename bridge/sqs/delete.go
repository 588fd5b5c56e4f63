package sqs

import (
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// handleOf reads the handle of an entry and checks that it is of this queue.
func (s *Service) handleOf(q *queue, e *entry) (handle, *aws.Error) {
	if !e.hasHandle || e.handle == "" {
		return handle{}, missing("ReceiptHandle")
	}
	h, ok := s.parseHandle(e.handle)
	if !ok || h.queue != q.core.ID() {
		return h, badHandle(strings.Clone(e.handle))
	}
	return h, nil
}

// removed tells what a removal that settled nothing means. On a standard queue
// the message is gone already, which is fine; on a FIFO queue the handle may
// have expired.
func removed(q *queue, h *handle, text string, ok bool) *aws.Error {
	if !ok && q.settings().Fifo && q.core.Has(h.token.Place) {
		return expiredHandle(text)
	}
	return nil
}

func (s *Service) deleteMessage(r *request, q *queue, _ *endpoint.Caller) {
	h, err := s.handleOf(q, &r.in.entry)
	if err != nil {
		r.fail(err)
		return
	}
	d := &deletion{request: r, queue: q, handle: h}
	fifo := q.settings().Fifo
	if fifo {
		d.text = strings.Clone(r.in.handle)
	}
	q.core.RemoveAll(r.Turn, []broker.Token{h.token}, fifo, d.ok[:], d.answer)
}

// deletion is a DeleteMessage that waits for the store.
type deletion struct {
	request *request
	queue   *queue
	handle  handle
	text    string // the handle as it was sent, of a FIFO queue
	ok      [1]bool
}

func (d *deletion) answer(t *broker.Turn) {
	if err := removed(d.queue, &d.handle, d.text, d.ok[0]); err != nil {
		d.request.Fail(t, err)
		return
	}
	d.queue.did.deleted.Add(1)
	d.request.void(t)
}

func (s *Service) deleteMessageBatch(r *request, q *queue, _ *endpoint.Caller) {
	if err := checkBatch(r, "DeleteMessageBatchRequestEntry"); err != nil {
		r.fail(err)
		return
	}
	var bad []failed
	var ids, texts []string
	var handles []handle
	var tokens []broker.Token
	for i := range r.in.entries {
		e := &r.in.entries[i]
		id := strings.Clone(e.id)
		h, err := s.handleOf(q, e)
		if err != nil {
			bad = append(bad, failed{id, err})
			continue
		}
		ids, texts = append(ids, id), append(texts, strings.Clone(e.handle))
		handles, tokens = append(handles, h), append(tokens, h.token)
	}
	ok := make([]bool, len(tokens))
	q.core.RemoveAll(r.Turn, tokens, q.settings().Fifo, ok, func(t *broker.Turn) {
		good := ids[:0:0]
		for i := range ids {
			if err := removed(q, &handles[i], texts[i], ok[i]); err != nil {
				bad = append(bad, failed{ids[i], err})
				continue
			}
			good = append(good, ids[i])
		}
		q.did.deleted.Add(uint64(len(good)))
		r.finishIDs(t, good, bad, "DeleteMessageBatchResultEntry")
	})
}

// finishIDs answers a batch whose successes are told by their ids alone.
func (r *request) finishIDs(t *broker.Turn, good []string, bad []failed, element string) {
	w := r.writer(256 + 100*(len(good)+len(bad)))
	w.list("Successful", element, len(good), func(i int) { w.text("Id", good[i]) })
	writeFailed(w, bad)
	r.finish(t, w)
}

// maxVisibility is the longest time, in seconds, that a message stays hidden.
const maxVisibility = 43_200

func (s *Service) extend(r *request, q *queue, e *entry) *aws.Error {
	h, err := s.handleOf(q, e)
	if err != nil {
		return err
	}
	v := e.visibility
	switch {
	case !v.set:
		return missing("VisibilityTimeout")
	case !v.within(0, maxVisibility):
		return badValue(v.String(), "VisibilityTimeout", "VisibilityTimeout must be an integer between 0 and 43200")
	case r.Turn.Now+int64(v.v)*1000 > h.token.Since+maxVisibility*1000+1000:
		return badValue(strconv.Itoa(v.v), "VisibilityTimeout", "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]")
	}
	switch q.core.Extend(r.Turn, h.token, r.Turn.Now+int64(v.v)*1000, q.settings().Fifo) {
	case broker.StaleLease:
		if q.core.Has(h.token.Place) {
			return expiredHandle(strings.Clone(e.handle))
		}
		fallthrough
	case broker.NoMessage:
		return badValue(strings.Clone(e.handle), "ReceiptHandle", "Message does not exist or is not available for visibility timeout change.")
	}
	q.changed(h.token.Lease)
	return nil
}

func (s *Service) changeVisibility(r *request, q *queue, _ *endpoint.Caller) {
	if err := s.extend(r, q, &r.in.entry); err != nil {
		r.fail(err)
		return
	}
	r.service.endpoint.Core().StoreFacts(nil, r.void)
}

func (s *Service) changeVisibilityBatch(r *request, q *queue, _ *endpoint.Caller) {
	if err := checkBatch(r, "ChangeMessageVisibilityBatchRequestEntry"); err != nil {
		r.fail(err)
		return
	}
	var good []string
	var bad []failed
	for i := range r.in.entries {
		e := &r.in.entries[i]
		id := strings.Clone(e.id)
		if err := s.extend(r, q, e); err != nil {
			bad = append(bad, failed{id, err})
			continue
		}
		good = append(good, id)
	}
	r.service.endpoint.Core().StoreFacts(nil, func(t *broker.Turn) {
		r.finishIDs(t, good, bad, "ChangeMessageVisibilityBatchResultEntry")
	})
}
