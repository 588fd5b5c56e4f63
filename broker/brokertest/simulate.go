package brokertest

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/hermodmq/hermod/broker"
)

// Simulate runs a world of random clients for a number of steps, with crashes,
// and compares what they see with a model. The same seed repeats the same
// world. The error says which promise was broken:
//
//   - nothing confirmed is lost, over crashes, too;
//   - nothing settled comes back, unless a crash came before its commit;
//   - nobody holds a message that somebody else holds;
//   - messages of one publisher leave a queue in their order, returned ones
//     before younger ones;
//   - no consumer holds more than its prefetch, no mailbox more than a window;
//   - what a queue keeps in memory is bounded, and nothing when it is empty.
func Simulate(seed uint64, steps int) error {
	s := &simulation{seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), messages: make(map[int]*simMessage)}
	if err := s.start(); err != nil {
		return err
	}
	for range steps {
		s.step()
		s.afterStep()
		if s.failure != nil {
			return s.failure
		}
	}
	s.finish()
	return s.failure
}

type simulation struct {
	*World
	seed      uint64
	rand      *rand.Rand
	messages  map[int]*simMessage
	fresh     []*simMessage // changed in this step: not known yet when it is firm
	published int
	committed int
	named     int
	credit    map[*broker.Subscription]*simCredit
	shared    map[*broker.Session]*simCredit
	failure   error
	finished  []*Client // to leave at the end of the step
	trace     []string
}

type simState uint8

const (
	simPending simState = iota // published, no receipt yet
	simLive                    // in its queue, ready
	simLeased
	simGone  // settled
	simMaybe // a crash leaves open whether it is there
)

// simMessage is what the model knows of a message.
type simMessage struct {
	id         int
	queue      string
	level      uint8
	publisher  *broker.Session
	persistent bool
	state      simState
	firm       int  // number of commits from which its state survives a crash
	returned   bool // since it was last delivered, or before
	moved      bool // rejected: it may be in the dead-letter queue
	group      int  // the transaction it was published in; 0: none
}

type simCredit struct {
	prefetch, unsettled, posted int
}

var simQueues = []struct {
	name    string
	durable bool
	args    broker.Table
}{
	{"plain", true, nil},
	{"transient", false, nil},
	{"levels", true, broker.Table{{Name: "x-max-priority", Value: int32(2)}}},
	{"rejecting", true, broker.Table{
		{Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: "dead"},
	}},
	{"dead", true, nil},
}

func (s *simulation) start() (err error) {
	s.credit = make(map[*broker.Subscription]*simCredit)
	s.shared = make(map[*broker.Session]*simCredit)
	if s.World, err = NewWorld(s.setup); err != nil {
		return err
	}
	for _, q := range simQueues {
		if _, err := s.Queue(q.name, q.durable, q.args); err != nil {
			return err
		}
	}
	s.Commit()
	s.Held = true
	s.Wrote = func(sub *broker.Subscription) { s.credit[sub].posted-- }
	return nil
}

// setup makes memory scarce, so that paging happens with few messages: in some
// worlds so scarce that every unsettled message has to be read back if it is
// wanted again. In some, sessions may hold next to nothing.
func (s *simulation) setup(b *broker.Broker) {
	if s.seed%2 == 0 {
		b.SetHotMemory(1500, 700, 500)
	} else {
		b.SetHotMemory(0, 0, 400)
	}
	if s.seed%3 == 0 {
		b.SetMaxUnsettled(simMaxUnsettled)
	}
}

const simMaxUnsettled = 9

// atLimit reports whether a client may get nothing more before it settles.
func (s *simulation) atLimit(c *Client) bool { return s.seed%3 == 0 && len(c.Open) >= simMaxUnsettled }

func (s *simulation) fail(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf(format+"\n%v", append(args, s.trace[max(0, len(s.trace)-60):])...)
	}
}

func (s *simulation) note(format string, args ...any) {
	s.trace = append(s.trace, "\n"+fmt.Sprintf(format, args...))
}

