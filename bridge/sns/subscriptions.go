package sns

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/filter"
)

// tokenLife is how long a confirmation may take, in ms.
const tokenLife = 2 * 24 * 3600 * 1000

// maxFilterPolicies bounds the filter policies of a topic.
const maxFilterPolicies = 200

func (c *call) subscribe() *aws.Error {
	protocol, endpoint := c.param("Protocol"), c.param("Endpoint")
	attributes := c.attributes("Attributes")
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "Subscribe")
	if err != nil {
		return err
	}
	sub := &subscription{}
	sub.Topic, sub.Protocol, sub.Endpoint, sub.Owner, sub.Principal = t.ARN, protocol, endpoint, c.Caller.Account, c.Caller.ARN()
	sub.Created, sub.Authenticated, sub.fifo = c.Turn.Now, true, t.fifo
	sub.Attributes = make(map[string]string)
	if err := c.s.checkEndpoint(sub, t); err != nil {
		return err
	}
	// The scope decides what the policy may be.
	names := slices.SortedFunc(maps.Keys(attributes), func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	for _, name := range names {
		if err := c.s.setSubscription(sub, t, name, attributes[name]); err != nil {
			return reasoned(err)
		}
	}
	full := c.Form.Get("ReturnSubscriptionArn") == "true"
	for _, have := range t.subscriptions() {
		if have.Protocol == protocol && have.Endpoint == endpoint && have.Owner == sub.Owner {
			return c.subscribeAgain(have, sub, full)
		}
	}
	if err := c.s.roomFor(t, sub); err != nil {
		return err
	}
	sub.ARN = t.ARN + ":" + aws.NewUUID().String()
	if sub.Pending = confirms(protocol); sub.Pending {
		sub.Authenticated = false
		sub.Token, sub.TokenUntil = newToken(), c.Turn.Now+tokenLife
	}
	sub.derive()
	c.s.startReplay(sub)
	c.s.mu.Lock()
	c.s.keep(sub)
	c.s.relist(t)
	c.s.mu.Unlock()
	c.s.core.StoreFacts([]broker.Definition{sub.fact()}, nil)
	c.s.settle(c.Turn, sub, t, nil)
	if sub.Pending {
		go c.s.askConfirmation(sub, t)
	} else {
		c.s.runReplay(sub)
	}
	c.store(nil, element("SubscriptionArn", shownARN(sub, full)))
	return nil
}

// rank sorts FilterPolicyScope in front of FilterPolicy.
func rank(name string) string {
	if name == "FilterPolicyScope" {
		return ""
	}
	return name
}

func shownARN(sub *subscription, full bool) string {
	if sub.Pending && !full {
		return "pending confirmation"
	}
	return sub.ARN
}

// defaultOf has the values of attributes that were never set.
var defaultOf = map[string]string{"RawMessageDelivery": "false", "FilterPolicyScope": "MessageAttributes"}

// subscribeAgain answers a subscription that is there already.
func (c *call) subscribeAgain(have, want *subscription, full bool) *aws.Error {
	for name, value := range want.Attributes {
		if cmp.Or(have.Attributes[name], defaultOf[name]) != value {
			return invalid("Attributes Reason: Subscription already exists with different attributes")
		}
	}
	if have.Pending {
		t := c.s.topic(have.Topic)
		go c.s.askConfirmation(have, t)
	}
	c.store(nil, element("SubscriptionArn", shownARN(have, full)))
	return nil
}

// confirms reports whether endpoints of a protocol have to agree first.
func confirms(protocol string) bool {
	switch protocol {
	case "http", "https", "email", "email-json":
		return true
	}
	return false
}

