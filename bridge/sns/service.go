package sns

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/bridge/aws/policy"
	"github.com/hermodmq/hermod/bridge/endpoint"
	"github.com/hermodmq/hermod/broker"
)

// The service's version and XML namespace, for endpoint.Register.
const (
	Version   = "2010-03-31"
	Namespace = "http://sns.amazonaws.com/doc/2010-03-31/"
)

// Queues is what the service has to know of SQS queues.
type Queues interface {
	// Resolve finds a queue by account and name.
	Resolve(account, name string) (*broker.Queue, bool)
	// Allows reports whether a topic of an account may send to the queue with
	// an ARN.
	Allows(queue, topic, account string) bool
	// Delay is for how many seconds the queue with an ARN holds messages back.
	Delay(queue string) int64
	// Sequence is the number of the next message of a FIFO queue.
	Sequence(now int64) uint64
}

// HTTPOptions say how endpoints are called.
type HTTPOptions struct {
	Timeout time.Duration  // of a whole attempt; default 15 s
	Allow   []netip.Prefix // addresses that endpoints may have; empty: all
	Deny    []netip.Prefix // wins over Allow
	Roots   *x509.CertPool // nil: the system's
	Workers int            // attempts at a time, of all subscriptions; default 256
}

// Options configure the service.
type Options struct {
	Queues  Queues
	BaseURL string // by which endpoints reach us, in confirmations and notifications
	HTTP    HTTPOptions
	Mail    MailOptions
	// Webhooks are the URLs that serve the protocols lambda, firehose, sms and
	// application; {endpoint} in them becomes the endpoint.
	Webhooks map[string]string
	// SignQueues has notifications in SQS queues signed, which takes about a
	// millisecond per message.
	SignQueues bool
	// Retention is how long a message without a dead-letter queue is kept when
	// its delivery policy is at an end, tried every Parked. Zero drops it then,
	// as AWS does.
	Retention time.Duration
	Parked    time.Duration // default 10 min

	// Turn makes a turn for a goroutine; the function it returns ends it.
	Turn   func() (*broker.Turn, func())
	Now    func() time.Time
	Logger *slog.Logger
}

// Service is Amazon SNS. It implements endpoint.Service.
type Service struct {
	opt      Options
	core     *broker.Broker
	endpoint *endpoint.Endpoint
	log      *slog.Logger
	signer   *signer
	client   *http.Client
	context  context.Context
	cancel   context.CancelFunc
	workers  chan struct{} // bounds deliveries
	hands    chan struct{} // bounds background
	stats    counters
	places   places
	archives archives
	learned  atomic.Pointer[string] // see base

	mu      sync.RWMutex
	topics  map[string]*topic        // by ARN
	subs    map[string]*subscription // by ARN
	tokens  map[string]string        // ARNs by the token that confirms them
	asking  map[string]int           // requests to confirm that are under way, by ARN
	retried map[string]retryRecord   // of before the start, until asked for
	push    pushStore

	changing sync.Mutex // serialises changes of topics and subscriptions
}

// counters are what happened since the start.
type counters struct {
	published, delivered, failed, dead, dropped atomic.Int64
}

// Stats is a snapshot of what the service did since the start and has.
type Stats struct {
	Topics, Subscriptions                                 int
	Published, Delivered, Failed, DeadLettered, Discarded int64
}

// Stats returns a snapshot.
func (s *Service) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{
		Topics: len(s.topics), Subscriptions: len(s.subs), Published: s.stats.published.Load(), Delivered: s.stats.delivered.Load(),
		Failed: s.stats.failed.Load(), DeadLettered: s.stats.dead.Load(), Discarded: s.stats.dropped.Load(),
	}
}

