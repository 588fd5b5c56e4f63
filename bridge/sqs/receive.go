package sqs

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// systemNames are the system attributes of messages.
var systemNames = []string{
	"SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp", "SequenceNumber", "MessageDeduplicationId",
	"MessageGroupId", "AWSTraceHeader", "DeadLetterQueueSourceArn",
}

// wanted is what of the messages a receiver wants to see.
type wanted struct {
	system     uint16 // bits of systemNames
	all        bool   // of the message attributes
	names      []string
	prefixes   []string
	visibility int64 // ms
}

// receiving is a ReceiveMessage.
type receiving struct {
	request *request
	queue   *queue
	want    wanted
	max     int
	attempt string

	taken []broker.Taken
	first [1]broker.Taken // backs taken if that is one message
	reply *writer         // of taken
	parts atomic.Int32    // of what the answer waits for: that it is written, and that the leases are durable
}

func (s *Service) receive(r *request, q *queue, _ *endpoint.Caller) {
	x, wait, err := s.parseReceive(r, q)
	if err != nil {
		r.fail(err)
		return
	}
	if x.attempt != "" {
		if list := q.replay(r.Turn, x.attempt); list != nil {
			x.answer(r.Turn, list)
			return
		}
	}
	full := x.take(r.Turn)
	switch {
	case len(x.taken) > 0:
		x.give(r.Turn)
	case full && wait == 0 && !q.settings().Fifo:
		r.fail(errOverLimit)
	case wait == 0 && !full:
		x.settle(r.Turn)
	case wait == 0:
		x.answer(r.Turn, nil)
	default:
		s.park(x, r.Turn.Now+int64(wait)*1000)
	}
}

func (s *Service) parseReceive(r *request, q *queue) (*receiving, int, *aws.Error) {
	in, set := r.in, q.settings()
	x := &receiving{request: r, queue: q, max: 1}
	if in.max.set {
		if x.max = in.max.v; !in.max.within(1, 10) {
			return nil, 0, badValue(in.max.String(), "MaxNumberOfMessages", "Must be between 1 and 10, if provided.")
		}
	}
	wait := set.Wait
	if in.wait.set {
		if wait = in.wait.v; !in.wait.within(0, 20) {
			return nil, 0, badValue(in.wait.String(), "WaitTimeSeconds", "Must be >= 0 and <= 20, if provided.")
		}
	}
	visibility := set.Visibility
	if in.visibility.set {
		if visibility = in.visibility.v; !in.visibility.within(0, maxVisibility) {
			return nil, 0, badValue(in.visibility.String(), "VisibilityTimeout", "Must be >= 0 and <= 43200, if provided.")
		}
	}
	x.want.visibility = int64(visibility) * 1000
	for _, list := range [][]string{in.names, in.systemNames} {
		for _, name := range list {
			i := slices.Index(systemNames, name)
			switch {
			case name == "All":
				x.want.system = 1<<len(systemNames) - 1
			case i >= 0:
				x.want.system |= 1 << i
			case slices.Contains(settable, name) || slices.Contains(readOnly, name):
				// AWS takes names of queue attributes here.
			default:
				return nil, 0, unknownAttribute(name)
			}
		}
	}
	for _, name := range in.attributeNames {
		switch prefix, ok := strings.CutSuffix(name, ".*"); {
		case name == "All" || name == "*" || name == ".*":
			x.want.all = true
		case ok:
			x.want.prefixes = append(x.want.prefixes, strings.Clone(prefix))
		default:
			x.want.names = append(x.want.names, strings.Clone(name))
		}
	}
	if in.attempt.set && set.Fifo {
		if err := checkID(in.attempt.v, "ReceiveRequestAttemptId"); err != nil {
			return nil, 0, err
		}
		x.attempt = strings.Clone(in.attempt.v)
	}
	return x, wait, nil
}

