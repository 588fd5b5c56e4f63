package sqs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

const noQueue = "AWS.SimpleQueueService.NonExistentQueue"

// SQS-1: create, look up, list and delete in both protocols.
func TestSQS1_RoundTrip(t *testing.T) {
	w := open(t)
	url := w.queue()
	name := nameOf(url)
	out, err := w.GetQueueUrl(ctx(), &sqs.GetQueueUrlInput{QueueName: &name})
	if err != nil || *out.QueueUrl != url {
		t.Fatalf("%v, %v", out, err)
	}
	w.query("/", "Action", "GetQueueUrl", "QueueName", name).has(t, 200, "<GetQueueUrlResult><QueueUrl>"+url+"</QueueUrl></GetQueueUrlResult><ResponseMetadata><RequestId>")
	w.query("/", "Action", "ListQueues", "QueueNamePrefix", name).has(t, 200, "<ListQueuesResult><QueueUrl>"+url+"</QueueUrl></ListQueuesResult>")
	second := unique()
	w.query("/", "Action", "CreateQueue", "QueueName", second, "Attribute.1.Name", "DelaySeconds", "Attribute.1.Value", "7").has(t, 200, second)
	out, err = w.GetQueueUrl(ctx(), &sqs.GetQueueUrlInput{QueueName: &second})
	if err != nil {
		t.Fatal(err)
	}
	if v := w.attributes(*out.QueueUrl, "DelaySeconds")["DelaySeconds"]; v != "7" {
		t.Errorf("DelaySeconds %s", v)
	}
	w.query("/", "Action", "DeleteQueue", "QueueUrl", *out.QueueUrl).has(t, 200, "<DeleteQueueResponse", "<ResponseMetadata>")
	_, err = w.GetQueueUrl(ctx(), &sqs.GetQueueUrlInput{QueueName: &second})
	refused(t, err, noQueue, "The specified queue does not exist.")
}

// SQS-2: creating again is fine with the same attributes and refused with
// others, by name.
func TestSQS2_CreateAgain(t *testing.T) {
	w := open(t)
	url := w.queue("DelaySeconds", "5", "VisibilityTimeout", "40")
	name := nameOf(url)
	for _, m := range []map[string]string{nil, {"DelaySeconds": "5"}, {"VisibilityTimeout": "40", "DelaySeconds": "5"}, {"MaximumMessageSize": "1048576"}} {
		out, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: m})
		if err != nil || *out.QueueUrl != url {
			t.Errorf("%v: %v", m, err)
		}
	}
	_, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"DelaySeconds": "6"}})
	refused(t, err, "QueueAlreadyExists", "A queue already exists with the same name and a different value for attribute DelaySeconds")
	fifo := w.fifo("ContentBasedDeduplication", "true")
	name = nameOf(fifo)
	_, err = w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: pairs([]string{"FifoQueue", "true", "ContentBasedDeduplication", "false"})})
	refused(t, err, "QueueAlreadyExists", "A queue already exists with the same name and a different value for attribute ContentBasedDeduplication")
}

// SQS-3: names.
func TestSQS3_Names(t *testing.T) {
	w := open(t)
	base := unique()
	fifo := map[string]string{"FifoQueue": "true"}
	const plain = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
	const ordered = "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length."
	long := base + strings.Repeat("x", 80-len(base))
	for _, c := range []struct {
		name       string
		attributes map[string]string
		text       string
	}{
		{long, nil, ""}, {long + "x", nil, plain}, {base + "_-A", nil, ""}, {base + ".x", nil, plain}, {base + "é", nil, plain}, {base + " ", nil, plain},
		{base + ".fifo", nil, plain}, {base, fifo, ordered}, {base + ".fifo", fifo, ""}, {long[:75] + ".fifo", fifo, ""}, {long[:76] + ".fifo", fifo, ordered},
	} {
		out, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &c.name, Attributes: c.attributes})
		if c.text != "" {
			refused(t, err, "InvalidParameterValue", c.text)
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.name, err)
			continue
		}
		_, _ = w.DeleteQueue(ctx(), &sqs.DeleteQueueInput{QueueUrl: out.QueueUrl})
	}
}