// newToken makes a token that nobody can guess.
func newToken() string {
	raw := make([]byte, 144)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

// roomFor checks the quotas.
func (s *Service) roomFor(t *topic, sub *subscription) *aws.Error {
	filters := 0
	subs := t.subscriptions()
	for _, have := range subs {
		if have.Attributes["FilterPolicy"] != "" {
			filters++
		}
	}
	if sub.Attributes["FilterPolicy"] != "" && filters >= maxFilterPolicies {
		return refuse(403, "FilterPolicyLimitExceeded", "The number of filter polices in your AWS account exceeds the limit.")
	}
	if t.fifo && len(subs) >= 100 {
		return refuse(403, "SubscriptionLimitExceeded", "Maximum number of subscriptions per topic reached.")
	}
	return nil
}

// checkEndpoint checks that a protocol is known and its endpoint possible.
func (s *Service) checkEndpoint(sub *subscription, t *topic) *aws.Error {
	endpoint := sub.Endpoint
	switch sub.Protocol {
	case "sqs":
		a, _, ok := aws.ParseARN(endpoint)
		if !ok || a.Service != "sqs" || a.Resource == "" || !aws.IsAccount(a.Account) {
			return invalid("SQS endpoint ARN")
		}
		if isFIFO(a.Resource) && !t.fifo {
			return invalid("Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")
		}
		return nil
	case "http", "https":
		if !checkURL(endpoint, sub.Protocol) {
			return invalid("Endpoint must match the specified protocol")
		}
	case "email", "email-json":
		if !validMail(endpoint) {
			return invalid("Email address")
		}
	case "sms":
		if !validPhone(plainPhone(endpoint)) {
			return refuse(400, "InvalidParameter", "Invalid SMS endpoint: "+endpoint)
		}
	case "application":
		a, _, ok := aws.ParseARN(endpoint)
		if !ok || a.Service != "sns" || !strings.HasPrefix(a.Resource, "endpoint/") {
			return invalid("Application endpoint ARN")
		}
	case "lambda":
		a, _, ok := aws.ParseARN(endpoint)
		if !ok || a.Service != "lambda" {
			return invalid("Lambda endpoint ARN")
		}
	case "firehose":
		a, _, ok := aws.ParseARN(endpoint)
		if !ok || a.Service != "firehose" {
			return invalid("Firehose endpoint ARN")
		}
	default:
		return invalid("Amazon SNS does not support this protocol string: " + sub.Protocol)
	}
	if t.fifo {
		return invalid("Invalid parameter: Endpoint Reason: Please use FIFO SQS queue")
	}
	return nil
}

// setSubscription checks and sets one attribute.
func (s *Service) setSubscription(sub *subscription, t *topic, name, value string) *aws.Error {
	switch name {
	case "RawMessageDelivery":
		if lower := strings.ToLower(value); lower != "true" && lower != "false" {
			return invalid("RawMessageDelivery: Invalid value [" + value + "]. Must be true or false.")
		}
		value = strings.ToLower(value)
	case "FilterPolicyScope":
		if value != "MessageBody" && value != "MessageAttributes" {
			return invalid("FilterPolicyScope: Invalid value [" + value + "]. Please use either MessageBody or MessageAttributes")
		}
		if p := sub.Attributes["FilterPolicy"]; p != "" {
			if err := checkFilter(p, value); err != nil {
				return err
			}
		}
	case "FilterPolicy":
		if value == "" || strings.TrimSpace(value) == "{}" {
			delete(sub.Attributes, name)
			return nil
		}
		if err := checkFilter(value, sub.Attributes["FilterPolicyScope"]); err != nil {
			return err
		}
	case "RedrivePolicy":
		if value == "" {
			delete(sub.Attributes, name)
			return nil
		}
		if err := checkRedrive(value, sub, t); err != nil {
			return err
		}
	case "DeliveryPolicy":
		if value == "" {
			delete(sub.Attributes, name)
			return nil
		}
		// Any protocol takes one; it governs deliveries to web servers only.
		_, shown, err := parseDelivery(value)
		if err != nil {
			return invalid("DeliveryPolicy: " + err.Error())
		}
		value = shown
	case "SubscriptionRoleArn":
	case "ReplayPolicy":
		return s.setReplay(sub, t, value)
	default:
		return invalid("AttributeName")
	}
	sub.Attributes[name] = value
	return nil
}

func checkFilter(text, scope string) *aws.Error {
	of := filter.Attributes
	if scope == "MessageBody" {
		of = filter.Body
	}
	if len(text) > 256<<10 {
		return invalid("FilterPolicy: Filter policy is too long")
	}
	_, err := filter.Compile(text, of)
	switch err {
	case nil:
		return nil
	case filter.ErrNested:
		return invalid(err.Error())
	}
	return invalid("FilterPolicy: " + err.Error())
}

func checkRedrive(text string, sub *subscription, t *topic) *aws.Error {
	var r redrivePolicy
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		why := "Unexpected token"
		if _, compileErr := filter.Compile(text, filter.Body); compileErr != nil && strings.HasPrefix(compileErr.Error(), "failed to parse JSON.") {
			why = strings.TrimPrefix(compileErr.Error(), "failed to parse JSON. ")
		}
		return invalid("RedrivePolicy: failed to parse JSON. " + why)
	}
	a, _, ok := aws.ParseARN(r.DeadLetterTargetARN)
	if !ok || a.Service != "sqs" {
		return invalid("RedrivePolicy: deadLetterTargetArn is an invalid arn")
	}
	if t.fifo && isFIFO(sub.Endpoint) && !isFIFO(a.Resource) {
		return invalid("RedrivePolicy: must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.")
	}
	if !t.fifo && isFIFO(a.Resource) {
		return invalid("RedrivePolicy: must use a standard queue as DLQ for a subscription to a standard Topic.")
	}
	return nil
}