func (s *simulation) step() {
	switch n := s.rand.IntN(100); {
	case n < 35:
		s.publish()
	case n < 45:
		s.subscribe()
	case n < 48:
		s.unsubscribe()
	case n < 65:
		s.settle()
	case n < 70:
		s.get()
	case n < 82:
		s.commit(s.rand.IntN(8))
	case n < 85:
		s.commit(-1)
	case n < 94:
		s.Write()
	case n < 96:
		s.close()
	case n < 97:
		s.Turn.Now += 100
		s.Broker.Tick(s.Turn)
	case n < 98:
		s.transact()
	case n < 99:
		s.share()
	default:
		s.crash()
	}
}

// afterStep dates what changed, and looks at the queues.
func (s *simulation) afterStep() {
	for _, m := range s.fresh {
		m.firm = s.committed + s.Store.Pending()
	}
	s.fresh = s.fresh[:0]
	for _, c := range s.finished {
		s.leave(c)
	}
	s.finished = s.finished[:0]
	for _, q := range simQueues {
		queue := s.VHost().Queue(q.name)
		if queue == nil {
			continue
		}
		st := queue.Stats()
		if st.Ready < 0 || st.ReadyBytes < 0 || st.Memory < 0 {
			s.fail("%s: negative counts %+v", q.name, st)
		}
	}
}

func (s *simulation) commit(n int) {
	s.note("commit %d", n)
	for ; n != 0 && s.Store.Pending() > 0; n-- {
		s.Store.Commit(s.Turn, 1)
		s.committed++
	}
}

func (s *simulation) open(name string) *Client {
	return s.Client(name, func(_ *broker.Turn, e Event) { s.event(name, e) })
}

func (s *simulation) anyClient() *Client { return s.open("c" + strconv.Itoa(s.rand.IntN(4))) }

func (s *simulation) publish() {
	c := s.anyClient()
	q := simQueues[s.rand.IntN(len(simQueues)-1)]
	for range 1 + s.rand.IntN(12) {
		s.published++
		m := s.World.Message(q.name, strconv.Itoa(s.published))
		m.Persistent = s.rand.IntN(3) > 0
		m.Priority = uint8(s.rand.IntN(3))
		x := &simMessage{id: s.published, queue: q.name, publisher: c.Session, persistent: m.Persistent && q.durable}
		if q.name == "levels" {
			x.level = m.Priority
		}
		s.messages[x.id] = x
		s.fresh = append(s.fresh, x)
		r, err := c.Session.Publish(s.Turn, broker.Publish{Msg: m, Receipt: uint64(x.id)})
		s.note("publish %s %s %d persistent=%v", c.Name, q.name, x.id, m.Persistent)
		if err != nil || !r.Routed {
			s.fail("publish to %s: %+v %v", q.name, r, err)
		}
		if !r.Pending {
			if x.persistent {
				s.fail("message %d got its receipt before its commit", x.id)
			}
			if x.state == simPending {
				x.state = simLive
			}
		}
	}
}

func (s *simulation) subscribe() {
	c := s.anyClient()
	if len(c.Subs) > 4 {
		return
	}
	s.named++
	o := broker.SubscribeOptions{
		Queue: simQueues[s.rand.IntN(len(simQueues))].name, Tag: "t" + strconv.Itoa(s.named),
		Prefetch: s.rand.IntN(6), NoAck: s.rand.IntN(4) == 0,
	}
	s.note("subscribe %s %+v", c.Name, o)
	sub, err := c.Session.Subscribe(s.Turn, o)
	if err != nil {
		s.fail("subscribe: %v", err)
		return
	}
	c.Subs = append(c.Subs, sub)
}

func (s *simulation) unsubscribe() {
	c := s.anyClient()
	if len(c.Subs) == 0 {
		return
	}
	i := s.rand.IntN(len(c.Subs))
	s.note("unsubscribe %s %s", c.Name, c.Subs[i].Tag)
	c.Session.Unsubscribe(s.Turn, c.Subs[i])
	c.Subs = append(c.Subs[:i:i], c.Subs[i+1:]...)
}

