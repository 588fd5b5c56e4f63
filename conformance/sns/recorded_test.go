package sns

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// What AWS answers where one would think otherwise, by recordings of it.

// sameJSON compares texts as JSON.
func sameJSON(t *testing.T, what, got, want string) {
	t.Helper()
	var a, b any
	if json.Unmarshal([]byte(got), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%s: got  %s\nwant %s", what, got, want)
	}
}

func TestSNS02_ThroughputScope(t *testing.T) {
	w := open(t)
	name := w.name() + ".fifo"
	for _, a := range []map[string]string{{"FifoTopic": "true"}, {"FifoTopic": "true", "FifoThroughputScope": "Topic"}} {
		r, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: a})
		w.must(err)
		if got, shown := w.attributes(*r.TopicArn)["FifoThroughputScope"]; shown {
			t.Errorf("a scope that nobody set is shown: %s", got)
		}
	}
}

func TestSNS04_DeliveryPolicy(t *testing.T) {
	w := open(t)
	arn := w.topic()
	const whole = `{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":%d,"maxDelayTarget":%d,"numRetries":%d,"numMaxDelayRetries":0,"numNoDelayRetries":0,` +
		`"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false,"defaultRequestPolicy":{"headerContentType":"%s"}}}`
	const plain = "text/plain; charset=UTF-8"
	for _, c := range []struct{ set, shown, effective string }{
		{`{"http":{"defaultRequestPolicy":{"headerContentType":"application/json"}}}`,
			`{"http":{"disableSubscriptionOverrides":false,"defaultRequestPolicy":{"headerContentType":"application/json"}}}`, fmt.Sprintf(whole, 20, 20, 3, "application/json")},
		{`{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":5,"maxDelayTarget":6,"numRetries":1}}}`,
			`{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":5,"maxDelayTarget":6,"numRetries":1},"disableSubscriptionOverrides":false}}`, fmt.Sprintf(whole, 5, 6, 1, plain)},
		{`{"http":{"defaultHealthyRetryPolicy":null}}`, `{"http":{"disableSubscriptionOverrides":false}}`, fmt.Sprintf(whole, 20, 20, 3, plain)},
	} {
		_, err := w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: aws.String("DeliveryPolicy"), AttributeValue: &c.set})
		w.must(err)
		a := w.attributes(arn)
		sameJSON(t, c.set, a["DeliveryPolicy"], c.shown)
		sameJSON(t, "effective of "+c.set, a["EffectiveDeliveryPolicy"], c.effective)
	}
	_, err := w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: aws.String("FifoTopic"), AttributeValue: aws.String("false")})
	w.refused(err, "InvalidParameter", "Invalid parameter: AttributeName")
}

func TestSNS06_TokensAreBase64(t *testing.T) {
	w := open(t)
	arn := w.topic()
	for i := range 101 {
		w.subscribe(arn, "sms", fmt.Sprintf("+4917001%06d", i))
	}
	r, err := w.ListSubscriptionsByTopic(ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	w.must(err)
	if raw, err := base64.StdEncoding.DecodeString(aws.ToString(r.NextToken)); err != nil || len(raw) == 0 {
		t.Errorf("%v: %s", err, aws.ToString(r.NextToken))
	}
}

func TestSNS09_EmptyARN(t *testing.T) {
	w := open(t)
	_, err := w.Publish(ctx, &sns.PublishInput{TopicArn: aws.String(""), Message: aws.String("x")})
	w.refused(err, "InvalidParameter", "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1")
}

func TestSNS11_Numbers(t *testing.T) {
	w := open(t)
	arn := w.topic()
	_, err := w.trySubscribe(arn, "sms", "+12/34-567.890")
	w.must(err)
	for _, bad := range []string{"+15--551234567", "+15551234567.", "/+15551234567", "+-15551234567"} {
		_, err := w.trySubscribe(arn, "sms", bad)
		w.refused(err, "InvalidParameter", "Invalid SMS endpoint: "+bad)
	}
}

// SNS-14: a scope is shown with a policy; of a delivery policy the parts that are not
// set are null, and in force are those of the topic.
func TestSNS14_ScopeAndDeliveryPolicy(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn, q := w.topic(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn, "FilterPolicyScope", "MessageBody")
	if got, shown := w.subscription(sub)["FilterPolicyScope"]; shown {
		t.Errorf("scope without policy: %s", got)
	}
	w.must(w.set(sub, "FilterPolicy", `{"a":["b"]}`))
	if got := w.subscription(sub)["FilterPolicyScope"]; got != "MessageBody" {
		t.Errorf("scope: %s", got)
	}
	_, err := w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: aws.String("DeliveryPolicy"),
		AttributeValue: aws.String(`{"http":{"defaultRequestPolicy":{"headerContentType":"application/json"}}}`)})
	w.must(err)
	const healthy = `{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"numMaxDelayRetries":0,"backoffFunction":"linear"}`
	sub = w.confirmed(arn, r, "DeliveryPolicy", `{"healthyRetryPolicy":`+healthy+`,"sicklyRetryPolicy":null,"throttlePolicy":{"maxReceivesPerSecond":1000},"guaranteed":false}`)
	a := w.subscription(sub)
	const shape = `{"healthyRetryPolicy":%s,"sicklyRetryPolicy":null,"throttlePolicy":{"maxReceivesPerSecond":1000},"requestPolicy":%s,"guaranteed":false}`
	sameJSON(t, "policy", a["DeliveryPolicy"], fmt.Sprintf(shape, healthy, "null"))
	sameJSON(t, "effective", a["EffectiveDeliveryPolicy"], fmt.Sprintf(shape, healthy, `{"headerContentType":"application/json"}`))
	w.publish(arn, "x")
	if g := r.next(w); g.header.Get("Content-Type") != "application/json" {
		t.Errorf("%v", g.header)
	}
}

