package sns

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func TestSNS01_CreateTopic(t *testing.T) {
	w := open(t)
	name := w.name()
	r, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name})
	w.must(err)
	again, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name})
	w.must(err)
	if *r.TopicArn != *again.TopicArn || !strings.HasSuffix(*r.TopicArn, ":"+name) {
		t.Errorf("%s and %s", *r.TopicArn, *again.TopicArn)
	}
	w.topic("FifoTopic", "true")
	for _, bad := range []string{"", "a b", "a.b", "a:b", "ä", "a/b", "a*", "a,b", "x.fifo", ".fifo", strings.Repeat("a", 257), "a\n", "a@b"} {
		_, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &bad})
		w.refused(err, "InvalidParameter", "Invalid parameter: Topic Name")
	}
	_, err = w.CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("no-suffix"), Attributes: map[string]string{"FifoTopic": "true"}})
	w.refused(err, "InvalidParameter", "Invalid parameter: Topic Name")
}

func TestSNS02_CreateTopicAgainDifferently(t *testing.T) {
	w := open(t)
	name := w.name()
	tags := []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}
	_, err := w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: map[string]string{"DisplayName": "x"}, Tags: tags})
	w.must(err)
	_, err = w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: map[string]string{"DisplayName": "x"}, Tags: tags})
	w.must(err)
	_, err = w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Attributes: map[string]string{"DisplayName": "y"}, Tags: tags})
	w.refused(err, "InvalidParameter", "Invalid parameter: Attributes Reason: Topic already exists with different attributes")
	_, err = w.CreateTopic(ctx, &sns.CreateTopicInput{Name: &name, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}}})
	w.refused(err, "InvalidParameter", "Invalid parameter: Tags Reason: Topic already exists with different tags")
}

func (w *world) attributes(topic string) map[string]string {
	w.Helper()
	r, err := w.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &topic})
	w.must(err)
	return r.Attributes
}

func TestSNS03_DefaultAttributes(t *testing.T) {
	w := open(t)
	arn := w.topic()
	owner := strings.Split(arn, ":")[4]
	want := map[string]string{
		"DisplayName": "", "Owner": owner, "TopicArn": arn, "SubscriptionsConfirmed": "0", "SubscriptionsDeleted": "0", "SubscriptionsPending": "0",
		"EffectiveDeliveryPolicy": `{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":20,"maxDelayTarget":20,"numRetries":3,"numMaxDelayRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false,"defaultRequestPolicy":{"headerContentType":"text/plain; charset=UTF-8"}}}`,
		"Policy":                  `{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{"AWS":"*"},"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe","SNS:ListSubscriptionsByTopic","SNS:Publish"],"Resource":"` + arn + `","Condition":{"StringEquals":{"AWS:SourceOwner":"` + owner + `"}}}]}`,
	}
	have := w.attributes(arn)
	for name, value := range want {
		if have[name] != value {
			t.Errorf("%s\n got %s\nwant %s", name, have[name], value)
		}
	}
	if len(have) != len(want) {
		t.Errorf("%d attributes, want %d: %v", len(have), len(want), have)
	}
	fifo := w.attributes(w.topic("FifoTopic", "true"))
	if fifo["FifoTopic"] != "true" || fifo["ContentBasedDeduplication"] != "false" {
		t.Errorf("FIFO: %v", fifo)
	}
}

func TestSNS04_SetTopicAttributes(t *testing.T) {
	w := open(t)
	standard, fifo := w.topic(), w.topic("FifoTopic", "true")
	set := func(arn, name, value string) error {
		_, err := w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: &name, AttributeValue: &value})
		return err
	}
	for name, value := range map[string]string{
		"DisplayName": "shown", "TracingConfig": "Active", "SignatureVersion": "2", "KmsMasterKeyId": "alias/x",
		"HTTPSuccessFeedbackRoleArn": "arn:aws:iam::000000000000:role/x", "SQSSuccessFeedbackSampleRate": "5",
		"DeliveryPolicy": `{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":2,"numRetries":5},"disableSubscriptionOverrides":false}}`,
	} {
		w.must(set(standard, name, value))
		if got := w.attributes(standard)[name]; got != value {
			t.Errorf("%s = %q", name, got)
		}
	}
	if got := w.attributes(standard)["EffectiveDeliveryPolicy"]; !strings.Contains(got, `"numRetries":5`) {
		t.Errorf("effective: %s", got)
	}
	w.must(set(fifo, "ContentBasedDeduplication", "true"))
	w.must(set(fifo, "FifoThroughputScope", "MessageGroup"))
	w.refused(set(standard, "Unknown", "x"), "InvalidParameter", "Invalid parameter: AttributeName")
	w.refused(set(standard, "ContentBasedDeduplication", "true"), "InvalidParameter", "Invalid parameter: AttributeName")
	w.refused(set(standard, "SignatureVersion", "3"), "InvalidParameter", "Invalid parameter: SignatureVersion")
}