// take takes what is there now; full says that the bound on messages in flight
// keeps some back. The leases are on their way into the store.
func (x *receiving) take(t *broker.Turn) (full bool) {
	var stored bool
	x.taken, full, stored = x.queue.core.Lend(t, broker.ReceiveOptions{
		Max: x.max, Deadline: t.Now + x.want.visibility, InFlight: x.request.service.opt.InFlight, Fair: true,
	}, x.first[:0], x.ready)
	if len(x.taken) > 0 && !stored {
		x.parts.Add(1) // nothing of it is in the store
	}
	if x.attempt != "" && len(x.taken) > 0 {
		x.queue.keep(t, x.attempt, slices.Clone(x.taken))
	}
	return full
}

// give answers with what was taken, once it is durable that nobody else gets
// it. A client that hangs up before that has seen nothing.
func (x *receiving) give(t *broker.Turn) {
	if x.signs(x.taken) {
		x.request.OnGone(x.giveBack)
		go func() {
			x.reply = x.render(x.taken)
			x.ready(x.turn())
		}()
		return
	}
	x.reply = x.render(x.taken)
	if x.parts.Load() == 0 {
		x.request.OnGone(x.giveBack)
	}
	x.ready(t)
}

// signs reports whether messages have to be signed before anybody sees them,
// which takes longer than an event loop may stand still.
func (x *receiving) signs(list []broker.Taken) bool {
	return x.request.service.sign != nil && slices.ContainsFunc(list, func(m broker.Taken) bool { return message.Unsigned(m.Msg) })
}

// turn is one for a goroutine that is no event loop.
func (x *receiving) turn() *broker.Turn {
	return &broker.Turn{Now: x.request.service.endpoint.Now().UnixMilli()}
}

// ready notes that a part of the answer is there; the last one sends it.
func (x *receiving) ready(t *broker.Turn) {
	if x.parts.Add(1) == 2 {
		x.request.finish(t, x.reply)
	}
}

func (x *receiving) giveBack() {
	x.queue.core.GiveBack(x.turn(), x.taken)
}

// settle answers a short poll that found nothing in memory: the store may be
// reading, and AWS clients would take an empty answer for an empty queue. What
// the poll found too often received is in the dead-letter queue before the
// answer comes: there is who looks for it at once.
func (x *receiving) settle(t *broker.Turn) {
	ready, _, _ := x.queue.core.Counts()
	switch {
	case ready > 0:
		x.request.service.park(x, t.Now+shortPoll)
	case x.queue.core.Burying():
		x.request.service.endpoint.Core().StoreFacts(nil, func(t *broker.Turn) { x.answer(t, nil) })
	default:
		x.answer(t, nil)
	}
}

// shortPoll is how long, in ms, a poll without waiting time waits for messages
// that are there but not in memory yet.
const shortPoll = 250

// answer answers with messages, if there are any.
func (x *receiving) answer(t *broker.Turn, list []broker.Taken) {
	if x.signs(list) {
		go func() { x.request.finish(x.turn(), x.render(list)) }()
		return
	}
	x.request.finish(t, x.render(list))
}

// render writes the messages.
func (x *receiving) render(list []broker.Taken) *writer {
	r := x.request
	if len(list) == 0 {
		x.queue.did.empty.Add(1)
	}
	x.queue.did.received.Add(uint64(len(list)))
	size := 128
	for i := range list {
		size += 1024 + len(list[i].Msg.Body) + len(list[i].Msg.Body)/8 + len(list[i].Msg.Native)
	}
	w := r.writer(size)
	if len(list) > 0 {
		w.list("Messages", "Message", len(list), func(i int) { x.write(w, &list[i]) })
	} else {
		w.absent("Messages")
	}
	return w
}

