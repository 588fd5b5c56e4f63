package sqs

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// sending is one message on its way: what it becomes and what its sender is
// told.
type sending struct {
	queue   *queue
	publish broker.Publish
	uuid    aws.UUID
	seq     uint64
	md5     [md5.Size]byte // of the body
	attrMD5 string
	sysMD5  string
	size    int // bytes that count
}

// checkBody checks a body and returns its size.
func checkBody(e *entry) *aws.Error {
	switch {
	case e.body.v == "":
		return missing("MessageBody")
	case !aws.LegalText(e.body.v):
		return errContents
	}
	return nil
}

// size is what counts of an entry: body, names, types and values.
func (e *entry) size() int {
	n := len(e.body.v)
	for i := range e.attributes {
		a := &e.attributes[i]
		n += len(a.name) + len(a.kind) + len(a.value)
	}
	return n
}

// prepare checks an entry and makes the message of it.
func (s *Service) prepare(r *request, q *queue, set *settings, e *entry, batch bool) (*sending, *aws.Error) {
	if err := checkBody(e); err != nil {
		return nil, err
	}
	x := &sending{queue: q, size: e.size()}
	if x.size > set.MaxSize {
		return nil, tooLong(set.MaxSize, batch)
	}
	content := message.Content{ID: aws.NewUUID(), Sender: r.Caller.UserID()}
	var err *aws.Error
	if content.Attributes, err = checkAttributes(e.attributes); err != nil {
		return nil, err
	}
	if err := x.system(r, e, &content, batch); err != nil {
		return nil, err
	}
	notes, err := checkFifo(set, e, batch)
	if err != nil {
		return nil, err
	}
	delay, err := checkDelay(set, e)
	if err != nil {
		return nil, err
	}
	if delay > 0 {
		if notes == nil {
			notes = new(broker.Notes)
		}
		notes.DeliverAt = r.Turn.Now + int64(delay)*1000
	}
	x.uuid = content.ID
	content.Digest, content.Digested = md5.Sum(unsafe.Slice(unsafe.StringData(e.body.v), len(e.body.v))), true
	x.md5 = content.Digest
	x.attrMD5 = message.MD5OfAttributes(content.Attributes)
	m := &broker.Message{
		RoutingKey: q.core.Name(), Format: broker.FormatAWS, Persistent: true, TTL: broker.NoTTL, Received: r.Turn.Now, Notes: notes,
	}
	body := []byte(nil)
	body, content.Encoded = message.Decode(e.body.v, content.Attributes)
	if set.Fifo {
		x.seq = nextSequence(r.Turn.Now)
		content.Sequence = x.seq
		notes.Origin = string(strconv.AppendUint(append(x.uuid.Append(nil), ' '), x.seq, 10))
	}
	// One allocation holds both for as long as the message lives.
	if !content.Encoded {
		body = nil
	}
	buf := make([]byte, 0, nativeSize(&content)+len(e.body.v))
	buf = content.AppendNative(buf)
	n := len(buf)
	if content.Encoded {
		buf = append(buf, body...)
	} else {
		buf = append(buf, e.body.v...)
	}
	m.Native, m.Body = buf[:n:n], buf[n:len(buf):len(buf)]
	x.publish = broker.Publish{Msg: m}
	return x, nil
}

// nativeSize is about the size of the native form.
func nativeSize(c *message.Content) int {
	n := 80 + len(c.Sender) + len(c.Trace)
	for i := range c.Attributes {
		a := &c.Attributes[i]
		n += 8 + len(a.Name) + len(a.Type) + len(a.Value)
	}
	return n
}

// lastSequence is the highest sequence number given to any message.
var lastSequence atomic.Uint64

const sequenceBase = 10_000_000_000_000_000_000 // all have 20 digits

// Sequence is the number of the next message of a FIFO queue, any of them. Who
// sends to a queue of its own holds q.sending. Numbers follow the clock, so that
// they grow over restarts.
func (s *Service) Sequence(now int64) uint64 { return nextSequence(now) }

func nextSequence(now int64) uint64 {
	n := sequenceOf(now, 0)
	for {
		last := lastSequence.Load()
		n = max(n, last+1)
		if lastSequence.CompareAndSwap(last, n) {
			return n
		}
	}
}

// sequenceOf makes a sequence number of a time and of what orders messages of
// the same millisecond.
func sequenceOf(ms int64, rest uint64) uint64 {
	return sequenceBase + uint64(ms)<<20 + rest&(1<<20-1)
}

