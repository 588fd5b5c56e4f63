package broker

// change collects the definitions an operation wants stored and what it has
// to do once no lock is held any more.
type change struct {
	broker *Broker
	turn   *Turn
	defs   []Definition
	reveal []func()
	after  []func(t *Turn)
	eager  bool   // several steps in one change: what one makes the next must see
	added  func() // runs with the source's lock held when a binding has been added; nil: nothing does
	found  bool   // the outcome rests on something that may not be durable yet
}

// maxChange bounds the definitions of one batch, so that deleting a queue with
// ten thousand bindings is not one giant log entry. What must not be seen
// half done is put first: recovery drops what refers to nothing.
const maxChange = 1000

func (c *change) put(kind, key string, value []byte) {
	c.defs = append(c.defs, Definition{Kind: kind, Key: key, Value: value})
}

func (c *change) remove(kind, key string) {
	c.defs = append(c.defs, Definition{Kind: kind, Key: key, Delete: true})
}

// show runs f, which makes something visible to others, when the definitions
// so far have their place in the store's order. Otherwise a message could be
// stored before the queue it is in.
func (c *change) show(f func()) {
	if !c.eager {
		c.reveal = append(c.reveal, f)
		return
	}
	c.flush(nil)
	f()
}

// later runs f after the locks are released, before done.
func (c *change) later(f func(t *Turn)) { c.after = append(c.after, f) }

// store gives the definitions their place in the store's order; the caller
// holds the lock that ordered the change. It reports whether done will be
// called at a commit.
func (c *change) store(done func(*Turn)) bool {
	waits := c.flush(done)
	for _, f := range c.reveal {
		f()
	}
	return waits
}

func (c *change) flush(done func(*Turn)) bool {
	b := c.broker
	if len(c.defs) == 0 {
		if done == nil || !c.found || b.unstored.Load() == 0 {
			return false
		}
		// What this operation found may not be durable yet: its answer waits
		// for those who made it so.
		b.unstored.Add(1)
		b.store.Append(&Batch{Then: &stored{broker: b, done: done}})
		return true
	}
	for defs := c.defs; len(defs) > 0; {
		n := min(len(defs), maxChange)
		s := &stored{broker: b}
		if n == len(defs) {
			s.done = done
		}
		b.unstored.Add(1)
		b.store.Append(&Batch{Definitions: defs[:n:n], Then: s})
		defs = defs[n:]
	}
	c.defs = nil
	return true
}

func (c *change) finish(t *Turn, done func(*Turn), waits bool) {
	for _, f := range c.after {
		f(t)
	}
	if !waits && done != nil {
		done(t)
	}
}

// stored is told when a change is durable.
type stored struct {
	broker *Broker
	done   func(*Turn)
}

// Committed implements Committer.
func (s *stored) Committed(t *Turn) {
	s.broker.unstored.Add(-1)
	if s.done != nil {
		s.done(t)
	}
}