func TestSNS05_DeleteTopic(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	sub := w.subscribe(arn, "sqs", q.arn)
	for range 2 {
		_, err := w.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: &arn})
		w.must(err)
	}
	_, err := w.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
	w.refused(err, "NotFound", "Topic does not exist")
	_, err = w.GetSubscriptionAttributes(ctx, &sns.GetSubscriptionAttributesInput{SubscriptionArn: &sub})
	w.refused(err, "NotFound", "Subscription does not exist")
	_, err = w.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("x")})
	w.refused(err, "NotFound", "Topic does not exist")
}

func TestSNS06_Paging(t *testing.T) {
	w := open(t)
	arn := w.topic()
	for i := range 105 {
		w.topic()
		w.subscribe(arn, "sms", fmt.Sprintf("+4917000%06d", i))
	}
	topics := sns.NewListTopicsPaginator(w.Client, &sns.ListTopicsInput{})
	n, pages := 0, 0
	for topics.HasMorePages() {
		p, err := topics.NextPage(ctx)
		w.must(err)
		if len(p.Topics) > 100 {
			t.Errorf("a page of %d", len(p.Topics))
		}
		n, pages = n+len(p.Topics), pages+1
	}
	if n < 106 || pages < 2 {
		t.Errorf("%d topics on %d pages", n, pages)
	}
	seen := map[string]bool{}
	subs := sns.NewListSubscriptionsByTopicPaginator(w.Client, &sns.ListSubscriptionsByTopicInput{TopicArn: &arn})
	for subs.HasMorePages() {
		p, err := subs.NextPage(ctx)
		w.must(err)
		for _, s := range p.Subscriptions {
			seen[*s.SubscriptionArn] = true
		}
	}
	if len(seen) != 105 {
		t.Errorf("%d subscriptions", len(seen))
	}
	all := sns.NewListSubscriptionsPaginator(w.Client, &sns.ListSubscriptionsInput{})
	n = 0
	for all.HasMorePages() {
		p, err := all.NextPage(ctx)
		w.must(err)
		n += len(p.Subscriptions)
	}
	if n < 105 {
		t.Errorf("%d subscriptions of the account", n)
	}
}

func TestSNS07_Tags(t *testing.T) {
	w := open(t)
	arn := w.topic()
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	_, err := w.TagResource(ctx, &sns.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{tag("a", "1"), tag("b", "2")}})
	w.must(err)
	_, err = w.TagResource(ctx, &sns.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{tag("a", "3")}})
	w.must(err)
	_, err = w.UntagResource(ctx, &sns.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"b", "unknown"}})
	w.must(err)
	r, err := w.ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: &arn})
	w.must(err)
	if len(r.Tags) != 1 || *r.Tags[0].Key != "a" || *r.Tags[0].Value != "3" {
		t.Errorf("%v", r.Tags)
	}
	_, err = w.TagResource(ctx, &sns.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{tag("a", "1"), tag("a", "2")}})
	w.refused(err, "InvalidParameter", "Invalid parameter: Duplicated keys are not allowed.")
	missing := arn + "x"
	_, err = w.ListTagsForResource(ctx, &sns.ListTagsForResourceInput{ResourceArn: &missing})
	w.refused(err, "ResourceNotFound", "Resource does not exist")
}

