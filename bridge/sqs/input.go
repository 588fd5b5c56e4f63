package sqs

import (
	"encoding/base64"
	"strconv"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/message"
)

// input is the parameters of any action. Texts are valid as long as the
// request is.
type input struct {
	queueURL, queueName, owner, prefix, nextToken string
	label, taskHandle, sourceArn, destinationArn  string
	attempt                                       text

	maxResults, max, wait, rate number

	attributes, tags                                                []pair
	hasTags, hasAttributes                                          bool
	tagKeys, names, systemNames, attributeNames, accounts, actions_ []string

	entry   // of actions on one message
	entries []entry
}

type pair struct{ Name, Value string }

// text is a parameter of which it matters whether it is there.
type text struct {
	v   string
	set bool
}

// number is an optional integer.
type number struct {
	v   int
	set bool
	bad string // what it is if it is no integer
}

func parseNumber(s string) number {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return number{set: true, bad: s}
	}
	return number{v: int(n), set: true}
}

// within checks the range of a number that is set.
func (n number) within(low, high int) bool { return n.bad == "" && n.v >= low && n.v <= high }

func (n number) String() string {
	if n.bad != "" {
		return n.bad
	}
	return strconv.Itoa(n.v)
}

// entry is one message of an action.
type entry struct {
	id         string
	body       text
	delay      number
	attributes []attribute
	system     []attribute
	dedup      text
	group      text
	handle     string
	hasHandle  bool
	visibility number
}

// attribute is a message attribute as it was sent.
type attribute struct {
	name, kind string
	value      []byte
	text       bool // a StringValue is there
	binary     bool // a BinaryValue is there
	bad        bool // which is not base64
	lists      bool
}

// message is the attribute in the form that is kept.
func (a *attribute) message() message.Attribute {
	return message.Attribute{Name: a.name, Type: a.kind, Value: a.value}
}

// maxEntries bounds what is decoded of a batch: more are counted only.
const maxEntries = 10

// decodeJSON reads the body of an AWS JSON request and returns the number of
// the entries; in must be zero.
func (in *input) decodeJSON(body []byte) (count int, ok bool) {
	d := &decoder{b: body}
	if len(body) == 0 {
		return 0, true
	}
	strings := func(to *[]string) {
		d.array(func() { *to = append(*to, d.scalar()) })
	}
	pairs := func(to *[]pair) {
		d.object(func(key string) { *to = append(*to, pair{key, d.scalar()}) })
	}
	d.object(func(key string) {
		switch key {
		case "QueueUrl":
			in.queueURL = d.scalar()
		case "QueueName":
			in.queueName = d.scalar()
		case "QueueOwnerAWSAccountId":
			in.owner = d.scalar()
		case "QueueNamePrefix":
			in.prefix = d.scalar()
		case "NextToken":
			in.nextToken = d.scalar()
		case "MaxResults":
			in.maxResults = d.number()
		case "Label":
			in.label = d.scalar()
		case "AWSAccountIds":
			strings(&in.accounts)
		case "Actions":
			strings(&in.actions_)
		case "TaskHandle":
			in.taskHandle = d.scalar()
		case "SourceArn":
			in.sourceArn = d.scalar()
		case "DestinationArn":
			in.destinationArn = d.scalar()
		case "MaxNumberOfMessagesPerSecond":
			in.rate = d.number()
		case "Attributes":
			in.hasAttributes = true
			pairs(&in.attributes)
		case "tags", "Tags":
			in.hasTags = true
			pairs(&in.tags)
		case "TagKeys":
			in.hasTags = true
			strings(&in.tagKeys)
		case "AttributeNames":
			strings(&in.names)
		case "MessageSystemAttributeNames":
			strings(&in.systemNames)
		case "MessageAttributeNames":
			strings(&in.attributeNames)
		case "MaxNumberOfMessages":
			in.max = d.number()
		case "WaitTimeSeconds":
			in.wait = d.number()
		case "ReceiveRequestAttemptId":
			in.attempt = text{d.scalar(), true}
		case "Entries":
			d.array(func() {
				var e entry
				d.object(func(key string) { d.entryField(&e, key) })
				if count++; count <= maxEntries {
					in.entries = append(in.entries, e)
				}
			})
		default:
			d.entryField(&in.entry, key)
		}
	})
	return count, d.end()
}

func (d *decoder) number() number {
	s := d.scalar()
	if s == "" {
		return number{}
	}
	return parseNumber(s)
}

func (d *decoder) entryField(e *entry, key string) {
	switch key {
	case "Id":
		e.id = d.scalar()
	case "MessageBody":
		e.body = text{d.scalar(), true}
	case "DelaySeconds":
		e.delay = d.number()
	case "MessageAttributes":
		e.attributes = d.attributes()
	case "MessageSystemAttributes":
		e.system = d.attributes()
	case "MessageDeduplicationId":
		e.dedup = text{d.scalar(), true}
	case "MessageGroupId":
		e.group = text{d.scalar(), true}
	case "ReceiptHandle":
		e.handle, e.hasHandle = d.scalar(), true
	case "VisibilityTimeout":
		e.visibility = d.number()
	default:
		d.skip(0)
	}
}

