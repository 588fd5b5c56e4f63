package sns

import (
	"math"
	"testing"
	"time"
)

// SNS-35: how the delays of each backoff function grow from 10 s to 70 s in
// three steps. The first step is above the minimal delay, the last at the
// maximal one.
func TestBackoff(t *testing.T) {
	for function, want := range map[string][3]float64{
		"linear":      {30, 50, 70},
		"arithmetic":  {20, 40, 70},                                              // differences of 10, 20, 30
		"geometric":   {10 * math.Cbrt(7), 10 * math.Cbrt(7) * math.Cbrt(7), 70}, // equal ratios
		"exponential": {10 + 60.0/7, 10 + 3*60.0/7, 70},                          // differences of 1, 2, 4 parts
	} {
		for i, want := range want {
			if got := backoff(function, 10, 70, i+1, 3); math.Abs(got-want) > 1e-9 {
				t.Errorf("%s, delay %d: %v, want %v", function, i+1, got, want)
			}
		}
	}
}

// What makes each function the one it is, over many steps.
func TestBackoffShapes(t *testing.T) {
	const low, high, steps = 2, 500, 40
	for _, function := range []string{"linear", "arithmetic", "geometric", "exponential"} {
		var d [steps + 1]float64
		d[0] = low
		for i := 1; i <= steps; i++ {
			d[i] = backoff(function, low, high, i, steps)
			if d[i] <= d[i-1] || d[i] > high+1e-9 {
				t.Errorf("%s, delay %d: %v after %v", function, i, d[i], d[i-1])
			}
		}
		if math.Abs(d[steps]-high) > 1e-9 {
			t.Errorf("%s ends at %v", function, d[steps])
		}
		for i := 2; i <= steps; i++ {
			a, b := d[i-1]-d[i-2], d[i]-d[i-1]
			var got, want float64
			switch function {
			case "linear":
				got, want = b, a
			case "arithmetic":
				got, want = b/a, float64(i)/float64(i-1)
			case "geometric":
				got, want = d[i]/d[i-1], d[i-1]/d[i-2]
			case "exponential":
				got, want = b/a, 2
			}
			if math.Abs(got-want) > 1e-6*want {
				t.Errorf("%s, delay %d: %v, want %v", function, i, got, want)
			}
		}
	}
}

// SNS-35: the phases of a policy, whatever the function: at once, at the
// minimal delay, backing off, at the maximal delay, and the end.
func TestDelayPhases(t *testing.T) {
	for function, middle := range map[string][2]time.Duration{
		"linear":      {12500 * time.Millisecond, 20 * time.Second},
		"arithmetic":  {10 * time.Second, 20 * time.Second},
		"geometric":   {10 * time.Second, 20 * time.Second},
		"exponential": {10 * time.Second, 20 * time.Second},
	} {
		d, _, err := parseDelivery(`{"healthyRetryPolicy":{"minDelayTarget":5,"maxDelayTarget":20,"numRetries":9,"numNoDelayRetries":2,` +
			`"numMinDelayRetries":3,"numMaxDelayRetries":2,"backoffFunction":"` + function + `"}}`)
		if err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 0, 5 * time.Second, 5 * time.Second, 5 * time.Second, middle[0], middle[1], 20 * time.Second, 20 * time.Second}
		for i, want := range want {
			got, more := d.retries.delay(i + 1)
			if !more || (got-want).Abs() > time.Millisecond {
				t.Errorf("%s, retry %d: %v %v, want %v", function, i+1, got, more, want)
			}
		}
		if got, more := d.retries.delay(10); more {
			t.Errorf("%s: a tenth retry after %v", function, got)
		}
	}
	none := retryPolicy{MinDelay: 1, MaxDelay: 1}
	if _, more := none.delay(1); more {
		t.Error("a retry of none")
	}
}

// The policies that nobody sets are those that the service documents: HTTP
// three times at 20 s; queues and functions 3 at once, 2 at 1 s, 10 backing off
// from 1 s to 20 s, 100,000 at 20 s; mail, SMS and push 2 at 10 s, 10 backing
// off to 600 s, 38 at 600 s.
func TestDefaultPolicies(t *testing.T) {
	for _, c := range []struct {
		protocol     string
		last         int
		first, final time.Duration
	}{
		{"http", 3, 20 * time.Second, 20 * time.Second},
		{"sqs", 100_015, 0, 20 * time.Second},
		{"lambda", 100_015, 0, 20 * time.Second},
		{"firehose", 100_015, 0, 20 * time.Second},
		{"email", 50, 10 * time.Second, 600 * time.Second},
		{"email-json", 50, 10 * time.Second, 600 * time.Second},
		{"sms", 50, 10 * time.Second, 600 * time.Second},
		{"application", 50, 10 * time.Second, 600 * time.Second},
	} {
		p := testSubscription(c.protocol).retries(newTestTopic(testTopic))
		if d, more := p.delay(1); !more || d != c.first {
			t.Errorf("%s: first retry after %v %v", c.protocol, d, more)
		}
		if d, more := p.delay(c.last); !more || d != c.final {
			t.Errorf("%s: retry %d after %v %v", c.protocol, c.last, d, more)
		}
		if _, more := p.delay(c.last + 1); more {
			t.Errorf("%s: more than %d retries", c.protocol, c.last)
		}
	}
}

// The subscription's policy wins over the topic's unless that forbids it.
func TestEffectivePolicy(t *testing.T) {
	of := func(locked string) *topic {
		return newTestTopic(testTopic, "DeliveryPolicy",
			`{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":2,"maxDelayTarget":2,"numRetries":7},"disableSubscriptionOverrides":`+locked+`}}`)
	}
	sub := testSubscription("http")
	if n := sub.effective(newTestTopic(testTopic)).retries.Retries; n != 3 {
		t.Errorf("default: %d retries", n)
	}
	if n := sub.effective(of("false")).retries.Retries; n != 7 {
		t.Errorf("of the topic: %d retries", n)
	}
	sub.Attributes = map[string]string{"DeliveryPolicy": `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":5}}`}
	sub.derive()
	if n := sub.effective(of("false")).retries.Retries; n != 5 {
		t.Errorf("of the subscription: %d retries", n)
	}
	if n := sub.effective(of("true")).retries.Retries; n != 7 {
		t.Errorf("locked by the topic: %d retries", n)
	}
	sub.Attributes = map[string]string{"DeliveryPolicy": `{"throttlePolicy":{"maxReceivesPerSecond":5}}`}
	sub.derive()
	if e := sub.effective(of("false")); e.retries.Retries != 7 || e.throttle != 5 {
		t.Errorf("some of each: %+v", e)
	}
}

func TestDeliveryPolicyErrors(t *testing.T) {
	for _, text := range []string{
		`{`, `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":3601}}`, `{"healthyRetryPolicy":{"minDelayTarget":2,"maxDelayTarget":1}}`,
		`{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":101}}`, `{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":-1}}`,
		`{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":2,"numNoDelayRetries":1,"numMinDelayRetries":1,"numMaxDelayRetries":1}}`,
		`{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"backoffFunction":"cubic"}}`, `{"throttlePolicy":{"maxReceivesPerSecond":0}}`,
		`{"requestPolicy":{"headerContentType":"a\nb"}}`,
	} {
		if _, _, err := parseDelivery(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
