package sns

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/protection"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/bridge/message"
	"github.com/hermodmq/hermod/broker"
)

// maxMessage is the largest message with its attributes, in bytes.
const maxMessage = 262_144

// post is one message that somebody wants published. Its strings are copies.
type post struct {
	text       string
	subject    string
	structure  string // JSON; "" if the text is for all protocols
	attributes []message.Attribute
	group      string
	dedup      string
	trace      string
	size       int
}

// readPost reads a message from the parameters below a prefix; position is
// that of a batch entry, 0 for Publish.
func (c *call) readPost(prefix string, position int) (*post, *aws.Error) {
	p := &post{text: c.param(prefix + "Message"), group: c.param(prefix + "MessageGroupId"), dedup: c.param(prefix + "MessageDeduplicationId")}
	p.trace = strings.Clone(c.Header("x-amzn-trace-id"))
	var err *aws.Error
	if p.attributes, err = c.messageAttributes(prefix+"MessageAttributes", position); err != nil {
		return nil, err
	}
	p.size = len(p.text)
	for i := range p.attributes {
		a := &p.attributes[i]
		p.size += len(a.Name) + len(a.Type) + len(a.Value)
	}
	return p, nil
}

// shape checks text, subject and structure. platform is that of the endpoint a
// message goes to; "" for a topic.
func (c *call) shape(p *post, prefix, platform string) *aws.Error {
	switch subject, ok := c.Form.Lookup(prefix + "Subject"); {
	case ok && !validSubject(subject):
		return invalid("Subject")
	case ok:
		p.subject = strings.Clone(subject)
	}
	if p.text == "" {
		return invalid("Empty message")
	}
	if !aws.LegalText(p.text) {
		return invalid("Message Reason: Invalid characters")
	}
	switch structure := c.Form.Get(prefix + "MessageStructure"); structure {
	case "":
	case "json":
		return p.split(platform)
	default:
		return invalid("MessageStructure")
	}
	return nil
}

// split takes a message with a text per protocol apart.
func (p *post) split(platform string) *aws.Error {
	var texts map[string]any
	if err := json.Unmarshal([]byte(p.text), &texts); err != nil {
		return invalid("Message Structure - JSON message body failed to parse")
	}
	text, ok := texts["default"].(string)
	if platform != "" {
		if own, there := texts[platform].(string); there {
			text, ok = own, true
		}
	}
	switch {
	case !ok && platform != "":
		return invalid("JSON must contain an entry for 'default' or '" + platform + "'.")
	case !ok:
		return invalid("Message Structure - No default entry in JSON message body")
	}
	p.structure, p.text = p.text, text
	return nil
}

// messageAttributes reads and checks attributes.
func (c *call) messageAttributes(prefix string, position int) ([]message.Attribute, *aws.Error) {
	items := c.Form.Items(prefix + ".entry")
	if len(items) == 0 {
		items = c.Form.Items(prefix)
	}
	var list []message.Attribute
	for _, item := range items {
		name := c.param(item + ".Name")
		if err := checkAttributeName(name); err != nil {
			return nil, err
		}
		kind, typed := c.Form.Lookup(item + ".Value.DataType")
		if !typed {
			at := "messageAttributes." + name + ".member.dataType"
			if position > 0 {
				at = "publishBatchRequestEntries." + strconv.Itoa(position) + ".member." + at
			}
			return nil, missing(at)
		}
		text, isText := c.Form.Lookup(item + ".Value.StringValue")
		raw, isBinary := c.Form.Lookup(item + ".Value.BinaryValue")
		a, err := newAttribute(name, strings.Clone(kind), text, isText, raw, isBinary)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Name == name {
				return nil, badValue("Message (user) attribute name '" + name + "' already exists.")
			}
		}
		if len(list) >= 64 {
			return nil, badValue("Number of message attributes exceeds the allowed maximum.")
		}
		list = append(list, a)
	}
	return list, nil
}

func checkAttributeName(name string) *aws.Error {
	switch {
	case name == "":
		return badValue("The message attribute name must not be empty.")
	case len(name) > 256:
		return badValue("Length of message attribute name must be less than 256 bytes.")
	case name[len(name)-1] == '.':
		return badValue("Invalid message attribute name ending with character '.' was found.")
	case name[0] == '.':
		return badValue("Invalid message attribute name starting with character '.' was found.")
	}
	last := rune(0)
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
		default:
			return badValue(fmt.Sprintf("Invalid non-alphanumeric character '#x%X' was found in the message attribute name. "+
				"Can only include alphanumeric characters, hyphens, underscores, or dots.", r))
		}
		if r == '.' && last == '.' {
			return badValue("Message attribute name can not have successive '.' character.")
		}
		last = r
	}
	return nil
}

