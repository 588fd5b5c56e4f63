package sqs

import (
	"sync"

	"github.com/hermodmq/hermod/broker"
)

// poll is a ReceiveMessage that waits. It costs itself, a place among the
// queue's waiters and one in the wheel.
type poll struct {
	receiving *receiving
	waiter    broker.Waiter
	deadline  int64 // Unix ms

	mu   sync.Mutex
	over bool // answered, or the client is gone

	prev, next *poll // in the wheel's slot
	slot       int   // -1: in none
}

// park lets a receiver wait until a deadline.
func (s *Service) park(x *receiving, deadline int64) {
	p := &poll{receiving: x, deadline: deadline, slot: -1}
	p.waiter.Wake = p.wake
	x.request.OnGone(func() { p.abandon(s) })
	s.polls.add(p)
	p.await(x.request.Turn)
	x.request.Turn = nil // it belongs to the call's goroutine
}

func (p *poll) await(t *broker.Turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.awaitLocked(t)
}

// awaitLocked begins to wait. With the lock held, a poll that is over cannot be
// among the waiters.
func (p *poll) awaitLocked(t *broker.Turn) {
	if !p.over {
		p.receiving.queue.core.Await(t, &p.waiter)
	}
}

// wake is called when there may be something: the connection's own goroutine
// looks.
func (p *poll) wake(t *broker.Turn) { p.receiving.request.Run(t, p.look) }

// look takes what is there, or waits on. A poll whose client is gone takes
// nothing.
func (p *poll) look(t *broker.Turn) {
	x := p.receiving
	p.mu.Lock()
	if p.over {
		p.mu.Unlock()
		// The wake-up was meant for somebody: it must not be lost.
		x.queue.core.Nudge(t)
		return
	}
	x.take(t)
	if len(x.taken) == 0 && !x.queue.core.Closed() {
		p.awaitLocked(t)
		p.mu.Unlock()
		return
	}
	p.over = true
	p.mu.Unlock()
	x.request.service.polls.remove(p)
	if len(x.taken) == 0 {
		x.request.Fail(t, errNoQueue)
		return
	}
	x.give(t)
}

// finish ends the wait without an answer; it reports whether it was not over.
func (p *poll) finish(s *Service) bool {
	p.mu.Lock()
	was := p.over
	p.over = true
	p.mu.Unlock()
	if !was {
		p.waiter.Cancel()
		s.polls.remove(p)
	}
	return !was
}

// abandon ends the wait of a client that is gone. If it was being woken, the
// next one is: nothing runs on a connection that is closed.
func (p *poll) abandon(s *Service) {
	p.mu.Lock()
	was := p.over
	p.over = true
	p.mu.Unlock()
	if was {
		return
	}
	s.polls.remove(p)
	if !p.waiter.Cancel() {
		p.receiving.queue.core.Nudge(&broker.Turn{Now: s.endpoint.Now().UnixMilli()})
	}
}

// pollWheel ends polls in time: a ring of slots of 10 ms each, longer than the
// longest poll.
type pollWheel struct {
	mu    sync.Mutex
	slots [wheelSlots]*poll
	at    int64 // the slot that is next, as a count of slots since 1970
}

const (
	wheelGrain = 10   // ms
	wheelSlots = 4096 // more than 20 s
)

func (w *pollWheel) add(p *poll) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := max((p.deadline+wheelGrain-1)/wheelGrain, w.at+1)
	p.slot = int(at % wheelSlots)
	if p.next = w.slots[p.slot]; p.next != nil {
		p.next.prev = p
	}
	w.slots[p.slot] = p
}

func (w *pollWheel) remove(p *poll) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(p)
}

func (w *pollWheel) unlink(p *poll) {
	if p.slot < 0 {
		return
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		w.slots[p.slot] = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.prev, p.next, p.slot = nil, nil, -1
}

// tick answers the polls whose time is over.
func (w *pollWheel) tick(t *broker.Turn) {
	var due []*poll
	w.mu.Lock()
	now := t.Now / wheelGrain
	if w.at == 0 || now-w.at > wheelSlots {
		w.at = now - wheelSlots
	}
	for ; w.at <= now; w.at++ {
		for p := w.slots[w.at%wheelSlots]; p != nil; {
			next := p.next
			if p.deadline <= t.Now {
				w.unlink(p)
				due = append(due, p)
			}
			p = next
		}
	}
	w.mu.Unlock()
	for _, p := range due {
		if p.finish(p.receiving.request.service) {
			p.receiving.answer(t, nil)
		}
	}
}