// New makes the service and recovers its topics and subscriptions. It must be
// called before the first client; Start begins deliveries.
func New(e *endpoint.Endpoint, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.HTTP.Timeout <= 0 {
		o.HTTP.Timeout = 15 * time.Second
	}
	if o.HTTP.Workers <= 0 {
		o.HTTP.Workers = 256
	}
	if o.Parked <= 0 {
		o.Parked = 10 * time.Minute
	}
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	s := &Service{
		opt: o, core: e.Core(), endpoint: e, log: o.Logger, workers: make(chan struct{}, o.HTTP.Workers), hands: make(chan struct{}, 64),
		topics: make(map[string]*topic), subs: make(map[string]*subscription), tokens: make(map[string]string), asking: make(map[string]int), retried: make(map[string]retryRecord),
	}
	s.context, s.cancel = context.WithCancel(context.Background())
	s.client = newClient(&s.opt.HTTP)
	s.signer = newSigner(s.core, e.Region(), o.Now)
	s.places.of = make(map[string]*place)
	s.recoverTopics()
	s.recoverSubscriptions()
	s.recoverRetries()
	s.recoverDedup()
	s.push.recover(s.core)
	s.core.SetFormer(s.form)
	return s
}

func (s *Service) recoverTopics() {
	for _, d := range s.core.TakeFacts(topicKind) {
		t := &topic{state: new(topicState)}
		if err := json.Unmarshal(d.Value, &t.topicRecord); err != nil || !s.complete(t) {
			s.log.Error("stored topic cannot be used", "topic", d.Key, "error", err)
			continue
		}
		if err := t.setProtection(t.DataProtection); err != nil { // of an older program, which took anything
			s.log.Error("stored data protection policy is not in force: set another", "topic", t.ARN, "error", err)
		}
		s.topics[t.ARN] = t
	}
}

// complete computes what follows from a topic's record; false if its account
// has no virtual host any more.
func (s *Service) complete(t *topic) bool {
	a, _, ok := aws.ParseARN(t.ARN)
	if !ok {
		return false
	}
	t.name, t.account, t.vhost = a.Resource, a.Account, s.endpoint.VHostOf(a.Account)
	t.fifo = isFIFO(t.name)
	t.policy = nil
	if p := t.Attributes["Policy"]; p != "" {
		t.policy, _ = policy.Parse(p)
	}
	return t.vhost != nil
}

func (s *Service) recoverSubscriptions() {
	for _, d := range s.core.TakeFacts(subKind) {
		sub := new(subscription)
		err := json.Unmarshal(d.Value, &sub.subscriptionRecord)
		if err != nil || s.topics[sub.Topic] == nil || !strings.HasPrefix(sub.ARN, sub.Topic+":") {
			s.log.Error("stored subscription cannot be used", "subscription", d.Key, "error", err)
			continue
		}
		sub.derive()
		s.keep(sub)
	}
	for _, t := range s.topics {
		s.relist(t)
	}
}

// relist recomputes a topic's list of subscriptions. s.mu is held, or nobody
// else is there yet.
func (s *Service) relist(t *topic) {
	var list []*subscription
	for _, sub := range s.subs {
		if sub.Topic == t.ARN {
			list = append(list, sub)
		}
	}
	slices.SortFunc(list, bySeniority)
	t.state.subs.Store(&list)
}

func bySeniority(a, b *subscription) int {
	if a.Created != b.Created {
		return int(min(max(a.Created-b.Created, -1), 1))
	}
	return strings.Compare(a.ARN, b.ARN)
}

// Start puts all subscriptions in place and begins to deliver.
func (s *Service) Start(t *broker.Turn) {
	for _, topic := range s.allTopics() {
		for _, sub := range topic.subscriptions() {
			s.settle(t, sub, topic, nil)
			s.leftOver(t, sub, topic)
		}
		s.openArchive(t, topic)
	}
	for _, account := range s.endpoint.Accounts() {
		if v := s.endpoint.VHostOf(account); v != nil {
			s.sweep(t, v)
		}
	}
	s.resumeReplays()
	if len(s.allTopics()) > 0 {
		s.background(s.signer.load)
	}
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		go s.signer.work(s.context.Done())
	}
}

// leftOver has a courier deliver what a hidden queue still holds of a
// subscription that goes straight into its queue again.
func (s *Service) leftOver(t *broker.Turn, sub *subscription, topic *topic) {
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	p := s.places.of[sub.ARN]
	if p == nil || p.courier != nil || topic.vhost.Queue(hiddenName(sub)) == nil {
		return
	}
	c, err := s.openCourier(t, sub.ARN, topic.vhost, hiddenName(sub))
	if err != nil {
		s.log.Error("hidden queue cannot be read", "subscription", sub.ARN, "error", err)
		return
	}
	p.courier = c
}