func newAttribute(name, kind, text string, isText bool, raw string, isBinary bool) (a message.Attribute, err *aws.Error) {
	base, custom, labelled := strings.Cut(kind, ".")
	if labelled && custom == "" {
		base = "" // a label has to follow the dot
	}
	field := "String"
	switch base {
	case "String", "Number":
	case "Binary":
		field = "Binary"
	default:
		return a, badValue("The message attribute '" + name + "' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.")
	}
	empty := badValue("The message attribute '" + name + "' must contain non-empty message attribute value for message attribute type '" + kind + "'.")
	if !isText && !isBinary {
		return a, empty
	}
	if field == "String" && !isText || field == "Binary" && !isBinary {
		return a, badValue("The message attribute '" + name + "' with type '" + kind + "' must use field '" + field + "'.")
	}
	a = message.Attribute{Name: name, Type: kind}
	if field == "Binary" {
		value, bad := base64.StdEncoding.DecodeString(raw)
		if bad != nil {
			return a, badValue("The message attribute '" + name + "' holds a value that is not base64.")
		}
		a.Value = value
	} else {
		if !aws.LegalText(text) {
			return a, badValue("The message attribute '" + name + "' holds invalid characters.")
		}
		a.Value = []byte(text)
	}
	if len(a.Value) == 0 {
		return a, empty
	}
	if base == "Number" {
		if _, bad := strconv.ParseFloat(text, 64); bad != nil || strings.ContainsAny(text, "xXpPiIn_") {
			return a, badValue("Could not cast message attribute '" + name + "' value to number.")
		}
	}
	return a, nil
}

