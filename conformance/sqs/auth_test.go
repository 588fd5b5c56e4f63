package sqs

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// SQS-58: the policy that AddPermission writes, byte for byte.
func TestSQS58_Permissions(t *testing.T) {
	w := open(t)
	url := w.queue()
	arn := w.arnOf(url)
	add := func(label string, accounts, actions []string) error {
		_, err := w.AddPermission(ctx(), &sqs.AddPermissionInput{QueueUrl: &url, Label: &label, AWSAccountIds: accounts, Actions: actions})
		return err
	}
	if err := add("crossaccountpermission", []string{account2}, []string{"ReceiveMessage"}); err != nil {
		t.Fatal(err)
	}
	one := `{"Sid":"crossaccountpermission","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account2 + `:root"},"Action":"SQS:ReceiveMessage","Resource":"` + arn + `"}`
	want := `{"Version":"2008-10-17","Id":"` + arn + `/SQSDefaultPolicy","Statement":[` + one + `]}`
	if got := w.attributes(url, "Policy")["Policy"]; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if err := add("second", []string{account, account2}, []string{"SendMessage", "DeleteMessage"}); err != nil {
		t.Fatal(err)
	}
	two := `{"Sid":"second","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::` + account + `:root","arn:aws:iam::` + account2 + `:root"]},"Action":["SQS:SendMessage","SQS:DeleteMessage"],"Resource":"` + arn + `"}`
	if got := w.attributes(url, "Policy")["Policy"]; got != strings.Replace(want, one, one+","+two, 1) {
		t.Errorf("%s", got)
	}
	refused(t, add("second", []string{account}, []string{"SendMessage"}), "InvalidParameterValue", "Value second for parameter Label is invalid. Reason: Already exists.")
	refused(t, add("x", []string{account}, []string{"CreateQueue"}), "InvalidParameterValue",
		"Value SQS:CreateQueue for parameter ActionName is invalid. Reason: Only the queue owner is allowed to invoke this action.")
	refused(t, add("x", []string{account}, strings.Fields("SendMessage ReceiveMessage DeleteMessage PurgeQueue GetQueueUrl GetQueueAttributes ChangeMessageVisibility ListDeadLetterSourceQueues")),
		"OverLimit", "8 Actions were found, maximum allowed is 7.")
	remove := func(label string) error {
		_, err := w.RemovePermission(ctx(), &sqs.RemovePermissionInput{QueueUrl: &url, Label: &label})
		return err
	}
	refused(t, remove("none"), "InvalidParameterValue", "Value none for parameter Label is invalid. Reason: can't find label.")
	for _, label := range []string{"second", "crossaccountpermission"} {
		if err := remove(label); err != nil {
			t.Error(err)
		}
	}
	if got := w.attributes(url, "Policy"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// SQS-59: policies decide about others.
func TestSQS59_Policy(t *testing.T) {
	ours(t)
	w := open(t)
	url := w.queue()
	arn := w.arnOf(url)
	refused(t, w.set(url, "Policy", "{"), "InvalidAttributeValue", "")
	const denied = "AccessDenied"
	for _, k := range []key{alice, other} {
		c := client(t, w.at, k)
		who := "arn:aws:iam::" + account + ":user/alice"
		if k == other {
			who = "arn:aws:iam::" + account2 + ":root"
		}
		send := func() error {
			_, err := c.SendMessage(ctx(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: aws.String("x")})
			return err
		}
		batch := func() error {
			_, err := c.SendMessageBatch(ctx(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: entries(1)})
			return err
		}
		receive := func() error {
			_, err := c.ReceiveMessage(ctx(), &sqs.ReceiveMessageInput{QueueUrl: &url})
			return err
		}
		policy := func(statements string) {
			t.Helper()
			text := `{"Version":"2012-10-17","Statement":[` + statements + `]}`
			if err := w.set(url, "Policy", text); err != nil {
				t.Fatal(err)
			}
			if got := w.attributes(url, "Policy")["Policy"]; got != text {
				t.Errorf("not verbatim: %s", got)
			}
		}
		statement := func(effect, action, rest string) string {
			return `{"Effect":"` + effect + `","Principal":{"AWS":"` + who + `"},"Action":"` + action + `","Resource":"` + arn + `"` + rest + `}`
		}
		if err := w.set(url, "Policy", ""); err != nil {
			t.Fatal(err)
		}
		refused(t, send(), denied, "")
		policy(statement("Allow", "SQS:SendMessage", ""))
		for _, err := range []error{send(), batch()} {
			if err != nil {
				t.Errorf("%s: %v", k.id, err)
			}
		}
		refused(t, receive(), denied, "")
		policy(statement("Allow", "SQS:*", "") + "," + statement("Deny", "SQS:SendMessage", ""))
		refused(t, send(), denied, "")
		refused(t, batch(), denied, "")
		if err := receive(); err != nil {
			t.Error(err)
		}
		policy(statement("Allow", "SQS:*", `,"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:us-east-1:1:t"}}`))
		refused(t, send(), denied, "")
		policy(statement("Allow", "SQS:*", `,"Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`))
		if err := send(); err != nil {
			t.Error(err)
		}
		_, err := c.SetQueueAttributes(ctx(), &sqs.SetQueueAttributesInput{QueueUrl: &url, Attributes: map[string]string{"DelaySeconds": "1"}})
		if k == other {
			refused(t, err, denied, "")
		}
	}
	// The owner is bound by a denial, too.
	if err := w.set(url, "Policy", `{"Statement":{"Effect":"Deny","Principal":"*","Action":"SQS:SendMessage","Resource":"`+arn+`"}}`); err != nil {
		t.Fatal(err)
	}
	_, err := w.trySend(url, "x")
	refused(t, err, denied, "")
}

// SQS-60: signatures.
func TestSQS60_Signatures(t *testing.T) {
	ours(t)
	w := open(t)
	list := func(k key, change func(*http.Request), at time.Time) (json, query answer) {
		for _, protocol := range []string{"json", "query"} {
			body, kind := `{}`, "application/x-amz-json-1.0"
			if protocol == "query" {
				body, kind = "Action=ListQueues&Version=2012-11-05", "application/x-www-form-urlencoded"
			}
			req, err := http.NewRequest("POST", w.at+"/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", kind)
			if protocol == "json" {
				req.Header.Set("X-Amz-Target", "AmazonSQS.ListQueues")
			}
			w.sign(req, k, body, at)
			if change != nil {
				change(req)
			}
			if protocol == "json" {
				json = w.do(req)
			} else {
				query = w.do(req)
			}
		}
		return json, query
	}
	now := time.Now()
	for _, c := range []struct {
		name        string
		key         key
		change      func(*http.Request)
		at          time.Time
		status      int // of the Query protocol; JSON's is 400
		shape, code string
	}{
		{"wrong secret", key{id: root.id, secret: "x"}, nil, now, 403, "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"unknown key", key{id: "AKIDNONE", secret: "x"}, nil, now, 403, "UnrecognizedClientException", "InvalidClientTokenId"},
		{"16 minutes late", root, nil, now.Add(-16 * time.Minute), 403, "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"16 minutes early", root, nil, now.Add(16 * time.Minute), 403, "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"another header", root, func(r *http.Request) { r.Header.Set("Content-Type", r.Header.Get("Content-Type")+"; x") }, now, 403, "InvalidSignatureException", "SignatureDoesNotMatch"},
		{"no header", root, func(r *http.Request) { r.Header.Del("Authorization") }, now, 403, "MissingAuthenticationTokenException", "MissingAuthenticationToken"},
		{"no signature", root, func(r *http.Request) {
			a, _, _ := strings.Cut(r.Header.Get("Authorization"), ", Signature")
			r.Header.Set("Authorization", a)
		}, now, 400, "IncompleteSignatureException", "IncompleteSignature"},
		{"both", root, func(r *http.Request) { r.URL.RawQuery = "X-Amz-Algorithm=AWS4-HMAC-SHA256" }, now, 400, "InvalidSignatureException", "InvalidSignatureException"},
	} {
		j, q := list(c.key, c.change, c.at)
		if j.status != 400 || !strings.Contains(j.body, "com.amazon.coral.service#"+c.shape) {
			t.Errorf("%s, JSON: %v", c.name, j)
		}
		if q.status != c.status || !strings.Contains(q.body, "<Code>"+c.code+"</Code>") {
			t.Errorf("%s, Query: %v", c.name, q)
		}
	}
	for _, at := range []time.Time{now.Add(-14 * time.Minute), now.Add(14 * time.Minute)} {
		if j, q := list(root, nil, at); j.status != 200 || q.status != 200 {
			t.Errorf("%v %v", j, q)
		}
	}
}

// SQS-60: a body that was changed on the way.
func TestSQS60_TamperedBody(t *testing.T) {
	ours(t)
	w := open(t)
	req, _ := http.NewRequest("POST", w.at+"/", strings.NewReader(`{"QueueNamePrefix":"b"}`))
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS.ListQueues")
	w.sign(req, root, `{"QueueNamePrefix":"a"}`, time.Now())
	w.do(req).has(t, 400, "InvalidSignatureException")
}

// SQS-60: presigned requests.
func TestSQS60_Presigned(t *testing.T) {
	w := open(t)
	presign := func(age time.Duration) string {
		req, _ := http.NewRequest("GET", w.at+"/?Action=ListQueues&Version=2012-11-05&QueueNamePrefix=a+b&X-Amz-Expires=60", nil)
		req.URL.RawQuery = strings.ReplaceAll(req.URL.RawQuery, "+", "%20")
		c := aws.Credentials{AccessKeyID: root.id, SecretAccessKey: root.secret, SessionToken: root.token}
		const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
		signed, _, err := v4.NewSigner().PresignHTTP(ctx(), c, req, empty, "sqs", region, time.Now().Add(-age))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	get := func(u string) answer {
		req, _ := http.NewRequest("GET", u, nil)
		return w.do(req)
	}
	get(presign(0)).has(t, 200, "<ListQueuesResponse")
	get(presign(2*time.Minute)).has(t, 403, "SignatureDoesNotMatch", "Signature expired")
	u, _ := url.Parse(presign(0))
	get(strings.Replace(u.String(), "QueueNamePrefix=a", "QueueNamePrefix=c", 1)).has(t, 403, "SignatureDoesNotMatch")
}

// SQS-61: temporary credentials.
func TestSQS61_Session(t *testing.T) {
	ours(t)
	w := open(t)
	s := sts.New(sts.Options{BaseEndpoint: &w.at, Region: region, Credentials: credentials.NewStaticCredentialsProvider(root.id, root.secret, "")})
	id, err := s.GetCallerIdentity(ctx(), &sts.GetCallerIdentityInput{})
	if err != nil || *id.Arn != "arn:aws:iam::"+account+":user/guest" {
		t.Fatalf("%v, %v", id, err)
	}
	out, err := s.AssumeRole(ctx(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + account + ":role/r"), RoleSessionName: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	k := key{*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken}
	c := &world{t, client(t, w.at, k), w.at}
	c.send(c.queue(), "x")
	temporary := sts.New(sts.Options{BaseEndpoint: &w.at, Region: region, Credentials: credentials.NewStaticCredentialsProvider(k.id, k.secret, k.token)})
	if id, err := temporary.GetCallerIdentity(ctx(), &sts.GetCallerIdentityInput{}); err != nil || *id.Arn != "arn:aws:sts::"+account+":assumed-role/r/s" {
		t.Errorf("%v, %v", id, err)
	}
	for _, bad := range []key{{k.id, k.secret, ""}, {k.id, k.secret, k.token[:len(k.token)-4] + "AAAA"}} {
		_, err := client(t, w.at, bad).ListQueues(ctx(), &sqs.ListQueuesInput{})
		refused(t, err, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
}

// SQS-62: the Query protocol on the URL of a queue.
func TestSQS62_QueuePath(t *testing.T) {
	w := open(t)
	u := w.queue()
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	path := parsed.Path
	w.query(path, "Action", "SendMessage", "MessageBody", "x").has(t, 200, "<SendMessageResult>", "<MD5OfMessageBody>9dd4e461268c8034f5c8564e155c67a6</MD5OfMessageBody>")
	w.form(root, "GET", path, nil, "Action", "GetQueueAttributes", "AttributeName.1", "QueueArn").has(t, 200, "<Name>QueueArn</Name>")
	second := w.queue()
	w.form(root, "GET", path, nil, "Action", "GetQueueAttributes", "AttributeName.1", "QueueArn", "QueueUrl", second).has(t, 200, nameOf(second)+"</Value>")
	w.form(root, "GET", path, nil).has(t, 404, "<UnknownOperationException/>")
	w.query(path, "Action", "Nonsense").has(t, 400, "<Code>InvalidAction</Code>", "The action Nonsense is not valid for this endpoint.")
	w.query(path, "Action", "ListQueues").has(t, 400, "<Code>InvalidAction</Code>")
	w.query(path, "Action", "CreateQueue", "QueueName", "x").has(t, 400, "<Code>InvalidAction</Code>")
	w.form(root, "GET", path, map[string]string{"Accept": "application/json"}, "Action", "GetQueueAttributes", "AttributeName.1", "QueueArn").has(t, 200,
		`{"GetQueueAttributesResponse":{"GetQueueAttributesResult":{"Attributes":[{"Name":"QueueArn","Value":"`+w.arnOf(u)+`"}]},"ResponseMetadata":{"RequestId":`)
	w.json(path, "SendMessage", `{"QueueUrl":"`+u+`","MessageBody":"x"}`, nil).has(t, 200, "MessageId")
	w.query(path+"-none", "Action", "SendMessage", "MessageBody", "x").has(t, 400, noQueue)
}

// SQS-63: other addresses of the same queue.
// SQS-62: lists and maps under the names of their members, as old SDKs for Java
// send them.
func TestSQS62_Plurals(t *testing.T) {
	w := open(t)
	name := unique()
	w.query("/", "Action", "CreateQueue", "QueueName", name, "Attributes.1.Name", "VisibilityTimeout", "Attributes.1.Value", "7", "Tags.1.Key", "k", "Tags.1.Value", "v").
		has(t, 200, "<QueueUrl>")
	u := w.queueCalled(name, nil) // for what comes after it
	w.query("/", "Action", "GetQueueAttributes", "QueueUrl", u, "AttributeNames.1", "VisibilityTimeout").has(t, 200, "<Name>VisibilityTimeout</Name><Value>7</Value>")
	w.query("/", "Action", "SetQueueAttributes", "QueueUrl", u, "Attributes.1.Name", "DelaySeconds", "Attributes.1.Value", "0").has(t, 200)
	w.query("/", "Action", "ListQueueTags", "QueueUrl", u).has(t, 200, "<Key>k</Key><Value>v</Value>")
	w.query("/", "Action", "TagQueue", "QueueUrl", u, "Tags.1.Key", "a", "Tags.1.Value", "b").has(t, 200)
	w.query("/", "Action", "UntagQueue", "QueueUrl", u, "TagKeys.1", "k").has(t, 200)
	if a := w.query("/", "Action", "ListQueueTags", "QueueUrl", u); strings.Contains(a.body, "<Key>k</Key>") || !strings.Contains(a.body, "<Key>a</Key><Value>b</Value>") {
		t.Errorf("%v", a)
	}
	w.query("/", "Action", "SendMessage", "QueueUrl", u, "MessageBody", "x", "MessageAttributes.1.Name", "one", "MessageAttributes.1.Value.DataType", "String",
		"MessageAttributes.1.Value.StringValue", "1").has(t, 200, "<MD5OfMessageAttributes>"+digest("one", "String", "1")+"<")
	w.query("/", "Action", "SendMessageBatch", "QueueUrl", u, "SendMessageBatchRequestEntry.1.Id", "a", "SendMessageBatchRequestEntry.1.MessageBody", "y",
		"SendMessageBatchRequestEntry.1.MessageAttributes.1.Name", "two", "SendMessageBatchRequestEntry.1.MessageAttributes.1.Value.DataType", "String",
		"SendMessageBatchRequestEntry.1.MessageAttributes.1.Value.StringValue", "2").has(t, 200, "<MD5OfMessageAttributes>"+digest("two", "String", "2")+"<")
	w.query("/", "Action", "ReceiveMessage", "QueueUrl", u, "MaxNumberOfMessages", "10", "MessageAttributeNames.1", "one", "AttributeNames.1", "SenderId").
		has(t, 200, "<Name>one</Name>", "<Name>SenderId</Name>")
}

// SQS-62: results without members, and the JSON that the Query protocol answers
// with when it is asked for it.
func TestSQS62_Forms(t *testing.T) {
	w := open(t)
	u := w.queue()
	for action, params := range map[string][]string{
		"ReceiveMessage": nil, "ListQueueTags": nil, "GetQueueAttributes": {"AttributeName.1", "Policy"}, "ListDeadLetterSourceQueues": nil,
	} {
		params := append([]string{"Action", action, "QueueUrl", u}, params...)
		w.query("/", params...).has(t, 200, "<"+action+"Result/><ResponseMetadata>")
	}
	w.query("/", "Action", "ListQueues", "QueueNamePrefix", "none-begins-so").has(t, 200, "<ListQueuesResult/>")
	json := func(params ...string) answer {
		return w.form(root, "GET", "/", map[string]string{"Accept": "application/json"}, params...)
	}
	json("Action", "ReceiveMessage", "QueueUrl", u).has(t, 200, `{"ReceiveMessageResponse":{"ReceiveMessageResult":{"messages":null},"ResponseMetadata":`)
	json("Action", "ListQueues", "QueueNamePrefix", "none-begins-so").has(t, 200, `{"ListQueuesResponse":{"ListQueuesResult":{"queueUrls":null,"NextToken":null},"ResponseMetadata":`)
	json("Action", "ListQueues", "QueueNamePrefix", nameOf(u)).has(t, 200, `"queueUrls":["`+u+`"]`)
	w.send(u, "x")
	json("Action", "ReceiveMessage", "QueueUrl", u, "VisibilityTimeout", "0").has(t, 200, `"messages":[{"Attributes":null,"Body":"x","MD5OfBody":"`,
		`","MD5OfMessageAttributes":null,"MessageAttributes":null,"MessageId":"`)
}

func TestSQS63_Addresses(t *testing.T) {
	w := open(t)
	u := w.queue()
	parsed, _ := url.Parse(u)
	for _, address := range []string{nameOf(u), "https://queue.amazonaws.com" + parsed.Path, "http://other:1/queue/us-east-1" + parsed.Path, u + "/"} {
		w.send(address, "x")
	}
	if list := w.collect(u, 4); len(list) != 4 {
		t.Errorf("%d", len(list))
	}
	_, err := w.trySend("http://other:1/x", "x")
	refused(t, err, noQueue, "")
}

// SQS-64: headers and bodies of JSON.
func TestSQS64_JSON(t *testing.T) {
	w := open(t)
	u := w.queue()
	a := w.json("/", "GetQueueUrl", `{"QueueName":"none-`+unique()+`"}`, nil)
	a.has(t, 400, `{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}`)
	if a.header.Get("x-amzn-query-error") != noQueue+";Sender" || a.header.Get("x-amzn-RequestId") == "" || a.header.Get("Content-Type") != "application/x-amz-json-1.0" {
		t.Errorf("%v", a.header)
	}
	a = w.json("/", "PurgeQueue", `{"QueueUrl":"`+u+`"}`, nil)
	if a.status != 200 || a.body != "" || a.header.Get("Content-Type") != "application/x-amz-json-1.0" {
		t.Errorf("%v %v", a, a.header)
	}
	w.json("/", "Nonsense", `{}`, nil).has(t, 400, "com.amazon.coral.service#UnknownOperationException")
	w.json("/", "SendMessage", `{"MessageBody":"x"}`, nil).has(t, 400, "com.amazon.coral.service#MissingRequiredParameterException", "The request must contain the parameter QueueUrl.")
	for _, bad := range []string{`{`, `[]`, `{"QueueUrl":1,}`, `x`, `{} {}`, strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100)} {
		w.json("/", "ListQueues", bad, nil).has(t, 400, "SerializationException")
	}
}

// SQS-72: ten thousand queues.
func TestSQS72_ManyQueues(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	b := start(t, "persistence.confirm=os")
	w := &world{t, client(t, "http://"+b.Addr("aws"), root), "http://" + b.Addr("aws")}
	const n = 10_000
	for i := range n {
		name := fmt.Sprintf("many-%05d", i)
		if _, err := w.CreateQueue(context.Background(), &sqs.CreateQueueInput{QueueName: &name}); err != nil {
			t.Fatal(err)
		}
	}
	var got int
	var token *string
	for {
		out, err := w.ListQueues(ctx(), &sqs.ListQueuesInput{MaxResults: aws.Int32(1000), NextToken: token})
		if err != nil {
			t.Fatal(err)
		}
		got += len(out.QueueUrls)
		if token = out.NextToken; token == nil {
			break
		}
	}
	all, err := w.ListQueues(ctx(), &sqs.ListQueuesInput{})
	if err != nil || got != n || len(all.QueueUrls) != 1000 || all.NextToken != nil {
		t.Errorf("%d in pages, %d without, %v", got, len(all.QueueUrls), err)
	}
}