// SQS-4: the attributes of a new queue, no more and no fewer.
func TestSQS4_Defaults(t *testing.T) {
	w := open(t)
	standard := map[string]string{
		"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0", "ApproximateNumberOfMessagesDelayed": "0",
		"DelaySeconds": "0", "MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600", "ReceiveMessageWaitTimeSeconds": "0",
		"SqsManagedSseEnabled": "true", "VisibilityTimeout": "30",
	}
	ordered := map[string]string{"ContentBasedDeduplication": "false", "DeduplicationScope": "queue", "FifoQueue": "true", "FifoThroughputLimit": "perQueue"}
	for name, v := range standard {
		ordered[name] = v
	}
	for url, want := range map[string]map[string]string{w.queue(): standard, w.fifo(): ordered} {
		got := w.attributes(url, "All")
		now := time.Now().Unix()
		for _, name := range []string{"CreatedTimestamp", "LastModifiedTimestamp"} {
			var at int64
			if _, err := fmt.Sscan(got[name], &at); err != nil || at < now-30 || at > now+30 {
				t.Errorf("%s %s", name, got[name])
			}
			delete(got, name)
		}
		if arn := got["QueueArn"]; !strings.HasPrefix(arn, "arn:aws:sqs:") || !strings.HasSuffix(arn, ":"+nameOf(url)) {
			t.Errorf("QueueArn %s", arn)
		}
		delete(got, "QueueArn")
		if len(got) != len(want) {
			t.Errorf("%v", got)
		}
		for name, v := range want {
			if got[name] != v {
				t.Errorf("%s is %q, want %q", name, got[name], v)
			}
		}
	}
}

// SQS-5: single names, none, unknown ones.
func TestSQS5_AttributeNames(t *testing.T) {
	w := open(t)
	url := w.queue()
	if got := w.attributes(url, "DelaySeconds", "VisibilityTimeout"); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := w.attributes(url); len(got) != 0 {
		t.Errorf("%v for no name", got)
	}
	_, err := w.GetQueueAttributes(ctx(), &sqs.GetQueueAttributesInput{QueueUrl: &url, AttributeNames: names2("Nonsense")})
	refused(t, err, "InvalidAttributeName", "Unknown Attribute Nonsense.")
	w.query("/", "Action", "GetQueueAttributes", "QueueUrl", url, "AttributeName.1", "All").has(t, 200,
		"<Attribute><Name>VisibilityTimeout</Name><Value>30</Value></Attribute>")
}

// SQS-6: the ranges of numeric attributes.
func TestSQS6_Ranges(t *testing.T) {
	w := open(t)
	url := w.queue()
	for name, r := range map[string][2]int{
		"DelaySeconds": {0, 900}, "MaximumMessageSize": {1024, 1048576}, "MessageRetentionPeriod": {60, 1209600},
		"ReceiveMessageWaitTimeSeconds": {0, 20}, "VisibilityTimeout": {0, 43200}, "KmsDataKeyReusePeriodSeconds": {60, 86400},
	} {
		for _, v := range r {
			if err := w.set(url, name, fmt.Sprint(v)); err != nil {
				t.Errorf("%s %d: %v", name, v, err)
			}
		}
		for _, v := range []string{fmt.Sprint(r[0] - 1), fmt.Sprint(r[1] + 1), "x", ""} {
			refused(t, w.set(url, name, v), "InvalidAttributeValue", "")
		}
	}
	refused(t, w.set(url, "QueueArn", "x"), "InvalidAttributeName", "Unknown Attribute QueueArn.")
}

// SQS-7: attributes of FIFO queues on a standard one.
func TestSQS7_FifoAttributesOnStandard(t *testing.T) {
	w := open(t)
	name := unique()
	for attribute, text := range map[string]string{
		"ContentBasedDeduplication": "Unknown Attribute ContentBasedDeduplication.",
		"DeduplicationScope":        "You can specify the DeduplicationScope only when FifoQueue is set to true.",
		"FifoThroughputLimit":       "You can specify the FifoThroughputLimit only when FifoQueue is set to true.",
	} {
		value := map[string]string{"ContentBasedDeduplication": "false", "DeduplicationScope": "queue", "FifoThroughputLimit": "perQueue"}[attribute]
		_, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{attribute: value}})
		refused(t, err, "InvalidAttributeName", text)
	}
}

// SQS-8: the type of a queue does not change.
func TestSQS8_TypeIsFixed(t *testing.T) {
	w := open(t)
	refused(t, w.set(w.queue(), "FifoQueue", "true"), "InvalidAttributeName", "Unknown Attribute FifoQueue.")
	refused(t, w.set(w.queue(), "FifoQueue", "false"), "InvalidAttributeName", "Unknown Attribute FifoQueue.")
	refused(t, w.set(w.fifo(), "FifoQueue", "false"), "InvalidAttributeValue", "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.")
}