func TestSNS08_Permissions(t *testing.T) {
	w := open(t)
	arn := w.topic()
	add := func(label string, actions ...string) error {
		_, err := w.AddPermission(ctx, &sns.AddPermissionInput{TopicArn: &arn, Label: &label, AWSAccountId: []string{"000000000002"}, ActionName: actions})
		return err
	}
	w.must(add("one", "Publish"))
	w.refused(add("one", "Publish"), "InvalidParameter", "Invalid parameter: Statement already exists")
	w.refused(add("two", "InvalidAction"), "InvalidParameter", "Invalid parameter: Policy statement action out of service scope!")
	var p struct{ Statement []json.RawMessage }
	w.must(json.Unmarshal([]byte(w.attributes(arn)["Policy"]), &p))
	want := `{"Sid":"one","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000002:root"},"Action":"SNS:Publish","Resource":"` + arn + `"}`
	if len(p.Statement) != 2 || string(p.Statement[1]) != want {
		t.Errorf("policy: %s", p.Statement)
	}
	_, err := w.RemovePermission(ctx, &sns.RemovePermissionInput{TopicArn: &arn, Label: aws.String("one")})
	w.must(err)
	if got := w.attributes(arn)["Policy"]; strings.Contains(got, `"one"`) {
		t.Errorf("policy: %s", got)
	}
}

func TestSNS09_MalformedARNs(t *testing.T) {
	w := open(t)
	for arn, want := range map[string]string{
		"malformed": "TopicArn Reason: An ARN must have at least 6 elements, not 1", "a:b": "TopicArn Reason: An ARN must have at least 6 elements, not 2",
		"arn:aws:sns:us-east-1:000000000000": "TopicArn Reason: An ARN must have at least 6 elements, not 5",
	} {
		_, err := w.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
		w.refused(err, "InvalidParameter", "Invalid parameter: "+want)
		_, err = w.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("x")})
		w.refused(err, "InvalidParameter", "Invalid parameter: "+want)
		_, err = w.Subscribe(ctx, &sns.SubscribeInput{TopicArn: &arn, Protocol: aws.String("sms"), Endpoint: aws.String("+491700000000")})
		w.refused(err, "InvalidParameter", "Invalid parameter: "+want)
	}
}

func TestSNS10_OtherRegionOrAccount(t *testing.T) {
	w := open(t)
	arn := w.topic()
	elsewhere := arnParts(arn, func(p []string) { p[3] = "eu-west-3" })
	_, err := w.Publish(ctx, &sns.PublishInput{TopicArn: &elsewhere, Message: aws.String("x")})
	w.refused(err, "InvalidParameter", "Invalid parameter: TopicArn")
	nobody := arnParts(arn, func(p []string) { p[4] = "999999999999" })
	_, err = w.Publish(ctx, &sns.PublishInput{TopicArn: &nobody, Message: aws.String("x")})
	w.refused(err, "InvalidParameter", "Invalid parameter: TopicArn")
}

func TestSNS46_DataProtectionPolicy(t *testing.T) {
	w := open(t)
	arn, policy := w.topic(), `{"Name":"p","Version":"2021-06-01","Statement":[]}`
	_, err := w.PutDataProtectionPolicy(ctx, &sns.PutDataProtectionPolicyInput{ResourceArn: &arn, DataProtectionPolicy: &policy})
	w.must(err)
	r, err := w.GetDataProtectionPolicy(ctx, &sns.GetDataProtectionPolicyInput{ResourceArn: &arn})
	w.must(err)
	if *r.DataProtectionPolicy != policy {
		t.Errorf("%s", *r.DataProtectionPolicy)
	}
	if p := w.protection(arn, "Inbound", "EmailAddress", `{"Deny":{}}`); p != nil {
		t.Error(p)
	}
	w.refused(w.protection(arn, "Inbound", "Address", `{"Deny":{}}`), "InvalidParameter", "Invalid parameter: DataProtectionPolicy Reason: statement 1: this broker cannot find "+
		"arn:aws:dataprotection::aws:data-identifier/Address; it finds AwsSecretKey, BankAccountNumber-DE, BankAccountNumber-ES, BankAccountNumber-FR, BankAccountNumber-GB, "+
		"BankAccountNumber-IT, CreditCardNumber, EmailAddress, IpAddress, OpenSshPrivateKey, PgpPrivateKey, PhoneNumber-US, PkcsPrivateKey, PuttyPrivateKey, Ssn-US, "+
		"VehicleIdentificationNumber, and custom data identifiers")
	long := strings.Repeat(" ", 30_721)
	_, err = w.PutDataProtectionPolicy(ctx, &sns.PutDataProtectionPolicyInput{ResourceArn: &arn, DataProtectionPolicy: &long})
	w.refused(err, "InvalidParameter", "Invalid parameter: DataProtectionPolicy")
}