func (s *simulation) get() {
	c, q := s.anyClient(), simQueues[s.rand.IntN(len(simQueues))].name
	s.note("get %s %s", c.Name, q)
	if err := c.Session.Get(s.Turn, q, false, 1); err != nil {
		s.fail("get: %v", err)
	}
}

func (s *simulation) share() {
	c, n := s.anyClient(), s.rand.IntN(5)
	s.note("share %s %d", c.Name, n)
	s.sharedOf(c.Session).prefetch = n
	c.Session.SetSharedCredit(s.Turn, n)
}

func (s *simulation) settle() {
	c := s.anyClient()
	s.Write()
	if len(c.Open) == 0 {
		return
	}
	i := s.rand.IntN(len(c.Open))
	n := min(1+s.rand.IntN(4), len(c.Open)-i)
	taken := append([]broker.Delivery(nil), c.Open[i:i+n]...)
	c.Open = append(c.Open[:i:i], c.Open[i+n:]...)
	o := broker.Outcome(s.rand.IntN(5))
	if s.rand.IntN(2) == 0 {
		o = broker.Accepted
	}
	for j := 0; j < len(taken); {
		q := taken[j].Queue
		var leases []broker.Lease
		for ; j < len(taken) && taken[j].Queue == q; j++ {
			leases = append(leases, taken[j].Lease)
			s.settled(taken[j], o)
		}
		s.note("settle %s %s %v %v", c.Name, q.Name(), leases, o)
		c.Session.Settle(s.Turn, q, leases, o)
	}
}

// settled moves the model before the core moves.
func (s *simulation) settled(d broker.Delivery, o broker.Outcome) {
	m := s.message(d)
	if d.Sub != nil {
		s.credit[d.Sub].unsettled--
		s.sharedOf(d.Sub.Session()).unsettled--
	}
	switch {
	case o == broker.Accepted:
		m.state = simGone
	case o == broker.Rejected && d.Queue.Name() == "rejecting":
		m.state, m.moved = simPending, true
		m.returned = false
	case o == broker.Rejected:
		m.state = simGone
	default:
		m.state = simLive
		m.returned = m.returned || o != broker.Unsent
	}
	s.fresh = append(s.fresh, m)
}

func (s *simulation) message(d broker.Delivery) *simMessage {
	id, _ := strconv.Atoi(string(d.Msg.Body))
	return s.messages[id]
}

func (s *simulation) close() {
	s.leave(s.anyClient())
}

func (s *simulation) leave(c *Client) {
	s.note("close %s", c.Name)
	s.Write()
	for _, d := range c.Open {
		s.settled(d, broker.Released)
	}
	c.Open = nil
	s.Leave(c)
}

// transact publishes and settles in one transaction, on a session of its own.
func (s *simulation) transact() {
	s.named++
	c := s.open("tx" + strconv.Itoa(s.named))
	for range 3 {
		q := []string{"plain", "rejecting"}[s.rand.IntN(2)]
		if err := c.Session.Get(s.Turn, q, false, 1); err != nil {
			s.fail("get: %v", err)
		}
	}
	s.Write()
	c.Session.Begin()
	var published []*simMessage
	for range s.rand.IntN(5) {
		q := simQueues[s.rand.IntN(len(simQueues)-1)]
		s.published++
		m := s.World.Message(q.name, strconv.Itoa(s.published))
		m.Persistent = s.rand.IntN(3) > 0
		x := &simMessage{
			id: s.published, queue: q.name, publisher: c.Session, persistent: m.Persistent && q.durable, group: s.named,
		}
		s.note("publish in %s %s %d persistent=%v", c.Name, q.name, x.id, m.Persistent)
		if _, err := c.Session.Publish(s.Turn, broker.Publish{Msg: m}); err != nil {
			s.fail("publish: %v", err)
		}
		published = append(published, x)
	}
	settled := c.Open
	outcomes := make([]broker.Outcome, len(settled))
	for i, d := range settled {
		outcomes[i] = []broker.Outcome{broker.Accepted, broker.Rejected}[s.rand.IntN(2)]
		c.Session.Settle(s.Turn, d.Queue, []broker.Lease{d.Lease}, outcomes[i])
	}
	if s.rand.IntN(3) == 0 {
		s.note("rollback %s", c.Name)
		c.Session.Rollback(s.Turn)
		s.finished = append(s.finished, c)
		return
	}
	s.note("commit %s, %d settled %v", c.Name, len(settled), outcomes)
	c.Open = nil
	for i, d := range settled {
		s.settled(d, outcomes[i])
	}
	for _, x := range published {
		s.messages[x.id] = x
	}
	s.fresh = append(s.fresh, published...)
	c.Session.Commit(s.Turn, func(*broker.Turn, error) {
		s.note("  committed %s", c.Name)
		for _, x := range published {
			if x.state == simPending && !x.moved {
				x.state = simLive
			}
		}
		s.finished = append(s.finished, c)
	})
}

