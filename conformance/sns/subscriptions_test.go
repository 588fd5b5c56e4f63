package sns

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

func (w *world) trySubscribe(topic, protocol, to string, attributes ...string) (string, error) {
	r, err := w.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &topic, Protocol: &protocol, Endpoint: &to, Attributes: pairs(attributes)})
	if err != nil {
		return "", err
	}
	return *r.SubscriptionArn, nil
}

// SNS-47: the protocols that nobody here delivers are taken and kept, too.
func TestSNS11_SubscribeEachProtocol(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	for protocol, to := range map[string]string{
		"sqs": q.arn, "sms": "+15551234567", "lambda": "arn:aws:lambda:us-east-1:000000000000:function:f",
		"firehose": "arn:aws:firehose:us-east-1:000000000000:deliverystream/s",
	} {
		sub, err := w.trySubscribe(arn, protocol, to)
		w.must(err)
		if !strings.HasPrefix(sub, arn+":") {
			t.Errorf("%s: %s", protocol, sub)
		}
	}
	bad := func(protocol, to, want string) {
		t.Helper()
		_, err := w.trySubscribe(arn, protocol, to)
		w.refused(err, "InvalidParameter", want)
	}
	bad("test-protocol", "x", "Invalid parameter: Amazon SNS does not support this protocol string: test-protocol")
	bad("sqs", q.url, "Invalid parameter: SQS endpoint ARN")
	for _, number := range []string{"NAA+15551234567", "+15--551234567", "+15551234567.", "/+15551234567", "invalid-number"} {
		bad("sms", number, "Invalid SMS endpoint: "+number)
	}
	bad("http", "https://example.com", "Invalid parameter: Endpoint must match the specified protocol")
	bad("email", "nobody", "Invalid parameter: Email address")
}

func TestSNS47_OtherProtocols(t *testing.T) {
	w := open(t)
	arn := w.topic()
	sub, err := w.trySubscribe(arn, "email", "frigg@example.com")
	w.must(err)
	if sub != "pending confirmation" {
		t.Errorf("email: %s", sub)
	}
	lambda := w.subscribe(arn, "lambda", "arn:aws:lambda:us-east-1:000000000000:function:f")
	r, err := w.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &lambda})
	w.must(err)
	if r.Attributes["Protocol"] != "lambda" || r.Attributes["PendingConfirmation"] != "false" {
		t.Errorf("%v", r.Attributes)
	}
}

func TestSNS12_SubscribeAgain(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	one := w.subscribe(arn, "sqs", q.arn, "RawMessageDelivery", "true")
	if two := w.subscribe(arn, "sqs", q.arn, "RawMessageDelivery", "true"); one != two {
		t.Errorf("%s and %s", one, two)
	}
	if two := w.subscribe(arn, "sqs", q.arn); one != two {
		t.Errorf("%s and %s", one, two)
	}
	if two := w.subscribe(arn, "sqs", q.arn, "FilterPolicyScope", "MessageAttributes"); one != two {
		t.Errorf("%s and %s", one, two)
	}
	for name, value := range map[string]string{"RawMessageDelivery": "false", "FilterPolicyScope": "MessageBody"} {
		_, err := w.trySubscribe(arn, "sqs", q.arn, name, value)
		w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: Subscription already exists with different attributes")
	}
}

func TestSNS13_PendingConfirmation(t *testing.T) {
	w, r := open(t), newReceiver(t)
	arn := w.topic()
	sub, err := w.trySubscribe(arn, "http", r.URL)
	w.must(err)
	if sub != "pending confirmation" {
		t.Errorf("%s", sub)
	}
	if full := w.subscribe(arn, "http", r.URL); !strings.HasPrefix(full, arn+":") {
		t.Errorf("%s", full)
	}
	list, err := w.ListSubscriptionsByTopic(ctx, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	w.must(err)
	if len(list.Subscriptions) != 1 || *list.Subscriptions[0].SubscriptionArn != "PendingConfirmation" {
		t.Errorf("%v", list.Subscriptions)
	}
	if n := w.attributes(arn)["SubscriptionsPending"]; n != "1" {
		t.Errorf("pending: %s", n)
	}
}

func (w *world) subscription(arn string) map[string]string {
	w.Helper()
	r, err := w.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &arn})
	w.must(err)
	return r.Attributes
}

