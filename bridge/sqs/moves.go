package sqs

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// task is a move of the messages of a dead-letter queue. The JSON form is
// stored.
type task struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Source  string `json:"source"`      // ARN
	Target  string `json:"destination"` // ARN; "" is where each message came from
	Rate    int    `json:"rate"`        // messages a second; 0: as fast as it goes
	Status  string `json:"status"`
	Moved   int    `json:"moved"`
	Total   int    `json:"total"`
	Failure string `json:"failure,omitempty"`
	Started int64  `json:"started"` // Unix ms

	busy   bool    // a step is under way
	credit float64 // messages that the rate allows now
	last   int64   // Unix ms of the last step
	saved  int64   // Unix ms at which the counts were stored last
}

// Statuses of a task.
const (
	taskRunning    = "RUNNING"
	taskCompleted  = "COMPLETED"
	taskCancelling = "CANCELLING"
	taskCancelled  = "CANCELLED"
	taskFailed     = "FAILED"
)

const (
	maxTasks   = 100       // that run, of an account
	maxHistory = 10        // of a source queue
	moveStep   = 256       // messages moved at once
	maxTask    = 36 * 3600 // s a task may take
	saveEvery  = 1000      // ms
)

var taskKind = broker.FactKind("sqs.task")

// moves are all tasks, newest last.
type moves struct {
	mu   sync.Mutex
	list []*task
}

func (m *moves) recover(s *Service) {
	for _, d := range s.endpoint.Core().TakeFacts(taskKind) {
		x := new(task)
		if json.Unmarshal(d.Value, x) == nil {
			m.list = append(m.list, x)
		}
	}
	slices.SortStableFunc(m.list, func(a, b *task) int { return int(a.Started - b.Started) })
}

// store keeps a task; m.mu is held.
func (m *moves) store(s *Service, x *task, done func(t *broker.Turn)) {
	value, _ := json.Marshal(x)
	s.endpoint.Core().StoreFacts([]broker.Definition{{Kind: taskKind, Key: x.ID, Value: value}}, done)
}

// handle names a task for its client.
func (x *task) handle() string {
	raw, _ := json.Marshal(struct {
		ID     string `json:"taskId"`
		Source string `json:"sourceArn"`
	}{x.ID, x.Source})
	return base64.StdEncoding.EncodeToString(raw)
}

func (x *task) active() bool { return x.Status == taskRunning || x.Status == taskCancelling }

func (s *Service) startMove(r *request, _ *queue, _ *endpoint.Caller) {
	in := r.in
	if in.sourceArn == "" {
		r.fail(missing("SourceArn"))
		return
	}
	src := s.byARN(in.sourceArn)
	if src == nil {
		r.fail(notThere("The resource that you specified for the SourceArn parameter doesn't exist."))
		return
	}
	if _, err := s.authorize(r, src, owner); err != nil {
		r.fail(err)
		return
	}
	if in.destinationArn != "" {
		dst := s.byARN(in.destinationArn)
		if dst == nil {
			r.fail(notThere("The resource that you specified for the DestinationArn parameter doesn't exist."))
			return
		}
		if _, err := s.authorize(r, dst, owner); err != nil {
			r.fail(err)
			return
		}
	}
	if in.rate.set && !in.rate.within(1, 500) {
		r.fail(badValue(in.rate.String(), "MaxNumberOfMessagesPerSecond", "Must be an integer from 1 to 500, if provided."))
		return
	}
	if len(s.sources(src)) == 0 {
		r.fail(invalidParameter("Source queue must be configured as a Dead Letter Queue."))
		return
	}
	ready, _, _ := src.core.Counts()
	x := &task{
		ID: aws.NewUUID().String(), Account: src.account, Source: src.arn, Target: strings.Clone(in.destinationArn), Rate: in.rate.v,
		Status: taskRunning, Total: ready, Started: r.Turn.Now, last: r.Turn.Now,
	}
	if err := s.moves.start(s, x, func(t *broker.Turn) {
		w := r.writer(512)
		w.text("TaskHandle", x.handle())
		r.finish(t, w)
	}); err != nil {
		r.fail(err)
	}
}