// event checks one call of a sink against the model.
func (s *simulation) event(client string, e Event) {
	switch {
	case e.Kind == Receipt:
		s.note("  receipt %s %d", client, e.ID)
		if m := s.messages[int(e.ID)]; m.state == simPending && !m.moved {
			m.state = simLive
		}
	case e.Kind == Delivered, e.Kind == Got && e.OK:
		s.note("  %s <- %s %s", client, e.Delivery.Queue.Name(), e.Delivery.Msg.Body)
		s.delivered(e.Delivery)
	}
}

func (s *simulation) delivered(d broker.Delivery) {
	m := s.message(d)
	queue := d.Queue.Name()
	switch {
	case m.state == simLeased:
		s.fail("message %d is held twice", m.id)
	case m.state == simGone:
		s.fail("message %d comes back after its settlement", m.id)
	case queue != m.queue && (!m.moved || queue != "dead"):
		s.fail("message %d of %s comes from %s", m.id, m.queue, queue)
	case m.state != simMaybe && d.Redelivered != m.returned:
		s.fail("message %d: redelivered is %v, not %v", m.id, d.Redelivered, m.returned)
	}
	if queue == m.queue {
		s.inOrder(m)
	} else {
		m.queue, m.level, m.moved = "dead", 0, true
	}
	m.state = simLeased
	if d.Lease == 0 {
		m.state = simGone
		s.fresh = append(s.fresh, m)
	}
	s.credited(d)
}

// inOrder fails if an older message of the same publisher should have come
// before m.
func (s *simulation) inOrder(m *simMessage) {
	for _, x := range s.messages {
		if x.id < m.id && x.queue == m.queue && x.level == m.level && x.publisher == m.publisher && !x.moved && !m.moved &&
			(x.state == simLive || x.state == simPending) {
			s.fail("message %d of %s comes before %d", m.id, m.queue, x.id)
		}
	}
}

func (s *simulation) credited(d broker.Delivery) {
	if d.Sub == nil {
		return
	}
	c := s.credit[d.Sub]
	if c == nil {
		c = &simCredit{prefetch: d.Sub.Prefetch()}
		s.credit[d.Sub] = c
	}
	c.posted++
	if c.posted > 256 {
		s.fail("%s has %d deliveries in its mailbox", d.Sub.Tag, c.posted)
	}
	if d.Lease == 0 {
		return
	}
	shared := s.sharedOf(d.Sub.Session())
	shared.unsettled++
	if shared.prefetch > 0 && shared.unsettled > shared.prefetch {
		s.fail("a session holds %d with a shared credit of %d", shared.unsettled, shared.prefetch)
	}
	c.unsettled++
	if c.prefetch > 0 && c.unsettled > c.prefetch {
		s.fail("%s holds %d with a prefetch of %d", d.Sub.Tag, c.unsettled, c.prefetch)
	}
}

func (s *simulation) sharedOf(session *broker.Session) *simCredit {
	c := s.shared[session]
	if c == nil {
		c = new(simCredit)
		s.shared[session] = c
	}
	return c
}