// SQS-9: encryption attributes.
func TestSQS9_Encryption(t *testing.T) {
	w := open(t)
	url := w.queue()
	if err := w.set(url, "KmsMasterKeyId", "k", "KmsDataKeyReusePeriodSeconds", "600"); err != nil {
		t.Fatal(err)
	}
	if got := w.attributes(url, "All"); got["KmsMasterKeyId"] != "k" || got["KmsDataKeyReusePeriodSeconds"] != "600" || got["SqsManagedSseEnabled"] != "false" {
		t.Errorf("%v", got)
	}
	if err := w.set(url, "KmsMasterKeyId", "", "KmsDataKeyReusePeriodSeconds", "300"); err != nil {
		t.Fatal(err)
	}
	got := w.attributes(url, "All")
	_, key := got["KmsMasterKeyId"]
	_, reuse := got["KmsDataKeyReusePeriodSeconds"]
	if key || reuse || got["SqsManagedSseEnabled"] != "false" {
		t.Errorf("%v", got)
	}
	const both = "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE."
	refused(t, w.set(url, "KmsMasterKeyId", "k", "SqsManagedSseEnabled", "true"), "InvalidAttributeName", both)
	name := unique()
	_, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{"KmsMasterKeyId": "k", "SqsManagedSseEnabled": "true"}})
	refused(t, err, "InvalidAttributeName", both)
	if err := w.set(url, "KmsMasterKeyId", "k", "SqsManagedSseEnabled", "false"); err != nil {
		t.Error(err)
	}
	if err := w.set(url, "SqsManagedSseEnabled", "true"); err != nil || w.attributes(url, "All")["SqsManagedSseEnabled"] != "true" {
		t.Errorf("%v", err)
	}
}

