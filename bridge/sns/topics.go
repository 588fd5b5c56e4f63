package sns

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/broker"
)

const (
	pageSize = 100
	maxTags  = 50
)

func (c *call) createTopic() *aws.Error {
	name := c.param("Name")
	attributes := c.attributes("Attributes")
	fifo := attributes["FifoTopic"] == "true"
	if !topicName(name, fifo) {
		return invalid("Topic Name")
	}
	delete(attributes, "FifoTopic")
	tags, err := c.tags()
	if err != nil {
		return err
	}
	arn := aws.ARN{Partition: aws.Partition(c.Region), Service: "sns", Region: c.Region, Account: c.Caller.Account, Resource: name}.String()
	if err := c.permitted(name, arn, "CreateTopic"); err != nil {
		return err
	}
	t := &topic{state: new(topicState)}
	t.ARN, t.Tags, t.Created = arn, tags, c.Turn.Now
	if err := t.setProtection(c.param("DataProtectionPolicy")); err != nil {
		return err
	}
	t.Attributes = make(map[string]string)
	if !c.s.complete(t) {
		return invalid("TopicArn")
	}
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		if err := c.s.setAttribute(t, k, attributes[k], c.Turn.Now); err != nil {
			return reasoned(err)
		}
	}
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	if have := c.s.topic(arn); have != nil {
		return c.sameTopic(have, t, tags)
	}
	if n := len(c.s.topics); n >= 100_000 {
		return refuse(403, "TopicLimitExceeded", "Maximum number of topics reached.")
	}
	c.s.mu.Lock()
	c.s.topics[arn] = t
	c.s.background(c.s.signer.load)
	c.s.mu.Unlock()
	c.s.openArchive(c.Turn, t)
	c.store([]broker.Definition{t.fact()}, element("TopicArn", arn))
	return nil
}

// reasoned is the form that errors of attributes have when they come with a
// creation.
func reasoned(err *aws.Error) *aws.Error {
	if text, ok := strings.CutPrefix(err.Message, "Invalid parameter: "); ok && err.Code == "InvalidParameter" && !strings.HasPrefix(text, "Filter policy scope") {
		return invalid("Attributes Reason: " + text)
	}
	return err
}

// sameTopic answers the creation of a topic that is there: it must not ask for
// anything else.
func (c *call) sameTopic(have, asked *topic, tags []tag) *aws.Error {
	shown := have.shown()
	if have.fifo && shown["FifoThroughputScope"] == "" {
		shown["FifoThroughputScope"] = "Topic"
	}
	for k, v := range asked.Attributes {
		if shown[k] != v {
			return invalid("Attributes Reason: Topic already exists with different attributes")
		}
	}
	if len(tags) > 0 {
		for _, t := range tags {
			if !slices.Contains(have.Tags, t) {
				return invalid("Tags Reason: Topic already exists with different tags")
			}
		}
	}
	c.store(nil, element("TopicArn", have.ARN))
	return nil
}

func (c *call) deleteTopic() *aws.Error {
	arn := c.param("TopicArn")
	if _, err := c.topicARN("TopicArn", arn); err != nil {
		return err
	}
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t := c.s.topic(arn)
	if t == nil {
		c.store(nil, "")
		return nil
	}
	if err := c.authorize(t, "DeleteTopic"); err != nil {
		return err
	}
	if t.Attributes["ArchivePolicy"] != "" {
		return refuse(400, "InvalidState", "Invalid state: Cannot delete a topic with an ArchivePolicy")
	}
	facts := []broker.Definition{{Kind: topicKind, Key: arn, Delete: true}}
	subs := t.subscriptions()
	c.s.mu.Lock()
	delete(c.s.topics, arn)
	for _, sub := range subs {
		c.s.forget(sub.ARN)
		facts = append(facts, broker.Definition{Kind: subKind, Key: sub.ARN, Delete: true})
	}
	c.s.mu.Unlock()
	t.state.mu.Lock()
	for key := range t.state.recent {
		facts = append(facts, broker.Definition{Kind: dedupKind, Key: dedupFact(arn, key), Delete: true})
	}
	t.state.recent, t.state.expiry = nil, nil
	t.state.mu.Unlock()
	for _, sub := range subs {
		c.s.remove(c.Turn, sub)
	}
	c.store(facts, "")
	return nil
}