func (c *call) confirmSubscription() *aws.Error {
	arn, token := c.param("TopicArn"), c.param("Token")
	locked := strings.EqualFold(c.Form.Get("AuthenticateOnUnsubscribe"), "true")
	a, _, ok := aws.ParseARN(arn)
	if !ok || a.Service != "sns" {
		return invalid("Topic")
	}
	if _, err := hex.DecodeString(token); err != nil || token == "" {
		return refuse(400, "InvalidParameter", "Invalid token")
	}
	s := c.s
	s.changing.Lock()
	defer s.changing.Unlock()
	sub, t := s.byToken(token)
	switch {
	case sub == nil || sub.Pending && sub.TokenUntil < c.Turn.Now:
		return invalid("Token")
	case a.Region != regionOf(sub.Topic):
		return invalid("Topic") // any other name will do: the token says which topic it is
	}
	if sub.Pending {
		changed := sub.with()
		changed.Pending, changed.Authenticated, changed.Locked = false, c.signed(), locked
		c.replaceSubscription(changed, t)
		s.runReplay(changed)
	}
	c.later()
	c.store(nil, element("SubscriptionArn", sub.ARN))
	return nil
}

func regionOf(arn string) string {
	a, _, _ := aws.ParseARN(arn)
	return a.Region
}

// byToken finds the subscription that a token confirms.
func (s *Service) byToken(token string) (*subscription, *topic) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sub := s.subs[s.tokens[token]]
	if sub == nil || s.topics[sub.Topic] == nil {
		return nil, nil
	}
	return sub, s.topics[sub.Topic]
}

// keep puts a subscription, new or changed, where it is found by name and token;
// forget takes it away. s.mu is held, or nobody else is there yet.
func (s *Service) keep(sub *subscription) {
	s.subs[sub.ARN] = sub
	if sub.Token != "" {
		s.tokens[sub.Token] = sub.ARN
	}
}

func (s *Service) forget(arn string) {
	if sub := s.subs[arn]; sub != nil {
		delete(s.tokens, sub.Token)
		delete(s.subs, arn)
	}
}

// replaceSubscription puts a changed subscription in the place of the old one.
// s.changing is held.
func (c *call) replaceSubscription(sub *subscription, t *topic) {
	c.s.swap(c.Turn, sub, t)
}

func (s *Service) swap(turn *broker.Turn, sub *subscription, t *topic) {
	sub.derive()
	s.mu.Lock()
	s.keep(sub)
	s.relist(t)
	s.mu.Unlock()
	s.core.StoreFacts([]broker.Definition{sub.fact()}, nil)
	s.settle(turn, sub, t, nil)
}

func (c *call) unsubscribe() *aws.Error {
	arn := c.param("SubscriptionArn")
	if arn == "" && !c.Form.Has("SubscriptionArn") {
		return invalid("SubscriptionArn Reason: no value for required parameter")
	}
	parts := strings.Split(arn, ":")
	if len(parts) < 6 {
		return shortARN("SubscriptionArn", len(parts))
	}
	if len(parts) == 6 {
		return invalid("SubscriptionId")
	}
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	sub, t := c.s.subscription(arn)
	if sub == nil {
		c.later()
		c.store(nil, "")
		return nil
	}
	switch {
	case !c.signed() && sub.Locked:
		return refuse(403, "AuthorizationError", "The subscription can only be deleted by a request that is signed by its owner.")
	case c.Caller != nil && !c.Caller.System() && c.Caller.Account != sub.Owner && c.Caller.Account != t.account:
		return denied(c.Caller.ARN(), "Unsubscribe", t.ARN)
	}
	changed := t.with()
	changed.Deleted++
	c.s.complete(changed)
	c.s.mu.Lock()
	c.s.forget(arn)
	c.s.topics[t.ARN] = changed
	c.s.relist(changed)
	c.s.mu.Unlock()
	c.s.remove(c.Turn, sub)
	if !sub.Pending && (sub.Protocol == "http" || sub.Protocol == "https") {
		c.s.errand(func() { c.s.sayGoodbye(sub, t) })
	}
	c.later()
	c.store([]broker.Definition{{Kind: subKind, Key: arn, Delete: true}, changed.fact()}, "")
	return nil
}