func (m *moves) start(s *Service, x *task, done func(*broker.Turn)) *aws.Error {
	m.mu.Lock()
	defer m.mu.Unlock()
	running, same := 0, 0
	for _, o := range m.list {
		if o.active() && o.Account == x.Account {
			running++
			if o.Source == x.Source {
				return invalidParameter("There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
			}
		}
		if o.Source == x.Source {
			same++
		}
	}
	if running >= maxTasks {
		return modelled(403, "OverLimit", "OverLimit", "Too many message move tasks are active.")
	}
	if same >= maxHistory {
		i := slices.IndexFunc(m.list, func(o *task) bool { return o.Source == x.Source && !o.active() })
		s.endpoint.Core().StoreFacts([]broker.Definition{{Kind: taskKind, Key: m.list[i].ID, Delete: true}}, nil)
		m.list = slices.Delete(m.list, i, i+1)
	}
	m.list = append(m.list, x)
	m.store(s, x, done)
	return nil
}

func (s *Service) cancelMove(r *request, _ *queue, _ *endpoint.Caller) {
	raw, err := base64.StdEncoding.DecodeString(r.in.taskHandle)
	var h struct {
		ID     string `json:"taskId"`
		Source string `json:"sourceArn"`
	}
	if err != nil || json.Unmarshal(raw, &h) != nil || h.ID == "" || h.Source == "" {
		r.fail(errTaskHandle)
		return
	}
	src := s.byARN(h.Source)
	if src == nil {
		r.fail(notThere("The resource that you specified for the SourceArn parameter doesn't exist."))
		return
	}
	if _, err := s.authorize(r, src, owner); err != nil {
		r.fail(err)
		return
	}
	m := &s.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.list, func(x *task) bool { return x.ID == h.ID && x.Source == h.Source })
	if i < 0 {
		r.fail(notThere("Task does not exist."))
		return
	}
	x := m.list[i]
	if x.Status != taskRunning {
		r.fail(modelled(400, codePrefix+"UnsupportedOperation", "UnsupportedOperation", "Only active tasks can be cancelled."))
		return
	}
	x.Status = taskCancelling
	moved := x.Moved
	m.store(s, x, func(t *broker.Turn) {
		w := r.writer(256)
		w.number("ApproximateNumberOfMessagesMoved", int64(moved))
		r.finish(t, w)
	})
}

func (s *Service) listMoves(r *request, _ *queue, _ *endpoint.Caller) {
	in := r.in
	if in.sourceArn == "" {
		r.fail(missing("SourceArn"))
		return
	}
	src := s.byARN(in.sourceArn)
	if src == nil {
		r.fail(notThere("The resource that you specified for the SourceArn parameter doesn't exist."))
		return
	}
	if _, err := s.authorize(r, src, owner); err != nil {
		r.fail(err)
		return
	}
	limit := 1
	if in.maxResults.set {
		if limit = in.maxResults.v; !in.maxResults.within(1, 10) {
			r.fail(badValue(in.maxResults.String(), "MaxResults", "Must be an integer from 1 to 10, if provided."))
			return
		}
	}
	s.moves.mu.Lock()
	var found []task
	for i := len(s.moves.list) - 1; i >= 0 && len(found) < limit; i-- {
		if x := s.moves.list[i]; x.Source == src.arn {
			found = append(found, *x)
		}
	}
	s.moves.mu.Unlock()
	w := r.writer(512)
	if len(found) > 0 {
		w.list("Results", "ListMessageMoveTasksResult", len(found), func(i int) { found[i].write(w) })
	}
	r.finish(r.Turn, w)
}

func (x *task) write(w *writer) {
	w.number("ApproximateNumberOfMessagesMoved", int64(x.Moved))
	w.number("ApproximateNumberOfMessagesToMove", int64(x.Total))
	w.optional("DestinationArn", x.Target)
	w.optional("FailureReason", x.Failure)
	if x.Rate > 0 {
		w.number("MaxNumberOfMessagesPerSecond", int64(x.Rate))
	}
	w.text("SourceArn", x.Source)
	w.number("StartedTimestamp", x.Started)
	w.text("Status", x.Status)
	if x.Status == taskRunning {
		w.text("TaskHandle", x.handle())
	}
}