func TestSNS14_SubscriptionAttributes(t *testing.T) {
	w := open(t)
	arn, q, dead := w.topic(), w.queue(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn)
	have := w.subscription(sub)
	owner := strings.Split(arn, ":")[4]
	for name, want := range map[string]string{
		"ConfirmationWasAuthenticated": "true", "Endpoint": q.arn, "Owner": owner, "PendingConfirmation": "false", "Protocol": "sqs",
		"RawMessageDelivery": "false", "SubscriptionArn": sub, "TopicArn": arn,
	} {
		if have[name] != want {
			t.Errorf("%s = %q, want %q", name, have[name], want)
		}
	}
	if len(have) != 9 || !strings.HasPrefix(have["SubscriptionPrincipal"], "arn:aws:iam::"+owner+":") {
		t.Errorf("%v", have)
	}
	w.must(w.set(sub, "RawMessageDelivery", "true"))
	w.must(w.set(sub, "FilterPolicy", `{"k":["v"]}`))
	w.must(w.set(sub, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`))
	if have = w.subscription(sub); have["RawMessageDelivery"] != "true" || have["FilterPolicy"] != `{"k":["v"]}` || have["FilterPolicyScope"] != "MessageAttributes" {
		t.Errorf("%v", have)
	}
	redacted := "at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 2]"
	for _, c := range [][3]string{
		{"fake-attribute", "x", "AttributeName"}, {"RawMessageDelivery", "test-ValUe", "RawMessageDelivery: Invalid value [test-ValUe]. Must be true or false."},
		{"RawMessageDelivery", "", "RawMessageDelivery: Invalid value []. Must be true or false."},
		{"FilterPolicyScope", "RandomValue", "FilterPolicyScope: Invalid value [RandomValue]. Please use either MessageBody or MessageAttributes"},
		{"FilterPolicy", "{invalid}", "FilterPolicy: failed to parse JSON. Unexpected character ('i' (code 105)): was expecting double-quote to start field name\n " + redacted},
		{"RedrivePolicy", "{invalid}", "RedrivePolicy: failed to parse JSON. Unexpected character ('i' (code 105)): was expecting double-quote to start field name\n " + redacted},
		{"RedrivePolicy", `{"deadLetterTargetArn":"fake-arn"}`, "RedrivePolicy: deadLetterTargetArn is an invalid arn"},
	} {
		w.refused(w.set(sub, c[0], c[1]), "InvalidParameter", "Invalid parameter: "+c[2])
	}
	_, err := w.trySubscribe(arn, "sqs", dead.arn, "RawMessageDelivery", "wrongvalue")
	w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: RawMessageDelivery: Invalid value [wrongvalue]. Must be true or false.")
	unknown := sub[:len(sub)-1] + "0"
	if unknown == sub {
		unknown = sub[:len(sub)-1] + "1"
	}
	w.refused(w.set(unknown, "RawMessageDelivery", "true"), "NotFound", "Subscription does not exist")
}

func TestSNS15_Unsubscribe(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn)
	end := func(arn string) error {
		_, err := w.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &arn})
		return err
	}
	w.must(end(sub))
	w.must(end(sub))
	for bad, want := range map[string]string{
		"x":                                  "SubscriptionArn Reason: An ARN must have at least 6 elements, not 1",
		"arn:aws:sns:us-east-1:000000000000": "SubscriptionArn Reason: An ARN must have at least 6 elements, not 5",
		arn:                                  "SubscriptionId",
		"":                                   "SubscriptionArn Reason: An ARN must have at least 6 elements, not 1",
	} {
		w.refused(end(bad), "InvalidParameter", "Invalid parameter: "+want)
	}
	// No SDK leaves the parameter out, so this is by hand. SNS has no Detail in its errors, SQS has.
	a, err := http.Get(w.at + "/?Action=Unsubscribe&Version=2010-03-31")
	w.must(err)
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	w.must(err)
	if want := "<Error><Type>Sender</Type><Code>InvalidParameter</Code><Message>Invalid parameter: SubscriptionArn Reason: no value for required parameter</Message></Error>"; !strings.Contains(string(body), want) {
		t.Errorf("%s", body)
	}
	w.publish(arn, "x")
	w.none(q)
	if n := w.attributes(arn)["SubscriptionsDeleted"]; n != "1" {
		t.Errorf("deleted: %s", n)
	}
}

func TestSNS41_FilterValidation(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	for policy, want := range map[string]string{
		`{"key":[]}`: "Empty arrays are not allowed\n at [Source: (String)\"{\"key\":[]}\"; line: 1, column: 10]",
		`{"key":[{"suffix":"value","prefix":"value2"}]}`:                "Only one key allowed in match expression\n at [Source: (String)\"{\"key\":[{\"suffix\":\"value\",\"prefix\":\"value2\"}]}\"; line: 1, column: 37]",
		`{"key":[{"numeric":[">",3,"<",1]}]}`:                           "Bottom must be less than top\n at [Source: (String)\"{\"key\":[{\"numeric\":[\">\",3,\"<\",1]}]}\"; line: 1, column: 33]",
		`{"key":[{"cidr":"bad-filter"}]}`:                               "Malformed CIDR, one '/' required",
		`{"a":["1"],"b":["1"],"c":["1"],"d":["1"],"e":["1"],"f":["1"]}`: "Filter policy can not have more than 5 keys",
		"invalid": "failed to parse JSON. Unrecognized token 'invalid': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 8]",
	} {
		_, err := w.trySubscribe(arn, "sqs", q.arn, "FilterPolicy", policy)
		w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: FilterPolicy: "+want)
	}
	_, err := w.trySubscribe(arn, "sqs", q.arn, "FilterPolicy", `{"a":{"b":["x"]}}`)
	w.refused(err, "InvalidParameter", "Invalid parameter: Filter policy scope MessageAttributes does not support nested filter policy")
}

func TestSNS42_FilterLimits(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	list := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"v",`, n), ",") }
	sub := w.subscribe(arn, "sqs", q.arn, "FilterPolicy", `{"a":[`+list(15)+`],"b":[`+list(10)+`]}`)
	w.refused(w.set(sub, "FilterPolicy", `{"a":[`+list(16)+`],"b":[`+list(10)+`]}`), "InvalidParameter", "Invalid parameter: FilterPolicy: Filter policy is too complex")
	w.must(w.set(sub, "FilterPolicyScope", "MessageBody"))
	w.must(w.set(sub, "FilterPolicy", `{"a":{"b":{"c":[`+list(25)+`]}},"d":{"e":["x"]}}`))
	w.refused(w.set(sub, "FilterPolicy", `{"a":{"b":{"c":[`+list(26)+`]}},"d":{"e":["x"]}}`), "InvalidParameter", "Invalid parameter: FilterPolicy: Filter policy is too complex")
}