func subscriptionMember(sub *subscription) string {
	arn := sub.ARN
	if sub.Pending {
		arn = "PendingConfirmation"
	}
	return "<member>" + element("SubscriptionArn", arn) + element("Owner", sub.Owner) + element("Protocol", sub.Protocol) +
		element("Endpoint", sub.Endpoint) + element("TopicArn", sub.Topic) + "</member>"
}

func (c *call) listing(list []*subscription) *aws.Error {
	slices.SortFunc(list, func(a, b *subscription) int { return strings.Compare(a.ARN, b.ARN) })
	some, next, ok := page(list, c.Form.Get("NextToken"), func(s *subscription) string { return s.ARN })
	if !ok {
		return invalid("NextToken")
	}
	var b strings.Builder
	for _, sub := range some {
		b.WriteString(subscriptionMember(sub))
	}
	c.reply(c.Turn, "<Subscriptions>"+b.String()+"</Subscriptions>"+nextToken(next))
	return nil
}

func (c *call) listSubscriptions() *aws.Error {
	var list []*subscription
	c.s.mu.RLock()
	for _, sub := range c.s.subs {
		if sub.Owner == c.Caller.Account {
			list = append(list, sub)
		}
	}
	c.s.mu.RUnlock()
	return c.listing(list)
}

func (c *call) listSubscriptionsByTopic() *aws.Error {
	t, err := c.needTopic("TopicArn", c.param("TopicArn"), "ListSubscriptionsByTopic")
	if err != nil {
		return err
	}
	return c.listing(slices.Clone(t.subscriptions()))
}

// needSubscription finds a subscription that the caller may look at or change.
func (c *call) needSubscription(action string) (*subscription, *topic, *aws.Error) {
	arn := c.param("SubscriptionArn")
	if _, n, _ := aws.ParseARN(arn); n < 6 {
		return nil, nil, shortARN("SubscriptionArn", n)
	}
	sub, t := c.s.subscription(arn)
	if sub == nil {
		return nil, nil, errSubscription
	}
	if a := c.Caller.Account; a != sub.Owner && a != t.account && !c.Caller.System() {
		return nil, nil, denied(c.Caller.ARN(), action, t.ARN)
	}
	return sub, t, nil
}

func (c *call) getSubscriptionAttributes() *aws.Error {
	sub, t, err := c.needSubscription("GetSubscriptionAttributes")
	if err != nil {
		return err
	}
	c.reply(c.Turn, attributeEntries("Attributes", sub.shown(t)))
	return nil
}

func (c *call) setSubscriptionAttributes() *aws.Error {
	name, value := c.param("AttributeName"), c.param("AttributeValue")
	c.s.changing.Lock()
	defer c.s.changing.Unlock()
	sub, t, err := c.needSubscription("SetSubscriptionAttributes")
	if err != nil {
		return err
	}
	changed := sub.with()
	if err := c.s.setSubscription(changed, t, name, value); err != nil {
		return err
	}
	if name == "FilterPolicy" && sub.Attributes["FilterPolicy"] == "" {
		if err := c.s.roomFor(t, changed); err != nil && err.Code == "FilterPolicyLimitExceeded" {
			return err
		}
	}
	if name == "ReplayPolicy" {
		c.s.startReplay(changed)
	}
	c.replaceSubscription(changed, t)
	if name == "ReplayPolicy" {
		c.s.runReplay(changed)
	}
	c.store(nil, "")
	return nil
}

// confirmURL is the link that confirms a subscription. Names in links are not
// escaped: receivers compare them with what they know.
func (s *Service) confirmURL(sub *subscription) string {
	return s.base() + "/?Action=ConfirmSubscription&TopicArn=" + sub.Topic + "&Token=" + sub.Token
}