// page cuts a sorted list: what comes after token, and the token of the rest.
func page[T any](list []T, token string, key func(T) string) (some []T, next string, ok bool) {
	start := 0
	if token != "" {
		raw, err := base64.StdEncoding.DecodeString(token)
		if err != nil {
			return nil, "", false
		}
		start, _ = slices.BinarySearchFunc(list, string(raw), func(e T, after string) int {
			if key(e) <= after {
				return -1
			}
			return 1
		})
	}
	list = list[start:]
	if len(list) > pageSize {
		list = list[:pageSize]
		next = base64.StdEncoding.EncodeToString([]byte(key(list[pageSize-1])))
	}
	return list, next, true
}

func nextToken(token string) string {
	if token == "" {
		return ""
	}
	return element("NextToken", token)
}

func (c *call) listTopics() *aws.Error {
	var arns []string
	for _, t := range c.s.allTopics() {
		if t.account == c.Caller.Account {
			arns = append(arns, t.ARN)
		}
	}
	slices.Sort(arns)
	some, next, ok := page(arns, c.Form.Get("NextToken"), func(s string) string { return s })
	if !ok {
		return invalid("NextToken")
	}
	var b strings.Builder
	for _, arn := range some {
		b.WriteString("<member>" + element("TopicArn", arn) + "</member>")
	}
	c.reply(c.Turn, "<Topics>"+b.String()+"</Topics>"+nextToken(next))
	return nil
}

func (c *call) getTopicAttributes() *aws.Error {
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "GetTopicAttributes")
	if err != nil {
		return err
	}
	a := t.shown()
	confirmed, pending := 0, 0
	for _, sub := range t.subscriptions() {
		if sub.Pending {
			pending++
		} else {
			confirmed++
		}
	}
	a["SubscriptionsConfirmed"], a["SubscriptionsPending"] = strconv.Itoa(confirmed), strconv.Itoa(pending)
	a["SubscriptionsDeleted"] = strconv.Itoa(t.Deleted)
	c.reply(c.Turn, attributeEntries("Attributes", a))
	return nil
}

func (c *call) setTopicAttributes() *aws.Error {
	name, value := c.param("AttributeName"), c.param("AttributeValue")
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "SetTopicAttributes")
	if err != nil {
		return err
	}
	changed := t.with()
	if err := c.s.setAttribute(changed, name, value, c.Turn.Now); err != nil {
		return err
	}
	c.replaceTopic(changed)
	c.s.openArchive(c.Turn, changed)
	c.store([]broker.Definition{changed.fact()}, "")
	return nil
}

// replaceTopic puts a changed topic in the place of the old one. s.changing is
// held.
func (c *call) replaceTopic(t *topic) {
	c.s.complete(t)
	c.s.mu.Lock()
	c.s.topics[t.ARN] = t
	c.s.mu.Unlock()
}

