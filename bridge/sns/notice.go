package sns

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// Attributes that carry what only notifications have. Clients of other
// protocols see and may set them as headers.
const (
	subjectName   = "SNS_Subject"
	structureName = "SNS_MessageStructure" // the whole JSON of a message with a text per protocol
	replayedName  = "Replayed"
)

// serviceID is the SenderId of messages that the service itself sends.
const serviceID = "AIDAHERMODSNSSERVICE0"

// notice is a message of a topic, whatever protocol it was published by. It
// aliases the message.
type notice struct {
	id         aws.UUID
	sequence   uint64
	sender     string
	trace      string
	subject    string
	text       string
	structure  string
	attributes []message.Attribute
	time       int64 // Unix ms
	group      string
	dedup      string
	masked     bool // the texts are not those of the message any more
}

func noticeOf(core *broker.Broker, m *broker.Message) notice {
	v := message.ViewOf(core, m)
	n := notice{id: v.ID, sequence: v.Sequence, sender: v.Sender, trace: v.Trace, time: m.Received}
	n.text = unsafe.String(unsafe.SliceData(v.Body), len(v.Body))
	plain := v.Attributes
	own := 0
	for i := range plain {
		if isOwn(plain[i].Name) {
			own++
		}
	}
	if own > 0 {
		n.attributes = make([]message.Attribute, 0, len(plain)-own)
		for i := range plain {
			switch a := &plain[i]; a.Name {
			case subjectName, "SNS.Subject":
				n.subject = string(a.Value)
			case structureName:
				n.structure = string(a.Value)
			default:
				n.attributes = append(n.attributes, *a)
			}
		}
	} else {
		n.attributes = plain
	}
	if m.Notes != nil {
		n.group, n.dedup = m.Notes.GroupID, m.Notes.DedupID
	}
	if n.id.IsZero() {
		// A message that came with no identifier gets one that is the same for
		// every subscription and attempt.
		h := md5.New()
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(m.Received)))
		h.Write(m.Native)
		h.Write(m.Body)
		n.id = aws.UUIDOf([16]byte(h.Sum(nil)))
	}
	return n
}

func isOwn(name string) bool {
	return name == subjectName || name == structureName || name == "SNS.Subject"
}

// textFor is what a protocol gets to read.
func (n *notice) textFor(protocol string) string {
	if n.structure == "" {
		return n.text
	}
	var texts map[string]any
	if json.Unmarshal([]byte(n.structure), &texts) == nil {
		if s, ok := texts[protocol].(string); ok {
			return s
		}
	}
	return n.text
}

func timestamp(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// object writes a JSON object as the service lays it out.
type object struct{ b []byte }

func (o *object) field(name, value string) {
	o.name(name)
	o.b = aws.AppendJSONString(o.b, value)
}

func (o *object) name(name string) {
	if len(o.b) == 0 {
		o.b = append(o.b, "{\n  "...)
	} else {
		o.b = append(o.b, ",\n  "...)
	}
	o.b = append(aws.AppendJSONString(o.b, name), " : "...)
}

func (o *object) end() []byte { return append(o.b, "\n}"...) }

// envelope is a notification as JSON. It may take a millisecond.
func (s *Service) envelope(t *topic, sub *subscription, n *notice, text string) []byte {
	return s.draft(t, sub, n, text, s.signature(t, sub, n, text))
}

// draft is an envelope with a signature that was made elsewhere. Those of FIFO
// topics carry none.
func (s *Service) draft(t *topic, sub *subscription, n *notice, text, signature string) []byte {
	o := object{b: make([]byte, 0, len(text)+len(text)/8+1200)}
	o.field("Type", "Notification")
	o.field("MessageId", n.id.String())
	if t.fifo {
		o.field("SequenceNumber", sequenceText(n.sequence))
	}
	o.field("TopicArn", t.ARN)
	if n.subject != "" {
		o.field("Subject", n.subject)
	}
	o.field("Message", text)
	o.field("Timestamp", timestamp(n.time))
	if !t.fifo {
		o.field("SignatureVersion", t.signatureVersion())
		o.field("Signature", signature)
		o.field("SigningCertURL", s.certURL())
	}
	o.field("UnsubscribeURL", s.unsubscribeURL(sub.ARN))
	if len(n.attributes) > 0 {
		o.name("MessageAttributes")
		o.b = appendAttributes(o.b, n.attributes)
	}
	return o.end()
}

func appendAttributes(b []byte, list []message.Attribute) []byte {
	b = append(b, '{')
	for i := range list {
		a := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, "\n    "...)
		b = append(aws.AppendJSONString(b, a.Name), ` : {"Type":`...)
		b = append(aws.AppendJSONString(b, a.Type), `,"Value":`...)
		if a.Binary() {
			b = aws.AppendJSONString(b, base64.StdEncoding.EncodeToString(a.Value))
		} else {
			b = aws.AppendJSONString(b, string(a.Value))
		}
		b = append(b, '}')
	}
	return append(b, "\n  }"...)
}

