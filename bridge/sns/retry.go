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
}

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

// policyJSON is a delivery policy as clients write it. Subscriptions have the
// healthy policy, topics the defaults below http.
type policyJSON struct {
	Healthy  *retryPolicy  `json:"healthyRetryPolicy,omitempty"`
	Throttle *throttleJSON `json:"throttlePolicy,omitempty"`
	Request  *requestJSON  `json:"requestPolicy,omitempty"`
	HTTP     *httpJSON     `json:"http,omitempty"`
}

type throttleJSON struct {
	PerSecond int `json:"maxReceivesPerSecond"`
}

type requestJSON struct {
	ContentType string `json:"headerContentType"`
}

type httpJSON struct {
	Healthy  *retryPolicy  `json:"defaultHealthyRetryPolicy"`
	Locked   bool          `json:"disableSubscriptionOverrides"`
	Throttle *throttleJSON `json:"defaultThrottlePolicy,omitempty"`
	Request  *requestJSON  `json:"defaultRequestPolicy,omitempty"`
}

// parseDelivery reads the policy of a subscription.
func parseDelivery(text string) (*deliveryPolicy, error) {
	var p policyJSON
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, errors.New("failed to parse JSON")
	}
	return newDelivery(p.Healthy, p.Throttle, p.Request, false)
}

// parseTopicDelivery reads the policy of a topic.
func parseTopicDelivery(text string) (*deliveryPolicy, error) {
	var p policyJSON
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, errors.New("failed to parse JSON")
	}
	if p.HTTP == nil {
		return nil, errors.New("http must be specified")
	}
	return newDelivery(p.HTTP.Healthy, p.HTTP.Throttle, p.HTTP.Request, p.HTTP.Locked)
}

func newDelivery(r *retryPolicy, t *throttleJSON, q *requestJSON, locked bool) (*deliveryPolicy, error) {
	d := &deliveryPolicy{retries: defaultRetries, locked: locked}
	if r != nil {
		d.retries = *r
		if d.retries.Backoff == "" {
			d.retries.Backoff = "linear"
		}
		if d.retries.MinDelay == 0 && d.retries.MaxDelay == 0 {
			d.retries.MinDelay, d.retries.MaxDelay = 20, 20
		}
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

// render is the policy as EffectiveDeliveryPolicy shows it on a topic.
func (d *deliveryPolicy) render() string {
	content := d.content
	if content == "" {
		content = defaultContentType
	}
	p := policyJSON{HTTP: &httpJSON{Healthy: &d.retries, Locked: d.locked, Request: &requestJSON{content}}}
	if d.throttle > 0 {
		p.HTTP.Throttle = &throttleJSON{d.throttle}
	}
	raw, _ := json.Marshal(p)
	return string(raw)
}

// effective is the policy by which a subscription is served.
func (s *subscription) effective(t *topic) *deliveryPolicy {
	var ofTopic *deliveryPolicy
	if p := t.Attributes["DeliveryPolicy"]; p != "" {
		ofTopic, _ = parseTopicDelivery(p)
	}
	switch {
	case s.delivery != nil && (ofTopic == nil || !ofTopic.locked):
		return s.delivery
	case ofTopic != nil:
		return ofTopic
	}
	return &deliveryPolicy{retries: defaultRetries}
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