// SNS-24: a mobile endpoint is content with the text of its platform.
func TestSNS24_PlatformTexts(t *testing.T) {
	h := newHooks(t)
	_, w := start(t, h.settings()...)
	app, err := w.CreatePlatformApplication(ctx, &sns.CreatePlatformApplicationInput{
		Name: aws.String(w.name()), Platform: aws.String("GCM"), Attributes: map[string]string{"PlatformCredential": "x"},
	})
	w.must(err)
	device, err := w.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: app.PlatformApplicationArn, Token: aws.String("t")})
	w.must(err)
	to, arn, structure := *device.EndpointArn, w.topic(), aws.String("json")
	var m hookMessage
	_, err = w.Publish(ctx, &sns.PublishInput{TargetArn: &to, MessageStructure: structure, Message: aws.String(`{"GCM":"for GCM"}`)})
	w.must(err)
	if h.next(w, "application", to, &m); m.Message != "for GCM" {
		t.Errorf("%+v", m)
	}
	_, err = w.Publish(ctx, &sns.PublishInput{TargetArn: &to, MessageStructure: structure, Message: aws.String(`{"APNS":"for Apple"}`)})
	w.refused(err, "InvalidParameter", "Invalid parameter: JSON must contain an entry for 'default' or 'GCM'.")
	w.subscribe(arn, "application", to)
	w.publish(arn, `{"default":"for all","GCM":"for GCM by topic"}`, func(in *sns.PublishInput) { in.MessageStructure = structure })
	if h.next(w, "application", to, &m); m.Message != "for GCM by topic" {
		t.Errorf("%+v", m)
	}
}

// SNS-26: the queue numbers messages itself.
func TestSNS26_TwoNumbers(t *testing.T) {
	w := open(t)
	arn, q := w.topic("FifoTopic", "true"), w.queue("FifoQueue", "true")
	w.subscribe(arn, "sqs", q.arn)
	last := ""
	for i := range 3 {
		n := aws.ToString(w.publish(arn, "x", group("g", fmt.Sprint(i))).SequenceNumber)
		m := w.receive(q)
		in := m.Attributes["SequenceNumber"]
		if w.open(*m.Body).SequenceNumber != n || in == n || len(in) != 20 || in <= last {
			t.Errorf("topic %s, queue %s after %s", n, in, last)
		}
		last = in
	}
}

// SNS-40: dots in names are paths, in policies and in bodies.
func TestSNS40_Dots(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	w.subscribe(arn, "sqs", q.arn, "RawMessageDelivery", "true", "FilterPolicyScope", "MessageBody", "FilterPolicy", `{"object.nested.test":["string.value"]}`)
	for _, body := range []string{
		`{"object":{"nested":{"test":"string.value"}}}`, `{"object.nested.test":"string.value"}`, `{"object.nested":{"test":"string.value"}}`,
		`{"object":{"nested.test":"string.value"}}`,
	} {
		w.publish(arn, `{"object":{"nested":{"test":"string.notvalue"}}}`)
		w.publish(arn, body)
		if got := *w.receive(q).Body; got != body {
			t.Errorf("got %s, want %s", got, body)
		}
	}
}