func TestSNS43_FilterRemovalAndScope(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn, "RawMessageDelivery", "true", "FilterPolicy", `{"k":["v"]}`)
	w.publish(arn, "out")
	w.none(q)
	w.must(w.set(sub, "FilterPolicyScope", "MessageBody"))
	w.publish(arn, `{"k":"v"}`)
	if got := *w.receive(q).Body; got != `{"k":"v"}` {
		t.Errorf("%s", got)
	}
	w.must(w.set(sub, "FilterPolicy", "{}"))
	if _, ok := w.subscription(sub)["FilterPolicy"]; ok {
		t.Error("the policy is still there")
	}
	w.publish(arn, "in")
	if got := *w.receive(q).Body; got != "in" {
		t.Errorf("%s", got)
	}
}

func TestSNS49_PlatformApplications(t *testing.T) {
	w := open(t)
	name := w.name()
	create := func(name, platform string, attributes ...string) (*sns.CreatePlatformApplicationOutput, error) {
		return w.CreatePlatformApplication(ctx, &sns.CreatePlatformApplicationInput{Name: &name, Platform: &platform, Attributes: pairs(attributes)})
	}
	app, err := create(name, "ADM", "PlatformCredential", "c", "PlatformPrincipal", "p")
	w.must(err)
	_, err = create(name, "AAA", "PlatformCredential", "c", "PlatformPrincipal", "p")
	w.refused(err, "InvalidParameter", "Invalid parameter: Platform Reason: AAA is not supported")
	_, err = create("@name", "ADM", "PlatformCredential", "c", "PlatformPrincipal", "p")
	w.refused(err, "InvalidParameter", "Invalid parameter: @name Reason: must contain only characters 'a'-'z', 'A'-'Z', '0'-'9', '_', '-', and '.'")
	_, err = create(name, "ADM", "PlatformPrincipal", "p")
	w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: PlatformPrincipal attribute provided without PlatformCredential")
	e, err := w.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: app.PlatformApplicationArn, Token: aws.String("tok")})
	w.must(err)
	again, err := w.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: app.PlatformApplicationArn, Token: aws.String("tok")})
	w.must(err)
	if *e.EndpointArn != *again.EndpointArn {
		t.Errorf("%s and %s", *e.EndpointArn, *again.EndpointArn)
	}
	_, err = w.CreatePlatformEndpoint(ctx, &sns.CreatePlatformEndpointInput{PlatformApplicationArn: app.PlatformApplicationArn, Token: aws.String("tok"), CustomUserData: aws.String("d")})
	w.refused(err, "InvalidParameter", "Invalid parameter: Token Reason: Endpoint "+*e.EndpointArn+" already exists with the same Token, but different attributes.")
	_, err = w.SetEndpointAttributes(ctx, &sns.SetEndpointAttributesInput{EndpointArn: e.EndpointArn, Attributes: map[string]string{"InvalidKey": "x"}})
	w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: Invalid attribute name: InvalidKey")
	list, err := w.ListEndpointsByPlatformApplication(ctx, &sns.ListEndpointsByPlatformApplicationInput{PlatformApplicationArn: app.PlatformApplicationArn})
	w.must(err)
	if len(list.Endpoints) != 1 || list.Endpoints[0].Attributes["Token"] != "tok" {
		t.Errorf("%v", list.Endpoints)
	}
	_, err = w.DeleteEndpoint(ctx, &sns.DeleteEndpointInput{EndpointArn: e.EndpointArn})
	w.must(err)
	_, err = w.GetEndpointAttributes(ctx, &sns.GetEndpointAttributesInput{EndpointArn: e.EndpointArn})
	w.refused(err, "NotFound", "Endpoint does not exist")
	_, err = w.DeletePlatformApplication(ctx, &sns.DeletePlatformApplicationInput{PlatformApplicationArn: app.PlatformApplicationArn})
	w.must(err)
	_, err = w.GetPlatformApplicationAttributes(ctx, &sns.GetPlatformApplicationAttributesInput{PlatformApplicationArn: app.PlatformApplicationArn})
	w.refused(err, "NotFound", "PlatformApplication does not exist")
	_, err = w.SetSMSAttributes(ctx, &sns.SetSMSAttributesInput{Attributes: map[string]string{"DefaultSMSType": "Nonsense"}})
	w.refused(err, "InvalidParameter", "DefaultSMSType is invalid")
	_, err = w.SetSMSAttributes(ctx, &sns.SetSMSAttributesInput{Attributes: map[string]string{"DefaultSMSType": "Promotional"}})
	w.must(err)
	sms, err := w.GetSMSAttributes(ctx, &sns.GetSMSAttributesInput{})
	w.must(err)
	if sms.Attributes["DefaultSMSType"] != "Promotional" {
		t.Errorf("%v", sms.Attributes)
	}
}