// protection sets a data protection policy of one statement for everybody.
func (w *world) protection(topic, direction, identifier, operation string) error {
	policy := `{"Name":"p","Version":"2021-06-01","Statement":[{"Sid":"s","DataDirection":"` + direction +
		`","Principal":["*"],"DataIdentifier":["arn:aws:dataprotection::aws:data-identifier/` + identifier + `"],"Operation":` + operation + `}]}`
	_, err := w.PutDataProtectionPolicy(ctx, &sns.PutDataProtectionPolicyInput{ResourceArn: &topic, DataProtectionPolicy: &policy})
	return err
}

// SNS-46, and what the policies say: publishers are refused, texts are masked
// on the way in, for everybody, or on the way out, for subscribers; after a
// restart as before.
func TestSNS46_DataProtection(t *testing.T) {
	b, w := start(t)
	denied, masked, out, kept := w.topic(), w.topic(), w.topic(), w.topic()
	raw, enveloped, q := w.queue(), w.queue(), w.queue()
	r := newReceiver(t)
	w.subscribe(denied, "sqs", q.arn, "RawMessageDelivery", "true")
	w.subscribe(masked, "sqs", raw.arn, "RawMessageDelivery", "true")
	w.subscribe(masked, "sqs", enveloped.arn)
	w.subscribe(out, "sqs", raw.arn, "RawMessageDelivery", "true")
	w.subscribe(out, "sqs", enveloped.arn)
	w.confirmed(out, r, "RawMessageDelivery", "true")
	w.subscribe(kept, "sqs", q.arn, "RawMessageDelivery", "true")
	w.must(w.protection(denied, "Inbound", "CreditCardNumber", `{"Deny":{}}`))
	w.must(w.protection(masked, "Inbound", "EmailAddress", `{"Deidentify":{"MaskConfig":{"MaskWithCharacter":"#"}}}`))
	w.must(w.protection(out, "Outbound", "IpAddress", `{"Deidentify":{"RedactConfig":{}}}`))
	w.must(w.protection(kept, "Outbound", "IpAddress", `{"Deny":{}}`))
	for life := range 2 {
		const card = "card 4111 1111 1111 1111"
		_, err := w.Publish(ctx, &sns.PublishInput{TopicArn: &denied, Message: aws.String(card)})
		if err == nil || !strings.Contains(err.Error(), "AuthorizationError") || !strings.Contains(err.Error(), "with an explicit deny in a data protection policy") {
			t.Errorf("life %d: a card number was taken: %v", life, err)
		}
		batch, err := w.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &denied, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{
			{Id: aws.String("a"), Message: aws.String(card)}, {Id: aws.String("b"), Message: aws.String("fine")},
		}})
		w.must(err)
		if len(batch.Failed) != 1 || *batch.Failed[0].Id != "a" || *batch.Failed[0].Code != "AuthorizationError" || len(batch.Successful) != 1 || *batch.Successful[0].Id != "b" {
			t.Errorf("life %d: %+v", life, batch)
		}
		if got := *w.receive(q).Body; got != "fine" {
			t.Errorf("life %d: %q", life, got)
		}
		w.publish(masked, "to ann@example.org!", func(in *sns.PublishInput) { in.Subject = aws.String("for ann@example.org") })
		if got := *w.receive(raw).Body; got != "to ###############!" {
			t.Errorf("life %d: %q", life, got)
		}
		e := w.envelope(enveloped)
		if e.Message != "to ###############!" || e.Subject != "for ###############" {
			t.Errorf("life %d: %+v", life, e)
		}
		w.verify(e, "1")
		w.publish(masked, `{"default":"x","sqs":"ann@example.org"}`, func(in *sns.PublishInput) { in.MessageStructure = aws.String("json") })
		if a, b := *w.receive(raw).Body, w.envelope(enveloped).Message; a != "###############" || b != a {
			t.Errorf("life %d: %q %q", life, a, b)
		}
		w.publish(out, "from 10.0.0.1 on")
		e = w.envelope(enveloped)
		w.verify(e, "1")
		if a, c := *w.receive(raw).Body, r.next(w).body; a != "from  on" || e.Message != a || c != a {
			t.Errorf("life %d: %q %q %q", life, a, e.Message, c)
		}
		w.publish(kept, "from 10.0.0.1")
		w.publish(kept, "nothing")
		if got := *w.receive(q).Body; got != "nothing" {
			t.Errorf("life %d: %q", life, got)
		}
		if life == 0 {
			b.Kill()
			w.must(b.Restart())
		}
	}
}