// SNS-41: positions in errors are those of the policy without white space.
func TestSNS41_Positions(t *testing.T) {
	w := open(t)
	arn := w.topic()
	_, err := w.trySubscribe(arn, "sms", "+4915112345678", "FilterPolicy", `{"key": [{"numeric": [">", "20", "<", "30"]}]}`)
	w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: FilterPolicy: Value of > must be numeric\n"+
		` at [Source: (String)"{"key":[{"numeric":[">","20","<","30"]}]}"; line: 1, column: 26]`)
	_, err = w.trySubscribe(arn, "sms", "+4915112345678", "FilterPolicy", `{"key": [], "other" 1}`)
	if err == nil || !strings.Contains(err.Error(), "FilterPolicy: failed to parse JSON. ") {
		t.Errorf("what is no JSON is looked at: %v", err)
	}
}

func TestSNS46_IdentifierWithRegion(t *testing.T) {
	w := open(t)
	arn := w.topic()
	document := `{"Name":"p","Description":"d","Version":"2021-06-01","Statement":[{"Sid":"s","DataDirection":"Inbound","Principal":["*"],` +
		`"DataIdentifier":["arn:aws:dataprotection:` + region + `::data-identifier/EmailAddress"],"Operation":{"Deny":{}}}]}`
	_, err := w.PutDataProtectionPolicy(ctx, &sns.PutDataProtectionPolicyInput{ResourceArn: &arn, DataProtectionPolicy: &document})
	w.must(err)
	if _, err := w.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("to ann@example.org")}); err == nil || !strings.Contains(err.Error(), "AuthorizationError") {
		t.Errorf("an address was taken: %v", err)
	}
}

func TestSNS49_EndpointAttributes(t *testing.T) {
	w := open(t)
	app, err := w.CreatePlatformApplication(ctx, &sns.CreatePlatformApplicationInput{
		Name: aws.String(w.name()), Platform: aws.String("GCM"), Attributes: map[string]string{"PlatformCredential": "x"},
	})
	w.must(err)
	device, err := w.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: app.PlatformApplicationArn, Token: aws.String("t"),
		CustomUserData: aws.String("bar"), Attributes: map[string]string{"CustomUserData": "foo"}})
	w.must(err)
	a, err := w.GetEndpointAttributes(ctx, &sns.GetEndpointAttributesInput{EndpointArn: device.EndpointArn})
	w.must(err)
	if want := map[string]string{"CustomUserData": "foo", "Enabled": "true", "Token": "t"}; !reflect.DeepEqual(a.Attributes, want) {
		t.Errorf("%v", a.Attributes)
	}
	const null = "1 validation error detected: Value null at 'attributes' failed to satisfy constraint: Member must not be null"
	_, err = w.SetEndpointAttributes(ctx, &sns.SetEndpointAttributesInput{EndpointArn: device.EndpointArn, Attributes: map[string]string{}})
	w.refused(err, "ValidationError", null)
	_, err = w.SetPlatformApplicationAttributes(ctx, &sns.SetPlatformApplicationAttributesInput{PlatformApplicationArn: aws.String(*app.PlatformApplicationArn + "x"), Attributes: map[string]string{}})
	w.refused(err, "ValidationError", null)
	sms, err := w.GetSMSAttributes(ctx, &sns.GetSMSAttributesInput{Attributes: []string{"MonthlySpendLimit"}})
	w.must(err)
	if sms.Attributes["MonthlySpendLimit"] != "1" {
		t.Errorf("%v", sms.Attributes)
	}
}

// SNS-16: links hold names as they are; whoever escapes them is understood as well.
func TestSNS16_Links(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn)
	w.publish(arn, "x", with(map[string]types.MessageAttributeValue{"k": text("v")}))
	link := w.envelope(q).UnsubscribeURL
	base, ok := strings.CutSuffix(link, "/?Action=Unsubscribe&SubscriptionArn="+sub)
	if !ok {
		t.Fatalf("%s", link)
	}
	a, err := http.Get(base + "/?Action=Unsubscribe&SubscriptionArn=" + url.QueryEscape(sub))
	w.must(err)
	_ = a.Body.Close()
	if a.StatusCode != 200 {
		t.Errorf("%s", a.Status)
	}
	_, err = w.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &sub})
	w.refused(err, "NotFound", "Subscription does not exist")
}