// setAttribute checks and sets one attribute.
func (s *Service) setAttribute(t *topic, name, value string, now int64) *aws.Error {
	switch name {
	case "DisplayName":
		if len(value) > 100 {
			return invalid("DisplayName")
		}
	case "Policy":
		if value == "" {
			delete(t.Attributes, name)
			return nil
		}
		if len(value) > 30_720 {
			return invalid("Policy Reason: too long")
		}
		if _, err := policy.Parse(value); err != nil {
			return invalid("Policy Error: " + strings.TrimPrefix(err.Error(), "policy: "))
		}
	case "DeliveryPolicy":
		if value == "" {
			delete(t.Attributes, name)
			return nil
		}
		_, shown, err := parseTopicDelivery(value)
		if err != nil {
			return invalid("DeliveryPolicy: " + err.Error())
		}
		value = shown
	case "TracingConfig":
		if value != "PassThrough" && value != "Active" {
			return invalid("TracingConfig Reason: Only PassThrough and Active are supported")
		}
	case "SignatureVersion":
		if value != "1" && value != "2" {
			return invalid("SignatureVersion")
		}
	case "KmsMasterKeyId":
	case "ContentBasedDeduplication":
		if !t.fifo || value != "true" && value != "false" {
			return invalid("AttributeName")
		}
	case "FifoThroughputScope":
		if !t.fifo {
			return invalid("AttributeName")
		}
		if value != "Topic" && value != "MessageGroup" {
			return invalid("FifoThroughputScope")
		}
	case "ArchivePolicy":
		return s.setArchive(t, value, now)
	default:
		if !feedback(name) {
			return invalid("AttributeName")
		}
		if strings.HasSuffix(name, "SampleRate") {
			if n, err := strconv.Atoi(value); err != nil || n < 0 || n > 100 {
				return invalid(name)
			}
		}
	}
	t.Attributes[name] = value
	return nil
}

// feedback reports whether name is one of the attributes of delivery status
// logging.
func feedback(name string) bool {
	for _, p := range []string{"HTTP", "Firehose", "Lambda", "Application", "SQS"} {
		switch rest, _ := strings.CutPrefix(name, p); rest {
		case "SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate", "FailureFeedbackRoleArn":
			return true
		}
	}
	return false
}

// tags reads the tags of a request.
func (c *call) tags() ([]tag, *aws.Error) {
	var list []tag
	for _, p := range c.Form.Map("Tags.member", "Key", "Value") {
		if p.Name == "" || len(p.Name) > 128 || len(p.Value) > 256 {
			return nil, invalid("Tags")
		}
		for _, have := range list {
			if have.Key == p.Name {
				return nil, invalid("Duplicated keys are not allowed.")
			}
		}
		list = append(list, tag{strings.Clone(p.Name), strings.Clone(p.Value)})
	}
	if len(list) > maxTags {
		return nil, refuse(400, "TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")
	}
	return list, nil
}

// tagged finds the topic that tags are about.
func (c *call) tagged(action string) (*topic, *aws.Error) {
	t, err := c.needTopic("ResourceArn", c.param("ResourceArn"), action)
	if err == errTopic {
		return nil, refuse(404, "ResourceNotFound", "Resource does not exist")
	}
	return t, err
}

func (c *call) tagResource() *aws.Error {
	tags, err := c.tags()
	if err != nil {
		return err
	}
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.tagged("TagResource")
	if err != nil {
		return err
	}
	changed := t.with()
	for _, n := range tags {
		if i := slices.IndexFunc(changed.Tags, func(h tag) bool { return h.Key == n.Key }); i >= 0 {
			changed.Tags[i] = n
		} else {
			changed.Tags = append(changed.Tags, n)
		}
	}
	if len(changed.Tags) > maxTags {
		return refuse(400, "TagLimitExceeded", "Could not complete request: tag quota of per resource exceeded")
	}
	c.replaceTopic(changed)
	c.store([]broker.Definition{changed.fact()}, empty)
	return nil
}

func (c *call) untagResource() *aws.Error {
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.tagged("UntagResource")
	if err != nil {
		return err
	}
	keys := c.Form.List("TagKeys.member")
	changed := t.with()
	changed.Tags = slices.DeleteFunc(changed.Tags, func(h tag) bool { return slices.Contains(keys, h.Key) })
	c.replaceTopic(changed)
	c.store([]broker.Definition{changed.fact()}, empty)
	return nil
}

func (c *call) listTags() *aws.Error {
	t, err := c.tagged("ListTagsForResource")
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, h := range t.Tags {
		b.WriteString("<member>" + element("Key", h.Key) + element("Value", h.Value) + "</member>")
	}
	c.reply(c.Turn, "<Tags>"+b.String()+"</Tags>")
	return nil
}