func (d *decoder) attributes() (list []attribute) {
	d.object(func(name string) {
		a := attribute{name: name}
		d.object(func(key string) {
			switch key {
			case "DataType":
				a.kind = d.scalar()
			case "StringValue":
				if !d.null() {
					a.value, a.text = []byte(d.scalar()), true
				}
			case "BinaryValue":
				if !d.null() {
					a.setBinary(d.scalar())
				}
			case "StringListValues", "BinaryListValues":
				before := d.i
				d.skip(0)
				a.lists = a.lists || d.i-before > 4
			default:
				d.skip(0)
			}
		})
		list = append(list, a)
	})
	return list
}

func (a *attribute) setBinary(s string) {
	raw, err := base64.StdEncoding.DecodeString(s)
	a.value, a.binary, a.bad = raw, true, err != nil
}

// decodeForm reads the parameters of a Query request and returns the number of
// the entries.
func (in *input) decodeForm(f aws.Form) (count int) {
	*in = input{
		queueURL: f.Get("QueueUrl"), queueName: f.Get("QueueName"), owner: f.Get("QueueOwnerAWSAccountId"), prefix: f.Get("QueueNamePrefix"),
		nextToken: f.Get("NextToken"), label: f.Get("Label"), taskHandle: f.Get("TaskHandle"), sourceArn: f.Get("SourceArn"),
		destinationArn: f.Get("DestinationArn"), attempt: formText(f, "ReceiveRequestAttemptId"),
		maxResults: formNumber(f, "MaxResults"), max: formNumber(f, "MaxNumberOfMessages"), wait: formNumber(f, "WaitTimeSeconds"),
		rate:    formNumber(f, "MaxNumberOfMessagesPerSecond"),
		tagKeys: f.List(named(f, "TagKey")), names: f.List(named(f, "AttributeName")), systemNames: f.List(named(f, "MessageSystemAttributeName")),
		attributeNames: f.List(named(f, "MessageAttributeName")), accounts: f.List(named(f, "AWSAccountId")), actions_: f.List("ActionName"),
	}
	for _, p := range f.Map(named(f, "Attribute"), "Name", "Value") {
		in.attributes = append(in.attributes, pair(p))
	}
	for _, p := range f.Map(named(f, "Tag"), "Key", "Value") {
		in.tags = append(in.tags, pair(p))
	}
	if name, ok := f.Lookup("Attribute.Name"); ok && in.attributes == nil {
		in.attributes = []pair{{name, f.Get("Attribute.Value")}}
	}
	in.hasTags, in.hasAttributes = len(in.tags)+len(in.tagKeys) > 0, len(in.attributes) > 0
	in.entry = formEntry(f, "")
	for _, kind := range []string{"SendMessageBatchRequestEntry", "DeleteMessageBatchRequestEntry", "ChangeMessageVisibilityBatchRequestEntry"} {
		for _, name := range f.Items(kind) {
			if count++; count <= maxEntries {
				in.entries = append(in.entries, formEntry(f, name+"."))
			}
		}
	}
	return count
}

// named is the name under which a list or map of a Query request comes: that of
// its elements, which the service documents, or its own, in the plural, which
// the service takes as well: old SDKs for Java and templates of API gateways
// send it.
func named(f aws.Form, element string) string {
	if !f.Has(element) && f.Has(element+"s") {
		return element + "s"
	}
	return element
}

func formText(f aws.Form, name string) text {
	v, ok := f.Lookup(name)
	return text{v, ok}
}

func formNumber(f aws.Form, name string) number {
	v, ok := f.Lookup(name)
	if !ok || v == "" {
		return number{}
	}
	return parseNumber(v)
}

func formEntry(f aws.Form, prefix string) entry {
	e := entry{
		id: f.Get(prefix + "Id"), body: formText(f, prefix+"MessageBody"), delay: formNumber(f, prefix+"DelaySeconds"),
		dedup: formText(f, prefix+"MessageDeduplicationId"), group: formText(f, prefix+"MessageGroupId"),
		visibility: formNumber(f, prefix+"VisibilityTimeout"),
		attributes: formAttributes(f, prefix+"MessageAttribute"), system: formAttributes(f, prefix+"MessageSystemAttribute"),
	}
	e.handle, e.hasHandle = f.Lookup(prefix + "ReceiptHandle")
	return e
}

func formAttributes(f aws.Form, prefix string) (list []attribute) {
	for _, name := range f.Items(named(f, prefix)) {
		a := attribute{name: f.Get(name + ".Name"), kind: f.Get(name + ".Value.DataType")}
		if v, ok := f.Lookup(name + ".Value.StringValue"); ok {
			a.value, a.text = []byte(v), true
		}
		if v, ok := f.Lookup(name + ".Value.BinaryValue"); ok {
			a.setBinary(v)
		}
		a.lists = f.Has(name+".Value.StringListValue") || f.Has(name+".Value.BinaryListValue")
		list = append(list, a)
	}
	return list
}