// Close stops deliveries. What is not delivered is when the broker starts
// again.
func (s *Service) Close() error {
	s.cancel()
	t, end := s.opt.Turn()
	defer end()
	s.places.mu.Lock()
	var couriers []*courier
	for _, p := range s.places.of {
		if p.courier != nil {
			couriers = append(couriers, p.courier)
		}
	}
	s.places.mu.Unlock()
	for _, c := range couriers {
		c.close(t)
	}
	return nil
}

// Tick does what happens by itself: forgetting deduplication ids, following
// queues that come and go. It is called a few times a second from one
// goroutine.
func (s *Service) Tick(t *broker.Turn) {
	for _, topic := range s.allTopics() {
		s.forgetIDs(t, topic)
		for _, sub := range topic.subscriptions() {
			if s.stray(sub, topic) {
				s.settle(t, sub, topic, nil)
			}
		}
	}
	s.expirePending(t)
	s.retire(t)
}

func (s *Service) allTopics() []*topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*topic, 0, len(s.topics))
	for _, t := range s.topics {
		list = append(list, t)
	}
	return list
}

func (s *Service) topic(arn string) *topic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.topics[arn]
}

// subscription finds a subscription and its topic; nil, nil if it is gone.
func (s *Service) subscription(arn string) (*subscription, *topic) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	sub := s.subs[arn]
	if sub == nil || s.topics[sub.Topic] == nil {
		return nil, nil
	}
	return sub, s.topics[sub.Topic]
}

// background runs f on a goroutine of its own, of which there are few: whoever
// comes then waits, not in line. f computes and stores; what waits for endpoints
// is an errand, or publishers would wait for them, too.
func (s *Service) background(f func()) {
	go func() {
		s.hands <- struct{}{}
		defer func() { <-s.hands }()
		f()
	}()
}

// errand runs f, which calls endpoints, beside the deliveries.
func (s *Service) errand(f func()) {
	go s.calling(f)
}

// calling runs f when there is room for one more call of an endpoint.
func (s *Service) calling(f func()) {
	s.workers <- struct{}{}
	defer func() { <-s.workers }()
	f()
}

// Anonymous implements endpoint.Anonymous.
func (s *Service) Anonymous(action string) bool {
	return action == "ConfirmSubscription" || action == "Unsubscribe"
}

// ServePage implements endpoint.Pager: the certificate.
func (s *Service) ServePage(c *endpoint.Call) bool {
	if !strings.HasPrefix(c.Path, "/SimpleNotificationService-") {
		return false
	}
	if c.Path != s.signer.certPath() {
		return false
	}
	c.ReplyWith(c.Turn, 200, "application/x-pem-file", s.signer.cert)
	return true
}

// call is a call with what all actions need.
type call struct {
	*endpoint.Call
	s *Service
}

// Serve implements endpoint.Service.
func (s *Service) Serve(c *endpoint.Call) {
	action := actions[c.Action]
	if action == nil {
		c.Fail(c.Turn, refuse(400, "InvalidAction", "The action "+strings.Clone(c.Action)+" is not valid for this endpoint."))
		return
	}
	if s.opt.BaseURL == "" && c.Caller != nil && s.learned.Load() == nil {
		base := strings.Clone(c.BaseURL())
		s.learned.CompareAndSwap(nil, &base)
	}
	x := &call{c, s}
	if err := action(x); err != nil {
		c.Fail(c.Turn, err)
	}
}

// actions are the actions of the API. An action that returns nil has answered,
// or will.
var actions map[string]func(*call) *aws.Error