// system takes the system attributes.
func (x *sending) system(r *request, e *entry, c *message.Content, batch bool) *aws.Error {
	var list []message.Attribute
	for i := range e.system {
		a := &e.system[i]
		if a.name != "AWSTraceHeader" {
			return badValue(a.name, "MessageSystemAttributeName", "Only AWSTraceHeader is allowed.")
		}
		if a.kind != "String" || !a.text {
			return invalidParameter("The value of the message system attribute 'AWSTraceHeader' must be of type 'String'.")
		}
		list = append(list, a.message())
		c.Trace = string(a.value)
	}
	if x.sysMD5 = message.MD5OfAttributes(list); c.Trace == "" && !batch {
		c.Trace = strings.Clone(r.Header("x-amzn-trace-id"))
	}
	return nil
}

var numberForm = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$`)

// checkAttributes checks message attributes and returns them sorted by name.
func checkAttributes(list []attribute) ([]message.Attribute, *aws.Error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > message.MaxAttributes {
		return nil, invalidParameter("Number of message attributes [" + strconv.Itoa(len(list)) + "] exceeds the allowed maximum [10].")
	}
	out := make([]message.Attribute, len(list))
	for i := range list {
		if err := checkAttribute(&list[i]); err != nil {
			return nil, err
		}
		out[i] = list[i].message()
	}
	slices.SortFunc(out, func(a, b message.Attribute) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(out); i++ {
		if out[i].Name == out[i-1].Name {
			return nil, invalidParameter("Message (user) attribute name '" + out[i].Name + "' already exists.")
		}
	}
	return out, nil
}

func checkAttribute(a *attribute) *aws.Error {
	switch message.CheckName(a.name) {
	case "length":
		if a.name == "" {
			return invalidParameter("The request must contain non-empty message (user) attribute names.")
		}
		return invalidParameter("Message (user) attribute name must be shorter than 256 bytes.")
	case "characters":
		return invalidParameter("Message (user) attribute name '" + a.name + "' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore (_), hyphen (-), and period (.).")
	case "dots":
		return invalidParameter("Message (user) attribute name '" + a.name + "' is invalid. Attribute name must not start or end with a period or have successive periods.")
	case "prefix":
		return invalidParameter("Message (user) attribute name '" + a.name + "' is invalid. Attribute name must not start with AWS or Amazon prefixes.")
	}
	base, _, _ := strings.Cut(a.kind, ".")
	name := "Message (user) attribute '" + a.name + "'"
	switch {
	case a.kind == "":
		return invalidParameter(name + " must contain a non-empty attribute type.")
	case len(a.kind) > 256:
		return invalidParameter(name + " has a type longer than 256 bytes.")
	case base != "String" && base != "Number" && base != "Binary":
		return invalidParameter("The type of message (user) attribute '" + a.name + "' is invalid. You must use only the following supported type prefixes: Binary, Number, String.")
	case a.lists:
		return aws.Refuse(400, codePrefix+"UnsupportedOperation", "UnsupportedOperation", "Message attribute list values in SendMessage operation are not supported.")
	case base == "Binary" && (a.text || !a.binary || a.bad), base != "Binary" && (a.binary || !a.text):
		return invalidParameter(name + " must contain a non-empty value of type '" + wordOf(base) + "'.")
	case len(a.value) == 0:
		return invalidParameter(name + " must contain a non-empty value of type '" + wordOf(base) + "'.")
	case base != "Binary" && !aws.LegalText(string(a.value)):
		return invalidParameter("Invalid binary character '" + illegalCharacter(string(a.value)) + "' was found in the message attribute '" + a.name +
			"' value, the set of allowed characters is #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]")
	case base == "Number" && !isNumber(string(a.value)):
		return invalidParameter("Can't cast the value of message (user) attribute '" + a.name + "' to a number.")
	}
	return nil
}

// illegalCharacter names the first character of a text that is not legal.
func illegalCharacter(s string) string {
	for i, c := range s {
		if n := utf8.RuneLen(c); c != utf8.RuneError && !aws.LegalText(s[i:i+n]) {
			return "#x" + strconv.FormatInt(int64(c), 16)
		}
	}
	return "#xd800" // half a pair, which has no form in UTF-8
}

// wordOf is the kind of value a type has.
func wordOf(base string) string {
	if base == "Binary" {
		return "Binary"
	}
	return "String"
}

func isNumber(s string) bool { return len(s) <= 256 && numberForm.MatchString(s) }

// checkID checks a group or deduplication id.
func checkID(v, name string) *aws.Error {
	ok := v != "" && len(v) <= 128
	for i := 0; ok && i < len(v); i++ {
		ok = v[i] > ' ' && v[i] < 0x7f
	}
	if !ok {
		return badValue(v, name, name+" can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	return nil
}

// checkFifo checks group and deduplication id and returns the notes they make;
// those of a FIFO queue's message are never nil.
func checkFifo(set *settings, e *entry, batch bool) (*broker.Notes, *aws.Error) {
	if e.group.set {
		if err := checkID(e.group.v, "MessageGroupId"); err != nil {
			return nil, err
		}
	}
	if e.dedup.set {
		if err := checkID(e.dedup.v, "MessageDeduplicationId"); err != nil {
			return nil, err
		}
	}
	if !set.Fifo {
		if e.dedup.set {
			return nil, badValue(e.dedup.v, "MessageDeduplicationId", "The request include parameter that is not valid for this queue type.")
		}
		if e.group.set {
			return &broker.Notes{GroupID: strings.Clone(e.group.v)}, nil
		}
		return nil, nil
	}
	switch {
	case !e.group.set && batch:
		return nil, invalidParameter("The request must contain the parameter MessageGroupId.")
	case !e.group.set:
		return nil, missing("MessageGroupId")
	case !e.dedup.set && !set.Content:
		return nil, errNoDedup
	}
	n := &broker.Notes{GroupID: strings.Clone(e.group.v), DedupID: strings.Clone(e.dedup.v)}
	if !e.dedup.set {
		sum := sha256.Sum256([]byte(e.body.v))
		n.DedupID = hex.EncodeToString(sum[:])
	}
	return n, nil
}

// checkDelay returns the seconds for which the message is held back.
func checkDelay(set *settings, e *entry) (int, *aws.Error) {
	d := e.delay
	switch {
	case d.set && !d.within(0, 900):
		return 0, badValue(d.String(), "DelaySeconds", "DelaySeconds must be >= 0 and <= 900.")
	case set.Fifo && d.set && d.v > 0:
		return 0, badValue(d.String(), "DelaySeconds", "The request include parameter that is not valid for this queue type.")
	case d.set && !set.Fifo:
		return d.v, nil
	}
	return set.Delay, nil
}

// blocked reports whether nothing may be published now.
func (s *Service) blocked() bool { return s.endpoint.Core().Alarms() != 0 }

func (s *Service) send(r *request, q *queue, actor *endpoint.Caller) {
	if s.blocked() {
		r.fail(errThrottled)
		return
	}
	set := q.settings()
	if set.Fifo {
		q.sending.Lock() // sequence numbers must have the order of the queue
		defer q.sending.Unlock()
	}
	x, err := s.prepare(r, q, set, &r.in.entry, false)
	if err != nil {
		r.fail(err)
		return
	}
	_, perr := actor.PublishFully(r.Turn, x.publish, func(t *broker.Turn, res broker.PublishResult, accepted bool) {
		if err := x.outcome(res, accepted); err != nil {
			r.Fail(t, err)
			return
		}
		w := r.writer(512)
		x.write(w)
		r.finish(t, w)
	})
	if perr != nil {
		r.fail(coreError(perr))
	}
}

// outcome takes what became of the message.
func (x *sending) outcome(res broker.PublishResult, accepted bool) *aws.Error {
	switch {
	case !res.Routed:
		return errNoQueue // it went meanwhile
	case !accepted:
		return errFull
	case res.Duplicate:
		x.queue.did.repeated.Add(1)
		x.repeat(res.Origin)
	default:
		x.queue.did.sent.Add(1)
		x.queue.did.sentBytes.Add(uint64(x.size))
	}
	return nil
}

var errFull = modelled(403, "OverLimit", "OverLimit", "The queue is full.")

// repeat makes the answer that of the message x repeats.
func (x *sending) repeat(origin string) {
	id, seq, ok := strings.Cut(origin, " ")
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
	n, err2 := strconv.ParseUint(seq, 10, 64)
	if !ok || err != nil || err2 != nil || len(raw) != len(x.uuid) {
		return
	}
	x.uuid, x.seq = aws.UUID(raw), n
}

// write is the answer for one message.
func (x *sending) write(w *writer) {
	w.optional("MD5OfMessageAttributes", x.attrMD5)
	w.hex("MD5OfMessageBody", x.md5[:])
	w.optional("MD5OfMessageSystemAttributes", x.sysMD5)
	w.uuid("MessageId", x.uuid)
	if x.seq != 0 {
		w.text("SequenceNumber", strconv.FormatUint(x.seq, 10))
	}
}