// crash restarts the broker; the model keeps what the store had committed.
func (s *simulation) crash() {
	s.afterStep()
	keep := s.rand.IntN(4)
	s.note("crash keep=%d", keep)
	for id, m := range s.messages {
		durable := m.persistent || m.moved && m.queue == "dead"
		firm := m.firm <= s.committed
		switch {
		case !m.persistent || !durable:
			delete(s.messages, id)
			continue
		case m.state == simGone && firm:
			continue
		case m.state != simPending || m.moved:
			m.group = 0 // its transaction was through
		}
		switch {
		case m.state == simGone, m.state == simPending, m.state == simMaybe:
			m.state = simMaybe
		default:
			// Live and leased ones were committed, or nobody could know them.
			m.state = simLive
		}
		m.returned = true
	}
	s.note("model %d messages", len(s.messages))
	if err := s.Crash(keep, s.setup); err != nil {
		s.fail("recovery: %v", err)
		return
	}
	s.Held = true
	s.committed = 0
	clear(s.credit)
	clear(s.shared)
	s.finished = nil
	for _, m := range s.messages {
		m.firm = 0
	}
	if _, err := s.Queue("transient", false, nil); err != nil {
		s.fail("%v", err)
	}
}

// finish takes everything out and looks for what is missing.
func (s *simulation) finish() {
	s.note("finish")
	for {
		s.commit(-1)
		if s.Write() == 0 && s.Store.Pending() == 0 {
			break
		}
	}
	s.busy()
	for len(s.Clients) > 0 {
		c := s.Clients[0]
		s.Write()
		for _, d := range c.Open {
			s.settled(d, broker.Released)
		}
		s.Leave(c)
	}
	s.commit(-1)
	c := s.open("last")
	for _, q := range simQueues {
		if _, err := c.Session.Subscribe(s.Turn, broker.SubscribeOptions{Queue: q.name, Tag: q.name, Prefetch: 7}); err != nil {
			s.fail("subscribe: %v", err)
			return
		}
	}
	for s.drain(c) && s.failure == nil {
	}
	s.whole()
	for _, m := range s.messages {
		if m.state != simGone && m.state != simMaybe {
			s.fail("message %d of %s (state %d, persistent %v) is lost", m.id, m.queue, m.state, m.persistent)
		}
	}
	for _, q := range simQueues {
		if st := s.VHost().Queue(q.name).Stats(); st.Memory != 0 || st.Ready != 0 || st.Unsettled != 0 || st.InMemory != 0 {
			s.fail("%s is not empty: %+v", q.name, st)
		}
	}
}

// whole fails if a crash left a part of a transaction.
func (s *simulation) whole() {
	came := make(map[int]bool)
	for _, m := range s.messages {
		if m.group == 0 || !m.persistent {
			continue
		}
		if before, known := came[m.group]; known && before != (m.state == simGone) {
			s.fail("transaction %d came in part: message %d is in state %d", m.group, m.id, m.state)
		}
		came[m.group] = m.state == simGone
	}
}

// busy fails if a message is ready while somebody has credit for it.
func (s *simulation) busy() {
	for _, c := range s.Clients {
		shared := s.sharedOf(c.Session)
		for _, sub := range c.Subs {
			credit := s.credit[sub]
			if credit == nil {
				credit = &simCredit{prefetch: sub.Prefetch()}
			}
			full := !sub.NoAck && credit.prefetch > 0 && credit.unsettled >= credit.prefetch ||
				shared.prefetch > 0 && shared.unsettled >= shared.prefetch
			full = full || !sub.NoAck && s.atLimit(c)
			if n := sub.Queue.Stats().Ready; n > 0 && !full {
				s.fail("%s waits with credit while %s has %d ready", sub.Tag, sub.Queue.Name(), n)
			}
		}
	}
}

// drain settles what came and reports whether anything moved.
func (s *simulation) drain(c *Client) bool {
	n := s.Store.Pending()
	s.commit(-1)
	s.Write()
	n += len(c.Open)
	open := c.Open
	c.Open = nil
	for _, d := range open {
		s.settled(d, broker.Accepted)
		c.Session.Settle(s.Turn, d.Queue, []broker.Lease{d.Lease}, broker.Accepted)
	}
	return n > 0
}