func init() {
	actions = map[string]func(*call) *aws.Error{
		"CreateTopic": (*call).createTopic, "DeleteTopic": (*call).deleteTopic, "ListTopics": (*call).listTopics,
		"GetTopicAttributes": (*call).getTopicAttributes, "SetTopicAttributes": (*call).setTopicAttributes,
		"AddPermission": (*call).addPermission, "RemovePermission": (*call).removePermission,
		"PutDataProtectionPolicy": (*call).putDataProtection, "GetDataProtectionPolicy": (*call).getDataProtection,
		"TagResource": (*call).tagResource, "UntagResource": (*call).untagResource, "ListTagsForResource": (*call).listTags,
		"Subscribe": (*call).subscribe, "ConfirmSubscription": (*call).confirmSubscription, "Unsubscribe": (*call).unsubscribe,
		"ListSubscriptions": (*call).listSubscriptions, "ListSubscriptionsByTopic": (*call).listSubscriptionsByTopic,
		"GetSubscriptionAttributes": (*call).getSubscriptionAttributes, "SetSubscriptionAttributes": (*call).setSubscriptionAttributes,
		"Publish": (*call).publish, "PublishBatch": (*call).publishBatch,

		"CreatePlatformApplication": (*call).createPlatformApplication, "DeletePlatformApplication": (*call).deletePlatformApplication,
		"ListPlatformApplications": (*call).listPlatformApplications, "GetPlatformApplicationAttributes": (*call).getPlatformApplication,
		"SetPlatformApplicationAttributes": (*call).setPlatformApplication, "CreatePlatformEndpoint": (*call).createPlatformEndpoint,
		"DeleteEndpoint": (*call).deleteEndpoint, "GetEndpointAttributes": (*call).getEndpoint, "SetEndpointAttributes": (*call).setEndpoint,
		"ListEndpointsByPlatformApplication": (*call).listEndpoints,
		"GetSMSAttributes":                   (*call).getSMSAttributes, "SetSMSAttributes": (*call).setSMSAttributes,
		"CheckIfPhoneNumberIsOptedOut": (*call).checkOptedOut, "OptInPhoneNumber": (*call).optIn, "ListPhoneNumbersOptedOut": (*call).listOptedOut,
		"ListOriginationNumbers": (*call).listOriginationNumbers, "GetSMSSandboxAccountStatus": (*call).sandboxStatus,
		"CreateSMSSandboxPhoneNumber": (*call).sandboxCreate, "DeleteSMSSandboxPhoneNumber": (*call).sandboxDelete,
		"VerifySMSSandboxPhoneNumber": (*call).sandboxVerify, "ListSMSSandboxPhoneNumbers": (*call).sandboxList,
	}
}

const contentType = "text/xml"

// reply answers with the XML of a result; empty for actions without one.
func (c *call) reply(t *broker.Turn, result string) {
	c.ReplyWith(t, 200, contentType, answer(c.Action, c.RequestID, result))
}

func answer(action, request, result string) []byte {
	b := make([]byte, 0, len(result)+300)
	b = append(append(append(b, "<?xml version=\"1.0\"?>\n<"...), action...), `Response xmlns="`+Namespace+`">`...)
	if result != "" {
		b = append(append(append(b, '<'), action...), "Result>"...)
		b = append(b, result...)
		b = append(append(append(b, "</"...), action...), "Result>"...)
	}
	b = append(append(append(b, "<ResponseMetadata><RequestId>"...), request...), "</RequestId></ResponseMetadata></"...)
	return append(append(b, action...), "Response>"...)
}

// empty is the result of actions that have one without members.
const empty = "\n"

// store stores facts and answers when they are durable.
func (c *call) store(facts []broker.Definition, result string) {
	c.later()
	c.s.core.StoreFacts(facts, func(t *broker.Turn) { c.reply(t, result) })
}

// later keeps what the answer needs of the request beyond Serve.
func (c *call) later() { c.Action = strings.Clone(c.Action) }

func element(name, value string) string {
	return "<" + name + ">" + string(aws.AppendXMLText(nil, value)) + "</" + name + ">"
}

// attributeEntries renders a map of attributes, sorted by name.
func attributeEntries(name string, a map[string]string) string {
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	b.WriteString("<" + name + ">")
	for _, k := range keys {
		b.WriteString("<entry>" + element("key", k) + element("value", a[k]) + "</entry>")
	}
	b.WriteString("</" + name + ">")
	return b.String()
}

// attributes reads a map of the request; the strings are copies.
func (c *call) attributes(prefix string) map[string]string {
	m := make(map[string]string)
	for _, p := range c.Form.Map(prefix+".entry", "key", "value") {
		m[strings.Clone(p.Name)] = strings.Clone(p.Value)
	}
	return m
}

// param returns a copy of a parameter.
func (c *call) param(name string) string { return strings.Clone(c.Form.Get(name)) }