// SNS-48: who comes from another account needs the policy's leave; within the
// account a policy can forbid.
func TestSNS48_TopicPolicy(t *testing.T) {
	ours(t)
	w := open(t)
	arn := w.topic()
	other := newWorld(t, w.at, "000000000002")
	_, err := other.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("x")})
	if err == nil || !strings.Contains(err.Error(), "AuthorizationError") || !strings.Contains(err.Error(), "is not authorized to perform: SNS:Publish on resource: "+arn) {
		t.Errorf("another account: %v", err)
	}
	q := w.queue()
	w.subscribe(arn, "sqs", q.arn)
	_, err = w.AddPermission(ctx, &sns.AddPermissionInput{TopicArn: &arn, Label: aws.String("l"), AWSAccountId: []string{"000000000002"}, ActionName: []string{"Publish"}})
	w.must(err)
	other.publish(arn, "allowed")
	if got := w.envelope(q).Message; got != "allowed" {
		t.Errorf("%q", got)
	}
	deny := `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"SNS:Publish","Resource":"` + arn + `"}]}`
	_, err = w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: aws.String("Policy"), AttributeValue: &deny})
	w.must(err)
	if _, err := w.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("x")}); err == nil || !strings.Contains(err.Error(), "AuthorizationError") {
		t.Errorf("forbidden: %v", err)
	}
}

// SNS-48, the other half: with enforcement the queue's policy must allow the
// topic; until it does, messages wait.
func TestSNS48_QueuePolicyEnforced(t *testing.T) {
	_, w := start(t, "aws.sns.enforce_queue_policy=true")
	arn, q, dead := w.topic(), w.queue(), w.queue()
	w.allow(dead, arn)
	sub := w.subscribe(arn, "sqs", q.arn, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`)
	w.publish(arn, "refused")
	m := w.receive(dead)
	if w.open(*m.Body).Message != "refused" || len(m.MessageAttributes) != 0 {
		t.Errorf("%s %v", *m.Body, m.MessageAttributes)
	}
	w.allow(q, arn)
	w.must(w.set(sub, "RawMessageDelivery", "true"))
	w.publish(arn, "allowed")
	if got := *w.receive(q).Body; got != "allowed" {
		t.Errorf("%q", got)
	}
}

// SQS-59: of the senders that a queue's policy tells apart by aws:SourceArn, the
// one it names gets through, by name or by pattern, and no other.
func TestSQS59_SourceArn(t *testing.T) {
	_, w := start(t, "aws.sns.enforce_queue_policy=true")
	arn, stranger, q, dead := w.topic(), w.topic(), w.queue(), w.queue()
	w.allow(dead, stranger)
	w.subscribe(arn, "sqs", q.arn, "RawMessageDelivery", "true")
	w.subscribe(stranger, "sqs", q.arn, "RawMessageDelivery", "true", "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`)
	for i, condition := range []string{
		`{"ArnEquals":{"aws:SourceArn":"` + arn + `"}}`,
		`{"ArnLike":{"aws:SourceArn":"` + arnParts(arn, func(p []string) { p[3], p[5] = "*", p[5][:len(p[5])-1]+"?" }) + `"}}`,
		`{"StringEquals":{"aws:SourceArn":"` + arn + `"}}`,
		`{"ArnEquals":{"AWS:SourceARN":["arn:aws:sns:us-east-1:` + account + `:none","` + arn + `"]},"StringEquals":{"aws:SourceAccount":"` + account + `"}}`,
	} {
		policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage","Resource":"` +
			q.arn + `","Condition":` + condition + `}]}`
		_, err := w.queues.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: &q.url, Attributes: map[string]string{"Policy": policy}})
		w.must(err)
		allowed, refused := fmt.Sprint("allowed ", i), fmt.Sprint("refused ", i)
		w.publish(stranger, refused)
		if got := *w.receive(dead).Body; got != refused {
			t.Errorf("%s: %q", condition, got)
		}
		w.publish(arn, allowed)
		if got := *w.receive(q).Body; got != allowed {
			t.Errorf("%s: %q", condition, got)
		}
	}
	w.none(q)
}