// write writes one message.
func (x *receiving) write(w *writer, m *broker.Taken) {
	s, q := x.request.service, x.queue
	v := message.ViewOf(s.endpoint.Core(), m.Msg)
	if v.ID.IsZero() {
		v.ID = q.idOf(m)
	}
	if v.Unsigned && s.sign != nil {
		v.Body = s.sign(v.Body)
		v.Digest = md5.Sum(v.Body)
	}
	if x.want.system != 0 {
		w.pairs("Attributes", "Attribute", "Name", "Value", x.system(m, &v))
	} else {
		w.absent("Attributes")
	}
	body := unsafe.String(unsafe.SliceData(v.Body), len(v.Body))
	w.text("Body", body)
	w.hex("MD5OfBody", v.Digest[:])
	if shown := x.shown(v.Attributes); len(shown) > 0 {
		w.text("MD5OfMessageAttributes", message.MD5OfAttributes(shown))
		w.messageAttributes(shown)
	} else {
		w.absent("MD5OfMessageAttributes")
		w.absent("MessageAttributes")
	}
	w.uuid("MessageId", v.ID)
	h := handle{queue: q.core.ID(), token: broker.Token{Lease: m.Lease, Place: m.Place, Since: m.Since}}
	w.plain("ReceiptHandle", func(dst []byte) []byte { return s.appendHandle(dst, h) })
}

// idOf is the stable identifier of a message that came without one.
func (q *queue) idOf(m *broker.Taken) aws.UUID {
	b := make([]byte, 0, 32)
	b = append(b, "hermod message"...)
	b = binary.BigEndian.AppendUint64(b, q.core.ID())
	b = binary.BigEndian.AppendUint16(b, m.Place.Level)
	b = binary.BigEndian.AppendUint64(b, m.Place.Seq)
	b = binary.BigEndian.AppendUint64(b, m.Place.Sub)
	sum := sha256.Sum256(b)
	return aws.UUIDOf([16]byte(sum[:16]))
}

// system are the system attributes that the receiver wants and the message has.
func (x *receiving) system(m *broker.Taken, v *message.View) []pair {
	list := make([]pair, 0, len(systemNames))
	fifo := x.queue.settings().Fifo
	for i, name := range systemNames {
		if x.want.system&(1<<i) == 0 {
			continue
		}
		value := ""
		switch name {
		case "SenderId":
			if value = v.Sender; value == "" {
				value = x.queue.account
			}
		case "SentTimestamp":
			value = strconv.FormatInt(m.Msg.Received, 10)
		case "ApproximateReceiveCount":
			value = strconv.FormatUint(x.queue.received(m.Msg)+uint64(m.Count)+1, 10)
		case "ApproximateFirstReceiveTimestamp":
			value = strconv.FormatInt(m.First, 10)
		case "SequenceNumber":
			if n := v.Sequence; fifo {
				if n == 0 {
					n = sequenceOf(m.Msg.Received, m.Place.Seq)
				}
				value = strconv.FormatUint(n, 10)
			}
		case "AWSTraceHeader":
			value = v.Trace
		default:
			value = x.queue.noted(x.request.service, m.Msg, name)
		}
		if value != "" {
			list = append(list, pair{name, value})
		}
	}
	return list
}

// received is how often a message was received in the queues that gave it up
// for that: each did so after as many receives as it allows.
func (q *queue) received(m *broker.Message) (n uint64) {
	if m.Notes == nil {
		return 0
	}
	for i := range m.Notes.Deaths {
		d := &m.Notes.Deaths[i]
		if d.Reason != broker.DeathDeliveryLimit {
			continue
		}
		if from := q.core.VHost().Queue(d.Queue); from != nil {
			n += uint64(d.Count) * uint64(from.Config().DeliveryLimit+1)
		}
	}
	return n
}