// tick takes every running task a step further.
func (m *moves) tick(t *broker.Turn, s *Service) {
	m.mu.Lock()
	var due []*task
	for _, x := range m.list {
		if x.active() && !x.busy && m.allow(t, x) {
			x.busy = true
			due = append(due, x)
		}
	}
	m.mu.Unlock()
	for _, x := range due {
		m.step(t, s, x)
	}
}

// allow gives a task what its rate allows since the last step.
func (m *moves) allow(t *broker.Turn, x *task) bool {
	if x.Rate == 0 || x.Status == taskCancelling {
		return true
	}
	if x.last == 0 {
		x.last = t.Now
	}
	x.credit = min(x.credit+float64(t.Now-x.last)*float64(x.Rate)/1000, float64(x.Rate))
	x.last = t.Now
	return x.credit >= 1
}

// step moves some messages.
func (m *moves) step(t *broker.Turn, s *Service, x *task) {
	m.mu.Lock()
	status, n := x.Status, moveStep
	if x.Rate > 0 {
		n = min(n, int(x.credit))
	}
	late := t.Now-x.Started > maxTask*1000
	m.mu.Unlock()
	src := s.byARN(x.Source)
	switch {
	case status == taskCancelling:
		m.end(s, x, taskCancelled, "")
		return
	case src == nil:
		m.end(s, x, taskFailed, codePrefix+"NonExistentQueue")
		return
	case late:
		m.end(s, x, taskFailed, "The task took more than 36 hours.")
		return
	}
	failure := ""
	src.core.Move(t, n, func(old *broker.Message) (*broker.Message, *broker.Queue) {
		to := s.destination(src, x, old)
		if to == nil {
			failure = codePrefix + "NonExistentQueue"
			return nil, nil
		}
		return s.moved(t, old, to), to.core
	}, func(t *broker.Turn, moved int, more bool) { m.stepped(t, s, x, moved, more, failure) })
}

// stepped takes the outcome of a step, on any goroutine.
func (m *moves) stepped(t *broker.Turn, s *Service, x *task, moved int, more bool, failure string) {
	m.mu.Lock()
	x.busy = false
	x.Moved += moved
	x.credit -= float64(moved)
	save := moved > 0 && t.Now-x.saved >= saveEvery
	if save {
		x.saved = t.Now
		m.store(s, x, nil)
	}
	m.mu.Unlock()
	switch {
	case failure != "":
		m.end(s, x, taskFailed, failure)
	case !more && moved == 0:
		m.end(s, x, taskCompleted, "")
	}
}

func (m *moves) end(s *Service, x *task, status, failure string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x.busy = false
	if x.active() {
		x.Status, x.Failure = status, failure
		x.Total = max(x.Total, x.Moved)
		m.store(s, x, nil)
	}
}

// destination is where a message of a task goes: nil if that is gone.
func (s *Service) destination(src *queue, x *task, m *broker.Message) *queue {
	if x.Target != "" {
		return s.byARN(x.Target)
	}
	if m.Notes == nil || m.Notes.LastDeath == nil {
		return nil
	}
	name := m.Notes.LastDeath.Queue
	core := src.core.VHost().Queue(name)
	if core == nil || Alias(core) == "" {
		return nil
	}
	return s.find(src.account, Alias(core))
}

// moved is a message as it enters the queue it is moved to: a new one, with a
// new id and a new life.
func (s *Service) moved(t *broker.Turn, old *broker.Message, to *queue) *broker.Message {
	m := *old
	m.Exchange, m.RoutingKey, m.Received = "", to.core.Name(), t.Now
	if n := old.Notes; n != nil {
		c := *n
		c.Deaths, c.FirstDeath, c.LastDeath, c.DeliverAt = nil, nil, nil, 0
		m.Notes = &c
	}
	if c, err := message.Parse(old); err == nil {
		c.ID = aws.NewUUID()
		if to.settings().Fifo {
			c.Sequence = nextSequence(t.Now)
		}
		m.Native = c.AppendNative(nil)
	}
	return &m
}
