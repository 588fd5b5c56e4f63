package interop

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func init() { settings = append(settings, "aws.sns.sign_queues=false") }

// snsCall makes an unsigned call of the Query protocol, which the broker takes
// from this machine; params are pairs.
func snsCall(t testing.TB, action string, params ...string) (out struct {
	TopicArn, SubscriptionArn, MessageID string
}) {
	t.Helper()
	form := url.Values{"Action": {action}, "Version": {"2010-03-31"}}
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	resp, err := http.PostForm("http://"+shared.Addr("aws")+"/", form)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", action, resp.StatusCode, text)
	}
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		tok, err := d.Token()
		if err != nil {
			return out
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		for name, to := range map[string]*string{"TopicArn": &out.TopicArn, "SubscriptionArn": &out.SubscriptionArn, "MessageId": &out.MessageID} {
			if start.Name.Local == name {
				must(t, d.DecodeElement(to, &start))
			}
		}
	}
}

// everyTopic runs f for every protocol that has topics.
func everyTopic(t *testing.T, f func(t *testing.T, a Adapter, name string)) {
	for _, a := range adapters {
		if a.Reaches(Address{Topic: []string{"n"}}) {
			t.Run(a.Name(), func(t *testing.T) { f(t, a, sqsName(t)) })
		}
	}
}

// SNS-51: a publish over SNS reaches the subscribers of that topic of every
// protocol: the message as body, attributes as headers, the subject as one.
func TestFromSNS(t *testing.T) {
	everyTopic(t, func(t *testing.T, to Adapter, name string) {
		topic := snsCall(t, "CreateTopic", "Name", name).TopicArn
		in := listen(t, connect(t, to), Address{Topic: []string{name}})
		snsCall(t, "Publish", "TopicArn", topic, "Message", "größe 😀", "Subject", "subject",
			"MessageAttributes.entry.1.Name", "k", "MessageAttributes.entry.1.Value.DataType", "String", "MessageAttributes.entry.1.Value.StringValue", "v",
			"MessageAttributes.entry.2.Name", "n", "MessageAttributes.entry.2.Value.DataType", "Number", "MessageAttributes.entry.2.Value.StringValue", "7")
		m := next(t, in)
		want := to.Shows(Message{Headers: map[string]any{"k": "v", "n": int64(7), "SNS_Subject": "subject"}}).Headers
		if string(m.Body) != "größe 😀" || !m.Persistent {
			t.Errorf("%+v", m)
		}
		for name, w := range want {
			if g := m.Headers[name]; fmt.Sprintf("%T %v", g, g) != fmt.Sprintf("%T %v", w, w) {
				t.Errorf("header %s is %T %v, want %T %v", name, g, g, w, w)
			}
		}
		snsCall(t, "Publish", "TopicArn", topic, "MessageStructure", "json", "Message", `{"default":"for all","sqs":"for queues"}`)
		if m := next(t, in); string(m.Body) != "for all" {
			t.Errorf("%q", m.Body)
		}
	})
}

// SNS-51: what any protocol publishes to a topic reaches the subscribers of
// SNS, by filter, in the envelope and raw.
func TestToSNS(t *testing.T) {
	everyTopic(t, func(t *testing.T, from Adapter, name string) {
		topic := snsCall(t, "CreateTopic", "Name", name).TopicArn
		for queue, attributes := range map[string][]string{
			name + "-envelope": nil,
			name + "-raw":      {"Attributes.entry.1.key", "RawMessageDelivery", "Attributes.entry.1.value", "true"},
			name + "-filtered": {"Attributes.entry.1.key", "FilterPolicy", "Attributes.entry.1.value", `{"k":["other"]}`},
		} {
			sqsCreate(t, queue, nil)
			snsCall(t, "Subscribe", append([]string{"TopicArn", topic, "Protocol", "sqs", "Endpoint", "arn:aws:sqs:us-east-1:000000000000:" + queue}, attributes...)...)
		}
		out := connect(t, from)
		must(t, out.Send(Address{Topic: []string{name}}, Message{Body: []byte("größe 😀"), Persistent: true, Headers: map[string]any{"k": "v", "SNS_Subject": "subject"}}))
		raw := sqsReceive(t, name+"-raw", 1, 30, 10)
		if len(raw) != 1 || raw[0].Body != "größe 😀" || raw[0].MessageAttributes["k"].StringValue != "v" {
			t.Fatalf("raw: %+v", raw)
		}
		envelope := sqsReceive(t, name+"-envelope", 1, 30, 10)
		if len(envelope) != 1 {
			t.Fatal("nothing in the envelope")
		}
		for _, part := range []string{`"Message" : "größe 😀"`, `"Subject" : "subject"`, `"TopicArn" : "` + topic + `"`, `"k" : {"Type":"String","Value":"v"}`} {
			if !strings.Contains(envelope[0].Body, part) {
				t.Errorf("no %s in %s", part, envelope[0].Body)
			}
		}
		if list := sqsReceive(t, name+"-filtered", 1, 30, 0); len(list) != 0 {
			t.Errorf("filtered: %+v", list)
		}
	})
}
