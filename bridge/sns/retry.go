package sns

import (
	"encoding/json"
	"errors"
	"math"
	"time"
)

// deliveryPolicy says how HTTP endpoints are tried. Delays are in seconds.
type deliveryPolicy struct {
	retries  retryPolicy
	throttle int    // deliveries a second; 0: no bound
	content  string // Content-Type; "" is the default
	locked   bool   // disableSubscriptionOverrides
	own      policyParts
}

// policyParts says which parts a policy sets itself; the others are those of the
// topic, or the defaults.
type policyParts struct{ retries, throttle, content bool }

type retryPolicy struct {
	MinDelay       int    `json:"minDelayTarget"`
	MaxDelay       int    `json:"maxDelayTarget"`
	Retries        int    `json:"numRetries"`
	MaxDelayNumber int    `json:"numMaxDelayRetries"`
	NoDelayNumber  int    `json:"numNoDelayRetries"`
	MinDelayNumber int    `json:"numMinDelayRetries"`
	Backoff        string `json:"backoffFunction"`
}

// defaultRetries are those of HTTP endpoints.
var defaultRetries = retryPolicy{MinDelay: 20, MaxDelay: 20, Retries: 3, Backoff: "linear"}

// managedRetries are those of endpoints within the service: SQS queues and the
// webhooks of lambda and firehose; peopleRetries those of mail, SMS and push.
var (
	managedRetries = retryPolicy{MinDelay: 1, MaxDelay: 20, Retries: 100_015, NoDelayNumber: 3, MinDelayNumber: 2, MaxDelayNumber: 100_000, Backoff: "exponential"}
	peopleRetries  = retryPolicy{MinDelay: 10, MaxDelay: 600, Retries: 50, MinDelayNumber: 2, MaxDelayNumber: 38, Backoff: "exponential"}
)