// ordered checks the FIFO parameters of a message for a topic.
func (p *post) ordered(t *topic) *aws.Error {
	if !t.fifo {
		if p.dedup != "" {
			return invalid("MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
		}
		if p.group != "" && !validID(p.group) {
			return invalid("MessageGroupId")
		}
		return nil
	}
	switch {
	case p.group == "":
		return invalid("The MessageGroupId parameter is required for FIFO topics")
	case !validID(p.group):
		return invalid("MessageGroupId")
	case p.dedup != "" && !validID(p.dedup):
		return invalid("MessageDeduplicationId")
	case p.dedup == "" && !t.contentBased():
		return invalid("The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	case p.dedup == "":
		p.dedup = contentID(p.text)
	}
	return nil
}

// validID reports whether s can be a group or deduplication id: up to 128
// letters, digits and punctuation.
func validID(s string) bool {
	if len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (c *call) publish() *aws.Error {
	phone, byPhone := c.Form.Lookup("PhoneNumber")
	arn, given := c.Form.Lookup("TopicArn")
	if arn == "" {
		if target, ok := c.Form.Lookup("TargetArn"); ok {
			arn, given = target, true
		}
	}
	arn = strings.Clone(arn)
	p, err := c.readPost("", 0)
	if err != nil {
		return err
	}
	if byPhone {
		return c.publishSMS(strings.Clone(phone), p)
	}
	if !given {
		return invalid("TopicArn or TargetArn Reason: no value for required parameter")
	}
	if a, _, ok := aws.ParseARN(arn); ok && strings.HasPrefix(a.Resource, "endpoint/") {
		return c.publishPush(arn, p)
	}
	t, err := c.needTopic("TopicArn", arn, "Publish")
	if err != nil {
		return err
	}
	if c.s.blocked() {
		return errThrottled
	}
	if err := c.shape(p, "", ""); err != nil {
		return err
	}
	if p.size > maxMessage {
		return invalid("Message too long")
	}
	if err := p.ordered(t); err != nil {
		return err
	}
	c.later()
	caller := c.Caller
	c.s.send(c.Turn, caller, t, []*post{p}, func(turn *broker.Turn, r sent) {
		if r.err != nil {
			c.Fail(turn, r.err)
			return
		}
		result := element("MessageId", r.id)
		if r.sequence != "" {
			result += element("SequenceNumber", r.sequence)
		}
		c.reply(turn, result)
	})
	return nil
}

// sent is what became of a post.
type sent struct {
	index    int
	id       string
	sequence string
	err      *aws.Error
}

// send publishes posts to a topic, in order, and tells done of each when it is
// durable. What has to be looked through or signed is, first and elsewhere: that
// takes longer than an event loop may stand still.
func (s *Service) send(turn *broker.Turn, caller *endpoint.Caller, t *topic, posts []*post, done func(*broker.Turn, sent)) {
	later := func() {
		turn, end := s.opt.Turn()
		defer end()
		kept, places := s.screen(turn, caller, t, posts, done)
		s.dispatch(turn, caller, t, kept, func(turn *broker.Turn, r sent) {
			r.index = places[r.index]
			done(turn, r)
		})
	}
	slow := s.signs(t) || t.protection.Has(protection.Inbound)
	switch {
	case s.core.Congested() && slow: // others wait for the relief, too
		s.core.OnRelief(func() { s.background(later) })
	case s.core.Congested():
		s.core.OnRelief(later)
	case slow:
		s.background(later)
	default:
		s.dispatch(turn, caller, t, posts, done)
	}
}

// signs reports whether publishing to a topic signs something.
func (s *Service) signs(t *topic) bool {
	if t.fifo || !s.opt.SignQueues {
		return false
	}
	for _, sub := range t.subscriptions() {
		if sub.Protocol == "sqs" && !sub.raw && !sub.Pending {
			return true
		}
	}
	return false
}

func (s *Service) dispatch(turn *broker.Turn, caller *endpoint.Caller, t *topic, posts []*post, done func(*broker.Turn, sent)) {
	s.follow(turn, t)
	for i, p := range posts {
		s.stats.published.Add(1)
		if t.fifo {
			s.sendOrdered(turn, caller, t, p, i, done)
			continue
		}
		id := aws.NewUUID()
		m := p.message(turn.Now, caller, t, id, 0)
		s.presign(t, m)
		s.put(turn, caller, t, m, nil, sent{index: i, id: id.String()}, done)
	}
}

// presign makes the signature that the forms of m will ask for.
func (s *Service) presign(t *topic, m *broker.Message) {
	if !s.signs(t) {
		return
	}
	n := noticeOf(s.core, m)
	s.signer.sign(t.signatureVersion(), signedNotice(t.ARN, &n, n.textFor("sqs")))
}

func (s *Service) sendOrdered(turn *broker.Turn, caller *endpoint.Caller, t *topic, p *post, i int, done func(*broker.Turn, sent)) {
	st := t.state
	st.mu.Lock()
	id := aws.NewUUID()
	d, known, fact := t.number(turn.Now, p.group, p.dedup, id)
	r := sent{index: i, id: d.ID, sequence: sequenceText(d.Sequence)}
	if known {
		st.mu.Unlock()
		// The message it repeats may not be durable yet.
		s.core.StoreFacts(nil, func(turn *broker.Turn) { done(turn, r) })
		return
	}
	m := p.message(turn.Now, caller, t, id, d.Sequence)
	s.put(turn, caller, t, m, []broker.Definition{fact}, r, done)
	st.mu.Unlock()
}

// put publishes one message with the facts that belong to it.
func (s *Service) put(turn *broker.Turn, caller *endpoint.Caller, t *topic, m *broker.Message, facts []broker.Definition, r sent, done func(*broker.Turn, sent)) {
	p := broker.Publish{Exchange: broker.TopicExchange, Msg: m, Facts: facts}
	by := caller
	if caller.VHost != t.vhost {
		by = s.endpoint.System(t.vhost) // by leave of the topic's policy
	}
	result, err := by.Publish(turn, p, func(turn *broker.Turn, _ bool) {
		if len(facts) == 0 {
			done(turn, r)
		}
	})
	switch {
	case err != nil:
		r.err = denied(caller.ARN(), "Publish", t.ARN)
		done(turn, r)
	case len(facts) == 0:
	case !result.Routed:
		s.core.StoreFacts(facts, func(turn *broker.Turn) { done(turn, r) }) // nobody subscribes: the id counts all the same
	default:
		s.core.StoreFacts(nil, func(turn *broker.Turn) { done(turn, r) })
	}
}

// message is a post as a message of the broker.
func (p *post) message(now int64, caller *endpoint.Caller, t *topic, id aws.UUID, sequence uint64) *broker.Message {
	c := message.Content{ID: id, Sequence: sequence, Sender: caller.UserID(), Trace: p.trace, Attributes: p.attributes}
	if p.subject != "" {
		c.Attributes = append(c.Attributes[:len(c.Attributes):len(c.Attributes)], message.Attribute{Name: subjectName, Type: "String", Value: []byte(p.subject)})
	}
	if p.structure != "" {
		c.Attributes = append(c.Attributes[:len(c.Attributes):len(c.Attributes)], message.Attribute{Name: structureName, Type: "String", Value: []byte(p.structure)})
	}
	body := []byte(p.text)
	if raw, ok := message.Decode(p.text, c.Attributes); ok {
		c.Encoded, body = true, raw
	}
	m := &broker.Message{
		Exchange: broker.TopicExchange, RoutingKey: t.name, Format: broker.FormatAWS, Native: c.AppendNative(nil), Body: body,
		Persistent: true, TTL: broker.NoTTL, Received: now,
	}
	if p.group != "" || p.dedup != "" {
		m.Notes = &broker.Notes{GroupID: p.group, DedupID: p.dedup}
	}
	return m
}

// batch limits.
const maxEntries = 10

// blocked reports whether nothing may be published now.
func (s *Service) blocked() bool { return s.core.Alarms() != 0 }

func (c *call) publishBatch() *aws.Error {
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "Publish")
	if err != nil {
		return err
	}
	if c.s.blocked() {
		return errThrottled
	}
	items := c.Form.Items("PublishBatchRequestEntries.member")
	switch {
	case len(items) == 0:
		return refuse(400, "EmptyBatchRequest", "The batch request doesn't contain any entries.")
	case len(items) > maxEntries:
		return refuse(400, "TooManyEntriesInBatchRequest", "The batch request contains more entries than permissible.")
	}
	ids, err := c.entryIDs(items)
	if err != nil {
		return err
	}
	posts := make([]*post, 0, len(items))
	total := 0
	for i, item := range items {
		p, err := c.readPost(item+".", i+1)
		if err != nil {
			return err
		}
		total += p.size
		if err := c.shape(p, item+".", ""); err != nil {
			return err
		}
		if err := p.ordered(t); err != nil {
			return err
		}
		posts = append(posts, p)
	}
	if total > maxMessage {
		return refuse(400, "BatchRequestTooLong", "The length of all the messages put together is more than the limit.")
	}
	c.later()
	results := make([]sent, len(posts))
	left := new(atomic.Int64)
	left.Store(int64(len(posts)))
	c.s.send(c.Turn, c.Caller, t, posts, func(turn *broker.Turn, r sent) {
		results[r.index] = r
		if left.Add(-1) == 0 {
			c.reply(turn, batchResult(ids, results))
		}
	})
	return nil
}

// entryIDs reads and checks the identifiers of batch entries.
func (c *call) entryIDs(items []string) ([]string, *aws.Error) {
	ids := make([]string, len(items))
	seen := make(map[string]bool, len(items))
	for i, item := range items {
		id := c.param(item + ".Id")
		if len(id) > 80 {
			return nil, refuse(400, "InvalidBatchEntryId", "The Id of a batch entry in the batch request is too long: "+id)
		}
		bad := id == ""
		for _, r := range id {
			bad = bad || r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}
		if bad {
			return nil, refuse(400, "InvalidBatchEntryId", "The Id of a batch entry in the batch request contains an impermissible character: "+id)
		}
		if seen[id] {
			return nil, refuse(400, "BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
		}
		seen[id] = true
		ids[i] = id
	}
	return ids, nil
}

func batchResult(ids []string, results []sent) string {
	var good, bad strings.Builder
	for i, r := range results {
		if r.err != nil {
			bad.WriteString("<member>" + element("Id", ids[i]) + element("Code", r.err.Code) + element("Message", r.err.Message) +
				element("SenderFault", flag(!r.err.Receiver)) + "</member>")
			continue
		}
		good.WriteString("<member>" + element("Id", ids[i]) + element("MessageId", r.id))
		if r.sequence != "" {
			good.WriteString(element("SequenceNumber", r.sequence))
		}
		good.WriteString("</member>")
	}
	return "<Successful>" + good.String() + "</Successful><Failed>" + bad.String() + "</Failed>"
}
