package broker

// FanInOptions describe a consumer of several queues.
type FanInOptions struct {
	// SubscribeOptions hold for every queue, but that Queue and Filter are
	// ignored and Prefetch bounds the unsettled deliveries of all queues
	// together.
	SubscribeOptions

	// Appeared says that a queue was made that a pattern given to AddMatching
	// stands for. It runs on any goroutine, with locks held: it must neither
	// block nor call the core. Its answer is a call of Join on the goroutine
	// that owns the session.
	Appeared func(queue string)

	// Opened, if set, is called on the owner's goroutine with every
	// subscription that begins, before any of its deliveries can be handled
	// there.
	Opened func(*Subscription)
}

// FanIn is one consumer of a client that reads several queues: some by their
// names, and all whose names match a pattern, those made later included. The
// order of messages is kept for each queue. Like a Session it belongs to one
// goroutine.
type FanIn struct {
	session *Session
	options FanInOptions
	credit  credit
	members map[*Queue]*member
	watches []*watch
	closed  bool
}

// member is a subscription of a FanIn.
type member struct {
	sub   *Subscription
	named bool // not by a pattern alone
}

// OpenFanIn makes a consumer that reads nothing yet. The error is NotAllowed:
// the tag is in use.
func (s *Session) OpenFanIn(o FanInOptions) (*FanIn, error) {
	if s.tagged(o.Tag) {
		return nil, errf(NotAllowed, "attempt to reuse consumer tag '%s'", o.Tag)
	}
	f := &FanIn{session: s, options: o, members: make(map[*Queue]*member)}
	f.credit.limit.Store(int64(max(o.Prefetch, 0)))
	f.options.Prefetch = 0
	if s.fanIns == nil {
		s.fanIns = make(map[*FanIn]struct{})
	}
	s.fanIns[f] = struct{}{}
	return f, nil
}

// Add reads a queue by its name, with a filter or, if that is nil, everything.
// Doing it twice is the same as once. Errors as Session.Subscribe.
func (f *FanIn) Add(t *Turn, queue string, filter Filter) error {
	q, err := f.session.readable(queue)
	if err != nil {
		return err
	}
	if m := f.members[q]; m != nil {
		m.named = true
		return nil
	}
	return f.open(t, q, filter, true)
}

// AddMatching reads the queues that pattern stands for (see
// VHost.QueuesMatching), now and later, passing over those that the user may
// not read. The filter is that of the options.
func (f *FanIn) AddMatching(t *Turn, pattern string) {
	w := &watch{pattern: pattern, appeared: f.options.Appeared}
	f.watches = append(f.watches, w)
	for _, name := range f.session.vhost.watchQueues(w) {
		f.Join(t, name)
	}
}

// Join reads a queue that has appeared, if it is still there and may be read.
func (f *FanIn) Join(t *Turn, queue string) {
	q, err := f.session.readable(queue)
	if err != nil || f.closed || f.members[q] != nil {
		return
	}
	_ = f.open(t, q, f.options.Filter, false) // read by somebody exclusively, or gone again
}

func (f *FanIn) open(t *Turn, q *Queue, filter Filter, named bool) error {
	o := f.options.SubscribeOptions
	o.Queue, o.Filter = q.name, filter
	sub, err := f.session.subscribe(t, q, o, &f.credit)
	if err != nil {
		return err
	}
	f.members[q] = &member{sub: sub, named: named}
	if f.options.Opened != nil {
		f.options.Opened(sub)
	}
	return nil
}

// Left says that the broker has ended a subscription (Sink.Cancelled). It
// reports whether it was one of a pattern: then the consumer goes on, and its
// client need not hear of it.
func (f *FanIn) Left(sub *Subscription) bool {
	m := f.members[sub.Queue]
	if m == nil || m.sub != sub {
		return true
	}
	delete(f.members, sub.Queue)
	return !m.named
}

// Members returns the subscriptions there are, in no order.
func (f *FanIn) Members() []*Subscription {
	list := make([]*Subscription, 0, len(f.members))
	for _, m := range f.members {
		list = append(list, m.sub)
	}
	return list
}

// SetPrefetch changes the bound of unsettled deliveries of all queues together;
// 0 lifts it.
func (f *FanIn) SetPrefetch(t *Turn, n int) { f.session.setCredit(t, &f.credit, n) }

// Close ends the consumer like Session.Unsubscribe. A call of Appeared may
// still be under way.
func (f *FanIn) Close(t *Turn) {
	f.closed = true
	delete(f.session.fanIns, f)
	f.unwatch()
	for _, m := range f.members {
		f.session.Unsubscribe(t, m.sub)
	}
	clear(f.members)
}

func (f *FanIn) unwatch() {
	for _, w := range f.watches {
		f.session.vhost.unwatch(w)
	}
	f.watches = nil
}