// noted are the system attributes that the broker keeps beside a message.
func (q *queue) noted(s *Service, m *broker.Message, name string) string {
	n := m.Notes
	fifo := q.settings().Fifo
	if n == nil {
		n = &broker.Notes{}
	}
	switch name {
	case "MessageGroupId":
		if n.GroupID == "" && fifo {
			return q.name // of other protocols, without a group
		}
		return n.GroupID
	case "MessageDeduplicationId":
		if fifo {
			return n.DedupID
		}
	case "DeadLetterQueueSourceArn":
		if n.LastDeath != nil {
			if d := q.core.VHost().Queue(n.LastDeath.Queue); d != nil && Alias(d) != "" {
				return s.arn(q.account, Alias(d))
			}
			return s.arn(q.account, n.LastDeath.Queue)
		}
	}
	return ""
}

// shown are the message attributes that the receiver wants.
func (x *receiving) shown(list []message.Attribute) []message.Attribute {
	w := &x.want
	if w.all {
		return list
	}
	if len(w.names)+len(w.prefixes) == 0 {
		return nil
	}
	var out []message.Attribute
	for _, a := range list {
		if slices.Contains(w.names, a.Name) || slices.ContainsFunc(w.prefixes, func(p string) bool { return strings.HasPrefix(a.Name, p) }) {
			out = append(out, a)
		}
	}
	return out
}

// messageAttributes writes the attributes of a message.
func (w *writer) messageAttributes(list []message.Attribute) {
	value := func(a *message.Attribute) {
		if a.Binary() {
			w.text("BinaryValue", base64.StdEncoding.EncodeToString(a.Value))
		} else {
			w.text("StringValue", unsafe.String(unsafe.SliceData(a.Value), len(a.Value)))
		}
		w.text("DataType", a.Type)
	}
	if w.protocol != aws.JSON {
		w.list("MessageAttributes", "MessageAttribute", len(list), func(i int) {
			w.text("Name", list[i].Name)
			if w.xml() {
				w.open("Value")
				value(&list[i])
				w.shut("Value")
				return
			}
			w.key("Value")
			w.b = append(w.b, '{')
			w.comma = false
			value(&list[i])
			w.b = append(w.b, '}')
			w.comma = true
		})
		return
	}
	w.key("MessageAttributes")
	w.b = append(w.b, '{')
	for i := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(aws.AppendJSONString(w.b, list[i].Name), ':', '{')
		w.comma = false
		value(&list[i])
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, '}')
	w.comma = true
}

// attempt is what a ReceiveRequestAttemptId was answered with.
type attempt struct {
	at      int64 // Unix ms
	list    []broker.Taken
	changed bool
}

// maxAttempts bounds the attempts that a queue remembers; attemptTime is how
// long, in ms.
const (
	maxAttempts = 10_000
	attemptTime = 300_000
)

// keep remembers what an attempt got.
func (q *queue) keep(t *broker.Turn, id string, list []broker.Taken) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.attempts == nil {
		q.attempts = make(map[string]*attempt)
	}
	if len(q.attempts) >= maxAttempts {
		for id, a := range q.attempts {
			if t.Now-a.at >= attemptTime {
				delete(q.attempts, id)
			}
		}
		if len(q.attempts) >= maxAttempts {
			return
		}
	}
	q.attempts[id] = &attempt{at: t.Now, list: list}
}

// replay returns what an attempt got before, if all of that is still held.
func (q *queue) replay(t *broker.Turn, id string) []broker.Taken {
	q.mu.Lock()
	a := q.attempts[id]
	if a != nil && (a.changed || t.Now-a.at >= attemptTime) {
		delete(q.attempts, id)
		a = nil
	}
	q.mu.Unlock()
	if a == nil {
		return nil
	}
	for i := range a.list {
		if !q.core.Holds(a.list[i].Lease) {
			return nil
		}
	}
	return a.list
}

// changed notes that the visibility of a delivery was changed: it is not
// replayed any more.
func (q *queue) changed(lease broker.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, a := range q.attempts {
		for i := range a.list {
			a.changed = a.changed || a.list[i].Lease == lease
		}
	}
}