// askConfirmation sends an endpoint the request to confirm, up to four times. It
// takes a minute or two where nobody answers.
func (s *Service) askConfirmation(sub *subscription, t *topic) {
	if !s.mayAsk(sub.ARN) {
		return
	}
	defer s.asked(sub.ARN)
	link := s.confirmURL(sub)
	text := "You have chosen to subscribe to the topic " + t.ARN + ".\nTo confirm the subscription, visit the SubscribeURL included in this message."
	body, id := s.handshake("SubscriptionConfirmation", sub, t, text, link)
	for attempt := range 4 {
		if attempt > 0 && !s.sleep(attempt) {
			return
		}
		var failed *failure
		s.calling(func() {
			switch sub.Protocol {
			case "http", "https":
				failed = s.post(sub.Endpoint, body, handshakeHeader("SubscriptionConfirmation", id, t, sub, false))
			case "email-json":
				failed = s.sendMail(sub.Endpoint, "AWS Notification - Subscription Confirmation", string(body))
			default:
				failed = s.sendMail(sub.Endpoint, "AWS Notification - Subscription Confirmation",
					"You have chosen to subscribe to the topic:\n"+t.ARN+"\n\nTo confirm this subscription, click or visit the link below:\n"+link+"\n")
			}
		})
		if failed == nil {
			return
		}
		s.log.Warn("subscription confirmation not delivered", "subscription", sub.ARN, "attempt", attempt+1, "error", failed)
		if failed.final {
			return
		}
	}
}

// maxAsking is how many requests to confirm one subscription may be under way:
// each time that somebody subscribes again begins one.
const maxAsking = 4

func (s *Service) mayAsk(arn string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[arn] == maxAsking {
		return false
	}
	s.asking[arn]++
	return true
}

func (s *Service) asked(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asking[arn]--; s.asking[arn] == 0 {
		delete(s.asking, arn)
	}
}

// sayGoodbye tells an endpoint that its subscription has ended.
func (s *Service) sayGoodbye(sub *subscription, t *topic) {
	sub = sub.with()
	sub.Token = newToken() // the old one has done its work
	link := s.confirmURL(sub)
	text := "You have chosen to deactivate subscription " + sub.ARN + ".\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
	body, id := s.handshake("UnsubscribeConfirmation", sub, t, text, link)
	if failed := s.post(sub.Endpoint, body, handshakeHeader("UnsubscribeConfirmation", id, t, sub, true)); failed != nil {
		s.log.Warn("unsubscribe confirmation not delivered", "subscription", sub.ARN, "error", failed)
	}
}

func handshakeHeader(kind, id string, t *topic, sub *subscription, named bool) map[string]string {
	h := map[string]string{
		"x-amz-sns-message-type": kind, "x-amz-sns-message-id": id, "x-amz-sns-topic-arn": t.ARN, "Content-Type": defaultContentType,
	}
	if named {
		h["x-amz-sns-subscription-arn"] = sub.ARN
	}
	return h
}

// handshake is the signed body of a confirmation.
func (s *Service) handshake(kind string, sub *subscription, t *topic, text, link string) (body []byte, id string) {
	id = aws.NewUUID().String()
	at := timestamp(s.opt.Now().UnixMilli())
	version := t.signatureVersion()
	var o object
	o.field("Type", kind)
	o.field("MessageId", id)
	o.field("Token", sub.Token)
	o.field("TopicArn", t.ARN)
	o.field("Message", text)
	o.field("SubscribeURL", link)
	o.field("Timestamp", at)
	o.field("SignatureVersion", version)
	o.field("Signature", s.signer.sign(version, signedText("Message", text, "MessageId", id, "SubscribeURL", link, "Timestamp", at,
		"Token", sub.Token, "TopicArn", t.ARN, "Type", kind)))
	o.field("SigningCertURL", s.certURL())
	return o.end(), id
}

// expirePending removes subscriptions that nobody confirmed.
func (s *Service) expirePending(turn *broker.Turn) {
	s.mu.RLock()
	var old []string
	for arn, sub := range s.subs {
		if sub.Pending && sub.TokenUntil < turn.Now {
			old = append(old, arn)
		}
	}
	s.mu.RUnlock()
	for _, arn := range old {
		s.changing.Lock()
		sub, t := s.subscription(arn)
		if sub != nil && sub.Pending {
			s.mu.Lock()
			s.forget(arn)
			s.relist(t)
			s.mu.Unlock()
			s.core.StoreFacts([]broker.Definition{{Kind: subKind, Key: arn, Delete: true}}, nil)
		}
		s.changing.Unlock()
	}
}