// delay is how long to wait before the n-th retry, from 1; false if there is
// none any more. The phases: at once, at the minimal delay, backing off, at
// the maximal delay.
func (p *retryPolicy) delay(n int) (time.Duration, bool) {
	if n > p.Retries {
		return 0, false
	}
	if n -= p.NoDelayNumber; n <= 0 {
		return 0, true
	}
	low, high := float64(p.MinDelay), float64(p.MaxDelay)
	if n -= p.MinDelayNumber; n <= 0 {
		return seconds(low), true
	}
	steps := p.Retries - p.NoDelayNumber - p.MinDelayNumber - p.MaxDelayNumber
	if n > steps {
		return seconds(high), true
	}
	return seconds(backoff(p.Backoff, low, high, n, steps)), true
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// backoff is the n-th of steps delays that grow from low to high.
func backoff(function string, low, high float64, n, steps int) float64 {
	i, of := float64(n), float64(steps)
	switch function {
	case "arithmetic": // the differences grow by the same amount
		return low + (high-low)*i*(i+1)/(of*(of+1))
	case "geometric": // each is a multiple of the one before
		return low * math.Pow(high/low, i/of)
	case "exponential": // the differences double
		return low + (high-low)*(math.Exp2(i)-1)/(math.Exp2(of)-1)
	}
	return low + (high-low)*i/of
}

// policyJSON is the policy of a subscription. What is not set is shown as null.
type policyJSON struct {
	Healthy    *retryJSON    `json:"healthyRetryPolicy"`
	Sickly     *retryJSON    `json:"sicklyRetryPolicy"` // of no effect, on AWS as here
	Throttle   *throttleJSON `json:"throttlePolicy"`
	Request    *requestJSON  `json:"requestPolicy"`
	Guaranteed bool          `json:"guaranteed"`
}

// topicPolicyJSON is the policy of a topic. What is not set is not shown.
type topicPolicyJSON struct {
	HTTP *httpJSON `json:"http"`
}

// retryJSON is a retryPolicy as it is written, some of it or all.
type retryJSON struct {
	MinDelay       *int    `json:"minDelayTarget,omitempty"`
	MaxDelay       *int    `json:"maxDelayTarget,omitempty"`
	Retries        *int    `json:"numRetries,omitempty"`
	MaxDelayNumber *int    `json:"numMaxDelayRetries,omitempty"`
	NoDelayNumber  *int    `json:"numNoDelayRetries,omitempty"`
	MinDelayNumber *int    `json:"numMinDelayRetries,omitempty"`
	Backoff        *string `json:"backoffFunction,omitempty"`
}

// whole fills in what is not written.
func (r *retryJSON) whole() retryPolicy {
	p := defaultRetries
	for _, n := range []struct{ to, from *int }{
		{&p.MinDelay, r.MinDelay}, {&p.MaxDelay, r.MaxDelay}, {&p.Retries, r.Retries}, {&p.MaxDelayNumber, r.MaxDelayNumber},
		{&p.NoDelayNumber, r.NoDelayNumber}, {&p.MinDelayNumber, r.MinDelayNumber},
	} {
		if n.from != nil {
			*n.to = *n.from
		}
	}
	if r.Backoff != nil {
		p.Backoff = *r.Backoff
	}
	return p
}

func (p *retryPolicy) written() *retryJSON {
	return &retryJSON{&p.MinDelay, &p.MaxDelay, &p.Retries, &p.MaxDelayNumber, &p.NoDelayNumber, &p.MinDelayNumber, &p.Backoff}
}

type throttleJSON struct {
	PerSecond int `json:"maxReceivesPerSecond"`
}

type requestJSON struct {
	ContentType string `json:"headerContentType"`
}

type httpJSON struct {
	Healthy  *retryJSON    `json:"defaultHealthyRetryPolicy,omitempty"`
	Locked   bool          `json:"disableSubscriptionOverrides"`
	Throttle *throttleJSON `json:"defaultThrottlePolicy,omitempty"`
	Request  *requestJSON  `json:"defaultRequestPolicy,omitempty"`
}

var errNoJSON = errors.New("failed to parse JSON")

// parseDelivery reads the policy of a subscription and writes it as it is
// shown.
func parseDelivery(text string) (d *deliveryPolicy, shown string, err error) {
	var p policyJSON
	if json.Unmarshal([]byte(text), &p) != nil {
		return nil, "", errNoJSON
	}
	d, err = newDelivery(p.Healthy, p.Throttle, p.Request, false)
	raw, _ := json.Marshal(p)
	return d, string(raw), err
}

// parseTopicDelivery reads the policy of a topic and writes it as it is shown.
func parseTopicDelivery(text string) (d *deliveryPolicy, shown string, err error) {
	var p topicPolicyJSON
	if json.Unmarshal([]byte(text), &p) != nil {
		return nil, "", errNoJSON
	}
	if p.HTTP == nil {
		return nil, "", errors.New("http must be specified")
	}
	d, err = newDelivery(p.HTTP.Healthy, p.HTTP.Throttle, p.HTTP.Request, p.HTTP.Locked)
	raw, _ := json.Marshal(p)
	return d, string(raw), err
}

func newDelivery(r *retryJSON, t *throttleJSON, q *requestJSON, locked bool) (*deliveryPolicy, error) {
	d := &deliveryPolicy{retries: defaultRetries, locked: locked, own: policyParts{r != nil, t != nil, q != nil}}
	if r != nil {
		d.retries = r.whole()
	}
	if t != nil {
		if t.PerSecond < 1 {
			return nil, errors.New("throttlePolicy.maxReceivesPerSecond must be greater than or equal to 1")
		}
		d.throttle = t.PerSecond
	}
	if q != nil {
		d.content = q.ContentType
		if !headerText(d.content) || len(d.content) > 128 {
			return nil, errors.New("requestPolicy.headerContentType is invalid")
		}
	}
	return d, d.retries.check()
}

func (p *retryPolicy) check() error {
	switch {
	case p.MaxDelay < 1 || p.MaxDelay > 3600:
		return errors.New("healthyRetryPolicy.maxDelayTarget must be between 1 and 3600")
	case p.MinDelay < 1 || p.MinDelay > p.MaxDelay:
		return errors.New("healthyRetryPolicy.minDelayTarget must be less than or equal to maxDelayTarget")
	case p.Retries < 0 || p.Retries > 100:
		return errors.New("healthyRetryPolicy.numRetries must be between 0 and 100")
	case p.NoDelayNumber < 0 || p.MinDelayNumber < 0 || p.MaxDelayNumber < 0 ||
		p.NoDelayNumber+p.MinDelayNumber+p.MaxDelayNumber > p.Retries:
		return errors.New("healthyRetryPolicy.numRetries must be greater than or equal to total of numMinDelayRetries, numNoDelayRetries and numMaxDelayRetries")
	case p.Backoff != "linear" && p.Backoff != "arithmetic" && p.Backoff != "geometric" && p.Backoff != "exponential":
		return errors.New("healthyRetryPolicy.backoffFunction is invalid")
	}
	return nil
}

func (d *deliveryPolicy) contentType() string {
	if d.content == "" {
		return defaultContentType
	}
	return d.content
}

func (d *deliveryPolicy) throttling() *throttleJSON {
	if d.throttle == 0 {
		return nil
	}
	return &throttleJSON{d.throttle}
}

// renderTopic is the policy as EffectiveDeliveryPolicy shows it on a topic,
// renderSubscription on a subscription.
func (d *deliveryPolicy) renderTopic() string {
	raw, _ := json.Marshal(topicPolicyJSON{&httpJSON{d.retries.written(), d.locked, d.throttling(), &requestJSON{d.contentType()}}})
	return string(raw)
}

func (d *deliveryPolicy) renderSubscription() string {
	raw, _ := json.Marshal(policyJSON{Healthy: d.retries.written(), Throttle: d.throttling(), Request: &requestJSON{d.contentType()}})
	return string(raw)
}

// effective is the policy by which a subscription is served: of each part its
// own, else the topic's, else the default.
func (s *subscription) effective(t *topic) *deliveryPolicy {
	e := &deliveryPolicy{retries: defaultRetries}
	if p := t.Attributes["DeliveryPolicy"]; p != "" {
		if d, _, err := parseTopicDelivery(p); err == nil {
			e = d
		}
	}
	d := s.delivery
	if d == nil || e.locked {
		return e
	}
	if d.own.retries {
		e.retries = d.retries
	}
	if d.own.throttle {
		e.throttle = d.throttle
	}
	if d.own.content {
		e.content = d.content
	}
	return e
}

// headerText reports whether s can be the value of a header.
func headerText(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