// SQS-10: listing by prefix, in pages, per account.
func TestSQS10_List(t *testing.T) {
	w := open(t)
	prefix := unique()
	var want []string
	for i := range 5 {
		want = append(want, w.queueCalled(fmt.Sprint(prefix, "-", i), nil))
	}
	w.queueCalled(strings.ToUpper(prefix)+"-x", nil)
	list := func(in *sqs.ListQueuesInput) ([]string, string) {
		in.QueueNamePrefix = &prefix
		out, err := w.ListQueues(ctx(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out.QueueUrls, aws.ToString(out.NextToken)
	}
	if got, next := list(&sqs.ListQueuesInput{}); !slices.Equal(got, want) || next != "" {
		t.Errorf("%v %s", got, next)
	}
	var got []string
	var token *string
	for range 3 {
		page, next := list(&sqs.ListQueuesInput{MaxResults: aws.Int32(2), NextToken: token})
		got = append(got, page...)
		token = &next
		if next == "" {
			break
		}
	}
	if !slices.Equal(got, want) || *token != "" {
		t.Errorf("in pages: %v", got)
	}
	ours(t)
	out, err := client(t, w.at, other).ListQueues(ctx(), &sqs.ListQueuesInput{})
	if err != nil || len(out.QueueUrls) != 0 {
		t.Errorf("another account sees %v, %v", out, err)
	}
}

// SQS-11: tags.
func TestSQS11_Tags(t *testing.T) {
	w := open(t)
	name := unique()
	out, err := w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: &name, Tags: map[string]string{"a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	url := *out.QueueUrl
	defer w.DeleteQueue(ctx(), &sqs.DeleteQueueInput{QueueUrl: &url})
	tags := func() map[string]string {
		out, err := w.ListQueueTags(ctx(), &sqs.ListQueueTagsInput{QueueUrl: &url})
		if err != nil {
			t.Fatal(err)
		}
		return out.Tags
	}
	tag := func(m map[string]string) error {
		_, err := w.TagQueue(ctx(), &sqs.TagQueueInput{QueueUrl: &url, Tags: m})
		return err
	}
	if err := tag(map[string]string{"a": "2", "A": "3", "empty": ""}); err != nil {
		t.Fatal(err)
	}
	if got := tags(); len(got) != 3 || got["a"] != "2" || got["A"] != "3" {
		t.Errorf("%v", got)
	}
	if _, err := w.UntagQueue(ctx(), &sqs.UntagQueueInput{QueueUrl: &url, TagKeys: []string{"a", "A", "empty", "none"}}); err != nil {
		t.Fatal(err)
	}
	if got := w.json("/", "ListQueueTags", `{"QueueUrl":"`+url+`"}`, nil); got.status != 200 || strings.Contains(got.body, "Tags") {
		t.Errorf("%v", got)
	}
	many := map[string]string{}
	for i := range 51 {
		many[fmt.Sprint("k", i)] = "v"
	}
	refused(t, tag(many), "InvalidParameterValue", "")
	refused(t, tag(map[string]string{"aws:x": "v"}), "InvalidParameterValue", "")
	delete(many, "k50")
	if err := tag(many); err != nil || len(tags()) != 50 {
		t.Errorf("%v", err)
	}
}

// SQS-37: a purge drops visible, hidden and delayed messages.
func TestSQS37_Purge(t *testing.T) {
	w := open(t)
	url := w.queue()
	for i := range 3 {
		w.send(url, fmt.Sprint(i), func(in *sqs.SendMessageInput) {
			if i == 2 {
				in.DelaySeconds = 1
			}
		})
	}
	hidden := w.collect(url, 1, visible(1))
	if _, err := w.PurgeQueue(ctx(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	pause(1500 * time.Millisecond)
	got := w.attributes(url, "All")
	for _, name := range []string{"ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"} {
		if got[name] != "0" {
			t.Errorf("%s %s", name, got[name])
		}
	}
	if list := w.receive(url, 10); len(list) != 0 {
		t.Errorf("%s came", bodies(list))
	}
	if err := w.remove(url, hidden[0]); err != nil {
		t.Errorf("deleting what was purged: %v", err)
	}
	w.send(url, "after")
	if list := w.collect(url, 1); bodies(list) != "after" {
		t.Errorf("%s", bodies(list))
	}
}

// SQS-37, SQS-38 with the waits of AWS.
func TestSQS38_StrictTiming(t *testing.T) {
	b := start(t, "aws.strict_timing=true")
	w := &world{t, client(t, "http://"+b.Addr("aws"), root), "http://" + b.Addr("aws")}
	url := w.queue()
	if _, err := w.PurgeQueue(ctx(), &sqs.PurgeQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	_, err := w.PurgeQueue(ctx(), &sqs.PurgeQueueInput{QueueUrl: &url})
	refused(t, err, "AWS.SimpleQueueService.PurgeQueueInProgress", "Only one PurgeQueue operation on "+nameOf(url)+" is allowed every 60 seconds.")
	w.query("/", "Action", "PurgeQueue", "QueueUrl", url).has(t, 403, "<Code>AWS.SimpleQueueService.PurgeQueueInProgress</Code>")
	if _, err := w.DeleteQueue(ctx(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	_, err = w.CreateQueue(ctx(), &sqs.CreateQueueInput{QueueName: aws.String(nameOf(url))})
	refused(t, err, "AWS.SimpleQueueService.QueueDeletedRecently", "You must wait 60 seconds after deleting a queue before you can create another with the same name.")
}

// SQS-38: a deleted queue is none, in both protocols.
func TestSQS38_Deleted(t *testing.T) {
	w := open(t)
	url := w.queue()
	w.send(url, "x")
	if _, err := w.DeleteQueue(ctx(), &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil {
		t.Fatal(err)
	}
	_, err := w.trySend(url, "x")
	refused(t, err, noQueue, "The specified queue does not exist.")
	_, err = w.tryReceive(url, 1)
	refused(t, err, noQueue, "The specified queue does not exist.")
	w.query("/", "Action", "SendMessage", "QueueUrl", url, "MessageBody", "x").has(t, 400,
		"<Code>"+noQueue+"</Code><Message>The specified queue does not exist for this wsdl version.</Message><Detail/></Error><RequestId>")
}

// SQS-50, SQS-53: what a redrive policy must be.
func TestSQS50_RedrivePolicy(t *testing.T) {
	w := open(t)
	dead, fifo := w.arnOf(w.queue()), w.arnOf(w.fifo())
	url := w.queue()
	policy := func(target, max string) string {
		return `{"deadLetterTargetArn":"` + target + `","maxReceiveCount":` + max + `}`
	}
	for _, good := range []string{policy(dead, "1"), policy(dead, "1000")} {
		if err := w.set(url, "RedrivePolicy", good); err != nil || w.attributes(url, "All")["RedrivePolicy"] != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		policy(dead, "0"), policy(dead, "1001"), policy(dead, `"x"`), policy(fifo, "3"), policy(dead+"-none", "3"), policy("arn", "3"),
		`{"maxReceiveCount":3}`, `{"deadLetterTargetArn":"` + dead + `"}`, `{`,
	} {
		refused(t, w.set(url, "RedrivePolicy", bad), "InvalidParameterValue", "")
	}
	refused(t, w.set(url, "RedrivePolicy", policy(dead, "0")), "InvalidParameterValue",
		"Value "+policy(dead, "0")+" for parameter RedrivePolicy is invalid. Reason: Invalid value for maxReceiveCount: 0, valid values are from 1 to 1000 both inclusive.")
	if err := w.set(url, "RedrivePolicy", ""); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.attributes(url, "All")["RedrivePolicy"]; ok {
		t.Error("the policy is still there")
	}
}

// SQS-53: the dead-letter queue says whose it is.
// SQS-50: the service shows its own form of what was set.
func TestSQS50_RedrivePolicyForm(t *testing.T) {
	w := open(t)
	dead := w.arnOf(w.queue())
	want := `{"deadLetterTargetArn":"` + dead + `","maxReceiveCount":5}`
	set := "{\n  \"maxReceiveCount\": \"5\", \"deadLetterTargetArn\": \"" + dead + "\"\n}"
	name := unique()
	url := w.queueCalled(name, map[string]string{"RedrivePolicy": set})
	if got := w.attributes(url, "RedrivePolicy")["RedrivePolicy"]; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if again := w.queueCalled(name, map[string]string{"RedrivePolicy": want}); again != url {
		t.Errorf("%s, want %s", again, url)
	}
	if err := w.set(url, "RedrivePolicy", strings.Replace(set, "5", "6", 1)); err != nil {
		t.Fatal(err)
	}
	if got := w.attributes(url, "RedrivePolicy")["RedrivePolicy"]; got != strings.Replace(want, ":5}", ":6}", 1) {
		t.Errorf("%s", got)
	}
}

func TestSQS53_RedriveAllowPolicy(t *testing.T) {
	w := open(t)
	deadURL := w.queue()
	dead, url := w.arnOf(deadURL), w.queue()
	source := w.arnOf(url)
	policy := `{"deadLetterTargetArn":"` + dead + `","maxReceiveCount":3}`
	allow := func(v string) {
		t.Helper()
		if err := w.set(deadURL, "RedriveAllowPolicy", v); err != nil {
			t.Fatal(err)
		}
	}
	allow(`{"redrivePermission":"denyAll"}`)
	refused(t, w.set(url, "RedrivePolicy", policy), "InvalidParameterValue", "")
	allow(`{"redrivePermission":"byQueue","sourceQueueArns":["` + source + `x"]}`)
	refused(t, w.set(url, "RedrivePolicy", policy), "InvalidParameterValue", "")
	allow(`{"redrivePermission":"byQueue","sourceQueueArns":["` + source + `"]}`)
	if err := w.set(url, "RedrivePolicy", policy); err != nil {
		t.Error(err)
	}
	allow(`{"redrivePermission":"allowAll"}`)
	for _, bad := range []string{`{"redrivePermission":"x"}`, `{"redrivePermission":"byQueue"}`, `{"redrivePermission":"allowAll","sourceQueueArns":["` + source + `"]}`} {
		refused(t, w.set(deadURL, "RedriveAllowPolicy", bad), "InvalidParameterValue", "")
	}
}

// SQS-54: the sources of a dead-letter queue, in pages.
func TestSQS54_Sources(t *testing.T) {
	w := open(t)
	deadURL := w.queue()
	policy := `{"deadLetterTargetArn":"` + w.arnOf(deadURL) + `","maxReceiveCount":3}`
	want := []string{w.queue("RedrivePolicy", policy), w.queue("RedrivePolicy", policy), w.queue("RedrivePolicy", policy)}
	slices.Sort(want)
	var got []string
	var token *string
	for {
		out, err := w.ListDeadLetterSourceQueues(ctx(), &sqs.ListDeadLetterSourceQueuesInput{QueueUrl: &deadURL, MaxResults: aws.Int32(2), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, out.QueueUrls...)
		if token = out.NextToken; token == nil {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