const maxDataProtection = 30_720

func (c *call) putDataProtection() *aws.Error {
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.needTopic("ResourceArn", c.param("ResourceArn"), "PutDataProtectionPolicy")
	if err != nil {
		return err
	}
	changed := t.with()
	if err := changed.setProtection(c.param("DataProtectionPolicy")); err != nil {
		return err
	}
	c.replaceTopic(changed)
	c.store([]broker.Definition{changed.fact()}, "")
	return nil
}

func (c *call) getDataProtection() *aws.Error {
	t, err := c.needTopic("ResourceArn", c.param("ResourceArn"), "GetDataProtectionPolicy")
	if err != nil {
		return err
	}
	c.reply(c.Turn, element("DataProtectionPolicy", t.DataProtection))
	return nil
}

// rawPolicy is a policy whose statements are kept as they are written.
type rawPolicy struct {
	Version   string
	ID        string `json:"Id,omitempty"`
	Statement []json.RawMessage
}

func (t *topic) rawPolicy() (rawPolicy, error) {
	var p rawPolicy
	err := json.Unmarshal([]byte(cmp.Or(t.Attributes["Policy"], defaultPolicy(t.ARN, t.account))), &p)
	return p, err
}

func sid(statement json.RawMessage) string {
	var s struct{ Sid string }
	_ = json.Unmarshal(statement, &s)
	return s.Sid
}

// grantable are the actions that a topic's policy may allow.
var grantable = []string{"Publish", "Subscribe", "Receive", "GetTopicAttributes", "SetTopicAttributes", "AddPermission", "RemovePermission",
	"DeleteTopic", "ListSubscriptionsByTopic"}

func (c *call) addPermission() *aws.Error {
	label := c.param("Label")
	accounts, names := c.Form.List("AWSAccountId.member"), c.Form.List("ActionName.member")
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "AddPermission")
	if err != nil {
		return err
	}
	p, bad := t.rawPolicy()
	if bad != nil {
		return invalid("Policy")
	}
	for _, s := range p.Statement {
		if sid(s) == label {
			return invalid("Statement already exists")
		}
	}
	if label == "" || len(accounts) == 0 || len(names) == 0 {
		return invalid("Policy statement must have a label, accounts and actions")
	}
	principals, granted := make([]string, len(accounts)), make([]string, len(names))
	for i, a := range accounts {
		if !aws.IsAccount(a) {
			return invalid("Policy Error: PrincipalNotFound")
		}
		principals[i] = "arn:" + aws.Partition(c.Region) + ":iam::" + a + ":root"
	}
	for i, n := range names {
		if !slices.Contains(grantable, n) {
			return invalid("Policy statement action out of service scope!")
		}
		granted[i] = "SNS:" + n
	}
	statement, _ := json.Marshal(struct {
		Sid       string
		Effect    string
		Principal map[string]any
		Action    any
		Resource  string
	}{label, "Allow", map[string]any{"AWS": oneOrMany(principals)}, oneOrMany(granted), t.ARN})
	p.Statement = append(p.Statement, statement)
	return c.storePolicy(t, p)
}

func oneOrMany(list []string) any {
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (c *call) storePolicy(t *topic, p rawPolicy) *aws.Error {
	changed := t.with()
	if len(p.Statement) == 0 {
		delete(changed.Attributes, "Policy")
	} else {
		text, _ := json.Marshal(p)
		changed.Attributes["Policy"] = string(text)
	}
	c.replaceTopic(changed)
	c.store([]broker.Definition{changed.fact()}, "")
	return nil
}

func (c *call) removePermission() *aws.Error {
	label := c.param("Label")
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "RemovePermission")
	if err != nil {
		return err
	}
	p, bad := t.rawPolicy()
	if bad != nil {
		return invalid("Policy")
	}
	p.Statement = slices.DeleteFunc(p.Statement, func(s json.RawMessage) bool { return sid(s) == label })
	return c.storePolicy(t, p)
}