// signsFor reports whether a subscription's notifications are signed: queues get no
// signature if that is switched off.
func (s *Service) signsFor(t *topic, sub *subscription) bool {
	return !t.fifo && (sub.Protocol != "sqs" || s.opt.SignQueues)
}

// signature is that of a notification; "" if it has none.
func (s *Service) signature(t *topic, sub *subscription, n *notice, text string) string {
	if !s.signsFor(t, sub) {
		return ""
	}
	return s.signer.sign(t.signatureVersion(), signedNotice(t.ARN, n, text))
}

// readySignature is signature without waiting: ok is false if it is yet to be
// made, which begins.
func (s *Service) readySignature(t *topic, sub *subscription, n *notice, text string) (sig string, ok bool) {
	if !s.signsFor(t, sub) {
		return "", true
	}
	version, what := t.signatureVersion(), signedNotice(t.ARN, n, text)
	if sig, ok = s.signer.known(version, what); !ok {
		s.signer.order(version, what)
	}
	return sig, ok
}

// noSignature is what a draft has in place of a signature. It cannot be part of
// a text, where quotation marks are escaped.
const noSignature = `"Signature" : ""`

// Sign completes a draft that was stored without a signature: its text says all
// that is signed. What is no draft comes back as it is.
func (s *Service) Sign(draft []byte) []byte {
	at := bytes.Index(draft, []byte(noSignature))
	var e struct {
		Type, MessageId, TopicArn, Subject, Message, Timestamp, SignatureVersion string
	}
	if at < 0 || json.Unmarshal(draft, &e) != nil || e.Type != "Notification" {
		return draft
	}
	sig := s.signer.sign(e.SignatureVersion, noticeText(e.Message, e.MessageId, e.Subject, e.Timestamp, e.TopicArn))
	end := at + len(noSignature) - 1
	whole := make([]byte, 0, len(draft)+len(sig))
	return append(append(append(whole, draft[:end]...), sig...), draft[end:]...)
}

func signedNotice(arn string, n *notice, text string) []byte {
	return noticeText(text, n.id.String(), n.subject, timestamp(n.time), arn)
}

// noticeText is what the signature of a notification covers.
func noticeText(text, id, subject, time, arn string) []byte {
	if subject == "" {
		return signedText("Message", text, "MessageId", id, "Timestamp", time, "TopicArn", arn, "Type", "Notification")
	}
	return signedText("Message", text, "MessageId", id, "Subject", subject, "Timestamp", time, "TopicArn", arn, "Type", "Notification")
}

// base is the address by which endpoints reach us: as configured, else as the
// first caller did.
func (s *Service) base() string {
	if s.opt.BaseURL != "" {
		return s.opt.BaseURL
	}
	if p := s.learned.Load(); p != nil {
		return *p
	}
	return "http://localhost:4566"
}

func (s *Service) certURL() string { return s.base() + s.signer.certPath() }

func (s *Service) unsubscribeURL(arn string) string {
	return s.base() + "/?Action=Unsubscribe&SubscriptionArn=" + arn
}

// sequenceBase makes sequence numbers 20 digits long.
const sequenceBase = 10_000_000_000_000_000_000

func sequenceText(n uint64) string {
	if n < sequenceBase {
		n += sequenceBase
	}
	return strconv.FormatUint(n, 10)
}

// validSubject reports whether a subject may be: ASCII without control
// characters, shorter than 100.
func validSubject(s string) bool {
	if s == "" || len(s) > 100 || s[0] == ' ' {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func isFIFO(name string) bool { return strings.HasSuffix(name, ".fifo") }
